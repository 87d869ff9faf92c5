//! Suppression of repeated log lines: a rejected client reconnects ten times a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wasmnode_core::text;

/// Time during which a line is not logged again.
const PERIOD: Duration = Duration::from_secs(60);

/// Largest number of different lines that are remembered; beyond it, lines are logged each time.
const LINES: usize = 1_000;

/// Recently logged lines, and how often each was left out since.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<String, (Instant, usize)>);

impl Repeats {
    /// Returns the line to log, or `None` if it was logged lately.
    pub(crate) fn check(&mut self, line: &str, now: Instant) -> Option<String> {
        let is_over = |logged_at: Instant| now.saturating_duration_since(logged_at) >= PERIOD;
        if let Some((logged_at, left_out)) = self.0.get_mut(line) {
            if !is_over(*logged_at) {
                *left_out += 1;
                return None;
            }
            let times = std::mem::take(left_out);
            *logged_at = now;
            return Some(if times > 0 {
                format!("{line} (repeated {} since it was last logged)", text::count(times, "time"))
            } else {
                line.into()
            });
        }
        if self.0.len() >= LINES {
            self.0.retain(|_, (logged_at, _)| !is_over(*logged_at));
        }
        if self.0.len() < LINES {
            self.0.insert(line.into(), (now, 0));
        }
        Some(line.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_a_minute_with_the_number_left_out() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut check = |line, after| repeats.check(line, start + Duration::from_secs(after));
        assert_eq!(check("a", 0), Some("a".into()));
        assert_eq!([check("a", 1), check("a", 59)], [None, None]);
        assert_eq!(check("b", 59), Some("b".into()));
        assert_eq!(check("a", 60), Some("a (repeated 2 times since it was last logged)".into()));
        assert_eq!(check("a", 120), Some("a".into()));
    }

    #[test]
    fn the_number_of_remembered_lines_is_bounded() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for number in 0..2 * LINES {
            assert!(repeats.check(&number.to_string(), start).is_some());
        }
        assert_eq!(repeats.0.len(), LINES);
        assert!(repeats.check("new", start + PERIOD).is_some());
        assert_eq!(repeats.0.len(), 1);
    }
}
