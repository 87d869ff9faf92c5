//! Links to other nodes: when to dial them, which have answered, and which are unresponsive.
//!
//! A link is one connection that this node makes; it carries this node's requests, and their answers back. Lost links
//! are dialled again, with exponential backoff. A peer that owes an answer is pinged every heartbeat; other peers are
//! not, because membership monitors them.

#[cfg(test)]
mod tests;

use crate::connection::LinkId;
use crate::message::peer::Member;
use crate::name::Label;
use crate::settings::{PeerSettings, Seed};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Backoff before a lost link is dialled again: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Time for a dialled node to send its welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(3);

/// Lifetime of a link that was dialled for a single message.
const BRIEFLY: Duration = Duration::from_secs(10);

/// Number of pings without a message in between after which a peer counts as unresponsive.
const TOLERANCE: u32 = 3;

/// Decision of the links, for the node to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEffect {
    /// Connect, and send a hello.
    Dial {
        /// The new link.
        link: LinkId,
        /// The endpoint to connect to.
        endpoint: String,
        /// Name of the expected node, if known.
        name: Option<Label>,
    },
    /// Close the connection.
    HangUp(LinkId),
    /// The link is established, and carries requests.
    Up {
        /// The link.
        link: LinkId,
        /// The member at its other end.
        member: Member,
    },
    /// The link has ended.
    Down {
        /// The link.
        link: LinkId,
        /// The member at its other end.
        member: Member,
        /// The reason.
        why: String,
    },
    /// Send a ping.
    Ping(LinkId),
    /// The peer has become unresponsive, or responsive again.
    Unresponsive {
        /// The link.
        link: LinkId,
        /// `true` when the peer stopped responding, `false` when it responds again.
        is_unresponsive: bool,
    },
    /// A dialled node cannot be reached, or rejects this one.
    Failed {
        /// The endpoint that was dialled.
        endpoint: String,
        /// The reason.
        why: String,
    },
}

/// All links of one node.
#[derive(Debug)]
pub struct Links {
    settings: PeerSettings,
    /// The endpoints to be linked with.
    targets: BTreeMap<String, Target>,
    /// The endpoint of every link that is established or being dialled.
    links: BTreeMap<LinkId, String>,
    /// The established link to each member.
    members: BTreeMap<Label, LinkId>,
    timers: BTreeSet<(Time, String)>,
    next_link: u64,
    effects: VecDeque<LinkEffect>,
}

/// Endpoint to be linked with.
#[derive(Debug, Default)]
struct Target {
    /// The entry of the configuration that names it.
    seed: Option<Seed>,
    /// The live member at the endpoint.
    retained_for: Option<Member>,
    /// Expiry of a temporary link, and the member that it serves.
    until: Time,
    temporary_for: Option<Label>,
    state: State,
    /// Time at which its timer is due.
    due: Option<Time>,
    pause: Duration,
}

#[derive(Debug, Default)]
enum State {
    /// Without a link.
    #[default]
    Disconnected,
    /// Dialled, without a welcome yet; with the name of the expected node, if known.
    Dialled(LinkId, Option<Label>),
    /// With an established link.
    Established(Established),
}

#[derive(Debug)]
struct Established {
    link: LinkId,
    member: Member,
    last_received: Time,
    /// Pings sent since the last message.
    pings: u32,
}

impl Links {
    /// Creates the links of a node. The first [`Self::wake`] dials `seeds`, and later ones retry without limit.
    ///
    /// The numbers of the links ascend from `first`.
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

    /// Returns the next decision to act on.
    pub fn next_effect(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// Removes and returns the pending decision to dial a link, if any: nothing can be sent on the link before.
    pub fn next_dial(&mut self, link: LinkId) -> Option<LinkEffect> {
        let is_its = |effect: &LinkEffect| matches!(effect, LinkEffect::Dial { link: dialled, .. } if *dialled == link);
        let place = self.effects.iter().position(is_its)?;
        self.effects.remove(place)
    }

    /// Returns the time at which [`Self::wake`] is due, if any.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Returns the link to a member, if it is established.
    #[must_use]
    pub fn to(&self, member: &Label) -> Option<LinkId> {
        self.members.get(member).copied()
    }

    /// Returns the member at the other end of an established link.
    #[must_use]
    pub fn member(&self, link: LinkId) -> Option<&Member> {
        self.line(link).map(|line| &line.member)
    }

    /// Returns `true` if the peer on a link is unresponsive.
    #[must_use]
    pub fn is_unresponsive(&self, link: LinkId) -> bool {
        self.line(link).is_some_and(|line| line.pings >= TOLERANCE)
    }

    /// Returns the name of the node that is expected at the other end of a dialled link, if known.
    #[must_use]
    pub fn expected(&self, link: LinkId) -> Option<&Label> {
        match &self.targets.get(self.links.get(&link)?)?.state {
            State::Dialled(dialled, name) if *dialled == link => name.as_ref(),
            _ => None,
        }
    }

    /// Returns all established links with their members.
    pub fn up(&self) -> impl Iterator<Item = (LinkId, &Label)> {
        self.members.iter().map(|(name, link)| (*link, name))
    }

    /// Returns the link on which a message can be sent to a member, even before its welcome.
    #[must_use]
    pub fn sending_link(&self, member: &Member) -> Option<LinkId> {
        let standing = self.to(&member.name);
        match self.targets.get(&member.endpoint).map(|target| &target.state) {
            // A link to another endpoint of the same process serves too, but not one to another process of its name.
            Some(State::Dialled(link, _)) => {
                let leads_there = |standing: LinkId| self.member(standing).is_some_and(|at| at.is_same_process(member));
                standing.filter(|standing| leads_there(*standing)).or(Some(*link))
            }
            Some(State::Established(line)) if line.member.name == member.name => Some(line.link),
            _ => standing,
        }
    }

    /// Returns `true` if the configuration lists the endpoint of a link.
    #[must_use]
    pub fn is_seed(&self, link: LinkId) -> bool {
        self.links
            .get(&link)
            .and_then(|endpoint| self.targets.get(endpoint))
            .is_some_and(|target| target.seed.is_some())
    }

    /// Keeps a link to a member, and dials it without backoff, because a message of the member has just arrived.
    pub fn retain(&mut self, member: &Member, now: Time) {
        let target = self.target(&member.endpoint, now);
        target.retained_for = Some(member.clone());
        match &mut target.state {
            State::Disconnected => self.set_timer(&member.endpoint, Some(now)),
            State::Established(line) if line.member.is_same_process(member) => line.member = member.clone(),
            State::Established(line) if line.member.name == member.name && line.member < *member => {
                self.close(&member.endpoint, "it has restarted", true, now);
                self.set_timer(&member.endpoint, Some(now));
            }
            _ => {}
        }
    }

    /// Opens a temporary link to deliver a message to a member that may be dead.
    pub fn retain_briefly(&mut self, member: &Member, now: Time) {
        let target = self.target(&member.endpoint, now);
        (target.until, target.temporary_for) = (now + BRIEFLY, Some(member.name.clone()));
    }

    /// Releases the link to a member that has died or left; `is_busy` returns `true` for peers that owe an answer.
    ///
    /// A link on which an answer is outstanding stays until its peer is unresponsive or the link is lost: a member that
    /// leaves, or was wrongly declared dead, still answers its requests, and the report of its end may overtake the
    /// answers.
    pub fn release(&mut self, member: &Member, is_busy: impl Fn(LinkId) -> bool, now: Time) {
        let Some(target) = self.targets.get_mut(&member.endpoint) else { return };
        if target.retained_for.as_ref().is_some_and(|wanted| wanted.is_same_process(member)) {
            // Not if another process uses the endpoint.
            (target.retained_for, target.until) = (None, Time::ZERO);
        }
        let is_over = |line: &Established| {
            line.member.is_same_process(member) && (line.pings >= TOLERANCE || !is_busy(line.link))
        };
        if matches!(&target.state, State::Established(line) if is_over(line)) {
            self.close(&member.endpoint, "it is not a member of the zone", true, now);
        }
        self.drop_if_released(&member.endpoint);
    }

    /// Handles the welcome of the node at the other end of a link. A repeated one is ignored.
    pub fn welcomed(&mut self, link: LinkId, member: Member, now: Time) {
        let Some(endpoint) = self.links.get(&link).cloned() else { return };
        // The same process under another endpoint, or a process that lost its name and has not been notified yet.
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
            self.close(&place, "it has restarted", true, now);
        }
        if let Some(target) = self.targets.get_mut(&endpoint) {
            target.state =
                State::Established(Established { link, member: member.clone(), last_received: now, pings: 0 });
        }
        self.set_timer(&endpoint, None);
        self.effects.push_back(LinkEffect::Up { link, member });
    }

    /// Closes a link whose node rejects this one, or is rejected by this one.
    pub fn refused(&mut self, link: LinkId, why: &str, now: Time) {
        if let Some(endpoint) = self.links.get(&link).cloned() {
            self.close(&endpoint, why, true, now);
            // The cause is not fixed within the first pauses of the backoff.
            self.pause(&endpoint, LONGEST_PAUSE, now);
        }
    }

    /// Removes a dialled endpoint that is this node's own. Without effect once another node has sent its welcome there.
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

    /// Handles the loss of a link.
    pub fn down(&mut self, link: LinkId, why: &str, now: Time) {
        if let Some(endpoint) = self.links.get(&link).cloned() {
            self.close(&endpoint, why, false, now);
        }
    }

    /// Records a message on a link, so that its peer counts as responsive.
    pub fn received(&mut self, link: LinkId, now: Time) {
        let Some(line) = self.line_mut(link) else { return };
        line.last_received = now;
        if std::mem::take(&mut line.pings) >= TOLERANCE {
            self.effects.push_back(LinkEffect::Unresponsive { link, is_unresponsive: false });
        }
    }

    /// Starts to monitor the peer on a link, because it owes an answer.
    pub fn expect_answer(&mut self, link: LinkId, now: Time) {
        let Some(endpoint) = self.links.get(&link) else { return };
        if self.targets.get(endpoint).is_some_and(|target| target.due.is_none()) {
            let endpoint = endpoint.clone();
            if let Some(line) = self.line_mut(link) {
                // The peer owed no answer before, so the time without messages does not count.
                line.last_received = line.last_received.max(now);
            }
            self.set_timer(&endpoint, Some(now + self.settings.heartbeat));
        }
    }

    /// Acts on the time; `is_busy` returns `true` for peers that owe an answer.
    pub fn wake(&mut self, is_busy: impl Fn(LinkId) -> bool, now: Time) {
        self.discount_lateness(now);
        while let Some((time, endpoint)) = self.timers.first().cloned() {
            if time > now {
                break;
            }
            self.set_timer(&endpoint, None);
            let Some(target) = self.targets.get(&endpoint) else { continue };
            match &target.state {
                State::Disconnected => self.dial(&endpoint, now),
                State::Dialled(..) => self.close(&endpoint, "it sent no welcome in time", true, now),
                State::Established(line) => {
                    let link = line.link;
                    self.check(&endpoint, is_busy(link), now);
                }
            }
        }
    }

    /// Discounts a pause or overload of this node, during which it has not read the messages of its peers.
    fn discount_lateness(&mut self, now: Time) {
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

    /// Handles the timer of an established link.
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
            let rule = "the transfer of a message must take less than peers.expiry";
            return self.close(endpoint, &format!("it sent nothing within {expiry:?}; {rule}"), true, now);
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

    /// Ends a link, whether by decision of this node or not, and schedules the next one.
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
