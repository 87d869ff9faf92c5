//! Validation of paths from neighbours.

use crate::message::path::{Group, Hop, MAX_HOPS, RouterId};
use crate::name::Label;

/// Largest accepted advance of a boot or epoch over this router's time, in microseconds: a day, for clocks that differ.
pub(super) const AHEAD: u64 = 24 * 60 * 60 * 1_000_000;

/// Checks the path of a group from a neighbour. An error names what is wrong as a noun phrase.
pub(super) fn validate(group: &Group, me: &RouterId, from: &RouterId, latest: u64) -> Result<(), &'static str> {
    let path = &group.path[..];
    let Some((first, rest)) = path.split_first() else { return Err("path that is empty") };
    if path.len() > MAX_HOPS {
        return Err("path that is longer than 32 hops");
    }
    if first.at != *from {
        return Err("path that does not begin with its sender");
    }
    let abroad = if from.zone == me.zone { rest } else { path };
    if abroad.is_empty() {
        return Err("path that ends in the own zone");
    }
    if abroad.iter().any(|hop| hop.at.zone == me.zone) {
        return Err("path that crosses the own zone");
    }
    if crosses_twice(path) {
        return Err("path that crosses a zone twice");
    }
    let (last, before) = path.split_last().unwrap_or((first, &[]));
    if last.epoch != 0 || before.iter().any(|hop| hop.epoch == 0 || hop.epoch > latest) {
        return Err("path that has an epoch out of range");
    }
    if group.boot > latest {
        return Err("path whose origin started in the future");
    }
    if usize::try_from(group.cost).is_ok_and(|cost| cost < zones(path) - 1) {
        return Err("path whose cost is less than that of its links");
    }
    Ok(())
}

/// Returns the number of zones that a path crosses; routers of one zone are adjacent.
pub(super) fn zones(path: &[Hop]) -> usize {
    1 + path.windows(2).filter(|pair| pair[0].at.zone != pair[1].at.zone).count()
}

/// Returns `true` if a path re-enters a zone, has more than two routers of one in a row, or repeats a router.
fn crosses_twice(path: &[Hop]) -> bool {
    let zone = |at: usize| &path[at].at.zone;
    let mut starts: Vec<&Label> = Vec::with_capacity(path.len());
    for at in 0..path.len() {
        if at > 0 && zone(at - 1) == zone(at) {
            if at > 1 && zone(at - 2) == zone(at) || path[at - 1].at == path[at].at {
                return true;
            }
            continue;
        }
        if starts.contains(&zone(at)) {
            return true;
        }
        starts.push(zone(at));
    }
    false
}
