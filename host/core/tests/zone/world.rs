//! All nodes, their clients, their plugins and the network in virtual time: the driver's loop for each, without a
//! socket, a clock or a thread.
//!
//! All future events are in one agenda. The world takes the next event, lets the node concerned handle it, and carries
//! out the outputs immediately, exactly as the driver does. All randomness comes from one generator, so a seed can be
//! replayed.

mod byzantine;
mod faults;
mod network;
mod quiescence;
mod scale;

use crate::checker::Checker;
use crate::clients::{self, Place};
use crate::coverage::Coverage;
use crate::log::Log;
use crate::machine::{Clock, Machine, Process, ProcessId};
use crate::plugins::{Plugins, RunId, Step};
use crate::readable;
use crate::scenario::{Accident, Scenario, Weather, YEARS, chance, frame, up_to};
use fastrand::Rng;
use network::{Conn, Way};
use quiescence::Trial;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::message::path::UpdateContent;
use wasmnode_core::message::{Dialect, Request, native};
use wasmnode_core::{CallId, ConnectionId, Frame, Input, Node, NodeSettings, Output, Time};

/// Outcome of a seed that kept every invariant; others panic.
pub(crate) struct Outcome {
    pub(crate) nodes: usize,
    pub(crate) steps: u64,
    pub(crate) coverage: Coverage,
    pub(crate) log: Log,
}

/// Future event.
pub(crate) enum Happening {
    /// A client sends a number of requests in a burst.
    Asks {
        client: usize,
    },
    /// A client cancels a request.
    Cancels {
        ask: u64,
        to: ProcessId,
        machine: usize,
    },
    Wakes {
        machine: usize,
        process: ProcessId,
    },
    Runs {
        machine: usize,
        run: RunId,
        turn: u64,
    },
    /// A dial reaches its endpoint, with or without a listener.
    Connects {
        conn: usize,
    },
    /// Frames reach the other end.
    Arrives {
        conn: usize,
        way: Way,
        frames: Vec<Frame>,
    },
    /// The driver that dialled detects the end of the connection, and reports it to its node.
    Notices {
        conn: usize,
    },
    Reports {
        conn: usize,
    },
    /// The driver that was dialled detects the end; its node gets it as a message that could not be sent.
    GuestIsGone {
        conn: usize,
    },
    Accident(Accident),
    Starts {
        machine: usize,
    },
    Thaws {
        machine: usize,
        process: ProcessId,
    },
    Ends {
        machine: usize,
        process: ProcessId,
    },
    Heals(Vec<(usize, usize)>),
    CalmsDown,
    /// Check whether all nodes agree.
    LooksAround,
    /// Check whether every service is reachable. The next is tried when the last is answered.
    Tries {
        last: Option<u64>,
    },
    Closes,
}

pub(crate) struct World {
    checker: Checker,
    rng: Rng,
    now: Time,
    weather: Weather,
    agenda: BTreeMap<(Time, u64), Happening>,
    noted: u64,
    machines: Vec<Machine>,
    /// Machines by endpoint.
    places: BTreeMap<String, usize>,
    /// Location of the nodes that serve clients: name and zone.
    nodes: Vec<Place>,
    conns: Vec<Conn>,
    /// Pairs of machines between which messages are blocked, by direction, with the number of reasons.
    blocked: BTreeMap<(usize, usize), u32>,
    plugins: Plugins,
    /// Updates of routers on each connection, if they repeat old ones.
    updates_sent: BTreeMap<usize, Vec<UpdateContent>>,
    scenario: Scenario,
    next_ask: u64,
    next_process: u64,
    /// Trials at the end: services and the nodes that request them.
    to_try: VecDeque<Trial>,
    is_calm: bool,
    is_over: bool,
    log: Log,
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario, log: Log) -> Self {
        log.note(Time::ZERO, || format!("{scenario:#?}"));
        let machines: Vec<_> = scenario.nodes.iter().map(Machine::new).collect();
        let places = machines.iter().enumerate().map(|(number, machine)| (machine.settings.endpoint.clone(), number));
        let nodes = machines.iter().filter(|machine| !machine.is_twin() && !machine.settings.is_router());
        let place = |machine: &Machine| Place {
            node: machine.settings.name.to_string(),
            zone: machine.settings.zone.to_string(),
        };
        let mut world = Self {
            checker: Checker::new(seed, &scenario),
            rng: Rng::with_seed(!seed),
            now: Time::ZERO,
            weather: scenario.weather.clone(),
            agenda: BTreeMap::new(),
            noted: 0,
            places: places.collect(),
            nodes: nodes.map(place).collect(),
            machines,
            updates_sent: BTreeMap::new(),
            conns: Vec::new(),
            blocked: BTreeMap::new(),
            plugins: Plugins::default(),
            scenario,
            next_ask: 0,
            next_process: 0,
            to_try: VecDeque::new(),
            is_calm: false,
            is_over: false,
            log,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        for (machine, plan) in self.scenario.nodes.iter().enumerate() {
            if plan.starts {
                let time = Time::from_micros(self.rng.u64(..200_000));
                self.noted += 1;
                self.agenda.insert((time, self.noted), Happening::Starts { machine });
            }
        }
        for client in 0..self.scenario.clients {
            self.note(Time::from_micros(500_000), Happening::Asks { client });
        }
        for (time, accident) in self.scenario.accidents.clone() {
            self.note(time, Happening::Accident(accident));
        }
        self.note(self.scenario.calm, Happening::CalmsDown);
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Outcome {
        self.run_until(Time::from_micros(u64::MAX));
        let Self { mut checker, nodes, log, .. } = self;
        Outcome { nodes: nodes.len(), steps: checker.steps(), coverage: std::mem::take(&mut checker.coverage), log }
    }

    fn run_until(&mut self, end: Time) {
        while !self.is_over
            && let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 <= end)
        {
            let ((time, _), happening) = next.remove_entry();
            self.now = time;
            self.checker.at(time);
            self.happen(happening);
        }
    }

    fn note(&mut self, time: Time, happening: Happening) {
        self.noted += 1;
        self.agenda.insert((time.max(self.now), self.noted), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Asks { client } => self.client_asks(client),
            Happening::Cancels { ask, to, machine } => {
                let (from, frames) = (self.checker.client_of(ask), native::encode_cancel(ask));
                self.deliver(machine, to, Input::Message { from, frames });
            }
            Happening::Wakes { machine, process } => self.wake(machine, process),
            Happening::Runs { machine, run, turn } => self.run_acts(machine, run, turn),
            Happening::Connects { conn } => self.connects(conn),
            Happening::Arrives { conn, way, frames } => self.arrives(conn, way, frames),
            Happening::Notices { conn } => self.notices(conn),
            Happening::Reports { conn } => self.reports(conn),
            Happening::GuestIsGone { conn } => self.conns[conn].guest_is_gone = true,
            Happening::Accident(accident) if !self.is_calm => self.accident(accident),
            Happening::Accident(_) => {}
            Happening::Starts { machine } => self.start(machine),
            Happening::Thaws { machine, process } => self.thaw(machine, process),
            Happening::Ends { machine, process } => self.end_in_order(machine, process),
            Happening::Heals(pairs) => self.heal(&pairs),
            Happening::CalmsDown => self.calm_down(),
            Happening::LooksAround => self.look_around(),
            Happening::Tries { last } => self.try_next(last),
            Happening::Closes => self.close(),
        }
    }

    /// Returns the process of a machine, if it is still this one.
    fn process(&mut self, machine: usize, id: ProcessId) -> Option<&mut Process> {
        self.machines[machine].process.as_mut().filter(|process| process.id == id)
    }

    fn start(&mut self, machine: usize) {
        if self.machines[machine].process.is_some() || self.machines[machine].is_retired {
            return;
        }
        let id = ProcessId(self.next_process);
        self.next_process += 1;
        let drift = self.rng.u64(10_000 - self.weather.drift..=10_000 + self.weather.drift);
        let clock = Clock { started: self.now, ticks: drift };
        let mut boot = 1_700_000_000_000_000 + self.now.as_micros();
        if !self.scenario.clocks.is_zero() {
            self.checker.coverage.count("a clock is wrong");
            boot += up_to(&mut self.rng, 2 * self.scenario.clocks).as_micros() as u64;
            boot -= self.scenario.clocks.as_micros() as u64;
        }
        if self.scenario.ahead == Some(machine) && !self.machines[machine].has_run {
            boot += YEARS.as_micros() as u64;
        }
        let settings = NodeSettings { boot, seed: self.rng.u64(..), ..self.machines[machine].settings.clone() };
        self.log.write(self.now, || self.machines[machine].title(), &("starts", "as", id.0, boot, settings.seed));
        self.checker.started(id, &settings, clock);
        self.machines[machine].process = Some(Process {
            id,
            node: Node::new(settings),
            clock,
            is_frozen: false,
            backlog: VecDeque::new(),
            alarm: None,
            links: BTreeMap::new(),
            guests: BTreeMap::new(),
            is_draining: false,
        });
        if std::mem::replace(&mut self.machines[machine].has_run, true) {
            self.tcp_answers_with_reset(machine);
        }
        for service in self.machines[machine].loadable.clone() {
            self.deliver(machine, id, Input::Offered(service));
        }
        self.deliver(machine, id, Input::Tick);
    }

    fn wake(&mut self, machine: usize, id: ProcessId) {
        let now = self.now;
        let Some(process) = self.process(machine, id).filter(|process| process.alarm == Some(now)) else { return };
        process.alarm = None;
        if process.is_frozen {
            return;
        }
        if process.node.next_wake().is_some_and(|due| due <= process.clock.shows(now)) {
            self.checker.woken(id);
            self.deliver(machine, id, Input::Tick);
        } else {
            self.set_alarm(machine);
        }
    }

    fn set_alarm(&mut self, machine: usize) {
        let Some(process) = &mut self.machines[machine].process else { return };
        let Some(due) = process.node.next_wake() else { return };
        let time = process.clock.when(due).max(self.now);
        if process.alarm.is_none_or(|alarm| alarm > time) {
            process.alarm = Some(time);
            let process = process.id;
            self.note(time, Happening::Wakes { machine, process });
        }
    }

    /// Sends a client's request in the native dialect.
    fn put_request(&mut self, machine: usize, id: ProcessId, from: ConnectionId, request: &Request) {
        let frames = native::encode_request(Dialect::NativeCompact, request).unwrap();
        self.deliver(machine, id, Input::Message { from, frames });
    }

    /// Handles one input of a node, and carries out all outputs, unless the node is frozen.
    fn deliver(&mut self, machine: usize, id: ProcessId, input: Input) {
        let Some(process) = self.process(machine, id) else { return };
        if process.is_frozen {
            if input != Input::Tick {
                process.backlog.push_back(input);
            }
            return;
        }
        self.handle(machine, input);
        while let Some(output) = self.machines[machine].process.as_mut().and_then(|process| process.node.next_output())
        {
            let title = || self.machines[machine].title();
            match self.log {
                Log::Printed => self.log.note(self.now, || format!("{} {}", title(), readable::output(&output))),
                _ => self.log.write(self.now, title, &output),
            }
            self.checker.output(id, &output);
            // An input that results immediately from an output is handled next, as in the driver.
            if let Some(happened) = self.act(machine, id, output) {
                self.handle(machine, happened);
            }
        }
        if let Some(process) = &self.machines[machine].process {
            self.checker.at_rest(id, &process.node);
        }
        self.set_alarm(machine);
    }

    fn handle(&mut self, machine: usize, input: Input) {
        if let Input::LinkDown { link, .. } = input {
            self.forget_link(machine, link);
        }
        let title = || self.machines[machine].title();
        match self.log {
            Log::Printed => self.log.note(self.now, || format!("{} {}", title(), readable::input(&input))),
            _ => self.log.write(self.now, title, &input),
        }
        let Some(process) = &mut self.machines[machine].process else { return };
        self.checker.input(process.id, &input);
        let shows = process.clock.shows(self.now);
        process.node.handle(input, shows);
    }

    fn act(&mut self, machine: usize, id: ProcessId, output: Output) -> Option<Input> {
        match output {
            Output::Send { to, frames } => return self.send(machine, id, to, frames),
            Output::Dial { link, endpoint, .. } => self.dial(machine, id, link, &endpoint),
            Output::Post { link, frames } => return self.post(machine, id, link, frames),
            Output::HangUp(link) => self.hang_up(machine, id, link),
            Output::Run(request) => {
                let run = (id, request.id);
                let mark = self.checker.mark_of(run);
                let (time, turn) = self.plugins.start(run, mark, &self.weather, &mut self.rng);
                self.note(self.now + time, Happening::Runs { machine, run, turn });
            }
            Output::Stop(request) => {
                let run = (id, request);
                if let Some((time, turn)) = self.plugins.stop(run, &mut self.rng) {
                    self.note(self.now + time, Happening::Runs { machine, run, turn });
                }
            }
            Output::Answer { call, .. } => {
                if let Some((run, turn)) = self.plugins.answered(call) {
                    self.note(self.now, Happening::Runs { machine, run, turn });
                }
            }
            Output::Reply { .. } | Output::Event(_) | Output::Zone(_) | Output::Disconnect(_) => {}
        }
        None
    }

    fn run_acts(&mut self, machine: usize, run: RunId, turn: u64) {
        let Some(process) = self.process(machine, run.0) else { return };
        if process.is_frozen {
            // The run is frozen as well, and continues shortly after its process resumes.
            return self.note(self.now + Duration::from_millis(50), Happening::Runs { machine, run, turn });
        }
        let Some((step, turn)) = self.plugins.act(run, turn, &mut self.rng) else { return };
        match step {
            Step::End(input) => self.deliver(machine, run.0, input),
            Step::Say(input) => {
                let time = self.now + up_to(&mut self.rng, Duration::from_millis(30));
                self.note(time, Happening::Runs { machine, run, turn });
                self.deliver(machine, run.0, input);
            }
            Step::Call(service) => {
                let call = CallId(self.next_ask);
                self.next_ask += 1;
                self.plugins.called(run, call);
                self.checker.calls(call, run, &service);
                let body = vec![frame(format!("q{}", call.0))];
                self.deliver(machine, run.0, Input::Call { call, parent: run.1, service, body });
            }
        }
    }

    fn client_asks(&mut self, client: usize) {
        if self.is_calm {
            return;
        }
        let pause = up_to(&mut self.rng, self.scenario.pause);
        self.note(self.now + pause, Happening::Asks { client });
        let machine = client % self.nodes.len();
        let Some(process) = &self.machines[machine].process else { return };
        let id = process.id;
        let many = if chance(&mut self.rng, 100) { self.scenario.burst } else { 1 };
        for _ in 0..many {
            let mut ask =
                clients::ask(self.next_ask, &self.nodes[machine], &self.nodes, self.scenario.is_gentle, &mut self.rng);
            if self.scenario.nodes.len() > 12 && ask.deadline_ms == Some(50) {
                ask.deadline_ms = None;
            }
            self.next_ask += 1;
            let from = ConnectionId::new(format!("client{client}"));
            self.checker.asks(from.clone(), &ask, id);
            if !self.scenario.is_gentle && chance(&mut self.rng, 80) {
                let time = self.now + up_to(&mut self.rng, Duration::from_millis(400));
                self.note(time, Happening::Cancels { ask: ask.id, to: id, machine });
            }
            self.put_request(machine, id, from, &ask);
        }
    }
}
