//! Environment variables of a run of seeds: `WASMNODE_SEED` replays one, `WASMNODE_SEEDS` sets their number.

/// Returns the number in a variable, if it is set.
pub(crate) fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
