//! One request in a guest: what it is given, how long it has, where it runs, and what is said when it fails.

pub(crate) mod failed_runs;
pub(crate) mod job;
pub(crate) mod placement;
pub(crate) mod quarantine;
pub(crate) mod store;
