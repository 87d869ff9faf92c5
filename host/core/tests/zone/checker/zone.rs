//! What must hold between nodes: who is dead gets no requests for long, and in calm weather all agree.

use super::Checker;
use super::model::{Model, RequestModel, Requester};
use super::reach::{Expected, Reach};
use crate::machine::{Process, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::path::RouteKey;
use wasmnode_core::message::peer;
use wasmnode_core::{Failure, Frame, Label, Node, ServiceName, ZoneEvent};

/// After an accident, this is how long nothing is demanded of the nodes concerned: they dial again after up to 2 s, and
/// may wait 3 s for a welcome.
const RECOVERY: Duration = Duration::from_secs(6);

/// The same for a node that was frozen, as far as its own clients are concerned.
const THAWED_WITHIN: Duration = Duration::from_millis(500);

/// Heartbeats after which a peer that answers nothing gets no request.
const TOLERANCE: u32 = 3;

/// How long the nodes may disagree after the faults: until a broken connection is noticed (0.5 s here), it is dialled
/// again (2 s), a welcome is awaited in vain (3 s), the dead are greeted (twice 2 s) and a probe has failed and been
/// refuted (3 s).
const AGREE_WITHIN: Duration = Duration::from_secs(13);

/// And so many probe periods per node: who has missed the news of a death finds it by a probe of its own, and each node
/// is probed once in two turns at the latest.
const TURNS: u32 = 2;

/// How a zone is.
#[derive(Default)]
struct Truth<'a> {
    names: BTreeSet<&'a str>,
    offers: BTreeMap<&'a ServiceName, BTreeSet<&'a str>>,
}

impl Checker {
    /// A node sends something to the process at the other end of a link.
    pub(crate) fn posts(&mut self, from: ProcessId, to: Option<ProcessId>, frames: &[Frame]) {
        match frames.first().and_then(|header| header.get(peer::MAGIC.len())) {
            Some(1) => {}
            Some(5) => return self.coverage.count("cancel travels"),
            Some(11) => return self.coverage.count("pull"),
            Some(12) => return self.coverage.count("ping"),
            Some(15) => {
                let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
                self.coverage.count_many("bytes of updates of paths", bytes as u64);
                return self.coverage.count("update of paths");
            }
            _ => return,
        }
        self.book(from).forwards += 1;
        let number = frames.get(1).and_then(|mark| super::number_in(mark)).map(|(number, _)| number);
        if let Some(number) = number.filter(|number| self.asks.contains_key(number)) {
            self.forwards(from, number);
            if let Some(to) = to {
                self.crosses(from, to, number, frames);
            }
        }
        if let Some(to) = to.filter(|to| self.books.get(to).is_some_and(|book| !book.is_alive || book.is_frozen)) {
            self.asks_the_dead(from, to);
        }
    }

    fn forwards(&mut self, from: ProcessId, number: u64) {
        let RequestModel { service, forwards, .. } = self.ask_mut(number);
        *forwards += 1;
        let (again, service) = (*forwards > 1, service.clone());
        if again {
            self.coverage.count("tried at another node");
        }
        if self.books[&from].offers.keys().any(|offered| offered.as_str() == service) {
            self.coverage.count("spilled over");
        }
    }

    /// A request goes to a node that is dead or frozen: that may happen only until it has left one unanswered for three
    /// heartbeats.
    fn asks_the_dead(&mut self, from: ProcessId, to: ProcessId) {
        self.coverage.count("asked the dead");
        if !self.is_gentle {
            return;
        }
        let Model { troubled, settings, .. } = &self.books[&to];
        // What it said before may still arrive.
        let since = self.now.max(*troubled + self.under_way);
        let first = *self.unanswered.entry((from, to)).or_insert(since);
        // Clocks run slow by up to 1 %.
        let bound = settings.peers.heartbeat * TOLERANCE * 102 / 100 + Duration::from_millis(1);
        if self.now.since(first) > bound {
            let (from, to) = (self.books[&from].name(), self.books[&to].name());
            self.fail(&format!(
                "{from} still chooses {to}, which has answered nothing for {:?}",
                self.now.since(first)
            ));
        }
    }

    /// Whether a failure is one that had to be, where only single nodes have accidents.
    pub(super) fn may_fail(&self, id: ProcessId, number: u64, failure: &Failure) {
        let (ask, home) = (&self.asks[&number], &self.books[&id]);
        let settled = |book: &Model| book.is_well() && book.troubled + RECOVERY <= ask.opened;
        let is_plain = matches!(ask.requester, Requester::Client(_))
            && ask.node.is_none()
            && ask.zone.is_none()
            && !ask.is_cancelled;
        // It is at work again soon after it was frozen, for its links stand.
        let is_ready =
            home.is_well() && home.started + RECOVERY <= ask.opened && home.troubled + THAWED_WITHIN <= ask.opened;
        if !self.is_gentle || !is_plain || !is_ready || ask.told_by.is_some() {
            return;
        }
        let service: Option<ServiceName> = ask.service.parse().ok();
        let Some(service) = service else { return };
        let may_repeat = ask.key.is_some() || self.books.values().all(|book| book.settings_of(&service).idempotent);
        if !may_repeat && !failure.code.was_not_started() {
            return;
        }
        let offers = |book: &&Model| {
            settled(book)
                && book.settings.zone == home.settings.zone
                && book.offers.get(&service).is_some_and(|since| *since + RECOVERY <= ask.opened)
        };
        if let Some(other) = self.books.values().find(offers) {
            let (home, other) = (home.name(), other.name());
            self.fail(&format!("request {number} of {service} fails at {home} although {other} is there: {failure}"));
        }
    }

    pub(super) fn zone_event(&mut self, id: ProcessId, event: &ZoneEvent) {
        let what = match event {
            ZoneEvent::MemberJoined(_) => "member joined",
            ZoneEvent::MemberLeft(_) => "member left",
            ZoneEvent::Renewed(_) => "taken for dead, and back",
            ZoneEvent::NameTaken(rival) if rival.endpoint == self.books[&id].settings.endpoint => {
                self.fail(&format!("{} gives its name up to the process that it was itself", self.books[&id].name()));
            }
            ZoneEvent::NameTaken(_) => {
                self.book(id).has_lost_its_name = true;
                "name taken"
            }
            ZoneEvent::LinkLost { .. } => "link lost",
            ZoneEvent::PeerUnresponsive { is_unresponsive: true, .. } => "peer silent",
            ZoneEvent::PeerUnresponsive { is_unresponsive: false, .. } => "peer speaks again",
            ZoneEvent::DialFailed { why, .. } if why.contains("no welcome") => "not welcomed in time",
            ZoneEvent::DialFailed { why, .. } if why.contains("is taken") => "name refused",
            ZoneEvent::DialFailed { .. } => "dial failed",
            ZoneEvent::PeerRefused { .. } => "peer refused",
            ZoneEvent::SessionUp { .. } | ZoneEvent::SessionDown { .. } if !self.books[&id].settings.is_router() => {
                self.fail(&format!("speaks of routers, although it is none: {event:?}"));
            }
            ZoneEvent::SessionUp { .. } => "session up",
            ZoneEvent::SessionDown { .. } => "session down",
            ZoneEvent::Unlisted { .. } => "unlisted",
        };
        self.coverage.count(what);
    }

    /// How many updates of paths were told, and their bytes.
    pub(crate) fn path_updates(&self) -> (u64, u64) {
        (self.coverage.times("update of paths"), self.coverage.times("bytes of updates of paths"))
    }

    pub(crate) fn has_lost_its_name(&self, id: ProcessId) -> bool {
        self.books[&id].has_lost_its_name
    }

    pub(crate) fn is_answered(&self, ask: u64) -> bool {
        self.asks[&ask].is_answered
    }

    /// This request may not fail, or may not succeed.
    pub(crate) fn must_succeed(&mut self, ask: u64, must_succeed: Option<bool>) {
        self.ask_mut(ask).must_succeed = must_succeed;
    }

    /// What can be reached from where, if no accident happens.
    pub(crate) fn reach(&self, living: &[&Process]) -> Reach {
        Reach::new(living.iter().map(|process| &self.books[&process.id]))
    }

    /// What two of the living see differently, or see although it is not so.
    pub(crate) fn disagreement(&self, living: &[&Process], reach: &Reach) -> Option<String> {
        let mut truths: BTreeMap<&Label, Truth<'_>> = BTreeMap::new();
        for process in living {
            let book = &self.books[&process.id];
            let truth = truths.entry(&book.settings.zone).or_default();
            truth.names.insert(book.name());
            for service in book.offers.keys() {
                truth.offers.entry(service).or_default().insert(book.name());
            }
        }
        living.iter().find_map(|process| {
            let book = &self.books[&process.id];
            let view = self.view(book, &process.node, &truths[&book.settings.zone], reach);
            view.map(|what| format!("{} of {}: {what}", book.name(), book.settings.zone))
        })
    }

    /// What a node sees differently.
    fn view(&self, book: &Model, node: &Node, truth: &Truth<'_>, reach: &Reach) -> Option<String> {
        let Truth { names, offers } = truth;
        let members = node.members();
        let seen: BTreeSet<_> = members.iter().map(|status| status.member.name.as_str()).collect();
        if seen != *names {
            return Some(format!("knows {seen:?}, but {names:?} live"));
        }
        if let Some(apart) = members.iter().find(|status| !status.is_linked) {
            return Some(format!("has no link to {}", apart.member.name));
        }
        let mut seen: BTreeMap<ServiceName, BTreeSet<String>> = BTreeMap::new();
        let mut abroad: BTreeMap<RouteKey, u32> = BTreeMap::new();
        for status in node.services(book.clock.shows(self.now)) {
            if let Some(silent) = status.peers.iter().find(|peer| peer.is_unresponsive) {
                return Some(format!("takes {} for silent", silent.node));
            }
            for peer in &status.peers {
                let Some(zone) = &peer.zone else { continue };
                let cost =
                    abroad.entry(RouteKey { zone: zone.clone(), service: status.name.clone() }).or_insert(u32::MAX);
                *cost = peer.cost.min(*cost);
            }
            let peers = status.peers.iter().filter(|peer| peer.zone.is_none()).map(|peer| peer.node.to_string());
            let here = status.plugin.then(|| book.name().to_owned());
            let all: BTreeSet<_> = peers.chain(here).collect();
            if !all.is_empty() {
                seen.insert(status.name, all);
            }
        }
        let same = seen.len() == offers.len()
            && seen.iter().zip(offers).all(|((name, by), (service, nodes))| {
                name == *service && by.iter().map(String::as_str).eq(nodes.iter().copied())
            });
        if !same {
            return Some(format!("sees {seen:?}, but offered is {offers:?}"));
        }
        abroad_is_wrong(&book.settings.zone, &abroad, reach)
    }

    pub(crate) fn agreed_after(&mut self, time: Duration) {
        self.coverage.most("ms until all agreed, at most", u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    pub(crate) fn may_disagree(&self, calm_for: Duration, what: &str) {
        let names: BTreeSet<_> = self.books.values().map(Model::name).collect();
        let period = self.books.values().map(|book| book.settings.members.probe_period).max().unwrap_or_default();
        let nodes = u32::try_from(names.len()).unwrap_or(u32::MAX);
        if calm_for > AGREE_WITHIN + self.forgets_within + period * TURNS * nodes {
            self.fail(&format!("{calm_for:?} after the faults, {what}"));
        }
    }

    /// Nothing may be left over.
    pub(crate) fn at_end(&mut self, living: &[&Process]) {
        for process in living {
            let book = &self.books[&process.id];
            if process.node.outstanding() > 0 {
                self.fail(&format!("at the end, {} has {} requests", book.name(), process.node.outstanding()));
            }
            self.coverage.count_many("retried by a node", process.node.counters().retried);
            self.coverage.count_many("unclaimed", process.node.counters().unclaimed);
        }
        let open = self.asks.iter().find(|(_, ask)| {
            ask.is_open
                && !ask.is_answered
                && self.books[&ask.home].is_alive
                && !matches!(ask.requester, Requester::Call)
        });
        if let Some((number, _)) = open {
            self.fail(&format!("somebody waits for ever for request {number}"));
        }
    }
}

/// What a node of a zone thinks of other zones that is not so.
fn abroad_is_wrong(home: &Label, abroad: &BTreeMap<RouteKey, u32>, reach: &Reach) -> Option<String> {
    let is_wrong = |key: &&RouteKey| {
        *home != key.zone
            && match (abroad.get(*key), reach.expects(home, key)) {
                (Some(cost), Expected::Reached(expected)) => *cost != expected,
                (None, Expected::Reached(_)) | (Some(_), Expected::Unreached) => true,
                _ => false,
            }
    };
    let key = reach.keys().find(is_wrong).or_else(|| abroad.keys().find(is_wrong))?;
    Some(format!("reaches {key} at {:?}, but expected is {:?}", abroad.get(key), reach.expects(home, key)))
}
