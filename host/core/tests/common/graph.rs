//! Families of graphs that join zones.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Random,
    Ring,
    Tree,
    Mesh,
    SmallWorld,
    ScaleFree,
}

impl Family {
    pub(crate) const ALL: [Self; 6] =
        [Self::Random, Self::Ring, Self::Tree, Self::Mesh, Self::SmallWorld, Self::ScaleFree];

    /// Returns the pairs of zones that are joined.
    pub(crate) fn edges(self, zones: usize, rng: &mut fastrand::Rng) -> BTreeSet<(usize, usize)> {
        let mut edges = BTreeSet::new();
        let mut join = |a: usize, b: usize| {
            if a != b {
                edges.insert((a.min(b), a.max(b)));
            }
        };
        match self {
            Self::Ring => (0..zones).for_each(|zone| join(zone, (zone + 1) % zones)),
            Self::Tree => (1..zones).for_each(|zone| join(zone, rng.usize(..zone))),
            Self::Mesh => {
                (0..zones).for_each(|zone| (0..zone).for_each(|other| join(zone, other)));
            }
            Self::Random => {
                // A tree connects all zones; with the further links, there are four per zone.
                (1..zones).for_each(|zone| join(zone, rng.usize(..zone)));
                (0..zones).for_each(|zone| join(zone, rng.usize(..zones)));
            }
            Self::SmallWorld => {
                for zone in 0..zones {
                    join(zone, (zone + 1) % zones);
                    let far = if rng.u8(..10) < 2 { rng.usize(..zones) } else { (zone + 2) % zones };
                    join(zone, far);
                }
            }
            Self::ScaleFree => {
                // Preferential attachment: the ends of links are drawn, not the zones.
                let mut ends = vec![0];
                for zone in 1..zones {
                    for _ in 0..2 {
                        let other = ends[rng.usize(..ends.len())];
                        join(zone, other);
                        ends.extend([zone, other]);
                    }
                }
            }
        }
        edges
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Random => "random",
            Self::Ring => "ring",
            Self::Tree => "tree",
            Self::Mesh => "full mesh",
            Self::SmallWorld => "small world",
            Self::ScaleFree => "scale-free",
        })
    }
}

/// Returns the distance of each zone from one of them in links, if it can be reached.
pub(crate) fn distances(edges: &BTreeSet<(usize, usize)>, zones: usize, from: usize) -> Vec<Option<usize>> {
    let mut neighbours = vec![Vec::new(); zones];
    for &(a, b) in edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut distances = vec![None; zones];
    distances[from] = Some(0);
    let mut queue = VecDeque::from([(from, 0)]);
    while let Some((zone, distance)) = queue.pop_front() {
        for &next in &neighbours[zone] {
            if distances[next].is_none() {
                distances[next] = Some(distance + 1);
                queue.push_back((next, distance + 1));
            }
        }
    }
    distances
}
