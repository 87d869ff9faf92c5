//! Invariants between nodes: dead nodes soon get no requests, and in calm all nodes agree.

use super::Checker;
use super::model::{Model, RequestModel, Requester};
use super::reach::{Expected, Reach};
use crate::machine::{Process, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wasmnode_core::message::path::RouteKey;
use wasmnode_core::message::peer;
use wasmnode_core::{Failure, Frame, Label, Node, ServiceName, ZoneEvent};

/// Time after an accident during which the nodes concerned are not checked: they dial again after up to 2 s, and may
/// wait 3 s for a welcome.
const RECOVERY: Duration = Duration::from_secs(6);

/// The same for the clients of a node that was frozen.
const THAWED_WITHIN: Duration = Duration::from_millis(500);

/// Number of heartbeats without an answer after which a peer gets no requests.
const TOLERANCE: u32 = 3;

/// Time for which the nodes may disagree after the faults: until a broken connection is detected (0.5 s here), it is
/// dialled again (2 s), the wait for a welcome times out (3 s), announcements reach dead members (twice 2 s) and a
/// probe has failed and been refuted (3 s).
const AGREE_WITHIN: Duration = Duration::from_secs(13);

/// Further probe periods per node: a node that missed the update of a death detects it with its own probe, and each
/// node is probed at least once in two turns.
const TURNS: u32 = 2;

/// Actual state of a zone.
#[derive(Default)]
struct Truth<'a> {
    names: BTreeSet<&'a str>,
    offers: BTreeMap<&'a ServiceName, BTreeSet<&'a str>>,
}

impl Checker {
    /// Checks a message to the process at the other end of a link.
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
        self.model(from).forwards += 1;
        let number = frames.get(1).and_then(|mark| super::number_in(mark)).map(|(number, _)| number);
        if let Some(number) = number.filter(|number| self.requests.contains_key(number)) {
            self.forwards(from, number);
            if let Some(to) = to {
                self.crosses(from, to, number, frames);
            }
        }
        if let Some(to) = to.filter(|to| self.models.get(to).is_some_and(|model| !model.is_alive || model.is_frozen)) {
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
        if self.models[&from].offers.keys().any(|offered| offered.as_str() == service) {
            self.coverage.count("spilled over");
        }
    }

    /// Checks a request to a dead or frozen node: it may get requests only until it has left one unanswered for three
    /// heartbeats.
    fn asks_the_dead(&mut self, from: ProcessId, to: ProcessId) {
        self.coverage.count("request to a dead node");
        if !self.is_gentle {
            return;
        }
        let Model { troubled, settings, .. } = &self.models[&to];
        // Its earlier messages may still arrive.
        let since = self.now.max(*troubled + self.under_way);
        let first = *self.unanswered.entry((from, to)).or_insert(since);
        // Clocks run slow by up to 1 %.
        let bound = settings.peers.heartbeat * TOLERANCE * 102 / 100 + Duration::from_millis(1);
        if self.now.since(first) > bound {
            let (from, to) = (self.models[&from].name(), self.models[&to].name());
            self.fail(&format!(
                "{from} still chooses {to}, which has answered nothing for {:?}",
                self.now.since(first)
            ));
        }
    }

    /// Checks that a failure was unavoidable, if only single nodes have accidents.
    pub(super) fn may_fail(&self, id: ProcessId, number: u64, failure: &Failure) {
        let (ask, home) = (&self.requests[&number], &self.models[&id]);
        let settled = |model: &Model| model.is_well() && model.troubled + RECOVERY <= ask.opened;
        let is_plain = matches!(ask.requester, Requester::Client(_))
            && ask.node.is_none()
            && ask.zone.is_none()
            && !ask.is_cancelled;
        // It serves again soon after it was frozen, because its links remain.
        let is_ready =
            home.is_well() && home.started + RECOVERY <= ask.opened && home.troubled + THAWED_WITHIN <= ask.opened;
        if !self.is_gentle || !is_plain || !is_ready || ask.partial_by.is_some() {
            return;
        }
        let service: Option<ServiceName> = ask.service.parse().ok();
        let Some(service) = service else { return };
        let may_repeat = ask.key.is_some() || self.models.values().all(|model| model.settings_of(&service).idempotent);
        if !may_repeat && !failure.code.was_not_started() {
            return;
        }
        let offers = |model: &&Model| {
            settled(model)
                && model.settings.zone == home.settings.zone
                && model.offers.get(&service).is_some_and(|since| *since + RECOVERY <= ask.opened)
        };
        if let Some(other) = self.models.values().find(offers) {
            let (home, other) = (home.name(), other.name());
            self.fail(&format!("request {number} of {service} fails at {home} although {other} is there: {failure}"));
        }
    }

    pub(super) fn zone_event(&mut self, id: ProcessId, event: &ZoneEvent) {
        let what = match event {
            ZoneEvent::MemberJoined(_) => "member joined",
            ZoneEvent::MemberLeft(_) => "member left",
            ZoneEvent::Renewed(_) => "declared dead and rejoined",
            ZoneEvent::NameTaken(rival) if rival.endpoint == self.models[&id].settings.endpoint => {
                self.fail(&format!("{} gives its name up to its own earlier process", self.models[&id].name()));
            }
            ZoneEvent::NameTaken(_) => {
                self.model(id).has_lost_its_name = true;
                "name taken"
            }
            ZoneEvent::LinkLost { .. } => "link lost",
            ZoneEvent::PeerUnresponsive { is_unresponsive: true, .. } => "peer unresponsive",
            ZoneEvent::PeerUnresponsive { is_unresponsive: false, .. } => "peer responds again",
            ZoneEvent::DialFailed { why, .. } if why.contains("no welcome") => "not welcomed in time",
            ZoneEvent::DialFailed { why, .. } if why.contains("is taken") => "name refused",
            ZoneEvent::DialFailed { .. } => "dial failed",
            ZoneEvent::PeerRefused { .. } => "peer refused",
            ZoneEvent::SessionUp { .. } | ZoneEvent::SessionDown { .. } if !self.models[&id].settings.is_router() => {
                self.fail(&format!("reports routers, although it is not one: {event:?}"));
            }
            ZoneEvent::SessionUp { .. } => "session up",
            ZoneEvent::SessionDown { .. } => "session down",
            ZoneEvent::Unlisted { .. } => "unlisted",
        };
        self.coverage.count(what);
    }

    /// Returns the number of path updates that were sent, and their bytes.
    pub(crate) fn path_updates(&self) -> (u64, u64) {
        (self.coverage.times("update of paths"), self.coverage.times("bytes of updates of paths"))
    }

    pub(crate) fn has_lost_its_name(&self, id: ProcessId) -> bool {
        self.models[&id].has_lost_its_name
    }

    pub(crate) fn is_answered(&self, ask: u64) -> bool {
        self.requests[&ask].is_answered
    }

    /// Sets whether a request must succeed or fail.
    pub(crate) fn must_succeed(&mut self, ask: u64, must_succeed: Option<bool>) {
        self.ask_mut(ask).must_succeed = must_succeed;
    }

    /// Returns the reachability between zones without accidents.
    pub(crate) fn reach(&self, living: &[&Process]) -> Reach {
        Reach::new(living.iter().map(|process| &self.models[&process.id]))
    }

    /// Returns a difference between the views of live nodes, or between a view and the actual state.
    pub(crate) fn disagreement(&self, living: &[&Process], reach: &Reach) -> Option<String> {
        let mut truths: BTreeMap<&Label, Truth<'_>> = BTreeMap::new();
        for process in living {
            let model = &self.models[&process.id];
            let truth = truths.entry(&model.settings.zone).or_default();
            truth.names.insert(model.name());
            for service in model.offers.keys() {
                truth.offers.entry(service).or_default().insert(model.name());
            }
        }
        living.iter().find_map(|process| {
            let model = &self.models[&process.id];
            let view = self.view(model, &process.node, &truths[&model.settings.zone], reach);
            view.map(|what| format!("{} of {}: {what}", model.name(), model.settings.zone))
        })
    }

    /// Returns a difference between the view of a node and the actual state.
    fn view(&self, model: &Model, node: &Node, truth: &Truth<'_>, reach: &Reach) -> Option<String> {
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
        for status in node.services(model.clock.shows(self.now)) {
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
            let here = status.plugin.then(|| model.name().to_owned());
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
        abroad_is_wrong(&model.settings.zone, &abroad, reach)
    }

    pub(crate) fn agreed_after(&mut self, time: Duration) {
        self.coverage.most("ms until all agreed, at most", u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    pub(crate) fn may_disagree(&self, calm_for: Duration, what: &str) {
        let names: BTreeSet<_> = self.models.values().map(Model::name).collect();
        let period = self.models.values().map(|model| model.settings.members.probe_period).max().unwrap_or_default();
        let nodes = u32::try_from(names.len()).unwrap_or(u32::MAX);
        if calm_for > AGREE_WITHIN + self.forgets_within + period * TURNS * nodes {
            self.fail(&format!("{calm_for:?} after the faults, {what}"));
        }
    }

    /// Checks that no request is left over.
    pub(crate) fn at_end(&mut self, living: &[&Process]) {
        for process in living {
            let model = &self.models[&process.id];
            if process.node.outstanding() > 0 {
                self.fail(&format!("at the end, {} has {} requests", model.name(), process.node.outstanding()));
            }
            self.coverage.count_many("retried by a node", process.node.counters().retried);
            self.coverage.count_many("unclaimed", process.node.counters().unclaimed);
        }
        let open = self.requests.iter().find(|(_, ask)| {
            ask.is_open
                && !ask.is_answered
                && self.models[&ask.home].is_alive
                && !matches!(ask.requester, Requester::Call)
        });
        if let Some((number, _)) = open {
            self.fail(&format!("request {number} never gets an answer"));
        }
    }
}

/// Returns a difference between a node's view of other zones and the expected reachability.
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
