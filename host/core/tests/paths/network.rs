//! Routers, the links between them, and virtual time. Updates are sent as bytes.

use crate::log::Log;
use crate::notation::Notation;
use crate::router::Router;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::path::{RouterId, Update, UpdateContent, decode, encode};
use wasmnode_core::paths::{Policy, SessionKind, link_epoch};
use wasmnode_core::{LinkId, PathEffect, Time};

/// A link between two routers, up or down.
pub(crate) struct Link {
    /// The routers at its ends.
    pub(crate) ends: [usize; 2],
    pub(crate) is_internal: bool,
    /// Its cost at each end.
    pub(crate) costs: [u32; 2],
    pub(crate) import: [Policy; 2],
    pub(crate) export: [Policy; 2],
    pub(crate) latency: Duration,
    /// Whether bytes pass.
    pub(crate) is_whole: bool,
    /// The session at each end, until that end detects its loss.
    pub(crate) sessions: [Option<LinkId>; 2],
    /// Number of losses: messages sent before the last one do not arrive.
    pub(crate) generation: u64,
    /// Generation in which the session began. A lost session carries nothing, whether or not its ends have detected the
    /// loss.
    begun: u64,
    /// The epoch of its last session.
    pub(crate) epoch: u64,
    is_tried: bool,
}

enum Event {
    Arrive {
        link: usize,
        to: usize,
        generation: u64,
        bytes: Bytes,
    },
    /// An end detects the loss of the session.
    Notice {
        link: usize,
        end: usize,
        session: LinkId,
    },
    /// The ends try to begin a session.
    Try {
        link: usize,
    },
}

/// Planted fault: the updates that replace one that a router sends on a session.
pub(crate) type Tamper = Box<dyn FnMut(usize, LinkId, Update) -> Vec<Update>>;

#[derive(Default)]
pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) routers: Vec<Router>,
    pub(crate) names: BTreeMap<RouterId, usize>,
    pub(crate) links: Vec<Link>,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    wakes: BTreeSet<(Time, usize)>,
    /// Longest time in which an end detects the loss of a session.
    pub(crate) skew: Duration,
    pub(crate) rng: fastrand::Rng,
    pub(crate) log: Log,
    /// Refusals of routers; none without misbehaviour.
    pub(crate) refused: Vec<String>,
    pub(crate) tamper: Option<Tamper>,
    /// Whether all sessions have the same epoch: a planted fault.
    pub(crate) without_epochs: bool,
    pub(crate) events_done: u64,
}

impl Network {
    /// Logs the reports of each router.
    pub(crate) fn report(&mut self) {
        for router in &self.routers {
            if let Some(paths) = &router.paths {
                self.log.write(self.now, || &router.name, paths);
            }
        }
    }

    pub(crate) fn add(&mut self, router: Router) -> usize {
        self.names.insert(router.me.id(), self.routers.len());
        self.routers.push(router);
        self.routers.len() - 1
    }

    pub(crate) fn join(&mut self, a: usize, b: usize, costs: [u32; 2], latency: Duration) -> usize {
        let is_internal = self.routers[a].me.zone == self.routers[b].me.zone;
        let open = || [Policy::everything(), Policy::everything()];
        self.links.push(Link {
            ends: [a, b],
            is_internal,
            costs,
            import: open(),
            export: open(),
            latency,
            is_whole: true,
            sessions: [None; 2],
            generation: 0,
            begun: 0,
            epoch: 0,
            is_tried: false,
        });
        let link = self.links.len() - 1;
        self.routers[a].links.push(link);
        self.routers[b].links.push(link);
        link
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + after, self.scheduled), event);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
        }
        self.now = end;
    }

    fn next(&self) -> Option<Time> {
        let event = self.events.first_key_value().map(|(&(time, _), _)| time);
        event.into_iter().chain(self.wakes.first().map(|wake| wake.0)).min()
    }

    fn step(&mut self, next: Time) {
        self.now = self.now.max(next);
        self.events_done += 1;
        if self.wakes.first().is_some_and(|wake| wake.0 <= next) {
            let (_, router) = self.wakes.pop_first().unwrap();
            self.routers[router].wake = None;
            let now = self.now;
            if let Some(paths) = &mut self.routers[router].paths {
                paths.wake(now);
            }
            return self.act(router, &"wakes");
        }
        match self.events.pop_first().unwrap().1 {
            Event::Arrive { link, to, generation, bytes } => self.arrive(link, to, generation, bytes),
            Event::Notice { link, end, session } => {
                if self.links[link].sessions[end] == Some(session) {
                    self.lose(link, end);
                }
            }
            Event::Try { link } => self.try_session(link),
        }
    }

    fn arrive(&mut self, link: usize, to: usize, generation: u64, bytes: Bytes) {
        let (Some(session), router) = (self.links[link].sessions[to], self.links[link].ends[to]) else { return };
        if self.links[link].generation != generation {
            return;
        }
        self.routers[router].count(bytes.len());
        let update = decode(bytes).unwrap();
        if matches!(update.content, UpdateContent::Changes(_)) {
            self.routers[router].metrics.updates += 1;
        }
        let now = self.now;
        self.log.write(now, || &self.routers[router].name, &(session, ">", &update));
        if let Some(paths) = &mut self.routers[router].paths {
            paths.import(session, update, now);
        }
        self.act_on(router);
    }

    /// Logs an input of a router, and carries out its effects.
    pub(crate) fn act(&mut self, router: usize, given: &impl Notation) {
        self.log.write(self.now, || &self.routers[router].name, given);
        self.act_on(router);
    }

    /// Carries out the effects of a router.
    fn act_on(&mut self, router: usize) {
        while let Some(effect) = self.routers[router].paths.as_mut().and_then(|paths| paths.next_effect()) {
            self.log.write(self.now, || format!("{}  ", self.routers[router].name), &effect);
            let now = self.now;
            self.routers[router].check(&effect, now);
            match effect {
                PathEffect::Send { session, update } => {
                    let updates = match &mut self.tamper {
                        Some(tamper) => tamper(router, session, update),
                        None => vec![update],
                    };
                    updates.iter().for_each(|update| self.send(router, session, update));
                }
                PathEffect::Broken { session } => {
                    if let Some((link, end)) = self.find(router, session) {
                        self.close(link, end);
                    }
                }
                PathEffect::Refused { why, .. } => self.refused.push(format!("{}: {why}", self.routers[router].name)),
                _ => {}
            }
        }
        self.rearm(router);
    }

    fn rearm(&mut self, router: usize) {
        let wake = self.routers[router].paths.as_ref().map(|paths| paths.next_wake());
        let before = std::mem::replace(&mut self.routers[router].wake, wake);
        if before != wake {
            before.map(|time| self.wakes.remove(&(time, router)));
            wake.map(|time| self.wakes.insert((time, router)));
        }
    }

    fn send(&mut self, router: usize, session: LinkId, update: &Update) {
        let bytes = encode(update);
        assert!(bytes.len() < 300 << 10, "an update of {} bytes", bytes.len());
        let Some((link, end)) = self.find(router, session) else { return };
        let Link { begun, generation, latency, .. } = self.links[link];
        if generation == begun {
            self.schedule(latency, Event::Arrive { link, to: 1 - end, generation, bytes });
        }
    }

    fn find(&self, router: usize, session: LinkId) -> Option<(usize, usize)> {
        self.routers[router].sessions.get(&session).copied()
    }

    /// Returns the router and session at the other end, whether or not that end has detected its loss.
    pub(crate) fn other_end(&self, router: usize, session: LinkId) -> Option<(usize, Option<LinkId>)> {
        let (link, end) = self.find(router, session)?;
        Some((self.links[link].ends[1 - end], self.links[link].sessions[1 - end]))
    }

    /// Begins a session on a link without one, if both routers run; otherwise schedules another attempt.
    pub(crate) fn try_session(&mut self, at: usize) {
        let link = &mut self.links[at];
        link.is_tried = false;
        let [a, b] = link.ends;
        if !link.is_whole || self.routers[a].paths.is_none() || self.routers[b].paths.is_none() {
            return;
        }
        if link.sessions != [None; 2] {
            return self.try_later(at);
        }
        let epoch = |router: &Router| router.paths.as_ref().map_or(0, |paths| paths.epoch());
        let epoch = link_epoch(epoch(&self.routers[a]), epoch(&self.routers[b]));
        assert!(epoch > link.epoch || self.without_epochs, "epochs only grow");
        link.epoch = if self.without_epochs { 1 } else { epoch };
        link.generation += 1;
        link.begun = link.generation;
        for end in 0..2 {
            self.begin(at, end, epoch);
        }
    }

    fn begin(&mut self, at: usize, end: usize, epoch: u64) {
        let epoch = if self.without_epochs { 1 } else { epoch };
        let link = &self.links[at];
        let (router, with) = (link.ends[end], self.routers[link.ends[1 - end]].me.clone());
        let kind = if link.is_internal {
            SessionKind::Internal
        } else {
            SessionKind::External {
                cost: link.costs[end],
                import: link.import[end].clone(),
                export: link.export[end].clone(),
            }
        };
        let session = self.routers[router].next_session();
        self.log.write(self.now, || &self.routers[router].name, &(session, "with", &with, &kind, "epoch", epoch));
        self.links[at].sessions[end] = Some(session);
        self.routers[router].sessions.insert(session, (at, end));
        let now = self.now;
        self.routers[router].paths.as_mut().unwrap().session_up(session, &with, kind, epoch, now);
        self.act_on(router);
    }

    pub(crate) fn try_later(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].is_tried, true) {
            let pause = Duration::from_micros(self.rng.u64(50_000..150_000));
            self.schedule(pause, Event::Try { link });
        }
    }

    /// Breaks a link; each end detects it in its own time.
    pub(crate) fn cut(&mut self, link: usize) {
        self.links[link].is_whole = false;
        self.lose_all(link);
    }

    pub(crate) fn mend(&mut self, link: usize) {
        self.links[link].is_whole = true;
        self.try_later(link);
    }

    /// Loses all messages in transit, and the session.
    pub(crate) fn lose_all(&mut self, link: usize) {
        self.links[link].generation += 1;
        for end in 0..2 {
            if let Some(session) = self.links[link].sessions[end] {
                let skew = self.rng.u64(0..=self.skew.as_micros() as u64);
                self.schedule(Duration::from_micros(skew), Event::Notice { link, end, session });
            }
        }
    }

    /// Ends the session at one end; the other detects it in its own time.
    fn close(&mut self, link: usize, end: usize) {
        self.lose_all(link);
        self.lose(link, end);
    }

    /// Handles the detection of a loss at one end.
    fn lose(&mut self, link: usize, end: usize) {
        let Some(session) = self.links[link].sessions[end].take() else { return };
        let router = self.links[link].ends[end];
        self.routers[router].sessions.remove(&session);
        let now = self.now;
        if let Some(paths) = &mut self.routers[router].paths {
            paths.session_down(session, now);
        }
        self.act(router, &("lost", session));
        self.try_later(link);
    }

    /// Ends a process without a message.
    pub(crate) fn crash(&mut self, router: usize) {
        self.log.note(self.now, || format!("{} crashes", self.routers[router].name));
        self.routers[router].crash();
        self.rearm(router);
        for link in self.routers[router].links.clone() {
            let end = usize::from(self.links[link].ends[1] == router);
            self.links[link].sessions[end] = None;
            self.lose_all(link);
        }
    }

    /// Starts a process under the name of the earlier one, with the services of its zone.
    pub(crate) fn start(&mut self, router: usize) {
        let now = self.now;
        self.routers[router].start(now);
        let Router { me, offers, .. } = &self.routers[router];
        let (me, offers) = (me.clone(), offers.clone().into_iter().collect::<Vec<_>>());
        self.act(router, &("starts", "as", me, "offers", offers));
        for link in self.routers[router].links.clone() {
            self.try_later(link);
        }
    }

    /// Announces that a process leaves, and ends it.
    pub(crate) fn leave(&mut self, router: usize) {
        let now = self.now;
        if let Some(paths) = &mut self.routers[router].paths {
            paths.leave(now);
        }
        self.act(router, &"leaves");
        for link in self.routers[router].links.clone() {
            let end = usize::from(self.links[link].ends[1] == router);
            self.links[link].sessions[end] = None;
            // Its last messages arrive before its end is detected.
            if let Some(session) = self.links[link].sessions[1 - end] {
                let after = self.links[link].latency + Duration::from_millis(1);
                self.schedule(after, Event::Notice { link, end: 1 - end, session });
            }
        }
        self.routers[router].crash();
        self.rearm(router);
    }

    pub(crate) fn set_policy(&mut self, at: usize, end: usize, import: Policy, export: Policy) {
        let link = &mut self.links[at];
        (link.import[end], link.export[end]) = (import.clone(), export.clone());
        let (router, session, now) = (link.ends[end], link.sessions[end], self.now);
        if let Some((session, paths)) = session.zip(self.routers[router].paths.as_mut()) {
            paths.set_policy(session, import.clone(), export.clone(), now);
            self.act(router, &(session, "import", import, "export", export));
        }
    }
}
