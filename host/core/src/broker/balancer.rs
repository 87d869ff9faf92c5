//! Choice of the next hop among the peers that requests may be forwarded to.
//!
//! Power of two choices: of two different random peers, the one with the lower cost is chosen. The cost is (outstanding
//! requests for the service + 1) × recent latency (peak EWMA). Two draws come close to the best choice, do not need
//! fresh figures of all peers, and do not make all nodes choose the same peer.

use super::status::PeerStatus;
use crate::connection::LinkId;
use crate::message::peer::Traits;
use crate::name::{Address, Label, ServiceName};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Number of consecutive failures after which a peer is paused for a service.
const TOLERANCE: u32 = 5;

/// First and longest pause; each one is twice as long as the one before. Then the peer is tried again, and one more
/// failure starts the next pause.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Half-life of a measured latency while no new reply arrives, so that a peer that was slow is tried again.
const HALF_LIFE: Duration = Duration::from_secs(5);

/// All linked peers.
#[derive(Debug)]
pub(super) struct Balancer {
    peers: BTreeMap<LinkId, LinkedPeer>,
    /// Window: largest number of outstanding requests per peer.
    window: usize,
    random: u64,
}

#[derive(Debug)]
pub(super) struct LinkedPeer {
    pub(super) node: Label,
    /// The zone that it leads into, if it is another.
    pub(super) zone: Option<Label>,
    /// Whether a router is at its other end.
    is_router: bool,
    /// Its outstanding requests, by their number on the wire.
    pub(super) outstanding: BTreeSet<u64>,
    offers: BTreeMap<Address, PeerStats>,
    /// Whether the peer is unresponsive.
    is_unresponsive: bool,
}

/// Statistics of one service at one peer.
#[derive(Debug, Default)]
struct PeerStats {
    traits: Traits,
    outstanding: usize,
    /// Peak EWMA of the time to answer, in microseconds: peaks count immediately, and decay.
    latency_us: u64,
    measured: Time,
    consecutive_failures: u32,
    pause: Duration,
    paused_until: Time,
}

/// Result of the choice of a next hop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// The chosen peer.
    Peer(LinkId),
    /// All peers that could serve have a full window or are unresponsive.
    Full,
    /// All peers that could serve are unresponsive.
    Unresponsive,
    /// Every peer that could serve was already tried, or there is none.
    NoPeer,
}

/// How a request ended at a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The peer sent a final reply, or a failure that does not count against it.
    Success,
    /// The request crashed, was lost, or was not answered in time.
    Failure,
    /// The request was cancelled, or its outcome does not count.
    Cancelled,
}

impl Balancer {
    pub(super) fn new(window: usize, seed: u64) -> Self {
        Self { peers: BTreeMap::new(), window, random: seed }
    }

    pub(super) fn add(&mut self, link: LinkId, node: Label, zone: Option<Label>, is_router: bool) {
        let hop = LinkedPeer {
            node,
            zone,
            is_router,
            outstanding: BTreeSet::new(),
            offers: BTreeMap::new(),
            is_unresponsive: false,
        };
        self.peers.insert(link, hop);
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<(LinkedPeer, Vec<Address>)> {
        let hop = self.peers.remove(&link)?;
        let services = hop.offers.keys().cloned().collect();
        Some((hop, services))
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&LinkedPeer> {
        self.peers.get(&link)
    }

    /// Returns the peer's name, for messages.
    pub(super) fn name(&self, link: LinkId) -> String {
        self.get(link).map_or_else(|| "that is gone".into(), |hop| hop.node.to_string())
    }

    /// Marks a peer as unresponsive or responsive; returns `true` if that is a change.
    pub(super) fn set_unresponsive(&mut self, link: LinkId, is_unresponsive: bool) -> bool {
        self.peers
            .get_mut(&link)
            .is_some_and(|hop| std::mem::replace(&mut hop.is_unresponsive, is_unresponsive) != is_unresponsive)
    }

    pub(super) fn offer(&mut self, link: LinkId, service: &Address, traits: Traits) {
        if let Some(hop) = self.peers.get_mut(&link) {
            hop.offers.entry(service.clone()).or_default().traits = traits;
        }
    }

    pub(super) fn withdraw(&mut self, link: LinkId, service: &Address) {
        if let Some(hop) = self.peers.get_mut(&link) {
            hop.offers.remove(service);
        }
    }

    /// Iterates over the links that lead into one of these zones.
    pub(super) fn leading_into<'a>(&'a self, zones: &'a [Label]) -> impl Iterator<Item = LinkId> + 'a {
        let leads = |hop: &LinkedPeer| hop.zone.as_ref().is_some_and(|zone| zones.contains(zone));
        self.peers.iter().filter(move |(_, hop)| leads(hop)).map(|(link, _)| *link)
    }

    /// Iterates over the links to routers of this zone.
    pub(super) fn routers_of_this_zone(&self) -> impl Iterator<Item = LinkId> {
        self.peers.iter().filter(|(_, hop)| hop.is_router && hop.zone.is_none()).map(|(link, _)| *link)
    }

    /// Returns the link to this node, if it offers the service; every node serves the reserved names.
    pub(super) fn find(&self, node: &Label, service: &ServiceName) -> Option<LinkId> {
        let address = Address::from(service.clone());
        let offers = |hop: &LinkedPeer| {
            hop.node == *node && hop.zone.is_none() && (service.is_reserved() || hop.offers.contains_key(&address))
        };
        self.peers.iter().find(|(_, hop)| offers(hop)).map(|(link, _)| *link)
    }

    /// Returns `true` if only workers serve the service there.
    pub(super) fn is_by_workers(&self, link: LinkId, service: &Address) -> bool {
        self.record(link, service).is_some_and(|record| record.traits.by_workers)
    }

    pub(super) fn is_idempotent(&self, link: LinkId, service: &Address) -> bool {
        self.record(link, service).is_some_and(|record| record.traits.idempotent)
    }

    /// Counts a request that is forwarded to a peer.
    pub(super) fn begin(&mut self, link: LinkId, service: &Address, id: u64) {
        if let Some(hop) = self.peers.get_mut(&link) {
            hop.outstanding.insert(id);
            if let Some(record) = hop.offers.get_mut(service) {
                record.outstanding += 1;
            }
        }
    }

    /// Records the outcome of a request at a peer, and the time that it took.
    pub(super) fn end(&mut self, link: LinkId, service: &Address, id: u64, ending: Outcome, took: Duration, now: Time) {
        let Some(hop) = self.peers.get_mut(&link) else { return };
        hop.outstanding.remove(&id);
        if let Some(record) = hop.offers.get_mut(service) {
            record.outstanding = record.outstanding.saturating_sub(1);
            record.note(ending, took, now);
        }
    }

    /// Draws the next hop among `offering`, without those that were tried.
    pub(super) fn choose(&mut self, service: &Address, offering: &[LinkId], tried: &[LinkId], now: Time) -> Selection {
        let drawn = self.draw_two(offering);
        let usable = |link: LinkId| self.is_usable(link, service, tried, now).then(|| self.cost(link, service, now));
        // The first one drawn wins a tie, so that not all nodes choose the same.
        let best = |links: &[LinkId]| {
            links.iter().filter_map(|&link| Some((usable(link)?, link))).min_by_key(|(cost, _)| *cost)
        };
        if let Some((_, link)) = best(&drawn).or_else(|| best(offering)) {
            return Selection::Peer(link);
        }
        // A paused peer is better than none.
        let fresh = || offering.iter().copied().filter(|link| !tried.contains(link));
        let live = || fresh().filter(|&link| self.get(link).is_some_and(|hop| !hop.is_unresponsive));
        let open = live().filter(|&link| self.has_room(link)).map(|link| (self.cost(link, service, now), link));
        match open.min() {
            Some((_, link)) => Selection::Peer(link),
            None if live().next().is_some() => Selection::Full,
            None if fresh().next().is_some() => Selection::Unresponsive,
            None => Selection::NoPeer,
        }
    }

    pub(super) fn is_unresponsive(&self, link: LinkId) -> bool {
        self.get(link).is_some_and(|hop| hop.is_unresponsive)
    }

    pub(super) fn is_router(&self, link: LinkId) -> bool {
        self.get(link).is_some_and(|hop| hop.is_router)
    }

    /// Returns `true` if a request can be forwarded on this link now.
    pub(super) fn is_open(&self, link: LinkId) -> bool {
        self.has_room(link) && self.get(link).is_some_and(|hop| !hop.is_unresponsive)
    }

    pub(super) fn has_room(&self, link: LinkId) -> bool {
        self.get(link).is_some_and(|hop| hop.outstanding.len() < self.window)
    }

    /// Returns the state of the peers that offer a service.
    pub(super) fn statuses(&self, service: &Address, offering: &[LinkId], now: Time) -> Vec<PeerStatus> {
        let status = |&link| {
            let (hop, record) = (self.get(link)?, self.record(link, service)?);
            Some(PeerStatus {
                node: hop.node.clone(),
                zone: None,
                cost: 0,
                outstanding: record.outstanding,
                latency_us: record.latency_us,
                consecutive_failures: record.consecutive_failures,
                is_unresponsive: hop.is_unresponsive,
                is_full: !self.has_room(link),
                paused_for: record.paused_until.since(now),
                idempotent: record.traits.idempotent,
            })
        };
        offering.iter().filter_map(status).collect()
    }

    fn record(&self, link: LinkId, service: &Address) -> Option<&PeerStats> {
        self.get(link)?.offers.get(service)
    }

    fn is_usable(&self, link: LinkId, service: &Address, tried: &[LinkId], now: Time) -> bool {
        let is_well = self.get(link).is_some_and(|hop| !hop.is_unresponsive);
        let is_paused = self.record(link, service).is_none_or(|record| record.paused_until > now);
        is_well && !is_paused && self.has_room(link) && !tried.contains(&link)
    }

    fn cost(&self, link: LinkId, service: &Address, now: Time) -> u64 {
        let Some(record) = self.record(link, service) else { return u64::MAX };
        let half_lives = now.since(record.measured).as_micros() / HALF_LIFE.as_micros();
        let latency = record.latency_us >> half_lives.min(63);
        latency.max(1).saturating_mul(record.outstanding as u64 + 1)
    }

    /// Draws two different links, unless there is only one.
    fn draw_two(&mut self, links: &[LinkId]) -> [LinkId; 2] {
        let first = self.draw(links.len());
        let second = first + 1 + self.draw(links.len().saturating_sub(1));
        [first, second].map(|index| links.get(index % links.len().max(1)).copied().unwrap_or(LinkId(u64::MAX)))
    }

    /// Draws a number less than `below`. SplitMix64: sufficient to spread requests, and the same for the same seed.
    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (below as u64).max(1)).unwrap_or_default()
    }
}

impl PeerStats {
    fn note(&mut self, ending: Outcome, took: Duration, now: Time) {
        match ending {
            Outcome::Cancelled => {}
            Outcome::Success => {
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                let smoothed = self.latency_us - self.latency_us / 8 + took / 8;
                self.latency_us = smoothed.max(took);
                self.measured = now;
                (self.consecutive_failures, self.pause) = (0, Duration::ZERO);
            }
            Outcome::Failure => {
                self.consecutive_failures += 1;
                if self.consecutive_failures >= TOLERANCE && self.paused_until <= now {
                    self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
                    self.paused_until = now + self.pause;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);
    const MS: Duration = Duration::from_millis(1);

    fn service() -> Address {
        "print".parse().unwrap()
    }

    fn two() -> Balancer {
        let mut hops = Balancer::new(2, 7);
        for (link, name) in [(A, "a"), (B, "b")] {
            hops.add(link, name.parse().unwrap(), None, false);
            hops.offer(link, &service(), Traits::of_plugin(true));
        }
        hops
    }

    fn serve(hops: &mut Balancer, link: LinkId, id: u64, ending: Outcome, took: Duration, now: Time) {
        hops.begin(link, &service(), id);
        hops.end(link, &service(), id, ending, took, now);
    }

    #[test]
    fn the_quicker_peer_is_chosen_and_the_slower_one_is_tried_again_when_its_latency_has_faded() {
        let (mut hops, now) = (two(), Time::ZERO);
        serve(&mut hops, A, 1, Outcome::Success, MS, now);
        serve(&mut hops, B, 2, Outcome::Success, 10 * MS, now);
        let count = |hops: &mut Balancer, now| {
            (0..100).filter(|_| hops.choose(&service(), &[A, B], &[], now) == Selection::Peer(B)).count()
        };
        assert_eq!(count(&mut hops, now), 0);
        let later = now + 60 * Duration::from_secs(1);
        serve(&mut hops, A, 3, Outcome::Success, MS, later);
        assert!(count(&mut hops, later) > 60, "the old latency of B counts little");
    }

    #[test]
    fn all_of_many_peers_are_drawn_and_the_worst_never_wins() {
        let (mut hops, now) = (two(), Time::ZERO);
        let links: Vec<LinkId> = (1..=5).map(LinkId).collect();
        for (link, number) in links.iter().zip(1..) {
            hops.add(*link, format!("n{number}").parse().unwrap(), None, false);
            hops.offer(*link, &service(), Traits::of_plugin(true));
            serve(&mut hops, *link, u64::from(number), Outcome::Success, MS * number, now);
        }
        let chosen: Vec<Selection> = (0..500).map(|_| hops.choose(&service(), &links, &[], now)).collect();
        let share = |link| chosen.iter().filter(|choice| **choice == Selection::Peer(link)).count();
        // The best peer is in four of ten pairs, the next in three of the others, and so on.
        for (link, expected) in links.iter().zip([200, 150, 100, 50, 0_usize]) {
            assert!(share(*link).abs_diff(expected) <= 30, "{link}: {}", share(*link));
        }
    }

    #[test]
    fn a_full_window_is_reported_and_tried_peers_are_left_out() {
        let (mut hops, now) = (two(), Time::ZERO);
        for id in 0..2 {
            hops.begin(A, &service(), id);
        }
        assert_eq!(hops.choose(&service(), &[A, B], &[B], now), Selection::Full);
        assert_eq!(hops.choose(&service(), &[A, B], &[], now), Selection::Peer(B));
        assert_eq!(hops.choose(&service(), &[A, B], &[A, B], now), Selection::NoPeer);
        assert_eq!(hops.choose(&service(), &[], &[], now), Selection::NoPeer);
    }

    #[test]
    fn a_failing_peer_is_paused_for_longer_and_longer_unless_it_is_the_only_one() {
        let (mut hops, mut now) = (two(), Time::ZERO);
        for id in 0..u64::from(TOLERANCE) {
            serve(&mut hops, A, id, Outcome::Failure, MS, now);
        }
        let chosen = |hops: &mut Balancer, now| {
            (0..50).any(|_| hops.choose(&service(), &[A, B], &[], now) == Selection::Peer(A))
        };
        assert!(!chosen(&mut hops, now));
        assert_eq!(hops.choose(&service(), &[A, B], &[B], now), Selection::Peer(A));
        now = now + FIRST;
        assert!(chosen(&mut hops, now), "it is tried again");
        serve(&mut hops, A, 9, Outcome::Failure, MS, now);
        assert!(!chosen(&mut hops, now + FIRST), "one more failure is enough, and counts twice");
        assert!(chosen(&mut hops, now + 2 * FIRST));
    }

    #[test]
    fn an_unresponsive_peer_is_not_chosen_even_if_it_is_the_only_one() {
        let (mut hops, now) = (two(), Time::ZERO);
        assert!(hops.set_unresponsive(A, true) && !hops.set_unresponsive(A, true));
        assert_eq!(hops.choose(&service(), &[A], &[], now), Selection::Unresponsive);
        assert_eq!(hops.choose(&service(), &[A, B], &[], now), Selection::Peer(B));
        assert!(hops.set_unresponsive(A, false));
        assert_eq!(hops.choose(&service(), &[A], &[], now), Selection::Peer(A));
    }
}
