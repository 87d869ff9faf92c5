//! One name, one process: who has more right to this node's name, and how it comes back.
//!
//! The order of two processes of one name is that of their clocks, which may be set back, so it is the last thing that
//! counts. A process that is dead is succeeded, whenever it started; one that is known at this node's own endpoint is
//! dead; and who has given up its name asks again, because the other may be dead by then.

use super::codec::{self, Datagram, MalformedGossip, MemberView};
use super::identity::Identity;
use super::{Codec, MemberEffect, Members, Standing};
use crate::message::peer::Member;
use crate::time::Time;
use foca::{Foca, State};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// Earlier processes at its own endpoint that a node replaces: each start leaves at most one behind, and the zone tells
/// of the latest first.
const REPLACED: usize = 8;

/// Members that are greeted by a node that tries to get its name back.
const GREETED_AGAIN: usize = 3;

impl Members {
    /// A process that has our name and started later, if the datagram is from, for or about one.
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

    /// Whether a rival is an earlier process of this node: the zone knows it at the endpoint where this one listens, so
    /// that it is dead, whenever it started by its clock. One that speaks itself lives. Two living nodes that advertise
    /// one endpoint would replace each other for ever, so that only [`REPLACED`] are believed to be dead.
    pub(super) fn is_past(&self, rival: &Member, datagram: &Datagram<'_>) -> bool {
        rival.endpoint == self.me().endpoint && !datagram.sender.is(rival) && self.replaced < REPLACED
    }

    /// Who has replaced the sender under its name: another process, or the sender's own later identity.
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
        news: &Identity,
        state: State,
    ) -> Result<(), MalformedGossip> {
        let to = to.to_member()?;
        let data = codec::tell(self.foca.identity(), &to.clone().into(), news, state)?;
        self.runtime.effects.push_back(MemberEffect::Gossip { to, data });
        Ok(())
    }

    /// Another process lives under our name, with more right to it.
    pub(super) fn give_up_name(&mut self, rival: Member) {
        self.fall_silent(Standing::NameTaken);
        self.runtime.all_down();
        self.runtime.effects.push_back(MemberEffect::NameTaken(rival));
    }

    /// The zone remembers a dead process under our name that started later: ours is on a machine whose clock was set
    /// back.
    pub(super) fn succeed(&mut self, dead: &Member, teller: MemberView<'_>) -> Result<(), MalformedGossip> {
        let me = self.foca.identity().after(dead);
        let teller = Identity::from(teller.to_member()?);
        if *me.member() <= *dead || teller.member().name == me.member().name {
            self.give_up_name(dead.clone());
            return Ok(());
        }
        self.runtime.effects.push_back(MemberEffect::Renewed(me.member().clone()));
        self.foca.change_identity(me, &mut self.runtime).map_err(|_| MalformedGossip("leaves us no identity"))?;
        self.greet(teller);
        Ok(())
    }

    /// Comes back after another process has taken its name: greets those it knew before, in case that process is gone.
    /// If it lives, they say so, and the name is taken again.
    pub fn try_again(&mut self, now: Time) {
        if self.standing != Standing::NameTaken {
            return;
        }
        self.seed = self.seed.wrapping_add(1);
        let known = self.foca.iter_membership_state().map(foca::Member::id);
        let mut known: Vec<_> = known.filter(|known| known.member().name != self.runtime.me).cloned().collect();
        if !known.is_empty() {
            let first = self.greetings % known.len();
            known.rotate_left(first);
            known.truncate(GREETED_AGAIN);
            self.greetings += GREETED_AGAIN;
        }
        let (me, random) = (self.foca.identity().clone(), Xoshiro256PlusPlus::seed_from_u64(self.seed));
        self.foca = Foca::new(me, self.config.clone(), random, Codec);
        self.standing = Standing::Present;
        self.runtime.now = now;
        self.greeted = known.first().cloned().or(self.greeted.take());
        let others = known.into_iter().skip(1).chain(self.greeted.clone());
        for to in others.collect::<Vec<_>>() {
            self.greet(to);
        }
        self.settle();
    }
}
