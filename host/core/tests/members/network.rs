//! Processes and a network between them, in virtual time. Each effect of a process is checked.

use crate::log::Log;
use crate::notation::Notation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::Frame;
use wasmnode_core::message::peer::{Member, MemberKind};
use wasmnode_core::{Label, MemberEffect, Members, MembersSettings, Time};

/// A network of processes; a process is identified by its number.
pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) settings: MembersSettings,
    /// The share of datagrams that are lost, in percent.
    pub(crate) loss: f64,
    /// Processes below this number cannot reach those from it on.
    pub(crate) cut: Option<usize>,
    pub(crate) bytes: u64,
    pub(crate) log: Log,
    pub(crate) processes: Vec<Process>,
    /// The process at each endpoint.
    endpoints: BTreeMap<String, usize>,
    random: fastrand::Rng,
    in_flight: BTreeMap<(Time, u64), (usize, Frame)>,
    next_number: u64,
    wakes: BTreeSet<(Time, usize)>,
    /// Number of live processes that consider each member alive.
    holders: BTreeMap<Member, usize>,
    held: usize,
}

pub(crate) struct Process {
    pub(crate) members: Members,
    pub(crate) state: State,
    /// Its effects, apart from gossip.
    pub(crate) told: Vec<(Time, MemberEffect)>,
    view: BTreeMap<Label, Member>,
    wake: Option<Time>,
    /// Datagrams that arrived while it was frozen.
    inbox: Vec<Frame>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Frozen,
    Gone,
}

pub(crate) fn label(name: &str) -> Label {
    name.parse().unwrap()
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            settings: MembersSettings::default(),
            loss: 0.0,
            cut: None,
            bytes: 0,
            log: Log::None,
            processes: Vec::new(),
            endpoints: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            in_flight: BTreeMap::new(),
            next_number: 0,
            wakes: BTreeSet::new(),
            holders: BTreeMap::new(),
            held: 0,
        }
    }

    /// Returns a zone with converged views.
    pub(crate) fn zone(size: usize, seed: u64) -> Self {
        let mut network = Self::new(seed);
        network.join(size, Duration::from_millis(100));
        network.wait(Duration::from_secs(60), Self::all_know_all).unwrap();
        network.pass(Duration::from_secs(5));
        network.told_clear();
        network
    }

    /// Starts processes `node0`, `node1`, ... within a time; each announces itself to `node0`.
    pub(crate) fn join(&mut self, size: usize, within: Duration) {
        let (start, seed) = (self.now, self.start("node0"));
        let seed = self.me(seed);
        for number in 1..size {
            self.run_until(start + within.mul_f64(number as f64 / size as f64));
            let newcomer = self.start(&format!("node{number}"));
            self.announce(newcomer, &seed);
        }
    }

    /// Starts a process that listens at an endpoint of its own.
    pub(crate) fn start(&mut self, name: &str) -> usize {
        let number = self.processes.len();
        let endpoint = format!("tcp://10.1.{}.{}:5570", number / 250, number % 250);
        self.start_at(name, endpoint, 1_780_000_000_000_000 + self.now.as_micros())
    }

    pub(crate) fn start_at(&mut self, name: &str, endpoint: String, boot: u64) -> usize {
        let number = self.processes.len();
        let me = Member { name: label(name), boot, renewal: 0, role: MemberKind::Node, endpoint: endpoint.clone() };
        self.endpoints.insert(endpoint, number);
        let seed = self.random.u64(..);
        self.write(number, &("starts", &me, seed));
        let members = Members::new(me, &self.settings, seed);
        let (told, view, inbox) = (Vec::new(), BTreeMap::new(), Vec::new());
        self.processes.push(Process { members, state: State::Running, told, view, wake: None, inbox });
        number
    }

    /// Logs an input of a process.
    fn write(&mut self, process: usize, given: &impl Notation) {
        self.log.write(self.now, || process, given);
    }

    /// Logs the view of each running process.
    pub(crate) fn report(&mut self) {
        for (number, process) in self.processes.iter().enumerate() {
            if process.state == State::Running {
                self.log.write(self.now, || number, &process.members);
            }
        }
    }

    pub(crate) fn me(&self, process: usize) -> Member {
        self.processes[process].members.me().clone()
    }

    pub(crate) fn announce(&mut self, process: usize, to: &Member) {
        self.write(process, &("announces", to));
        self.processes[process].members.announce(to, self.now);
        self.act(process);
    }

    pub(crate) fn try_again(&mut self, process: usize) {
        self.write(process, &"tries-again");
        self.processes[process].members.try_again(self.now);
        self.act(process);
    }

    pub(crate) fn leave(&mut self, process: usize) {
        self.write(process, &"leaves");
        self.processes[process].members.leave(self.now);
        self.act(process);
        self.crash(process);
    }

    /// Stops a process without a message.
    pub(crate) fn crash(&mut self, process: usize) {
        self.log.note(self.now, || format!("{process} ends"));
        for member in std::mem::take(&mut self.processes[process].view).into_values() {
            self.let_go(&member);
        }
        self.processes[process].state = State::Gone;
    }

    pub(crate) fn freeze(&mut self, process: usize) {
        self.processes[process].state = State::Frozen;
    }

    /// Resumes a frozen process: it is woken first, and then gets the datagrams that have arrived.
    pub(crate) fn thaw(&mut self, process: usize) {
        self.processes[process].state = State::Running;
        self.wake(process);
        for data in std::mem::take(&mut self.processes[process].inbox) {
            self.deliver(process, &data);
        }
    }

    /// Returns the number of processes that consider exactly this identity alive.
    pub(crate) fn holders(&self, member: &Member) -> usize {
        self.holders.get(member).copied().unwrap_or(0)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.state == State::Running)
    }

    /// Returns `true` if the view of each running process is exactly the other running processes.
    pub(crate) fn all_know_all(&self) -> bool {
        let running = self.running().count();
        self.held == running * (running - 1)
            && self.running().all(|process| self.holders(process.members.me()) == running - 1)
    }

    pub(crate) fn downs(&self) -> usize {
        let told = self.processes.iter().flat_map(|process| &process.told);
        told.filter(|(_, effect)| matches!(effect, MemberEffect::Down(_))).count()
    }

    pub(crate) fn told_clear(&mut self) {
        self.processes.iter_mut().for_each(|process| process.told.clear());
        self.bytes = 0;
    }

    pub(crate) fn told(&self, process: usize) -> Vec<MemberEffect> {
        self.processes[process].told.iter().map(|(_, effect)| effect.clone()).collect()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets time pass until a condition holds. Returns the time that it took, or `None` if that exceeds `limit`.
    pub(crate) fn wait(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !is_so(self) {
            if self.next().is_none_or(|next| next > start + limit) {
                return None;
            }
            self.step();
        }
        Some(self.now.since(start))
    }

    fn run_until(&mut self, end: Time) {
        while self.next().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Time> {
        let arrival = self.in_flight.first_key_value().map(|((time, _), _)| *time);
        arrival.into_iter().chain(self.wakes.first().map(|(time, _)| *time)).min()
    }

    fn step(&mut self) {
        self.now = self.next().unwrap().max(self.now);
        if self.wakes.first().is_some_and(|(time, _)| *time <= self.now) {
            let (_, process) = self.wakes.pop_first().unwrap();
            self.processes[process].wake = None;
            if self.processes[process].state == State::Running {
                self.wake(process);
            }
        } else {
            let (_, (process, data)) = self.in_flight.pop_first().unwrap();
            self.deliver(process, &data);
        }
    }

    fn wake(&mut self, process: usize) {
        self.write(process, &"wakes");
        self.processes[process].members.wake(self.now);
        self.act(process);
    }

    fn deliver(&mut self, process: usize, data: &Frame) {
        match self.processes[process].state {
            State::Running => {
                self.write(process, &(">", data));
                self.processes[process].members.receive(data, self.now).unwrap();
                self.act(process);
            }
            State::Frozen => self.processes[process].inbox.push(data.clone()),
            State::Gone => {}
        }
    }

    /// Carries out all effects of a process.
    pub(crate) fn act(&mut self, process: usize) {
        while let Some(effect) = self.processes[process].members.next_effect() {
            self.log.write(self.now, || format!("{process}  "), &effect);
            match effect {
                MemberEffect::Gossip { to, data } => self.send(process, &to, data),
                effect => self.note(process, effect),
            }
        }
        let wake = self.processes[process].members.next_wake();
        let before = std::mem::replace(&mut self.processes[process].wake, wake);
        if before != wake {
            before.map(|time| self.wakes.remove(&(time, process)));
            wake.map(|time| self.wakes.insert((time, process)));
        }
        if self.next_number.is_multiple_of(256) {
            let process = &self.processes[process];
            assert!(process.members.alive().eq(process.view.values()), "alive() differs from the sum of the effects");
        }
    }

    fn send(&mut self, from: usize, to: &Member, data: Frame) {
        assert!(data.len() <= self.settings.datagram);
        self.bytes += data.len() as u64;
        let Some(&to) = self.endpoints.get(&to.endpoint) else { return };
        let is_cut = self.cut.is_some_and(|cut| (from < cut) != (to < cut));
        if is_cut || self.random.f64() * 100.0 < self.loss {
            return;
        }
        let arrival = self.now + Duration::from_micros(self.random.u64(1_000..20_000));
        self.in_flight.insert((arrival, self.next_number), (to, data));
        self.next_number += 1;
    }

    /// Checks that the effects of each name alternate, with the same identity.
    fn note(&mut self, process: usize, effect: MemberEffect) {
        let entry = &mut self.processes[process];
        match &effect {
            MemberEffect::Up(member) => {
                assert_eq!(entry.view.insert(member.name.clone(), member.clone()), None, "{member:?} was up");
                assert_ne!(member.name, entry.members.me().name, "no effect concerns the process itself");
                *self.holders.entry(member.clone()).or_default() += 1;
                self.held += 1;
            }
            MemberEffect::Down(member) => {
                assert_eq!(entry.view.remove(&member.name).as_ref(), Some(member), "{member:?} was not up");
                self.let_go(member);
            }
            _ => {}
        }
        self.processes[process].told.push((self.now, effect));
    }

    fn let_go(&mut self, member: &Member) {
        *self.holders.get_mut(member).unwrap() -= 1;
        self.held -= 1;
    }
}
