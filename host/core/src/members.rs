//! Membership of the zone, by SWIM: each node probes one other per period, and probes carry updates on members.
//!
//! The crate `foca` implements the protocol; this module adds the rest. A name belongs to one process at a time: of two
//! live processes, the one that started later keeps it, and the other is notified and stops sending.
//! [`MemberEffect::Up`] and [`MemberEffect::Down`] alternate for each name, and [`Members::alive`] is always their sum.

mod codec;
mod identity;
mod names;
mod runtime;

pub use codec::MalformedGossip;

use crate::message::Frame;
use crate::message::peer::Member;
use crate::name::Label;
use crate::settings::MembersSettings;
use crate::time::Time;
use codec::{Codec, Datagram, MemberUpdate};
use foca::{Foca, NoCustomBroadcast, PeriodicParams, State};
use identity::Identity;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use runtime::Runtime;
use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

/// State machine of one node's view of its zone.
pub struct Members {
    foca: Foca<Identity, Codec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    runtime: Runtime,
    config: foca::Config,
    reunion: Duration,
    limit: usize,
    standing: Standing,
    /// The member that was announced to last.
    last_announced: Option<Identity>,
    /// Time of the next announcement while no other member is alive, because foca is then idle.
    next_announcement: Option<Time>,
    /// Ascends, so that an isolated node announces itself to its dead members in turn.
    announcements: usize,
    /// Number of processes at this node's own endpoint that it has replaced.
    replaced: usize,
    /// Seed of all randomness; ascends with each attempt to regain the name.
    seed: u64,
}

/// Decision of the membership, for the node to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEffect {
    /// Send a datagram to a member's [`Members::receive`]. Datagrams may be lost, and the receiver dead or unknown.
    Gossip {
        /// The receiver.
        to: Member,
        /// The datagram.
        data: Frame,
    },
    /// The member is alive.
    Up(Member),
    /// The member has died or left, or is replaced by another identity of its name, whose `Up` is the next effect.
    Down(Member),
    /// The node has taken this new identity, because the one before was declared dead.
    Renewed(Member),
    /// A process that started later has this node's name. The node is inactive, without members, until
    /// [`Members::try_again`].
    NameTaken(Member),
    /// A new member was rejected, because the limit of members is reached.
    Refused(Member),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Present,
    Left,
    NameTaken,
}

impl Members {
    /// Creates a view without other members.
    ///
    /// `me` must have an endpoint of at most 1,000 bytes, and a boot time that differs between processes of its name.
    #[must_use]
    pub fn new(me: Member, settings: &MembersSettings, seed: u64) -> Self {
        let config = config(settings);
        let outbox = Runtime::new(me.name.clone());
        Self {
            foca: Foca::new(me.into(), config.clone(), Xoshiro256PlusPlus::seed_from_u64(seed), Codec),
            runtime: outbox,
            config,
            reunion: settings.reunion.max(SHORTEST),
            limit: settings.limit,
            standing: Standing::Present,
            last_announced: None,
            next_announcement: None,
            announcements: 0,
            replaced: 0,
            seed,
        }
    }

    /// Returns this node, as the others are to identify it.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.foca.identity().member()
    }

    /// Returns the live members without this node, by name.
    pub fn alive(&self) -> impl Iterator<Item = &Member> {
        self.runtime.alive.values().map(Identity::member)
    }

    /// Returns the member of a name, if it is alive and not this node.
    #[must_use]
    pub fn get(&self, name: &Label) -> Option<&Member> {
        self.runtime.alive.get(name).map(Identity::member)
    }

    /// Returns `true` if a member of this name would be admitted. Others should be rejected as soon as they connect.
    #[must_use]
    pub fn has_room_for(&self, name: &Label) -> bool {
        self.runtime.alive.len() < self.limit || self.runtime.alive.contains_key(name)
    }

    /// Returns the next decision to act on.
    pub fn next_effect(&mut self) -> Option<MemberEffect> {
        self.runtime.effects.pop_front()
    }

    /// Returns the time at which [`Self::wake`] is due, if any.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.runtime.timers.next().into_iter().chain(self.next_announcement).min()
    }

    /// Announces this node to a member whose link was established.
    ///
    /// Until any member answers, the announcement to the last of them is repeated.
    pub fn announce(&mut self, to: &Member, now: Time) {
        if self.standing != Standing::Present || to == self.me() {
            return;
        }
        self.runtime.now = now;
        if to.name == self.me().name {
            if to > self.me() {
                self.give_up_name(to.clone());
            }
            return;
        }
        let to = Identity::from(to.clone());
        self.last_announced = Some(to.clone());
        self.send_announcement(to);
        self.settle();
    }

    /// Records a member as alive, because it has sent a message to this node.
    pub fn introduce(&mut self, member: &Member, now: Time) {
        if self.standing != Standing::Present || member.name == self.me().name || !self.has_room_for(&member.name) {
            return;
        }
        self.runtime.now = now;
        let identity = Identity::from(member.clone());
        let is_known = self.foca.iter_membership_state().any(|known| known.id().member().name == member.name);
        let mut room = self.limit.saturating_sub(self.known());
        if !is_known && !self.make_room(&mut room) {
            return;
        }
        let alive = foca::Member::alive(identity);
        // Fails only for members that cannot be encoded, and this one has been decoded.
        let _ = self.foca.apply_many(std::iter::once(alive), true, &mut self.runtime);
        self.settle();
    }

    /// Handles a datagram of the membership protocol.
    ///
    /// # Errors
    /// [`MalformedGossip`] with the rule that the datagram breaks. Nothing of it has been applied, with one exception:
    /// if it requests that the target of a probe forward that probe, its sender counts as alive, and its updates are
    /// applied.
    pub fn receive(&mut self, data: &[u8], now: Time) -> Result<(), MalformedGossip> {
        if self.standing != Standing::Present {
            return Ok(());
        }
        self.runtime.now = now;
        let datagram = Datagram::parse(data)?;
        let result = self.receive_datagram(&datagram, data);
        self.settle();
        result
    }

    /// Announces that this node leaves, and stops sending for good.
    ///
    /// The live members stay listed, so that outstanding requests can be completed.
    pub fn leave(&mut self, now: Time) {
        if self.standing != Standing::Present {
            return;
        }
        self.runtime.now = now;
        // The only failure is a member that cannot be encoded, and this one has been.
        let _ = self.foca.leave_cluster(&mut self.runtime);
        self.runtime.settle();
        self.deactivate(Standing::Left);
    }

    /// Acts on the time: probes, suspects, sends gossip.
    pub fn wake(&mut self, now: Time) {
        self.runtime.now = now;
        self.discount_lateness(now);
        while let Some(event) = self.runtime.timers.take_due(now) {
            if self.is_refuted(&event) {
                continue;
            }
            // foca reports only missing or unexpected timers here; there are none.
            let result = self.foca.handle_timer(event, &mut self.runtime);
            debug_assert_eq!(result, Ok(()));
            self.settle();
        }
        if self.next_announcement.is_some_and(|time| time <= now) {
            self.next_announcement = None;
            self.announce_to_dead();
            self.settle();
        }
    }

    fn receive_datagram(&mut self, datagram: &Datagram<'_>, data: &[u8]) -> Result<(), MalformedGossip> {
        let sender = datagram.sender;
        if let Some((rival, state)) = self.rival(datagram)? {
            let is_past = self.is_past(&rival, datagram);
            self.replaced += usize::from(is_past && state != State::Down);
            return match state {
                _ if is_past => self.succeed(&rival, sender),
                State::Down => self.succeed(&rival, sender),
                State::Alive | State::Suspect => {
                    self.give_up_name(rival);
                    Ok(())
                }
            };
        }
        if sender.is(self.me()) {
            return Err(MalformedGossip("comes from its own receiver"));
        }
        if let Some((successor, state)) = self.successor(sender)? {
            return self.send_update(sender, &successor, state);
        }
        let result = match self.admit(datagram)? {
            Admission::Whole => self.foca.handle_data(data, &mut self.runtime),
            Admission::Part(data) => self.foca.handle_data(&data, &mut self.runtime),
            Admission::Nothing => Ok(()),
        };
        result.map_err(|error| match error {
            foca::Error::DataTooBig => MalformedGossip("is too long"),
            foca::Error::IndirectForOurselves => MalformedGossip("is to be forwarded to this node itself"),
            foca::Error::Decode(_) => MalformedGossip("has an invalid name"),
            _ => MalformedGossip("breaks a rule of SWIM"),
        })
    }

    fn deactivate(&mut self, standing: Standing) {
        self.standing = standing;
        self.runtime.timers.clear();
        self.next_announcement = None;
    }

    fn send_announcement(&mut self, to: Identity) {
        // The only failure is a member that cannot be encoded; every one of them has been decoded.
        let _ = self.foca.announce(to, &mut self.runtime);
    }

    /// Announces this node to the member announced to last, and to two dead members.
    fn announce_to_dead(&mut self) {
        let dead = self.foca.iter_membership_state().map(foca::Member::id);
        let mut dead: Vec<_> = dead.filter(|dead| dead.member().name != self.runtime.me).cloned().collect();
        if !dead.is_empty() {
            let first = self.announcements % dead.len();
            dead.rotate_left(first);
            dead.truncate(2);
            self.announcements += 2;
        }
        if let Some(last_announced) =
            self.last_announced.clone().filter(|last_announced| !dead.contains(last_announced))
        {
            dead.push(last_announced);
        }
        for to in dead {
            self.send_announcement(to);
        }
    }

    /// Finishes a call of foca: emits pending effects, adapts to the size of the zone, schedules announcements.
    fn settle(&mut self) {
        self.runtime.settle();
        if self.standing != Standing::Present {
            return;
        }
        // With a new identity, foca 2.0.0 probes no member before it receives an update, and all may be dead.
        let _ = self.foca.apply_many(std::iter::empty(), false, &mut self.runtime);
        let transmissions = transmissions(self.known());
        if self.config.max_transmissions != transmissions {
            self.config.max_transmissions = transmissions;
            // Cannot fail: this field may change at any time.
            let _ = self.foca.set_config(self.config.clone());
        }
        if !self.runtime.alive.is_empty() {
            self.next_announcement = None;
        } else if self.next_announcement.is_none() && (self.last_announced.is_some() || self.known() > 0) {
            self.next_announcement = Some(self.runtime.now + self.reunion.min(self.config.probe_period));
        }
    }

    /// Postpones all timers after a pause or overload of this node, during which it has not read messages.
    ///
    /// The node continues where it stopped, and reads messages of suspected members before it declares them dead.
    fn discount_lateness(&mut self, now: Time) {
        let late = self.runtime.timers.next().map_or(Duration::ZERO, |due| now.since(due));
        if late > self.config.probe_rtt {
            self.runtime.timers.postpone(late, self.config.probe_rtt);
        }
    }

    /// Returns `true` if a timer concerns a suspicion that was refuted.
    ///
    /// foca 2.0.0 would nevertheless report the death to the member, which would then take a new identity.
    fn is_refuted(&self, event: &foca::Timer<Identity>) -> bool {
        let foca::Timer::ChangeSuspectToDown { member_id, incarnation, .. } = event else { return false };
        let mut known = self.foca.iter_membership_state();
        !known.any(|known| known.id() == member_id && known.incarnation() == *incarnation)
    }

    /// Returns the number of members that foca holds, dead or alive.
    fn known(&self) -> usize {
        self.foca.iter_membership_state().len()
    }

    /// Decides which part of a datagram is passed to foca: without unknown members if there is no room for them.
    fn admit(&mut self, datagram: &Datagram<'_>) -> Result<Admission, MalformedGossip> {
        let mut room = self.limit.saturating_sub(self.known());
        if datagram.count() < room {
            return Ok(Admission::Whole);
        }
        let known = self.foca.iter_membership_state().map(|known| foca::Identity::addr(known.id()));
        let known: BTreeSet<_> = known.collect();
        if !known.contains(&datagram.sender.address()) && !self.make_room(&mut room) {
            self.runtime.effects.push_back(MemberEffect::Refused(datagram.sender.to_member()?));
            return Ok(Admission::Nothing);
        }
        if datagram.count() == 0 {
            return Ok(Admission::Whole);
        }
        let mut may_enter = |update: &MemberUpdate<'_>| {
            let is_known = known.contains(&update.member.address());
            is_known || (update.state != State::Down && self.make_room(&mut room))
        };
        Ok(Admission::Part(datagram.filtered(&mut may_enter)))
    }

    /// Takes one slot of `room`, or that of the member that has been dead for longest.
    fn make_room(&mut self, room: &mut usize) -> bool {
        if *room > 0 {
            *room -= 1;
            return true;
        }
        let before = self.known();
        while let Some(event) = self.runtime.timers.take_oldest_dead() {
            // The timer may concern a member that has been replaced since.
            let _ = self.foca.handle_timer(event, &mut self.runtime);
            if self.known() < before {
                return true;
            }
        }
        false
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive: Vec<_> = self.runtime.alive.keys().map(Label::as_str).collect();
        let mut f = f.debug_struct("Members");
        f.field("me", self.me()).field("standing", &self.standing).field("alive", &alive).finish_non_exhaustive()
    }
}

/// Part of a datagram that is passed to foca.
enum Admission {
    Whole,
    Part(Vec<u8>),
    Nothing,
}

/// Shortest period: one of zero would keep the processor busy.
const SHORTEST: Duration = Duration::from_millis(10);

fn config(settings: &MembersSettings) -> foca::Config {
    let probe_period = settings.probe_period.max(SHORTEST);
    let periodic = |frequency: Duration, members| {
        let num_members = NonZeroUsize::new(members).unwrap_or(NonZeroUsize::MIN);
        Some(PeriodicParams { frequency: frequency.max(SHORTEST), num_members })
    };
    let datagram = settings.datagram.clamp(1_400, 1 << 20);
    foca::Config {
        probe_period,
        probe_rtt: if settings.probe_rtt < probe_period { settings.probe_rtt } else { probe_period / 2 },
        suspect_to_down_after: settings.suspicion.max(SHORTEST),
        remove_down_after: Some(settings.memory),
        max_packet_size: NonZeroUsize::new(datagram).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(0),
        notify_down_members: true,
        periodic_gossip: periodic(settings.gossip, 3),
        periodic_announce: periodic(settings.exchange, 1),
        periodic_announce_to_down_members: periodic(settings.reunion, 2),
        // Three others probe a member that does not answer (indirect probes).
        ..foca::Config::simple()
    }
}

/// Returns the number of times that each member sends an update: eight per digit of the zone's size, at least sixteen.
///
/// Other implementations send half as many. When a zone is partitioned, half of the transmissions are lost, and a death
/// is not reported again: a member that missed it detects it with its own next probe, a minute later in a zone of 60.
fn transmissions(members: usize) -> NonZeroU8 {
    let digits = members.max(10).ilog10() + 1;
    u8::try_from(8 * digits).ok().and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MAX)
}
