//! Who is alive in the zone, by SWIM: each node probes one other per period, and news travels with the probes.
//!
//! The protocol is the crate `foca`; this is what it leaves to us. A name belongs to one process at a time: of two that
//! live, the one that started later keeps it, and the other is told and falls silent. [`MemberEffect::Up`] and
//! [`MemberEffect::Down`] alternate for each name, and [`Members::alive`] is always what they add up to.

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

/// The state machine of one node's view of its zone.
pub struct Members {
    foca: Foca<Identity, Codec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    runtime: Runtime,
    config: foca::Config,
    reunion: Duration,
    limit: usize,
    standing: Standing,
    /// The one whom we greeted last.
    greeted: Option<Identity>,
    /// When to greet again, while nobody is known to be alive: foca then sleeps.
    lonely: Option<Time>,
    /// Ascends, so that a lonely node greets its dead in turn.
    greetings: usize,
    /// How many processes that were known at this node's own endpoint it has replaced.
    replaced: usize,
    /// What all chance comes from; ascends with each try to get the name back.
    seed: u64,
}

/// What the node has to do, or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEffect {
    /// Bytes for that member's [`Members::receive`]. They may be lost. It may be one that is not alive, or a stranger.
    Gossip {
        /// Whom to send it to.
        to: Member,
        /// The datagram.
        data: Frame,
    },
    /// It lives.
    Up(Member),
    /// It has died, has left, or is replaced by another identity of the same name, which is told next.
    Down(Member),
    /// We live on under this identity, because the one before was taken for dead.
    Renewed(Member),
    /// This process, started later, has our name. We have fallen silent until [`Members::try_again`], and know nobody.
    NameTaken(Member),
    /// This newcomer was not let in: we know as many members as we may.
    Refused(Member),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Present,
    Left,
    NameTaken,
}

impl Members {
    /// Makes a view in which nobody else is known. `me` must have an endpoint of at most 1,000 bytes, and a boot time
    /// that differs between two processes of one name.
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
            greeted: None,
            lonely: None,
            greetings: 0,
            replaced: 0,
            seed,
        }
    }

    /// This node, as the others are to know it.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.foca.identity().member()
    }

    /// Those who live, by name, without this node.
    pub fn alive(&self) -> impl Iterator<Item = &Member> {
        self.runtime.alive.values().map(Identity::member)
    }

    /// The member of this name, if it lives and is not this node.
    #[must_use]
    pub fn get(&self, name: &Label) -> Option<&Member> {
        self.runtime.alive.get(name).map(Identity::member)
    }

    /// Whether a member of this name would be let in. One that would not had better be refused as soon as it dials.
    #[must_use]
    pub fn has_room_for(&self, name: &Label) -> bool {
        self.runtime.alive.len() < self.limit || self.runtime.alive.contains_key(name)
    }

    /// The next decision to act on.
    pub fn next_effect(&mut self) -> Option<MemberEffect> {
        self.runtime.effects.pop_front()
    }

    /// When [`Self::wake`] is due, if ever.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.runtime.timers.next().into_iter().chain(self.lonely).min()
    }

    /// Says hello to a member that a dial has made known. Until anybody answers, the last of them is greeted again and
    /// again.
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
        self.greeted = Some(to.clone());
        self.greet(to);
        self.settle();
    }

    /// A member has spoken to this node, so it lives.
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
        // It fails only for members that cannot be encoded, and this one has been decoded.
        let _ = self.foca.apply_many(std::iter::once(alive), true, &mut self.runtime);
        self.settle();
    }

    /// A datagram of the membership protocol arrived.
    ///
    /// # Errors
    /// [`MalformedGossip`] says which rule it breaks. Nothing of it has been believed, except that its sender lives and
    /// what news it brought, if all that is wrong is that it asks the one to be probed to pass the probe on.
    pub fn receive(&mut self, data: &[u8], now: Time) -> Result<(), MalformedGossip> {
        if self.standing != Standing::Present {
            return Ok(());
        }
        self.runtime.now = now;
        let datagram = Datagram::parse(data)?;
        let heard = self.receive_datagram(&datagram, data);
        self.settle();
        heard
    }

    /// Says goodbye, and falls silent for ever. Who is alive stays as it was, so that what is under way can be
    /// finished.
    pub fn leave(&mut self, now: Time) {
        if self.standing != Standing::Present {
            return;
        }
        self.runtime.now = now;
        // The only failure is a member that cannot be encoded, and this one has been.
        let _ = self.foca.leave_cluster(&mut self.runtime);
        self.runtime.settle();
        self.fall_silent(Standing::Left);
    }

    /// Lets time pass: probes, suspects, passes news on.
    pub fn wake(&mut self, now: Time) {
        self.runtime.now = now;
        self.forgive_lateness(now);
        while let Some(event) = self.runtime.timers.take_due(now) {
            if self.is_refuted(&event) {
                continue;
            }
            // What foca reports here are reminders that are missing or unasked for; there are none.
            let told = self.foca.handle_timer(event, &mut self.runtime);
            debug_assert_eq!(told, Ok(()));
            self.settle();
        }
        if self.lonely.is_some_and(|time| time <= now) {
            self.lonely = None;
            self.greet_the_dead();
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
        let heard = match self.admit(datagram)? {
            Admission::Whole => self.foca.handle_data(data, &mut self.runtime),
            Admission::Part(data) => self.foca.handle_data(&data, &mut self.runtime),
            Admission::Nothing => Ok(()),
        };
        heard.map_err(|error| match error {
            foca::Error::DataTooBig => MalformedGossip("is too long"),
            foca::Error::IndirectForOurselves => MalformedGossip("takes a detour to where it is"),
            foca::Error::Decode(_) => MalformedGossip("has a name that is none"),
            _ => MalformedGossip("breaks a rule of SWIM"),
        })
    }

    fn fall_silent(&mut self, standing: Standing) {
        self.standing = standing;
        self.runtime.timers.clear();
        self.lonely = None;
    }

    fn greet(&mut self, to: Identity) {
        // The only failure is a member that cannot be encoded; every one of them has been decoded.
        let _ = self.foca.announce(to, &mut self.runtime);
    }

    /// Greets the one greeted last, and two of the dead.
    fn greet_the_dead(&mut self) {
        let dead = self.foca.iter_membership_state().map(foca::Member::id);
        let mut dead: Vec<_> = dead.filter(|dead| dead.member().name != self.runtime.me).cloned().collect();
        if !dead.is_empty() {
            let first = self.greetings % dead.len();
            dead.rotate_left(first);
            dead.truncate(2);
            self.greetings += 2;
        }
        if let Some(greeted) = self.greeted.clone().filter(|greeted| !dead.contains(greeted)) {
            dead.push(greeted);
        }
        for to in dead {
            self.greet(to);
        }
    }

    /// After a call of foca: tells what it left open, follows the size of the zone, minds loneliness.
    fn settle(&mut self) {
        self.runtime.settle();
        if self.standing != Standing::Present {
            return;
        }
        // Under a new identity foca 2.0.0 probes nobody before it has heard of a member again, and all may be dead.
        let _ = self.foca.apply_many(std::iter::empty(), false, &mut self.runtime);
        let transmissions = transmissions(self.known());
        if self.config.max_transmissions != transmissions {
            self.config.max_transmissions = transmissions;
            // It may change at any time.
            let _ = self.foca.set_config(self.config.clone());
        }
        if !self.runtime.alive.is_empty() {
            self.lonely = None;
        } else if self.lonely.is_none() && (self.greeted.is_some() || self.known() > 0) {
            self.lonely = Some(self.runtime.now + self.reunion.min(self.config.probe_period));
        }
    }

    /// A node that slept, or had too much to do, has not heard what others said meanwhile. It goes on where it was, and
    /// hears those whom it suspects before it takes them for dead.
    fn forgive_lateness(&mut self, now: Time) {
        let late = self.runtime.timers.next().map_or(Duration::ZERO, |due| now.since(due));
        if late > self.config.probe_rtt {
            self.runtime.timers.postpone(late, self.config.probe_rtt);
        }
    }

    /// Whether a suspicion has come to nothing: foca 2.0.0 would tell the member that it is dead even so, and the
    /// member would believe it and take a new identity.
    fn is_refuted(&self, event: &foca::Timer<Identity>) -> bool {
        let foca::Timer::ChangeSuspectToDown { member_id, incarnation, .. } = event else { return false };
        let mut known = self.foca.iter_membership_state();
        !known.any(|known| known.id() == member_id && known.incarnation() == *incarnation)
    }

    /// Members that foca holds, dead or alive.
    fn known(&self) -> usize {
        self.foca.iter_membership_state().len()
    }

    /// Looks for strangers in a datagram if there may be no room for them.
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

    /// Takes one place of `room`, or of the one who has been dead for longest.
    fn make_room(&mut self, room: &mut usize) -> bool {
        if *room > 0 {
            *room -= 1;
            return true;
        }
        let before = self.known();
        while let Some(event) = self.runtime.timers.take_oldest_dead() {
            // It may be about one who has been replaced since.
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

/// What of a datagram foca is to hear.
enum Admission {
    Whole,
    Part(Vec<u8>),
    Nothing,
}

/// Periods that were zero would keep the processor busy.
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
        // Three others are asked to probe one that does not answer.
        ..foca::Config::simple()
    }
}

/// How often each member passes a piece of news on: eight times per digit of the size of the zone, and at least
/// sixteen. That is twice what others do. When a zone is cut in two, half of it is wasted on those who cannot hear, and
/// a death that somebody has missed is not told again: he finds out when his own probe gets there, a minute later in a
/// zone of 60.
fn transmissions(members: usize) -> NonZeroU8 {
    let digits = members.max(10).ilog10() + 1;
    u8::try_from(8 * digits).ok().and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MAX)
}
