//! A router whose neighbours may send anything: its tables keep their limits, no path crosses a zone twice, its updates
//! can be decoded and are in order, and it does not request endless wake-ups at one instant.

use super::reader::Reader;
use super::words::{any_name, any_service, any_traits, any_update, any_zone, label};
use super::{Seen, Watch};
use std::collections::BTreeMap;
use std::time::Duration;
use wasmnode_core::message::path::{self, Hop, RouterId};
use wasmnode_core::paths::{Policy, SessionKind, Speaker};
use wasmnode_core::{LinkId, PathEffect, PathSettings, Paths, Time};

/// The neighbours: two of other zones, one of the own.
const NEIGHBOURS: [(&str, &str); 3] = [("lyon1", "lyon"), ("nice1", "nice"), ("gate2", "paris")];

struct World<'a> {
    watch: &'a mut Watch<'a>,
    paths: Paths,
    settings: PathSettings,
    now: Time,
    /// Number of each neighbour's last update, and of the router's next update to it.
    numbers: BTreeMap<LinkId, (u64, u64)>,
}

pub fn run(input: &[u8]) {
    watch(input, &mut |_, _| {});
}

/// Runs the body, and reports its events.
pub fn watch<'a>(input: &[u8], watch: &'a mut Watch<'a>) {
    let mut input = Reader::new(input);
    let settings = PathSettings { offers: 3, routes_per_neighbour: 4, routes: 6, causes: 4, ..PathSettings::default() };
    let me = Speaker { zone: label("paris"), router: label("gate"), boot: 1 };
    let paths = Paths::new(&me, &settings, 1);
    let mut world = World { watch, paths, settings, now: Time::ZERO, numbers: BTreeMap::new() };
    for link in 0..3 {
        world.session_up(LinkId(link), 1 + link);
    }
    world.settle();
    while !input.is_empty() {
        world.step(&mut input);
        world.settle();
        world.check(&mut input);
    }
}

fn neighbour(link: LinkId) -> RouterId {
    let (name, zone) = NEIGHBOURS[link.0 as usize];
    RouterId { zone: label(zone), router: label(name) }
}

/// Everything is imported from and exported to lyon, and a part from and to nice.
fn policy(link: LinkId) -> Policy {
    match link.0 {
        0 => Policy::everything(),
        _ => Policy { allow: vec!["*".parse().unwrap()], deny: vec!["storage.*@lyon".parse().unwrap()] },
    }
}

impl World<'_> {
    fn step(&mut self, input: &mut Reader<'_>) {
        let (action, link) = (input.below(16), LinkId(input.below(3).into()));
        let now = self.now;
        match action {
            0 => self.paths.session_down(link, now),
            1 => self.session_up(link, input.number()),
            2 => self.paths.offer(&any_service(input), any_traits(input), now),
            3 => self.paths.withdraw(&any_service(input), now),
            4 => self.paths.garbled(link, now),
            5 => self.paths.leave(now),
            6 => self.paths.set_policy(link, Policy::everything(), policy(link), now),
            7 => self.paths.set_policy(link, policy(LinkId(1)), Policy::default(), now),
            8..=10 => {
                const STEPS: [u64; 6] = [1, 2, 100, 10_000, 600_000, 6_000_000];
                self.now = now + Duration::from_millis(*input.pick(&STEPS).unwrap());
            }
            _ => self.receive(link, input),
        }
    }

    fn session_up(&mut self, link: LinkId, epoch: u64) {
        let RouterId { zone, router } = neighbour(link);
        let kind = match link.0 {
            2 => SessionKind::Internal,
            _ => SessionKind::External { cost: 1, import: policy(link), export: policy(link) },
        };
        self.paths.session_up(link, &Speaker { zone, router, boot: 1 }, kind, epoch, self.now);
        // A rejected session leaves an earlier one unchanged.
        let first = self.paths.next_effect();
        if !matches!(first, Some(PathEffect::Refused { .. })) {
            self.numbers.insert(link, (0, 1));
        }
        first.into_iter().for_each(|effect| self.take(effect));
    }

    fn receive(&mut self, link: LinkId, input: &mut Reader<'_>) {
        let (received, _) = self.numbers.entry(link).or_insert((0, 1));
        let number = match input.u8() {
            255 => input.number(),
            254 => *received + 2,
            _ => *received + 1,
        };
        *received = (*received).max(number.min(u64::MAX - 2));
        let update = any_update(&neighbour(link), number, input);
        let update = path::decode(path::encode(&update)).unwrap();
        self.paths.import(link, update, self.now);
    }

    fn settle(&mut self) {
        self.drain();
        let mut rounds = 0;
        while self.paths.next_wake() <= self.now {
            self.paths.wake(self.now);
            self.drain();
            rounds += 1;
            assert!(rounds < 100, "wakes endlessly at {:?}", self.now);
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.paths.next_effect() {
            self.take(effect);
        }
    }

    fn take(&mut self, effect: PathEffect) {
        (self.watch)(self.now, Seen::Path(&effect));
        if let PathEffect::Send { session, update } = effect {
            let (_, next) = self.numbers.get_mut(&session).unwrap();
            assert_eq!(update.number, *next, "on {session}");
            *next += 1;
            assert_eq!(path::decode(path::encode(&update)), Ok(update));
        }
    }

    fn check(&self, input: &mut Reader<'_>) {
        let (sizes, settings) = (self.paths.sizes(), &self.settings);
        assert!(sizes.received <= settings.routes && sizes.causes <= 2 * settings.causes, "{sizes:?}");
        for route in self.paths.routes() {
            assert!(!route.hops.is_empty(), "{route:?}");
            let abroad: Vec<&Hop> = route.path.iter().filter(|hop| hop.at.zone.as_str() != "paris").collect();
            let comes_back = |(place, hop): (usize, &&Hop)| {
                abroad[..place.saturating_sub(1)].iter().any(|before| before.at.zone == hop.at.zone)
            };
            assert!(!abroad.iter().enumerate().any(comes_back), "{route:?}");
            assert_eq!(abroad.last().map(|hop| &hop.at.zone), Some(&route.key.zone), "{route:?}");
        }
        let (zone, service, mut crossed) = (any_zone(input), any_service(input), vec![any_zone(input)]);
        crossed.push(any_name(input));
        let _hops = self.paths.hops_around(&zone, &service, &crossed);
        let _may = self.paths.may_pass(Some(LinkId(0)), &zone, &service);
    }
}
