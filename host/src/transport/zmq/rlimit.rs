//! Limit of open connections and files.
//!
//! Systems start programs with a low soft limit, which each program may raise up to the hard limit, for the sake of
//! programs that use `select`; this one uses `poll` and `epoll`. At the soft limit, a thousand idle connections of
//! strangers would take all descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the limit as far as the system allows.
pub(super) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!("cannot raise the limit of open files: {error}");
        }
    }
    match getrlimit(Resource::Nofile).current {
        Some(files) => info!("limit of open connections and files: {files}"),
        None => info!("no limit of open connections and files"),
    }
}
