//! Contenders of a run.

use super::Result;
use super::connection::{Connection, Dialect, Keys, ZeroMq};
use super::load::Turn;
use super::stage;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Opens a connection for requests with this many bytes of body.
type Connect = Box<dyn Fn(usize) -> Result<Box<dyn Connection>>>;

pub(crate) struct Contender {
    pub(crate) name: String,
    /// Processes whose processor time and memory count.
    pub(crate) processes: Vec<u32>,
    pub(crate) connect: Connect,
    /// Set if a connection carries one request at a time.
    pub(crate) is_serial: bool,
    /// Measured turns, by the index of the cell.
    pub(crate) turns: BTreeMap<usize, Vec<Turn>>,
    /// Reasons why cells could not be measured, by the index of the cell.
    pub(crate) failures: BTreeMap<usize, String>,
}

impl Contender {
    pub(crate) fn new(
        name: &str,
        processes: Vec<u32>,
        connect: impl Fn(usize) -> Result<Box<dyn Connection>> + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            processes,
            connect: Box::new(connect),
            is_serial: false,
            turns: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    pub(crate) fn over_zeromq(
        name: &str,
        processes: Vec<u32>,
        (context, endpoint, keys): (&zmq::Context, &str, Option<&Keys>),
        dialect: Dialect,
    ) -> Self {
        let (context, endpoint, keys) = (context.clone(), endpoint.to_owned(), keys.cloned());
        Self::new(name, processes, move |payload| {
            Ok(Box::new(ZeroMq::connect(&context, &endpoint, keys.as_ref(), dialect.clone(), payload)?))
        })
    }
}

/// Names that select the contenders of a run.
pub(crate) struct Wanted(pub(crate) Vec<String>);

impl Wanted {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|part| name.contains(part.as_str()))
    }

    /// Returns `true` if a contender that takes part only on request is selected.
    pub(crate) fn names(&self, name: &str) -> bool {
        !self.0.is_empty() && self.is(name)
    }

    /// Returns the path of a program; prints a line if it is not installed.
    pub(crate) fn find(program: &str) -> Option<PathBuf> {
        let found = stage::find(program);
        if found.is_none() {
            println!("{program} is not installed: left out");
        }
        found
    }
}
