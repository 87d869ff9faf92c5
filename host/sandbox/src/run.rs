//! One request in a guest: its input, deadline, placement, and log line when it fails.

pub(crate) mod failed_runs;
pub(crate) mod job;
pub(crate) mod placement;
pub(crate) mod quarantine;
pub(crate) mod store;
