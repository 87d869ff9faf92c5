//! Runtime of foca: collects its datagrams, timers and notifications.

use super::MemberEffect;
use super::identity::Identity;
use crate::message::Frame;
use crate::name::Label;
use crate::time::Time;
use foca::Notification;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Collector of foca's decisions.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) me: Label,
    pub(super) now: Time,
    pub(super) alive: BTreeMap<Label, Identity>,
    pub(super) timers: RuntimeTimers,
    pub(super) effects: VecDeque<MemberEffect>,
    /// Member that has just replaced a live one. It is alive too, unless foca's next notification is its death.
    replaced_by: Option<Identity>,
}

impl Runtime {
    pub(super) fn new(me: Label) -> Self {
        Self {
            me,
            now: Time::ZERO,
            alive: BTreeMap::new(),
            timers: RuntimeTimers::default(),
            effects: VecDeque::new(),
            replaced_by: None,
        }
    }

    /// Emits the effects that are pending at the end of a call of foca.
    pub(super) fn settle(&mut self) {
        if let Some(identity) = self.replaced_by.take() {
            self.up(identity);
        }
    }

    pub(super) fn all_down(&mut self) {
        let down = std::mem::take(&mut self.alive).into_values();
        self.effects.extend(down.map(|identity| MemberEffect::Down(identity.member().clone())));
    }

    fn up(&mut self, identity: Identity) {
        self.down(&identity.member().name);
        self.effects.push_back(MemberEffect::Up(identity.member().clone()));
        self.alive.insert(identity.member().name.clone(), identity);
    }

    fn down(&mut self, name: &Label) -> bool {
        let gone = self.alive.remove(name);
        if let Some(gone) = &gone {
            self.effects.push_back(MemberEffect::Down(gone.member().clone()));
        }
        gone.is_some()
    }
}

impl foca::Runtime<Identity> for Runtime {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        let replaced_by = self.replaced_by.take();
        match notification {
            Notification::MemberDown(gone) if replaced_by.as_ref() == Some(gone) => return,
            _ => self.replaced_by = replaced_by,
        }
        self.settle();
        match notification {
            Notification::MemberUp(member) => self.up(member.clone()),
            Notification::MemberDown(member) => {
                self.down(&member.member().name);
            }
            Notification::Rename(old, new) => {
                if self.down(&old.member().name) {
                    self.replaced_by = Some(new.clone());
                }
            }
            Notification::Rejoin(me) => self.effects.push_back(MemberEffect::Renewed(me.member().clone())),
            Notification::Active | Notification::Idle | Notification::Defunct => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        // foca announces itself to dead members, among them earlier identities of this node.
        if to.member().name != self.me {
            let data = Frame::copy_from_slice(data);
            self.effects.push_back(MemberEffect::Gossip { to: to.member().clone(), data });
        }
    }

    fn submit_after(&mut self, event: foca::Timer<Identity>, after: Duration) {
        self.timers.add(self.now + after, event);
    }
}

/// Timers that foca has set.
#[derive(Debug, Default)]
pub(super) struct RuntimeTimers {
    queue: BTreeSet<Timer>,
    next_number: u64,
}

#[derive(Debug)]
struct Timer {
    at: Time,
    event: foca::Timer<Identity>,
    number: u64,
}

impl RuntimeTimers {
    pub(super) fn next(&self) -> Option<Time> {
        self.queue.first().map(|timer| timer.at)
    }

    fn add(&mut self, at: Time, event: foca::Timer<Identity>) {
        self.queue.insert(Timer { at, event, number: self.next_number });
        self.next_number += 1;
    }

    pub(super) fn take_due(&mut self, now: Time) -> Option<foca::Timer<Identity>> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_first().map(|timer| timer.event)
    }

    /// Takes the timer that forgets the member that has been dead for longest.
    pub(super) fn take_oldest_dead(&mut self) -> Option<foca::Timer<Identity>> {
        let is_of_the_dead = |timer: &Timer| matches!(timer.event, foca::Timer::RemoveDown(_));
        self.queue.extract_if(.., is_of_the_dead).next().map(|timer| timer.event)
    }

    /// Postpones all timers, and deaths by `grace` more.
    pub(super) fn postpone(&mut self, by: Duration, grace: Duration) {
        let postponed = |timer: Timer| {
            let is_death = matches!(timer.event, foca::Timer::ChangeSuspectToDown { .. });
            Timer { at: timer.at + by + if is_death { grace } else { Duration::ZERO }, ..timer }
        };
        self.queue = std::mem::take(&mut self.queue).into_iter().map(postponed).collect();
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

/// Orders timers of the same time as foca does, which puts the end of a probe before the next probe.
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.at.cmp(&other.at).then_with(|| self.event.cmp(&other.event));
        order.then_with(|| self.number.cmp(&other.number))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}
