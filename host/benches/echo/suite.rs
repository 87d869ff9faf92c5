//! The benchmark: arguments, contenders, turns. It is built into two programs: `main.rs` and `../rivals`.

mod bare;
pub(crate) mod connection;
pub(crate) mod contender;
mod direct;
#[path = "../../../tests/guests/mod.rs"]
pub(crate) mod guests;
mod http;
mod load;
mod majordomo;
mod meanwhile;
pub(crate) mod nats;
pub(crate) mod nodes;
mod place;
mod plot;
mod report;
pub(crate) mod stage;
mod start;
mod stream;

use clap::Parser as _;
use contender::{Contender, Wanted};
use load::Cell;
use stage::Stage;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Function that starts the wanted contenders.
pub(crate) type Enter = fn(&mut Stage, &Wanted) -> Result<Vec<Contender>>;

/// Name of a process's role, and the function that plays it at an address.
pub(crate) type Role = (&'static str, fn(&str) -> Result<()>);

/// Largest number of bytes of outstanding requests, because nodes and others have limits.
const MOST_BYTES: usize = 32 << 20;

/// Measures echoes through nodes and their alternatives, in turns.
///
/// Without a choice of payload, outstanding requests or clients, a selection is measured: 64 bytes under all loads,
/// larger bodies with one and with many outstanding. With a choice, all combinations are measured. With 64 outstanding
/// requests of one client, half of that load is measured as well.
#[derive(clap::Parser)]
#[command(name = "cargo bench --", after_help = EXAMPLES)]
struct Arguments {
    /// Only contenders whose name contains one of these; `bare`, `node ipc`, `CURVE`, `fresh`, `NATS`, `1,000 services`
    /// ...
    contenders: Vec<String>,
    /// Keep every process on the first core
    #[arg(long)]
    pinned: bool,
    /// Number of rounds, in each of which every contender has one turn per cell
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Duration of a turn
    #[arg(long, default_value = "250ms", value_parser = humantime::parse_duration)]
    turn: Duration,
    /// Bytes of body
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(8..=8 << 20))]
    payload: Vec<u32>,
    /// Outstanding requests, of all clients together
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: Vec<u32>,
    /// Connections
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=500))]
    clients: Vec<u32>,
    /// Measure only the time until a node's first answer, after its start and after a plugin is dropped in
    #[arg(long)]
    start: bool,
    /// Measure only the latency of requests while a plugin compiles
    #[arg(long, conflicts_with = "start")]
    compiling: bool,
    /// Draw p50 with one request outstanding, and requests per second with most, into this SVG file; a relative path
    /// starts at the project's folder
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Added by Cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const EXAMPLES: &str = "Examples:
  cargo bench                                                  the selection, in some minutes
  cargo bench -- --pinned --plot echo.svg                      every process on one core; with a picture
  cargo bench -- --rounds 10 --outstanding 1,64 bare 'node ipc'
  cargo bench -- --rounds 7 --outstanding 1,64 '1,000 services' 'node ipc, reused' 'node ipc, fresh'
  cargo bench -- --start                                       start and load
  cargo bench -- --compiling --rounds 7                        requests while a plugin compiles
  cargo bench -- --payload 64,1024,65536,1048576 --outstanding 1,8,64,1024 --clients 1,8,100 --turn 1s";

/// Runs the benchmark, or one of its processes, with additional contenders that not every machine can build.
pub(crate) fn run(rivals: &[Enter], roles: &[Role]) -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, role, rest @ ..] = &words[..]
        && flag == "--role"
    {
        return play(role, rest, roles);
    }
    let arguments = Arguments::parse();
    if arguments.pinned {
        stage::pin()?;
    }
    let context = zmq::Context::new();
    if arguments.start {
        return start::measure(&context);
    }
    if arguments.compiling {
        return meanwhile::measure(&context, &Wanted(arguments.contenders), arguments.rounds);
    }
    // Cargo runs benchmarks in the folder of their package. An unwritable file fails before the measurements.
    let plot = arguments.plot.as_ref().map(|file| place::project().join(file));
    if let Some(file) = &plot {
        std::fs::write(file, "").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let cells = cells(&arguments);
    let wanted = Wanted(arguments.contenders);
    let mut stage = Stage::new()?;
    let mut contenders = bare::contenders(&mut stage, &wanted, &context)?;
    contenders.extend(direct::contenders(&mut stage, &wanted, &context)?);
    contenders.extend(nodes::contenders(&mut stage, &wanted, &context)?);
    contenders.extend(majordomo::contenders(&mut stage, &wanted, &context)?);
    contenders.extend(nats::contenders(&mut stage, &wanted)?);
    for enter in rivals {
        contenders.extend(enter(&mut stage, &wanted)?);
    }
    contenders.extend(http::contenders(&mut stage, &wanted)?);
    if contenders.is_empty() {
        return Err("no installed contender has such a name".into());
    }
    for round in 1..=arguments.rounds {
        for (index, cell) in cells.iter().enumerate() {
            println!("round {round} of {}: {}", arguments.rounds, report::title(*cell));
            contenders.iter_mut().for_each(|contender| take_turn(contender, &cells, index, arguments.turn));
        }
    }
    let how = if arguments.pinned { "pinned to one core" } else { "left to the scheduler" };
    println!("medians of {} turns of {:?}, {how}", arguments.rounds, arguments.turn);
    report::print(&contenders, &cells);
    report::print_ways(&contenders, &cells);
    if let Some(file) = plot {
        std::fs::write(file, plot::draw(&contenders, &cells, how))?;
    }
    Ok(())
}

/// Plays a role in a process that this program started.
fn play(role: &str, arguments: &[String], others: &[Role]) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let address = arguments.first().ok_or("a role without an address")?;
    match role {
        "bare" => bare::echo(address, arguments.get(1)),
        "bare-proxy" => bare::proxy(address, arguments.get(1).ok_or("a proxy without a next address")?),
        "direct" => direct::echo(address),
        "majordomo-broker" => majordomo::broker(address),
        "majordomo-worker" => majordomo::work(address),
        "nats-responder" => nats::respond(address),
        _ => match others.iter().find(|(name, _)| *name == role) {
            Some((_, other)) => other(address),
            None => Err(format!("there is no role {role}").into()),
        },
    }
}

fn cells(arguments: &Arguments) -> Vec<Cell> {
    let cell = |payload, outstanding, clients| Cell { payload, outstanding, clients, is_half: false };
    let mut cells = Vec::new();
    if arguments.payload.is_empty() && arguments.outstanding.is_empty() && arguments.clients.is_empty() {
        cells.extend([1, 8, 64, 1024].map(|outstanding| cell(64, outstanding, 1)));
        cells.extend([cell(64, 64, 8), cell(64, 100, 100)]);
        cells.extend([1024, 64 << 10, 1 << 20].map(|payload| cell(payload, 1, 1)));
        cells.extend([cell(1024, 64, 1), cell(64 << 10, 64, 1), cell(1 << 20, 8, 1)]);
    } else {
        let or = |chosen: &[u32], default: usize| {
            let chosen: Vec<usize> = chosen.iter().map(|number| *number as usize).collect();
            if chosen.is_empty() { vec![default] } else { chosen }
        };
        for payload in or(&arguments.payload, 64) {
            for clients in or(&arguments.clients, 1) {
                let outstanding = or(&arguments.outstanding, 1).into_iter().map(|outstanding| outstanding.max(clients));
                cells.extend(outstanding.map(|outstanding| cell(payload, outstanding, clients)));
            }
        }
        cells.dedup();
    }
    cells.retain(|cell| cell.payload * cell.outstanding <= MOST_BYTES);
    let halves: Vec<_> = cells.iter().filter(|cell| cell.outstanding == 64 && cell.clients == 1).copied().collect();
    cells.extend(halves.into_iter().map(|cell| Cell { is_half: true, ..cell }));
    cells
}

/// Measures a cell once. A failure is not retried.
fn take_turn(contender: &mut Contender, cells: &[Cell], index: usize, length: Duration) {
    let cell = cells[index];
    let mut rate = f64::NAN;
    if cell.is_half {
        let full = cells.iter().position(|full| *full == Cell { is_half: false, ..cell });
        let turns = full.and_then(|full| contender.turns.get(&full)).map_or(&[][..], Vec::as_slice);
        let Some(last) = turns.last() else { return };
        rate = last.rate / 2.0;
    }
    if contender.failures.contains_key(&index) || (cell.is_half && contender.is_serial) {
        return;
    }
    match load::turn(contender, cell, length, rate) {
        Ok(turn) => contender.turns.entry(index).or_default().push(turn),
        Err(error) => {
            contender.failures.insert(index, error.to_string());
        }
    }
}
