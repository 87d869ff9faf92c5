//! Time until a node's first answer, after its start, and after a plugin was placed into its folder.

use super::Result;
use super::connection::{Connection as _, ZeroMq, native};
use super::guests;
use super::nodes::{self, ECHO};
use super::stage::{self, Stage};
use std::fmt::Write as _;
use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

/// Number of measurements of each.
const TIMES: usize = 11;

/// Plugins: name, bytes of data, and number of functions of about a thousand instructions each, besides the echo.
const PLUGINS: [(&str, usize, usize); 5] = [
    ("1 KiB", 0, 0),
    ("1 MiB of data", 1 << 20, 0),
    ("10 MiB of data", 10 << 20, 0),
    ("30 MiB of data", 30 << 20, 0),
    ("1 MiB of code", 0, 350),
];

/// Measures everything, and prints a table.
pub(crate) fn measure(context: &zmq::Context) -> Result<()> {
    println!("{:<40}{:>12}{:>12}{:>12}", "ms, until the first answer", "median", "max", "memory MB");
    starts(context, "start, 1 plugin, compiled before", 1)?;
    starts(context, "start, 1,000 plugins, compiled before", 1_000)?;
    let mut stage = Stage::new()?;
    let config = nodes::prepare(&stage, "node", &["ipc://node.ipc"], &["first"], "")?;
    let node = nodes::launch(&mut stage, &config)?;
    first_answer(context, &stage, "first")?;
    for (name, data, functions) in PLUGINS {
        let (mut compiled, mut cached) = (Vec::new(), Vec::new());
        for time in 0..TIMES {
            let component = component(data, functions, time);
            for (times, again) in [(&mut compiled, "a"), (&mut cached, "b")] {
                let service = format!("s{data}-{functions}-{time}{again}");
                times.push(drop_in(context, &stage, &service, &component)?);
            }
        }
        row(&format!("dropped, {name}"), compiled, node)?;
        row(&format!("dropped, {name}, compiled before"), cached, node)?;
    }
    Ok(())
}

/// Measures a node with this number of plugins, from the start of its process.
fn starts(context: &zmq::Context, name: &str, plugins: usize) -> Result<()> {
    let mut stage = Stage::new()?;
    let services: Vec<String> = (0..plugins).map(|number| format!("s{number}")).collect();
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let config = nodes::prepare(&stage, "node", &["ipc://node.ipc"], &services, "")?;
    // Aged, because a node waits before it reads a file that was just written.
    for file in std::fs::read_dir(stage.folder().join("node"))? {
        File::options().append(true).open(file?.path())?.set_modified(SystemTime::now() - Duration::from_secs(3600))?;
    }
    let last = services.last().ok_or("no plugin")?;
    let (mut times, mut node) = (Vec::new(), 0);
    // The first start compiles, and is not counted.
    for _ in 0..=TIMES {
        stage.stop_last();
        let began = Instant::now();
        node = nodes::launch(&mut stage, &config)?;
        first_answer(context, &stage, last)?;
        times.push(began.elapsed());
    }
    row(name, times.split_off(1), node)
}

/// Calls a service that may not be offered yet.
pub(crate) fn first_answer(context: &zmq::Context, stage: &Stage, service: &str) -> Result<()> {
    let mut client = ZeroMq::connect(context, &stage.endpoint("node"), None, native(service), 64)?;
    client.send(1)?;
    client.receive(true)?;
    Ok(())
}

/// Returns the time from placing a plugin into the folder until its first answer.
pub(crate) fn drop_in(context: &zmq::Context, stage: &Stage, service: &str, component: &[u8]) -> Result<Duration> {
    let file = stage.folder().join(service);
    std::fs::write(&file, component)?;
    let place = stage.folder().join("node").join(format!("{service}.wasm"));
    let began = Instant::now();
    std::fs::rename(&file, &place)?;
    first_answer(context, stage, service)?;
    let took = began.elapsed();
    std::fs::remove_file(place)?;
    Ok(took)
}

/// Returns an echo with extra data and functions; `time` makes it unique.
pub(crate) fn component(data: usize, functions: usize, time: usize) -> Vec<u8> {
    let mut text = String::from(ECHO);
    let _a_string_takes_all = write!(text, "(data \"{time:03}{}\")", "x".repeat(data));
    for _ in 0..functions {
        let body = "(local.set 0 (i64.add (i64.mul (local.get 0) (local.get 0)) (i64.const 7)))".repeat(250);
        let _a_string_takes_all = write!(text, "(func (param i64) (result i64) {body} (local.get 0))");
    }
    guests::component(&text)
}

fn row(name: &str, mut times: Vec<Duration>, node: u32) -> Result<()> {
    times.sort();
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let (median, most) = (ms(times.get(times.len() / 2)), ms(times.last()));
    let memory = stage::memory(&[node])? as f64 / 1e6;
    println!("{name:<40}{median:>12.1}{most:>12.1}{memory:>12.1}");
    Ok(())
}
