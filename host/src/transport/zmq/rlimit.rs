//! Limit of open connections and files.
//!
//! Systems start programs with a low soft limit, because `select` cannot handle more descriptors; a program may raise
//! it up to the hard limit. This one does, because it uses `poll` and `epoll`, and because a thousand idle connections
//! of strangers would otherwise take all descriptors.

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
