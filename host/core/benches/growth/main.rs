//! What a request costs the core as the node grows: with many services, clients, workers, members, zones, requests that
//! wait, replies that are kept, and large bodies.
//!
//! ```console
//! $ cargo bench -p wasmnode-core                # all of them
//! $ cargo bench -p wasmnode-core -- zones       # one
//! ```
//!
//! A request is asked, decided on and answered, without sockets and plugins. The sizes of one thing take turns, so that
//! whatever else the machine does hits all alike; the figures are medians over the rounds. In brackets: against the
//! smallest. Memory is what the process has more of for each further one, from the smallest to the largest.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod fixture;

use fixture::Fixture;

const ROUNDS: usize = 9;

/// Requests of one turn.
const REQUESTS: usize = 2_000;

/// One thing that there may be many of.
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
        // A process for each: what one has given back would hide what the next one takes.
        let itself = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(itself).arg(growth.name).status().unwrap().success());
    }
}

fn measure(growth: &Growth) {
    let mut memory = Vec::new();
    let mut stations: Vec<Fixture> = Vec::new();
    for &size in growth.sizes {
        let before = resident_bytes();
        stations.push((growth.make)(size));
        memory.push(resident_bytes().saturating_sub(before));
    }
    let mut turns = vec![Vec::new(); stations.len()];
    for round in 0..=ROUNDS {
        for (station, turns) in stations.iter_mut().zip(&mut turns) {
            let began = now();
            for _ in 0..REQUESTS {
                station.ask();
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

/// What the process has in memory; 0 where `/proc` does not tell.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}
