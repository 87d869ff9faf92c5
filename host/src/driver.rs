//! The node's only loop: feed inputs, drain outputs, sleep until woken. Every decision is the core's.

mod event;
mod log;
mod own_services;
mod plugins;
mod reloads;
mod runs;
mod startup;

use crate::config::{Config, Endpoint};
use crate::event_queue::{EventQueue, EventSender, QueuedEvent, event_queue};
use crate::keys::{KeyError, Trust};
use crate::reload::{self, Trigger};
use crate::repeats::Repeats;
use crate::signals;
use crate::transport::zmq::{ListenError, Sockets, TransportEvent};
use event::DriverEvent;
use own_services::own_services;
use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};
use tracing::{debug, info, warn};
use wasmnode_core::{Input, Node, NodeSettings, Output, RequestId, Time, text};
use wasmnode_sandbox::log_throttle::Kinds;
use wasmnode_sandbox::{CallId, Event, Plugins, RunEvent, RunId, SandboxError};

/// Largest number of messages taken from the sockets in a row, before the event queue gets its turn.
const BATCH: u32 = 64;

/// Largest number of messages processed stage by stage as one batch, so that each stage's code and data stay in cache.
const STRIDE: u32 = 8;

/// Largest number of events handled in a row, before the sockets get their turn.
const EVENTS: u32 = 64;

/// Time after which a turn takes no further messages and no further events: any of them can take much longer than the
/// average.
const TURN: Duration = Duration::from_millis(4);

/// Largest number of rounds of actions and their immediate results in one turn of the loop. The end of one run can
/// start the next, and so on through a whole queue; the rest continues in the next turn.
const ROUNDS: u32 = 256;

/// Upper bound on the latency that batching replies may add.
const PATIENCE: Duration = Duration::from_micros(200);

/// Largest number of warnings of one kind logged per second; the rest is counted.
const WARNINGS_PER_SECOND: u32 = 20;

/// Grace period during which a draining node still serves peers, so that its withdrawal reaches them first.
const GOODBYE: Duration = Duration::from_millis(100);

/// Why a node cannot run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// An endpoint could not be bound.
    Listen(ListenError),
    /// The keys could not be read.
    Keys(KeyError),
    /// The plugins cannot be run.
    Plugins(SandboxError),
    /// The system refused a thread, a pipe or a signal handler.
    System(std::io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Keys(error) => error.fmt(f),
            Self::Plugins(error) => error.fmt(f),
            Self::System(error) => write!(f, "the system refused a thread, a pipe or a signal handler: {error}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Listen(error) => error,
            Self::Keys(error) => error,
            Self::Plugins(error) => error,
            Self::System(error) => error,
        })
    }
}

impl From<ListenError> for RunError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

impl From<KeyError> for RunError {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}

impl From<std::io::Error> for RunError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

/// Runs a node until a signal stops it (`signals.rs`). The node then rejects new requests, finishes what is in flight
/// within the configured time, disconnects its workers and removes its ipc files. A second signal ends that wait. The
/// process exits with code 1 if the rest takes longer than three seconds, or at a third signal.
///
/// `on_serving` is called once, with the endpoints that the node listens on, when it begins to serve.
///
/// # Errors
/// If the node cannot start.
pub fn run(config: &Config, on_serving: impl FnOnce(&[String])) -> Result<(), RunError> {
    let started = Instant::now();
    // A run that never ends uses a time slice of a millisecond again and again. With tokio's own intervals, 61 such
    // slices pass before it checks for new runs and timers; with these, a few.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("plugins")
        .global_queue_interval(2)
        .event_interval(4)
        .enable_all()
        .build()?;
    let ended = {
        let _entered = runtime.enter();
        serve(config, started, on_serving)
    };
    // Plugins may have left threads in calls that do not return: a file on a mount that hangs, a dead name server.
    runtime.shutdown_background();
    ended
}

fn serve(config: &Config, started: Instant, on_serving: impl FnOnce(&[String])) -> Result<(), RunError> {
    let (sending, events) = event_queue::<DriverEvent>()?;
    let (reload, triggers) = sync_channel(reload::PENDING);
    let hang_up = reload.clone();
    // Those that are pending cover one for which there is no room.
    signals::listen(&sending.narrow(), move || {
        let _if_there_is_room = hang_up.try_send(Trigger::Hangup);
    })?;
    let trust = config.keys.as_deref().map(Trust::open).transpose()?;
    let keys = trust.as_ref().map(Trust::current).cloned();
    let access = keys.as_ref().map(|keys| keys.access(&config.node.name));
    reload::start(config, trust, triggers, sending.narrow(), sending.narrow())?;
    // Before the plugins, so that a node that runs already is reported by its endpoint, not by its state.
    let sockets = Sockets::listen(config, keys, &sending.narrow())?;
    let plugins = match startup::plugins(config, &sending.narrow(), sockets.endpoints()) {
        Ok(plugins) => plugins,
        Err(error) => {
            sockets.close();
            return Err(RunError::Plugins(error));
        }
    };
    let node = Node::new(NodeSettings { access, ..settings(config, sockets.endpoints()) });
    let warnings = Kinds::new(WARNINGS_PER_SECOND);
    let mut driver = Driver {
        node,
        sending: sending.narrow(),
        sockets,
        plugins,
        events,
        feedback: Vec::new(),
        rounds: ROUNDS,
        started,
        config: config.clone(),
        reload,
        warnings,
        rejected: 0,
        over_limit: 0,
        repeats: Repeats::default(),
        goodbye: None,
        end: None,
        is_ready: false,
    };
    if config.insecure {
        warn!("security.insecure is set: anyone who reaches this node's endpoints can use it, and pose as its peer");
    }
    startup::log_access_without_keys(config);
    config.doubts().iter().for_each(|doubt| warn!("{doubt}"));
    driver.offer();
    on_serving(driver.sockets.endpoints());
    driver.run();
    Ok(())
}

/// Returns the settings of the core, completed with what is known only after the endpoints are bound.
fn settings(config: &Config, endpoints: &[String]) -> NodeSettings {
    let boot = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    let dialable = |endpoint: &&String| Endpoint::from_str(endpoint).is_ok_and(|endpoint| endpoint.is_dialable());
    let tcp = endpoints.iter().filter(dialable).find(|endpoint| endpoint.starts_with("tcp:"));
    let first = tcp.or_else(|| endpoints.iter().find(dialable)).map(|endpoint| absolute(endpoint));
    let endpoint = config.advertise.as_ref().map(Endpoint::to_string).or(first).unwrap_or_default();
    let boot = u64::try_from(boot).unwrap_or(u64::MAX);
    // Two nodes that start in the same microsecond have different names, and so different seeds.
    let seed = config.node.name.as_str().bytes().fold(boot, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
    NodeSettings { boot, seed, endpoint, ..config.node.clone() }
}

/// Makes an ipc endpoint absolute, so that processes with another current folder can dial it.
fn absolute(endpoint: &str) -> String {
    match endpoint.strip_prefix("ipc://").map(std::path::absolute) {
        Some(Ok(path)) => format!("ipc://{}", path.display()),
        _ => endpoint.to_owned(),
    }
}

struct Driver {
    node: Node,
    /// Sender of inputs that follow later, from other threads.
    sending: EventSender<Input>,
    sockets: Sockets,
    plugins: Plugins,
    events: EventQueue<DriverEvent>,
    /// Results of executed outputs that the core has not handled yet.
    feedback: Vec<Input>,
    /// Number of rounds left in this turn.
    rounds: u32,
    started: Instant,
    config: Config,
    /// Sender of reasons to read the configuration again.
    reload: SyncSender<Trigger>,
    warnings: Kinds,
    /// Number of rejected connections and messages.
    rejected: u64,
    /// Number of connections that exceeded a limit and were ended.
    over_limit: u64,
    /// Recently logged lines about what clients and nodes retry.
    repeats: Repeats,
    /// While the node drains: end of the grace period in which peers may still send requests.
    goodbye: Option<Instant>,
    /// While the node drains: end of the wait for what is in flight.
    end: Option<Instant>,
    /// Set once readiness has been logged.
    is_ready: bool,
}

impl Driver {
    fn offer(&mut self) {
        for service in own_services() {
            self.handle(Input::Offered(service));
        }
        // Plugins that were in the folder at the start.
        self.wait_for_plugins();
    }

    /// Resets the bounds of a turn.
    fn begin_turn(&mut self) {
        self.rounds = ROUNDS;
        self.plugins.begin_turn();
    }

    fn run(mut self) {
        loop {
            self.begin_turn();
            if !self.feedback.is_empty() {
                self.settle(self.now());
            }
            let has_messages = self.receive_batch();
            let has_mail = self.handle_events();
            if !self.is_ready {
                self.log_readiness();
            }
            for unsent in self.sockets.retry() {
                self.handle(unsent);
            }
            if self.node.next_wake().is_some_and(|due| due <= self.now()) {
                self.handle(Input::Tick);
            }
            self.warn_of_left_out();
            if self.is_over() {
                break;
            }
            if !has_messages {
                // `wait` checks the sockets even when there is no need to sleep.
                let is_busy = has_mail || !self.feedback.is_empty();
                let sleep = if is_busy { Some(Duration::ZERO) } else { self.time_to_sleep() };
                self.sockets.wait(self.events.fd(), sleep);
            }
        }
        signals::end_in_time();
        self.handle(Input::Stop);
        self.sockets.close();
        self.plugins.close();
        info!("stopped");
    }

    /// Receives messages in batches, and settles each batch. A batch has as many messages as take no longer than
    /// [`PATIENCE`], estimated from the previous batch. Returns `true` if there may be more.
    fn receive_batch(&mut self) -> bool {
        let start = self.now();
        // The first message is a batch of its own, so that its answer does not wait for the check whether there is
        // another.
        let (mut received, mut most, mut began) = (0, 1, start);
        while received < BATCH && began.since(start) < TURN {
            let mut taken = 0;
            while taken < most
                && let Some(input) = self.sockets.receive()
            {
                self.node.handle(input, began);
                taken += 1;
            }
            self.settle(began);
            received += taken;
            if taken < most {
                return false;
            }
            let ended = self.now();
            let each = ended.since(began) / taken;
            most = (1..=STRIDE).rev().find(|many| each * *many <= PATIENCE).unwrap_or(1);
            began = ended;
        }
        true
    }

    /// Handles pending events, up to the bounds of a turn. Returns `true` if there may be more.
    fn handle_events(&mut self) -> bool {
        self.events.acknowledge();
        let start = self.now();
        for _ in 0..EVENTS {
            // The event's permit is released once everything that follows from the event has been done.
            let Some(QueuedEvent { event, permit: _taken }) = self.events.next() else { return false };
            self.handle_event(event);
            if self.now().since(start) >= TURN {
                break;
            }
        }
        true
    }

    fn handle_event(&mut self, event: DriverEvent) {
        let input = match event {
            DriverEvent::Input(input) => input,
            DriverEvent::Sandbox(event) => match self.sandbox_event(event) {
                Some(input) => input,
                None => return,
            },
            DriverEvent::Transport(event) => return self.transport_event(event),
            DriverEvent::Reloaded(reloaded) => return self.reloaded(reloaded),
            DriverEvent::Keys(keys) => {
                info!("the keys have changed: {}", keys.how_many());
                self.sockets.trust(&keys);
                Input::Trust(keys.access(&self.config.node.name))
            }
        };
        match input {
            Input::Drain => {
                let drain = self.config.drain;
                let outstanding = text::count(self.node.outstanding(), "request");
                info!("stopping: {outstanding} in flight, at most {drain:?} to finish");
                self.plugins.stop_compiling();
                let now = Instant::now();
                self.end = Some(now + drain);
                self.goodbye = self.node.has_peers().then(|| now + GOODBYE.min(drain));
            }
            Input::Stop => self.end = Some(Instant::now()),
            Input::Finished { request, .. } => self.plugins.ended(RunId(request.0)),
            _ => {}
        }
        self.handle(input);
    }

    /// Returns the core's input for an event of the sandbox, if there is one.
    fn sandbox_event(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Run(RunEvent::Finished(end)) => Some(runs::finished(end)),
            Event::Run(RunEvent::Partial { run, body }) => Some(Input::Partial { request: RequestId(run.0), body }),
            Event::Run(RunEvent::Call { call, parent, service, body }) => {
                Some(Input::Call { call: wasmnode_core::CallId(call.0), parent: RequestId(parent.0), service, body })
            }
            Event::Run(RunEvent::Quarantine { service, generation, lasts }) => {
                self.plugins.quarantine(service, generation, lasts).map(runs::offer_change)
            }
            Event::Folder(event) => self.plugins.apply(event).map(runs::offer_change),
        }
    }

    fn transport_event(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::Rejected { why, times } => {
                self.rejected += times;
                self.warn_now_and_then(text::beginning(&why), &format!("rejected: {why}"));
            }
            TransportEvent::OverLimit { what, times } => {
                self.over_limit += times;
                self.warn("connections over a limit", &what);
            }
            TransportEvent::Lookup(lookup) => self.sockets.resolved(lookup),
        }
    }

    fn is_over(&mut self) -> bool {
        // Cleared once it has passed, so that the driver does not wake up for it repeatedly.
        self.goodbye = self.goodbye.filter(|until| *until > Instant::now());
        self.end.is_some_and(|end| {
            let is_done = self.node.outstanding() == 0 && self.goodbye.is_none();
            is_done || end <= Instant::now()
        })
    }

    fn time_to_sleep(&self) -> Option<Duration> {
        let now = self.now();
        let wake = self.node.next_wake().map(|due| due.since(now));
        let ends = self.end.into_iter().chain(self.goodbye).chain(self.warnings.next_left_out());
        let ends = ends.map(|end| end.saturating_duration_since(Instant::now()));
        let ready = (!self.is_ready).then(|| startup::READY.saturating_sub(self.started.elapsed()));
        wake.into_iter().chain(ends).chain(ready).min()
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Passes one input to the core, and executes its outputs.
    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.node.handle(input, now);
        self.settle(now);
    }

    /// Executes all outputs of the core. Immediate results (of a short run, an undeliverable message) are fed back to
    /// the core, as often as the turn allows.
    fn settle(&mut self, mut now: Time) {
        loop {
            let mut clock = None;
            while let Some(output) = self.node.next_output() {
                if let Some(feedback) = self.act(output, now, &mut clock) {
                    self.feedback.push(feedback);
                }
            }
            if self.feedback.is_empty() || self.rounds == 0 {
                return;
            }
            self.rounds -= 1;
            now = self.now();
            for input in self.feedback.drain(..) {
                self.node.handle(input, now);
            }
        }
    }

    /// Executes one output. `clock` is the current time, if the previous output was a run that has ended.
    fn act(&mut self, output: Output, now: Time, clock: &mut Option<Instant>) -> Option<Input> {
        let mut time = clock.take();
        match output {
            Output::Send { to, frames } => {
                let undeliverable = self.sockets.send(to, frames).err()?;
                if let Input::Undeliverable { to, .. } = &undeliverable {
                    debug!("{to} is gone");
                }
                return Some(undeliverable);
            }
            // Only for requests of other transports than ZeroMQ, and there are none.
            Output::Reply { .. } => {}
            Output::Dial { link, endpoint, name } => self.sockets.dial(link, &endpoint, name.as_ref()),
            Output::Post { link, frames } => return self.sockets.post(link, frames).err(),
            Output::Disconnect(peer) => self.sockets.disconnect(&peer),
            Output::HangUp(link) => self.sockets.hang_up(link),
            Output::Run(request) if request.service.is_reserved() => return self.answer_own_service(&request),
            Output::Run(request) => {
                let remaining = request.deadline.since(now);
                let run = runs::run_of(*request, remaining, self.started);
                let ended = self.plugins.start(run, &mut time);
                *clock = time;
                return ended.map(runs::finished);
            }
            Output::Stop(request) => self.plugins.stop(RunId(request.0), runs::instant(now, self.started)),
            Output::Answer { call, result } => self.plugins.answer(CallId(call.0), result),
            Output::Event(event) => self.log_event(&event),
            Output::Zone(event) => self.log_zone_event(&event),
        }
        None
    }
}
