//! Figures as a picture: a row for each contender, with a bar for its p50 with one request outstanding, and one for its
//! requests per second with most outstanding.

use super::contender::Contender;
use super::load::Cell;
use super::report::{median, title};
use std::fmt::Write as _;

const ROW: usize = 22;
const TOP: usize = 52;
const NAMES: f64 = 190.0;
const BAR: f64 = 230.0;
const PANEL: f64 = BAR + 90.0;

/// Draws the SVG of the first cell with one request outstanding, and of the cell with most.
pub(crate) fn draw(contenders: &[Contender], cells: &[Cell], how: &str) -> String {
    let full = || cells.iter().enumerate().filter(|(_, cell)| !cell.is_half);
    let first = full().find(|(_, cell)| cell.outstanding == 1);
    let most =
        full().find(|(_, cell)| cell.outstanding == 64).or_else(|| full().max_by_key(|(_, cell)| cell.outstanding));
    let height = TOP + ROW * contenders.len() + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        NAMES + 2.0 * PANEL
    );
    text(&mut svg, 8.0, 18, &format!("echo, {how}"));
    for (row, contender) in contenders.iter().enumerate() {
        text(&mut svg, 8.0, TOP + row * ROW + 15, &contender.name);
    }
    if let Some((index, cell)) = first {
        let figures: Vec<f64> = contenders.iter().map(|it| median(it, index, |turn| turn.p50 * 1e6)).collect();
        panel(&mut svg, NAMES, &format!("p50 in µs: {}", title(*cell)), contenders, &figures);
    }
    if let Some((index, cell)) = most {
        let figures: Vec<f64> = contenders.iter().map(|it| median(it, index, |turn| turn.rate / 1e3)).collect();
        panel(&mut svg, NAMES + PANEL, &format!("thousand requests/s: {}", title(*cell)), contenders, &figures);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, left: f64, title: &str, contenders: &[Contender], figures: &[f64]) {
    text(svg, left, TOP - 10, title);
    let most = figures.iter().copied().fold(0.0, f64::max);
    for (row, (contender, figure)) in contenders.iter().zip(figures).enumerate().filter(|(_, (_, it))| it.is_finite()) {
        let (width, top) = (BAR * figure / most, TOP + row * ROW);
        let colour = colour(&contender.name);
        let _strings_take_all = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>",
            top + 3,
            ROW - 6
        );
        text(svg, left + width + 4.0, top + 15, &format!("{figure:.1}"));
    }
}

fn colour(name: &str) -> &'static str {
    match name {
        _ if name.contains("bare") => "#9e9e9e",
        _ if ["node", "peer", "zones"].iter().any(|ours| name.starts_with(ours)) => "#1565c0",
        _ => "#ef6c00",
    }
}

/// Contenders' names need no escaping.
fn text(svg: &mut String, x: f64, y: usize, text: &str) {
    let _strings_take_all = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\">{text}</text>");
}
