//! What takes part in a run.

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
    /// The processes whose time and memory count.
    pub(crate) processes: Vec<u32>,
    pub(crate) connect: Connect,
    /// Whether a connection carries one request at a time.
    pub(crate) is_serial: bool,
    /// What was measured, by the cell's place among all.
    pub(crate) turns: BTreeMap<usize, Vec<Turn>>,
    /// Why a cell could not be measured.
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

/// Which contenders a run is about.
pub(crate) struct Wanted(pub(crate) Vec<String>);

impl Wanted {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|part| name.contains(part.as_str()))
    }

    /// The same for what takes part only if it is asked for.
    pub(crate) fn names(&self, name: &str) -> bool {
        !self.0.is_empty() && self.is(name)
    }

    /// Where a program is; says so if it is not installed.
    pub(crate) fn find(program: &str) -> Option<PathBuf> {
        let found = stage::find(program);
        if found.is_none() {
            println!("{program} is not installed: left out");
        }
        found
    }
}
