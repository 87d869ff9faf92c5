//! One node, its peers and its plugins in virtual time: the driver's loop without a socket, a clock or a thread.
//!
//! All future events are in one agenda. The world takes the next event, lets the node handle it, and carries out the
//! outputs immediately, exactly as the driver does. All randomness comes from one generator, so a seed can be replayed.

mod network;

use crate::actors::{Actor, Errand};
use crate::checker::Checker;
use crate::clients::Client;
use crate::coverage::Coverage;
use crate::fuzz_peers::Stranger;
use crate::links::Link;
use crate::log::Log;
use crate::plugins::{Plugins, Turn};
use crate::scenario::{Scenario, Weather, chance, up_to};
use crate::workers::Worker;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use wasmnode_core::{ConnectionId, Frame, Input, Node, NodeSettings, Output, ServiceName, Time};

/// Outcome of a seed that kept every invariant; others panic.
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) coverage: Coverage,
    pub(crate) log: Log,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, log: Log) -> Outcome {
    run_with(seed, |_| {}, log)
}

/// Runs one seed with settings that differ from those that it draws.
pub(crate) fn run_with(seed: u64, change: impl FnOnce(&mut NodeSettings), log: Log) -> Outcome {
    let mut world = World::new(seed, change, log);
    while world.advance() {}
    world.finish()
}

enum Happening {
    /// A message reaches the node.
    Arrives {
        peer: usize,
        from: ConnectionId,
        connection: u64,
        frames: Vec<Frame>,
    },
    /// A message of the node reaches a peer.
    Reaches {
        peer: usize,
        connection: u64,
        frames: Vec<Frame>,
    },
    Wakes {
        peer: usize,
        errand: Errand,
    },
    Runs(Turn),
    Breaks,
    BreaksAgain {
        peer: usize,
    },
    /// The end of a connection is reported to the node.
    Ends(ConnectionId),
    Connects {
        peer: usize,
    },
    PipeClears {
        peer: usize,
    },
    Reloads,
    Drains,
    Stops,
    CalmsDown,
}

struct World {
    node: Node,
    checker: Checker,
    rng: Rng,
    now: Time,
    end: Time,
    calm: bool,
    stopped: bool,
    weather: Weather,
    agenda: BTreeMap<(Time, u64), Happening>,
    noted: u64,
    peers: Vec<(Link, Actor)>,
    /// The peer of each routing id.
    addresses: BTreeMap<ConnectionId, usize>,
    overheard: VecDeque<Vec<Frame>>,
    plugins: Plugins,
    /// The services that plugins offer at times, and those that they offer currently.
    loadable: Vec<ServiceName>,
    loaded: BTreeSet<ServiceName>,
    log: Log,
}

impl World {
    fn new(seed: u64, change: impl FnOnce(&mut NodeSettings), log: Log) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut scenario = Scenario::draw(&mut rng);
        change(&mut scenario.settings);
        log.note(Time::ZERO, || format!("{:#?}\n{:#?}", scenario.settings, scenario.weather));
        let mut world = Self {
            node: Node::new(scenario.settings.clone()),
            checker: Checker::new(seed, scenario.settings.clone()),
            rng,
            now: Time::ZERO,
            end: scenario.end,
            calm: false,
            stopped: false,
            weather: scenario.weather.clone(),
            agenda: BTreeMap::new(),
            noted: 0,
            peers: Vec::new(),
            addresses: BTreeMap::new(),
            overheard: VecDeque::new(),
            plugins: Plugins::default(),
            loadable: scenario.plugins.clone(),
            loaded: BTreeSet::new(),
            log,
        };
        world.set_up(&scenario);
        world
    }

    fn set_up(&mut self, scenario: &Scenario) {
        for service in &scenario.plugins {
            self.load(service.clone());
        }
        let mut actors = Vec::new();
        for number in 0..scenario.clients {
            actors.push(Actor::Client(Client::new(number, scenario, &mut self.rng)));
        }
        for _ in 0..scenario.workers {
            actors.push(Actor::Worker(Worker::new(scenario, &mut self.rng)));
        }
        actors.extend((0..scenario.strangers).map(|_| Actor::Stranger(Stranger::default())));
        for (peer, actor) in actors.into_iter().enumerate() {
            let fixed = chance(&mut self.rng, scenario.fixed_ids);
            self.peers.push((Link::new(peer, fixed), actor));
            self.connect(peer);
        }
        scenario.breaks.iter().for_each(|time| self.note(*time, Happening::Breaks));
        scenario.reloads.iter().for_each(|time| self.note(*time, Happening::Reloads));
        scenario.drain.iter().for_each(|time| self.note(*time, Happening::Drains));
        scenario.stop.iter().for_each(|time| self.note(*time, Happening::Stops));
        self.note(scenario.calm, Happening::CalmsDown);
    }

    /// Handles the next event; `false` at the end of time.
    fn advance(&mut self) -> bool {
        let next = self.agenda.first_key_value().map(|((time, _), _)| *time);
        let late = self.weather.late;
        let wake = self.node.next_wake().map(|due| (due + late).max(self.now));
        let Some(time) = next.into_iter().chain(wake).min().filter(|time| *time <= self.end) else { return false };
        self.now = time;
        if wake == Some(time) {
            self.tick(late);
        } else if let Some((_, happening)) = self.agenda.pop_first() {
            self.happen(happening);
        }
        true
    }

    fn tick(&mut self, late: Duration) {
        if !late.is_zero() {
            self.checker.coverage.count("woken late");
        }
        self.feed(Input::Tick);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { peer, from, connection, frames } => {
                // A message in transit on a lost connection may or may not arrive.
                if self.peers[peer].0.connection == connection || self.rng.bool() {
                    self.feed(Input::Message { from, frames });
                }
            }
            Happening::Reaches { peer, connection, frames } => {
                if self.peers[peer].0.connection == connection {
                    self.cue(peer, |actor, cue| actor.receive(&frames, cue));
                }
            }
            Happening::Wakes { peer, errand } => self.cue(peer, |actor, cue| actor.woken(errand, cue)),
            Happening::Runs(turn) => {
                if let Some((input, appointment)) = self.plugins.act(turn, &mut self.rng) {
                    self.appoint(appointment);
                    self.feed(input);
                }
            }
            Happening::Breaks if chance(&mut self.rng, 300) => {
                // All peers run on one machine, which fails.
                (0..self.peers.len()).for_each(|peer| self.break_off(peer));
            }
            Happening::Breaks => {
                let peer = self.rng.usize(..self.peers.len());
                self.break_off(peer);
            }
            Happening::BreaksAgain { peer } => self.break_off(peer),
            Happening::Ends(connection) => {
                self.checker.coverage.count("connection ended");
                self.feed(Input::Gone(connection));
            }
            Happening::Connects { peer } => self.connect(peer),
            Happening::PipeClears { peer } => self.clear_pipe(peer),
            Happening::Reloads => self.reload(),
            Happening::Drains => {
                self.checker.coverage.count("drained");
                self.feed(Input::Drain);
            }
            Happening::Stops => {
                self.checker.coverage.count("stopped");
                self.stopped = true;
                self.feed(Input::Stop);
            }
            Happening::CalmsDown => {
                self.log.write(self.now, || "", &(&self.node, self.now));
                self.calm = true;
                self.weather.clear_up();
            }
        }
    }

    /// Handles one input, and carries out all outputs. An input that results immediately from an output is handled
    /// next, as in the driver.
    fn feed(&mut self, input: Input) {
        self.handle(input);
        while let Some(output) = self.node.next_output() {
            self.log.write(self.now, || " ", &output);
            self.checker.output(&output);
            if let Some(happened) = self.act(output) {
                self.handle(happened);
            }
        }
        self.checker.at_rest(&self.node);
    }

    fn handle(&mut self, input: Input) {
        self.log.write(self.now, || "", &input);
        self.checker.input(&input, self.now);
        self.node.handle(input, self.now);
    }

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send { to, frames } => return self.send(to, frames),
            Output::Run(request) => match self.plugins.start(&request, &self.weather, &mut self.rng) {
                Ok(appointment) => self.appoint(appointment),
                Err(failed) => return Some(failed),
            },
            Output::Stop(request) => {
                let appointment = self.plugins.stop(request, &mut self.rng);
                self.appoint(appointment);
            }
            Output::Answer { call, .. } => {
                let appointment = self.plugins.answered(call, &mut self.rng);
                self.appoint(appointment);
            }
            // The checker rejects outputs that a node without peers does not produce.
            Output::Event(_)
            | Output::Zone(_)
            | Output::Dial { .. }
            | Output::Post { .. }
            | Output::Reply { .. }
            | Output::HangUp(_)
            | Output::Disconnect(_) => {}
        }
        None
    }

    fn send(&mut self, to: ConnectionId, frames: Vec<Frame>) -> Option<Input> {
        let Some(&peer) = self.addresses.get(&to) else { return Some(Input::Undeliverable { to, frames }) };
        let link = &mut self.peers[peer].0;
        if let Some(waiting) = &mut link.waiting {
            waiting.push(frames);
            return None;
        }
        if !link.up {
            return Some(Input::Undeliverable { to, frames });
        }
        if chance(&mut self.rng, self.weather.full_pipes) {
            link.wait(frames);
            self.checker.coverage.count("pipe filled");
            let time = self.now + up_to(&mut self.rng, Duration::from_secs(2));
            self.note(time, Happening::PipeClears { peer });
            return None;
        }
        self.deliver(peer, frames);
        None
    }

    fn deliver(&mut self, peer: usize, frames: Vec<Frame>) {
        if chance(&mut self.rng, self.weather.loss) {
            return self.checker.coverage.count("message lost");
        }
        let (link, _) = &mut self.peers[peer];
        let time = link.reaches_peer(self.now, self.weather.delay, &mut self.rng);
        let connection = link.connection;
        self.note(time, Happening::Reaches { peer, connection, frames });
    }
}
