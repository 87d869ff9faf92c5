//! One request in a guest: its input, its deadline, where it runs, and what is logged when it fails.

pub(crate) mod failed_runs;
pub(crate) mod job;
pub(crate) mod placement;
pub(crate) mod quarantine;
pub(crate) mod store;
