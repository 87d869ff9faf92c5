//! The source of plugins: the files of the folder, and the built-in plugins that serve while it has none of their name.

use crate::loading::loader::Loader;
use crate::loading::scanner::{Change, Found, Scanner, list};
use crate::loading::task::Task;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::warn;
use wasmnode_protocol::ServiceName;

/// Time for which an initial file newer than [`OLD`] must stay unchanged before it is loaded.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Age from which an initial file is assumed to be complete.
const OLD: Duration = Duration::from_secs(2);

impl Loader {
    /// Lists the files of the folder. A folder that was never there counts as empty if there are built-in plugins.
    pub(crate) fn list(&self) -> io::Result<BTreeMap<PathBuf, Found>> {
        let listed = list(&self.folder);
        match &listed {
            Ok(_) => self.was_read.store(true, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::NotFound && self.may_lack_folder() => return Ok(BTreeMap::new()),
            Err(_) => {}
        }
        listed
    }

    pub(crate) fn may_lack_folder(&self) -> bool {
        !self.settings.built_in.is_empty() && !self.was_read.load(Ordering::Relaxed)
    }

    /// Returns the built-in plugin of a service, if the node is configured to serve it.
    pub(crate) fn built_in(&self, service: &ServiceName) -> Option<&'static [u8]> {
        let built_in = self.settings.built_in.iter().find(|built_in| built_in.service == service.as_str())?;
        self.is_wanted(service).then_some(built_in.bytes)
    }

    pub(crate) fn is_wanted(&self, service: &ServiceName) -> bool {
        self.settings.services.as_ref().is_none_or(|wanted| wanted.contains(service))
    }

    /// Returns the tasks for the initial files that can be expected to be complete.
    pub(crate) fn present(&self, folder: &mut Scanner) -> io::Result<Vec<(ServiceName, Task)>> {
        let mut found = self.list()?;
        if !found.values().flatten().all(is_old) {
            std::thread::sleep(FIRST_PAUSE);
            let again = self.list()?;
            // Files that still change are loaded by later scans.
            found = again.into_iter().filter(|(file, stamp)| found.get(file) == Some(stamp)).collect();
        }
        let closed: BTreeSet<PathBuf> = found.keys().cloned().collect();
        let now = Instant::now();
        folder.scan(&found, &closed, now);
        let changes = folder.scan(&found, &closed, folder.next_scan().unwrap_or(now));
        let found: BTreeSet<PathBuf> = found.into_keys().collect();
        self.warn_of_missing(&found);
        let built_in = self.settings.built_in.iter().map(|built_in| self.file_of(built_in.service));
        let missing = built_in.filter(|file| !found.contains(file)).map(Change::Gone);
        let task = |change: Change| Some((self.concerned(&change)?, Task::Change(change)));
        Ok(changes.into_iter().chain(missing).filter_map(task).collect())
    }

    fn warn_of_missing(&self, found: &BTreeSet<PathBuf>) {
        let path = self.folder.display();
        for name in self.settings.services.iter().flatten() {
            if !found.contains(&self.file_of(name)) {
                warn!("node.services lists {name}, but there is no {name}.wasm in {path}");
            }
        }
        let is_plugin = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
        if self.settings.built_in.is_empty() && !found.iter().any(is_plugin) {
            warn!("there is no plugin in {path} yet; copy one there");
        }
    }
}

fn is_old(stamp: &wasmnode_files::Stamp) -> bool {
    stamp.modified().elapsed().is_ok_and(|age| age >= OLD)
}
