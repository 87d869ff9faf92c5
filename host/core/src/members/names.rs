//! Conflicts of names: which process keeps this node's name, and how a node regains it.
//!
//! Two processes of one name are ordered by their clocks, which may be set back, so the order is the last criterion. A
//! dead process is replaced, whenever it started; a process at this node's own endpoint is dead; and a node that has
//! given up its name tries again, because the other process may have died.

use super::codec::{self, Datagram, MalformedGossip, MemberView};
use super::identity::Identity;
use super::{Codec, MemberEffect, Members, Standing};
use crate::message::peer::Member;
use crate::time::Time;
use foca::{Foca, State};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// Largest number of earlier processes at its own endpoint that a node replaces.
///
/// Each start leaves at most one behind, and the zone reports the latest first.
const REPLACED: usize = 8;

/// Number of members that a node announces itself to when it tries to regain its name.
const MAX_ANNOUNCED: usize = 3;

impl Members {
    /// Returns a process with this node's name and a later start, if the datagram is from, for or about one.
    pub(super) fn rival(&self, datagram: &Datagram<'_>) -> Result<Option<(Member, State)>, MalformedGossip> {
        let ends = [datagram.sender, datagram.receiver].map(|end| (end, State::Alive));
        let updates = datagram.updates().map(|update| (update.member, update.state));
        for (member, state) in ends.into_iter().chain(updates) {
            if member.name == self.me().name.as_str() {
                let member = member.to_member()?;
                if member > *self.me() {
                    return Ok(Some((member, state)));
                }
            }
        }
        Ok(None)
    }

    /// Returns `true` if a rival is an earlier process of this node.
    ///
    /// A rival at the endpoint on which this node listens is dead, whatever its start by its clock, unless it is the
    /// sender itself. Two live nodes that advertise one endpoint would replace each other endlessly, so only
    /// [`REPLACED`] rivals count as dead.
    pub(super) fn is_past(&self, rival: &Member, datagram: &Datagram<'_>) -> bool {
        rival.endpoint == self.me().endpoint && !datagram.sender.is(rival) && self.replaced < REPLACED
    }

    /// Returns the identity that has replaced the sender: of another process, or a later one of the sender itself.
    pub(super) fn successor(&self, sender: MemberView<'_>) -> Result<Option<(Identity, State)>, MalformedGossip> {
        let me = self.foca.identity();
        if sender.name == me.member().name.as_str() {
            return Ok(Some((me.clone(), State::Alive)));
        }
        if self.runtime.alive.get(sender.name).is_some_and(|known| sender.is(known.member())) {
            return Ok(None);
        }
        let (sender, address) = (sender.to_member()?, sender.address());
        let mut known = self.foca.iter_membership_state();
        let known = known.find(|known| foca::Identity::addr(known.id()) == address);
        let successor = known.filter(|known| *known.id().member() > sender);
        Ok(successor.map(|known| (known.id().clone(), known.state())))
    }

    pub(super) fn send_update(
        &mut self,
        to: MemberView<'_>,
        update: &Identity,
        state: State,
    ) -> Result<(), MalformedGossip> {
        let to = to.to_member()?;
        let data = codec::tell(self.foca.identity(), &to.clone().into(), update, state)?;
        self.runtime.effects.push_back(MemberEffect::Gossip { to, data });
        Ok(())
    }

    /// Gives up this node's name to a live process that started later.
    pub(super) fn give_up_name(&mut self, rival: Member) {
        self.deactivate(Standing::NameTaken);
        self.runtime.all_down();
        self.runtime.effects.push_back(MemberEffect::NameTaken(rival));
    }

    /// Takes an identity that replaces a dead process of this node's name with a later start.
    ///
    /// The start is later because the clock of this machine was set back.
    pub(super) fn succeed(&mut self, dead: &Member, reporter: MemberView<'_>) -> Result<(), MalformedGossip> {
        let me = self.foca.identity().after(dead);
        let reporter = Identity::from(reporter.to_member()?);
        if *me.member() <= *dead || reporter.member().name == me.member().name {
            self.give_up_name(dead.clone());
            return Ok(());
        }
        self.runtime.effects.push_back(MemberEffect::Renewed(me.member().clone()));
        self.foca
            .change_identity(me, &mut self.runtime)
            .map_err(|_| MalformedGossip("leaves this node no later identity"))?;
        self.send_announcement(reporter);
        Ok(())
    }

    /// Tries to regain the name after another process has taken it, in case that process is dead.
    ///
    /// Announces this node to earlier members. If the other process is alive, they report it, and the name is given up
    /// again.
    pub fn try_again(&mut self, now: Time) {
        if self.standing != Standing::NameTaken {
            return;
        }
        self.seed = self.seed.wrapping_add(1);
        let known = self.foca.iter_membership_state().map(foca::Member::id);
        let mut known: Vec<_> = known.filter(|known| known.member().name != self.runtime.me).cloned().collect();
        if !known.is_empty() {
            let first = self.announcements % known.len();
            known.rotate_left(first);
            known.truncate(MAX_ANNOUNCED);
            self.announcements += MAX_ANNOUNCED;
        }
        let (me, random) = (self.foca.identity().clone(), Xoshiro256PlusPlus::seed_from_u64(self.seed));
        self.foca = Foca::new(me, self.config.clone(), random, Codec);
        self.standing = Standing::Present;
        self.runtime.now = now;
        self.last_announced = known.first().cloned().or(self.last_announced.take());
        let others = known.into_iter().skip(1).chain(self.last_announced.clone());
        for to in others.collect::<Vec<_>>() {
            self.send_announcement(to);
        }
        self.settle();
    }
}
