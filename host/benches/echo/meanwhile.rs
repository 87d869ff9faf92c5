//! Latency of requests while a plugin compiles, and duration of the compilation under load.

use super::Result;
use super::connection::{Connection, ZeroMq, native};
use super::contender::Wanted;
use super::load::{self, Measured};
use super::nodes;
use super::report;
use super::stage::{self, Stage};
use super::start::{self, drop_in, first_answer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Compiled components: name, and number of functions of about a thousand instructions each. Files of 1 MiB and more
/// are compiled one at a time.
const CODE: [(&str, usize); 3] = [("nothing", 0), ("1 MiB of code", 350), ("4 MiB of code", 1_700)];

/// Duration of the measurement while nothing compiles.
const QUIET: Duration = Duration::from_millis(500);

/// Requests per second of a client that leaves a node mostly idle.
const RATE: f64 = 1_000.0;

/// Outstanding requests of a client that keeps a node busy.
const OUTSTANDING: usize = 64;

struct Row {
    name: String,
    service: &'static str,
    is_paced: bool,
    /// Empty if nothing compiles.
    component: Vec<u8>,
    windows: Vec<Window>,
}

/// Interval from placing a plugin into the folder until its first answer.
struct Window {
    /// Round-trip times of requests to another plugin, in nanoseconds, sorted.
    times: Vec<u64>,
    took: Duration,
    /// Processor time of the node.
    processor: Duration,
}

/// Measures all rows in turns, and prints a table.
pub(crate) fn measure(context: &zmq::Context, wanted: &Wanted, rounds: usize) -> Result<()> {
    let mut stage = Stage::new()?;
    // Requests for a service that compiles may have to wait.
    let settings = "[defaults]\ndeadline = '60s'";
    let config = nodes::prepare(&stage, "node", &["ipc://node.ipc"], nodes::SERVICES, settings)?;
    let node = nodes::launch(&mut stage, &config)?;
    let mut rows = rows(wanted);
    for service in nodes::SERVICES {
        first_answer(context, &stage, service)?;
    }
    for round in 0..rounds {
        for (index, row) in rows.iter_mut().enumerate() {
            // An empty custom section makes the file unique, so that it is in no cache.
            let mut component = row.component.clone();
            component.extend([0, 4, 1, b'n', u8::try_from(round % 256)?, u8::try_from(index)?]);
            let what = || match row.component.len() {
                0 => {
                    std::thread::sleep(QUIET);
                    Ok(QUIET)
                }
                _ => drop_in(context, &stage, &format!("s{round}-{index}"), &component),
            };
            let endpoint = stage.endpoint("node");
            let mut client = ZeroMq::connect(context, &endpoint, None, native(row.service), 64)?;
            let before = stage::processor_time(&[node])?;
            let (Measured { mut times, .. }, took) = during(&mut client, row.is_paced, what)?;
            let processor = stage::processor_time(&[node])?.saturating_sub(before);
            times.sort_unstable();
            row.windows.push(Window { times, took, processor });
        }
    }
    print(&rows, rounds);
    Ok(())
}

fn rows(wanted: &Wanted) -> Vec<Row> {
    let code = CODE
        .map(|(name, functions)| (name, if functions == 0 { Vec::new() } else { start::component(0, functions, 0) }));
    let mut rows = Vec::new();
    for (load, is_paced) in [("1,000/s", true), ("64 outstanding", false)] {
        for service in nodes::SERVICES {
            for (what, component) in &code {
                let name = format!("{service}, {load}, {what}");
                if wanted.is(&name) {
                    rows.push(Row { name, service, is_paced, component: component.clone(), windows: Vec::new() });
                }
            }
        }
    }
    rows
}

/// Sends requests until `act` has returned, and returns its result too.
fn during(
    client: &mut dyn Connection,
    is_paced: bool,
    act: impl FnOnce() -> Result<Duration> + Send,
) -> Result<(Measured, Duration)> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let done = act().map_err(|error| error.to_string());
            is_done.store(true, Ordering::Relaxed);
            done
        });
        let goes_on = |_| !is_done.load(Ordering::Relaxed);
        let measured =
            if is_paced { load::paced(client, RATE, goes_on) } else { load::alone(client, OUTSTANDING, goes_on) };
        let took = thread.join().map_err(|_| "a thread panicked")??;
        Ok((measured?, took))
    })
}

fn print(rows: &[Row], rounds: usize) {
    println!("medians of {rounds} rounds");
    print!("{:<40}", "requests meanwhile");
    ["p50 µs", "p99 µs", "max µs", "requests/s", "took ms", "cores"].iter().for_each(|name| print!(" {name:>11}"));
    println!();
    for row in rows {
        let us = |window: &Window, thousandths: usize| {
            let last = window.times.len() - 1;
            window.times[(window.times.len() * thousandths / 1000).min(last)] as f64 / 1e3
        };
        let median = |figure: &dyn Fn(&Window) -> f64| {
            let mut figures: Vec<f64> = row.windows.iter().map(figure).collect();
            figures.sort_unstable_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let seconds = |window: &Window| window.took.as_secs_f64();
        let figures = [
            median(&|window| us(window, 500)),
            median(&|window| us(window, 990)),
            median(&|window| us(window, 1000)),
            median(&|window| window.times.len() as f64 / seconds(window)),
            median(&|window| seconds(window) * 1e3),
            median(&|window| window.processor.as_secs_f64() / seconds(window)),
        ];
        print!("{:<40}", row.name);
        figures.iter().for_each(|figure| print!(" {:>11}", report::number(*figure)));
        println!();
    }
}
