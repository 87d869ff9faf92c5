//! The links to other nodes: whom to dial and when, who answered, and who has fallen silent.
//!
//! A link is one connection that this node makes; it carries this node's requests there and their answers back. What is
//! lost is dialled again, each time after a longer pause. A peer that owes an answer is asked for a sign of life every
//! heartbeat; one that owes nothing is left alone, for membership watches it.

#[cfg(test)]
mod tests;

use crate::connection::LinkId;
use crate::message::peer::Member;
use crate::name::Label;
use crate::settings::{PeerSettings, Seed};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The pause before a lost link is dialled again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a dialled node may take to welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(3);

/// How long a link that was dialled for a single message is kept.
const BRIEFLY: Duration = Duration::from_secs(10);

/// Signs of life that a peer may miss before it counts as silent.
const TOLERANCE: u32 = 3;

/// What the links decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEffect {
    /// Connect, and say hello.
    Dial {
        /// The new link.
        link: LinkId,
        /// Where to.
        endpoint: String,
        /// Who is expected there, if that is known.
        name: Option<Label>,
    },
    /// Give the connection up.
    HangUp(LinkId),
    /// The link carries requests from now on.
    Up {
        /// The link.
        link: LinkId,
        /// Who is at its other end.
        member: Member,
    },
    /// The link carries nothing any more.
    Down {
        /// The link.
        link: LinkId,
        /// Who was at its other end.
        member: Member,
        /// Why.
        why: String,
    },
    /// Ask for a sign of life.
    Ping(LinkId),
    /// The peer has fallen silent, or speaks again.
    Unresponsive {
        /// The link.
        link: LinkId,
        /// Which of the two.
        is_unresponsive: bool,
    },
    /// A dialled node cannot be reached, or does not welcome this one.
    Failed {
        /// Where it was expected.
        endpoint: String,
        /// Why.
        why: String,
    },
}

/// All links of one node.
#[derive(Debug)]
pub struct Links {
    settings: PeerSettings,
    /// Whom to be linked with, by endpoint.
    targets: BTreeMap<String, Target>,
    /// The endpoint of every link that stands or is being made.
    links: BTreeMap<LinkId, String>,
    /// The link to each member that has welcomed us.
    members: BTreeMap<Label, LinkId>,
    timers: BTreeSet<(Time, String)>,
    next_link: u64,
    effects: VecDeque<LinkEffect>,
}

/// A place to be linked with.
#[derive(Debug, Default)]
struct Target {
    /// The entry of the configuration that names it.
    seed: Option<Seed>,
    /// The member that lives there.
    retained_for: Option<Member>,
    /// Until when it is wanted otherwise, and who is.
    until: Time,
    temporary_for: Option<Label>,
    state: State,
    /// When its timer is due.
    due: Option<Time>,
    pause: Duration,
}

#[derive(Debug, Default)]
enum State {
    /// Not linked.
    #[default]
    Disconnected,
    /// Dialled, and not welcomed yet; who is expected, if that is known.
    Dialled(LinkId, Option<Label>),
    /// Linked.
    Established(Established),
}

#[derive(Debug)]
struct Established {
    link: LinkId,
    member: Member,
    last_received: Time,
    /// Pings since then.
    pings: u32,
}

impl Links {
    /// Makes a node's links; `seeds` are dialled with the first [`Self::wake`], and for ever after. The numbers of the
    /// links ascend from `first`.
    #[must_use]
    pub fn new(settings: PeerSettings, seeds: &[Seed], first: u64) -> Self {
        let mut links = Self {
            settings,
            targets: BTreeMap::new(),
            links: BTreeMap::new(),
            members: BTreeMap::new(),
            timers: BTreeSet::new(),
            next_link: first + 1,
            effects: VecDeque::new(),
        };
        for seed in seeds {
            links.targets.insert(seed.endpoint.clone(), Target { seed: Some(seed.clone()), ..Target::default() });
            links.set_timer(&seed.endpoint, Some(Time::ZERO));
        }
        links
    }

    /// The next decision to act on.
    pub fn next_effect(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// The decision to dial this link, if it is still to be acted on: nothing can be said on the link before.
    pub fn next_dial(&mut self, link: LinkId) -> Option<LinkEffect> {
        let is_its = |effect: &LinkEffect| matches!(effect, LinkEffect::Dial { link: dialled, .. } if *dialled == link);
        let place = self.effects.iter().position(is_its)?;
        self.effects.remove(place)
    }

    /// When [`Self::wake`] is due, if ever.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// The link to a member, if it carries requests.
    #[must_use]
    pub fn to(&self, member: &Label) -> Option<LinkId> {
        self.members.get(member).copied()
    }

    /// Who is at the other end of a link that carries requests.
    #[must_use]
    pub fn member(&self, link: LinkId) -> Option<&Member> {
        self.line(link).map(|line| &line.member)
    }

    /// Whether the peer on this link gives no sign of life.
    #[must_use]
    pub fn is_silent(&self, link: LinkId) -> bool {
        self.line(link).is_some_and(|line| line.pings >= TOLERANCE)
    }

    /// Who is expected at the other end of a link that was dialled, if that is known.
    #[must_use]
    pub fn expected(&self, link: LinkId) -> Option<&Label> {
        match &self.targets.get(self.links.get(&link)?)?.state {
            State::Dialled(dialled, name) if *dialled == link => name.as_ref(),
            _ => None,
        }
    }

    /// The members at the other ends of all links that carry requests.
    pub fn up(&self) -> impl Iterator<Item = (LinkId, &Label)> {
        self.members.iter().map(|(name, link)| (*link, name))
    }

    /// The link on which a member can be told something, even if it has not welcomed this node yet.
    #[must_use]
    pub fn speaking_to(&self, member: &Member) -> Option<LinkId> {
        let standing = self.to(&member.name);
        match self.targets.get(&member.endpoint).map(|target| &target.state) {
            // A link to another name of its place serves as well; but not one to a namesake.
            Some(State::Dialled(link, _)) => {
                let leads_there = |standing: LinkId| self.member(standing).is_some_and(|at| at.is_same_process(member));
                standing.filter(|standing| leads_there(*standing)).or(Some(*link))
            }
            Some(State::Established(line)) if line.member.name == member.name => Some(line.link),
            _ => standing,
        }
    }

    /// Whether the configuration names the place where this link leads.
    #[must_use]
    pub fn is_seed(&self, link: LinkId) -> bool {
        self.links
            .get(&link)
            .and_then(|endpoint| self.targets.get(endpoint))
            .is_some_and(|target| target.seed.is_some())
    }

    /// A member is to be linked with from now on. It has just given a sign of life, so there is no pause to sit out.
    pub fn retain(&mut self, member: &Member, now: Time) {
        let target = self.target(&member.endpoint, now);
        target.retained_for = Some(member.clone());
        match &mut target.state {
            State::Disconnected => self.set_timer(&member.endpoint, Some(now)),
            State::Established(line) if line.member.is_same_process(member) => line.member = member.clone(),
            State::Established(line) if line.member.name == member.name && line.member < *member => {
                self.close(&member.endpoint, "it has started anew", true, now);
                self.set_timer(&member.endpoint, Some(now));
            }
            _ => {}
        }
    }

    /// A member is to hear something, although it may be dead: it is linked with for a while.
    pub fn retain_briefly(&mut self, member: &Member, now: Time) {
        let target = self.target(&member.endpoint, now);
        (target.until, target.temporary_for) = (now + BRIEFLY, Some(member.name.clone()));
    }

    /// A member is no more; `is_busy` tells which peers owe an answer. A link on which one is on its way stands until
    /// it is silent or lost: who leaves, or is taken for dead and lives, answers first what it has, and the news may
    /// overtake it.
    pub fn release(&mut self, member: &Member, is_busy: impl Fn(LinkId) -> bool, now: Time) {
        let Some(target) = self.targets.get_mut(&member.endpoint) else { return };
        if target.retained_for.as_ref().is_some_and(|wanted| wanted.is_same_process(member)) {
            // Not if another has taken its place.
            (target.retained_for, target.until) = (None, Time::ZERO);
        }
        let is_over = |line: &Established| {
            line.member.is_same_process(member) && (line.pings >= TOLERANCE || !is_busy(line.link))
        };
        if matches!(&target.state, State::Established(line) if is_over(line)) {
            self.close(&member.endpoint, "it is no longer a member of the zone", true, now);
        }
        self.drop_if_released(&member.endpoint);
    }

    /// The node at the other end of this link says who it is. What it says twice counts once.
    pub fn welcomed(&mut self, link: LinkId, member: Member, now: Time) {
        let Some(endpoint) = self.links.get(&link).cloned() else { return };
        // The same node by another name of its place, or one that has lost its name to another and is yet to learn it.
        let is_there = |line: &Established| {
            let is_outranked = line.member > member && line.pings < TOLERANCE;
            line.member.is_same_process(&member) || is_outranked
        };
        let is_there = self.members.get(&member.name).and_then(|other| self.line(*other)).is_some_and(is_there);
        let Some(target) = self.targets.get_mut(&endpoint) else { return };
        if !matches!(target.state, State::Dialled(dialled, _) if dialled == link) {
            return;
        }
        target.pause = Duration::ZERO;
        if is_there {
            target.state = State::Disconnected;
            self.links.remove(&link);
            self.effects.push_back(LinkEffect::HangUp(link));
            return self.pause(&endpoint, BRIEFLY, now);
        }
        if let Some(older) = self.members.insert(member.name.clone(), link)
            && let Some(place) = self.links.get(&older).cloned()
        {
            self.close(&place, "it has started anew", true, now);
        }
        if let Some(target) = self.targets.get_mut(&endpoint) {
            target.state =
                State::Established(Established { link, member: member.clone(), last_received: now, pings: 0 });
        }
        self.set_timer(&endpoint, None);
        self.effects.push_back(LinkEffect::Up { link, member });
    }

    /// The dialled node does not want us, or is not one that we want.
    pub fn refused(&mut self, link: LinkId, why: &str, now: Time) {
        if let Some(endpoint) = self.links.get(&link).cloned() {
            self.close(&endpoint, why, true, now);
            // It may be mended, but not in a moment.
            self.pause(&endpoint, LONGEST_PAUSE, now);
        }
    }

    /// The dialled node is this one: there is no need to dial it again. Of no effect once another has welcomed us
    /// there.
    pub fn is_myself(&mut self, link: LinkId) {
        let endpoint = self.links.get(&link).cloned();
        let state = endpoint.as_ref().and_then(|endpoint| self.targets.get(endpoint)).map(|target| &target.state);
        if let (Some(endpoint), Some(State::Dialled(..))) = (endpoint, state) {
            self.links.remove(&link);
            self.set_timer(&endpoint, None);
            self.targets.remove(&endpoint);
            self.effects.push_back(LinkEffect::HangUp(link));
        }
    }

    /// A link is no more.
    pub fn down(&mut self, link: LinkId, why: &str, now: Time) {
        if let Some(endpoint) = self.links.get(&link).cloned() {
            self.close(&endpoint, why, false, now);
        }
    }

    /// A message arrived on a link.
    pub fn received(&mut self, link: LinkId, now: Time) {
        let Some(line) = self.line_mut(link) else { return };
        line.last_received = now;
        if std::mem::take(&mut line.pings) >= TOLERANCE {
            self.effects.push_back(LinkEffect::Unresponsive { link, is_unresponsive: false });
        }
    }

    /// The peer on this link owes an answer from now on.
    pub fn asked(&mut self, link: LinkId, now: Time) {
        let Some(endpoint) = self.links.get(&link) else { return };
        if self.targets.get(endpoint).is_some_and(|target| target.due.is_none()) {
            let endpoint = endpoint.clone();
            if let Some(line) = self.line_mut(link) {
                // Until now it owed nothing, so its silence meant nothing.
                line.last_received = line.last_received.max(now);
            }
            self.set_timer(&endpoint, Some(now + self.settings.heartbeat));
        }
    }

    /// Lets time pass; `is_busy` tells which peers owe an answer.
    pub fn wake(&mut self, is_busy: impl Fn(LinkId) -> bool, now: Time) {
        self.forgive_lateness(now);
        while let Some((time, endpoint)) = self.timers.first().cloned() {
            if time > now {
                break;
            }
            self.set_timer(&endpoint, None);
            let Some(target) = self.targets.get(&endpoint) else { continue };
            match &target.state {
                State::Disconnected => self.dial(&endpoint, now),
                State::Dialled(..) => self.close(&endpoint, "it did not welcome us in time", true, now),
                State::Established(line) => {
                    let link = line.link;
                    self.check(&endpoint, is_busy(link), now);
                }
            }
        }
    }

    /// A node that slept, or had too much to do, has not heard what its peers said meanwhile: it takes none of them for
    /// silent for that.
    fn forgive_lateness(&mut self, now: Time) {
        let late = self.next_wake().map_or(Duration::ZERO, |due| now.since(due));
        if late < self.settings.heartbeat {
            return;
        }
        for target in self.targets.values_mut() {
            if let State::Established(line) = &mut target.state {
                line.last_received = now.min(line.last_received + late);
            }
        }
    }

    /// The timer of a link that stands.
    fn check(&mut self, endpoint: &str, is_busy: bool, now: Time) {
        let (heartbeat, expiry) = (self.settings.heartbeat, self.settings.expiry);
        let Some(Target { state: State::Established(line), .. }) = self.targets.get_mut(endpoint) else { return };
        if !is_busy && line.pings == 0 {
            return;
        }
        let silence = now.since(line.last_received);
        if silence < heartbeat {
            let due = line.last_received + heartbeat;
            return self.set_timer(endpoint, Some(due));
        }
        if silence >= expiry {
            let rule = "every message on its way must pass within peers.expiry";
            return self.close(endpoint, &format!("it gives no sign of life within {expiry:?}; {rule}"), true, now);
        }
        line.pings += 1;
        let link = line.link;
        if line.pings == TOLERANCE {
            self.effects.push_back(LinkEffect::Unresponsive { link, is_unresponsive: true });
        }
        self.effects.push_back(LinkEffect::Ping(link));
        self.set_timer(endpoint, Some(now + heartbeat));
    }

    fn dial(&mut self, endpoint: &str, now: Time) {
        let Some(target) = self.targets.get_mut(endpoint) else { return };
        if target.seed.is_none() && target.retained_for.is_none() && target.until <= now {
            self.targets.remove(endpoint);
            return;
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let seed = target.seed.as_ref().and_then(|seed| seed.name.as_ref());
        let name =
            target.retained_for.as_ref().map(|member| &member.name).or(target.temporary_for.as_ref()).or(seed).cloned();
        target.state = State::Dialled(link, name.clone());
        self.links.insert(link, endpoint.to_owned());
        self.set_timer(endpoint, Some(now + WELCOME_WITHIN));
        self.effects.push_back(LinkEffect::Dial { link, endpoint: endpoint.to_owned(), name });
    }

    /// Ends a link, by our own will or not, and plans the next one.
    fn close(&mut self, endpoint: &str, why: &str, hangs_up: bool, now: Time) {
        let Some(target) = self.targets.get_mut(endpoint) else { return };
        let link = match std::mem::take(&mut target.state) {
            State::Disconnected => return,
            State::Dialled(link, _) => {
                self.effects.push_back(LinkEffect::Failed { endpoint: endpoint.to_owned(), why: why.to_owned() });
                link
            }
            State::Established(Established { link, member, .. }) => {
                if self.members.get(&member.name) == Some(&link) {
                    self.members.remove(&member.name);
                }
                self.effects.push_back(LinkEffect::Down { link, member, why: why.to_owned() });
                link
            }
        };
        self.links.remove(&link);
        if hangs_up {
            self.effects.push_back(LinkEffect::HangUp(link));
        }
        let pause = self.targets.get(endpoint).map_or(FIRST_PAUSE, |target| target.pause * 2);
        self.pause(endpoint, pause.clamp(FIRST_PAUSE, LONGEST_PAUSE), now);
    }

    fn pause(&mut self, endpoint: &str, pause: Duration, now: Time) {
        if let Some(target) = self.targets.get_mut(endpoint) {
            target.pause = pause;
            self.set_timer(endpoint, Some(now + pause));
        }
    }

    fn target(&mut self, endpoint: &str, now: Time) -> &mut Target {
        if !self.targets.contains_key(endpoint) {
            self.targets.insert(endpoint.to_owned(), Target::default());
            self.set_timer(endpoint, Some(now));
        }
        self.targets.entry(endpoint.to_owned()).or_default()
    }

    fn drop_if_released(&mut self, endpoint: &str) {
        let unwanted = |target: &Target| {
            target.seed.is_none() && target.retained_for.is_none() && matches!(target.state, State::Disconnected)
        };
        if self.targets.get(endpoint).is_some_and(unwanted) {
            self.set_timer(endpoint, None);
            self.targets.remove(endpoint);
        }
    }

    fn set_timer(&mut self, endpoint: &str, due: Option<Time>) {
        let Some(target) = self.targets.get_mut(endpoint) else { return };
        if let Some(old) = std::mem::replace(&mut target.due, due) {
            self.timers.remove(&(old, endpoint.to_owned()));
        }
        if let Some(due) = due {
            self.timers.insert((due, endpoint.to_owned()));
        }
    }

    fn line(&self, link: LinkId) -> Option<&Established> {
        match &self.targets.get(self.links.get(&link)?)?.state {
            State::Established(line) if line.link == link => Some(line),
            _ => None,
        }
    }

    fn line_mut(&mut self, link: LinkId) -> Option<&mut Established> {
        match &mut self.targets.get_mut(self.links.get(&link)?)?.state {
            State::Established(line) if line.link == link => Some(line),
            _ => None,
        }
    }
}
