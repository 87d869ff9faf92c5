//! Figures as text: a table for each cell, then one of all cells for each figure.

use super::contender::Contender;
use super::load::{Cell, Turn};

type Figure = (&'static str, fn(&Turn) -> f64);

const FIGURES: [Figure; 6] = [
    ("p50 µs", |turn| turn.p50 * 1e6),
    ("p99 µs", |turn| turn.p99 * 1e6),
    ("p99.9 µs", |turn| turn.p999 * 1e6),
    ("requests/s", |turn| turn.rate),
    ("CPU µs", |turn| turn.processor * 1e6),
    ("memory MB", |turn| turn.memory / 1e6),
];

/// Indices of the figures that are compared over all cells in one table.
const COMPARED: [usize; 2] = [0, 3];

pub(crate) fn print(contenders: &[Contender], cells: &[Cell]) {
    for (index, cell) in cells.iter().enumerate() {
        print!("\n{:<28}", title(*cell));
        FIGURES.iter().for_each(|(name, _)| print!(" {name:>11}"));
        println!();
        for contender in contenders {
            if contender.turns.contains_key(&index) {
                print!("{:<28}", contender.name);
                FIGURES.iter().for_each(|(_, figure)| print!(" {:>11}", number(median(contender, index, *figure))));
                println!();
            } else if let Some(why) = contender.failures.get(&index) {
                println!("{:<28} failed: {why}", contender.name);
            }
        }
    }
    let all: Vec<(usize, &Cell)> = cells.iter().enumerate().collect();
    for (name, figure) in COMPARED.map(|index| FIGURES[index]) {
        compare(name, contenders.iter(), &all, |contender, cell| number(median(contender, cell, figure)));
    }
}

/// Prints one figure of some contenders in some cells, each with its index among all cells.
fn compare<'a>(
    name: &str,
    contenders: impl Iterator<Item = &'a Contender>,
    cells: &[(usize, &Cell)],
    figure: impl Fn(&Contender, usize) -> String,
) {
    print!("\n{name:<28}");
    cells.iter().for_each(|(_, cell)| print!(" {:>12}", short(**cell)));
    println!();
    for contender in contenders {
        print!("{:<28}", contender.name);
        cells.iter().for_each(|(index, _)| print!(" {:>12}", figure(contender, *index)));
        println!();
    }
}

/// Prints the ratio of the time through other processes to that of bare echoes over each of the same connections in
/// sequence.
pub(crate) fn print_ways(contenders: &[Contender], cells: &[Cell]) {
    let named = |name| contenders.iter().find(|contender| contender.name == name);
    let (Some(ipc), Some(tcp)) = (named("bare ipc"), named("bare tcp")) else { return };
    let ways = contenders.iter().filter(|contender| connections(&contender.name).is_some());
    let lone = cells.iter().enumerate().filter(|(_, cell)| cell.outstanding == 1 && cell.clients == 1);
    let (mut ways, lone) = (ways.peekable(), lone.collect::<Vec<_>>());
    if ways.peek().is_none() || lone.is_empty() {
        return;
    }
    compare("p50 / bare echoes of its path", ways, &lone, |way, cell| {
        let p50 = |contender| median(contender, cell, FIGURES[0].1);
        let bare =
            connections(&way.name).map_or(f64::NAN, |(over_ipc, over_tcp)| over_ipc * p50(ipc) + over_tcp * p50(tcp));
        format!("{:.2}", p50(way) / bare)
    });
}

/// Returns the numbers of ipc and tcp connections on the path of a contender's requests, if there is more than one.
fn connections(contender: &str) -> Option<(f64, f64)> {
    match contender {
        _ if contender.starts_with("peer ipc") => Some((2.0, 0.0)),
        _ if contender.starts_with("zones") => Some((1.0, 3.0)),
        _ => None,
    }
}

pub(crate) fn title(cell: Cell) -> String {
    let Cell { outstanding, clients, .. } = cell;
    if cell.is_half {
        return format!("{}, half of that load", size(cell.payload));
    }
    let clients = if clients == 1 { String::new() } else { format!(" of {clients}") };
    format!("{}, {outstanding} outstanding{clients}", size(cell.payload))
}

/// Payload, outstanding, clients.
fn short(cell: Cell) -> String {
    let load = if cell.is_half { "half".to_owned() } else { format!("{}/{}", cell.outstanding, cell.clients) };
    format!("{} {load}", size(cell.payload))
}

fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

pub(crate) fn number(figure: f64) -> String {
    match figure {
        _ if figure.is_nan() => "-".to_owned(),
        _ if figure < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// Returns the median over the rounds; not a number if there was none.
pub(crate) fn median(contender: &Contender, cell: usize, figure: impl Fn(&Turn) -> f64) -> f64 {
    let turns = contender.turns.get(&cell).map_or(&[][..], Vec::as_slice);
    let mut figures: Vec<f64> = turns.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
