//! Cost of a request in the core as the node grows: with many services, clients, workers, members, zones, requests that
//! wait, replies that are kept, and large bodies.
//!
//! ```console
//! $ cargo bench -p wasmnode-core                # all of them
//! $ cargo bench -p wasmnode-core -- zones       # one
//! ```
//!
//! A request is received, dispatched and answered, without sockets and plugins. The sizes take turns, so that other
//! load on the machine affects all alike; the figures are medians over the rounds, and in brackets relative to the
//! smallest size. Memory is the increase of the process per entry at the largest size.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod fixture;

use fixture::Fixture;

const ROUNDS: usize = 9;

/// Number of requests per turn.
const REQUESTS: usize = 2_000;

/// A kind of entry, of which a node may have many.
struct Growth {
    name: &'static str,
    sizes: &'static [usize],
    make: fn(usize) -> Fixture,
}

const GROWTHS: [Growth; 8] = [
    Growth { name: "services", sizes: &[1, 10, 100, 1_000, 10_000], make: Fixture::with_services },
    Growth { name: "clients", sizes: &[1, 10, 100, 1_000, 5_000], make: Fixture::with_clients },
    Growth { name: "workers", sizes: &[1, 10, 100, 1_000], make: Fixture::with_workers },
    Growth { name: "members", sizes: &[1, 5, 50, 500], make: Fixture::with_members },
    Growth { name: "zones", sizes: &[1, 10, 100, 1_000, 5_000], make: Fixture::with_zones },
    Growth { name: "waiting", sizes: &[1, 10, 100, 1_000, 10_000, 100_000], make: Fixture::with_waiting },
    Growth { name: "kept replies", sizes: &[1, 10, 100, 1_000, 10_000], make: Fixture::with_kept_replies },
    Growth { name: "bytes of body", sizes: &[64, 1_024, 65_536, 1_048_576], make: Fixture::with_bodies },
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let [name] = &wanted[..] {
        return GROWTHS.iter().filter(|growth| growth.name.contains(name)).for_each(measure);
    }
    println!("nanoseconds per request in the core; medians of {ROUNDS} rounds of {REQUESTS} requests");
    for growth in GROWTHS {
        // One process for each, because memory that one has freed would hide the use of the next.
        let program = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(program).arg(growth.name).status().unwrap().success());
    }
}

fn measure(growth: &Growth) {
    let mut memory = Vec::new();
    let mut fixtures: Vec<Fixture> = Vec::new();
    for &size in growth.sizes {
        let before = resident_bytes();
        fixtures.push((growth.make)(size));
        memory.push(resident_bytes().saturating_sub(before));
    }
    let mut turns = vec![Vec::new(); fixtures.len()];
    for round in 0..=ROUNDS {
        for (fixture, turns) in fixtures.iter_mut().zip(&mut turns) {
            let began = now();
            for _ in 0..REQUESTS {
                fixture.serve_one();
            }
            // The first round warms up.
            if round > 0 {
                turns.push(began.elapsed().as_nanos() / REQUESTS as u128);
            }
        }
    }
    let figures: Vec<u128> = turns.into_iter().map(median).collect();
    println!("\n{}", growth.name);
    for (size, figure) in growth.sizes.iter().zip(&figures) {
        println!("{size:>9} {figure:>8} ns ({:.2})", *figure as f64 / figures[0] as f64);
    }
    let (most, bytes) = (growth.sizes[growth.sizes.len() - 1], memory[memory.len() - 1]);
    if most >= 500 && growth.name != "bytes of body" {
        println!("{:>9} bytes each", bytes / most);
    }
}

#[expect(clippy::disallowed_types, reason = "only the core itself has no clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn median(mut figures: Vec<u128>) -> u128 {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// Returns the resident memory of the process in bytes; 0 where `/proc` is not available.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}
