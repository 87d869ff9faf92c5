//! Changes in the folder of keys, without a restart.

use super::{Keys, trusted};
use crate::mailbox::{Mail, Sending};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tracing::warn;

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// What tells one state of the folder from another without reading the files.
type State = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Looks after the folder for as long as the node runs: sends what changed, or says why the keys stay as they were.
///
/// To be called within the runtime.
pub(crate) fn watch(folder: &Path, tell: Sending) {
    let folder = folder.to_owned();
    let mut known = state(&folder);
    tokio::spawn(async move {
        let mut period = tokio::time::interval(PERIOD);
        loop {
            period.tick().await;
            let found = state(&folder);
            if found == known {
                continue;
            }
            match Keys::load(&folder) {
                Ok(keys) => tell.send(Mail::Keys(keys)),
                Err(error) => warn!("the keys stay as they were, for they cannot be read anew: {error}"),
            }
            known = found;
        }
    });
}

fn state(folder: &Path) -> State {
    let trusted = trusted::files(folder).unwrap_or_default();
    let files = trusted.into_iter().map(|(_, file)| file).chain([super::own_file(folder)]);
    let stamp = |file: &Path| std::fs::metadata(file).and_then(|found| Ok((found.modified()?, found.len()))).ok();
    files.map(|file| (file.clone(), stamp(&file))).collect()
}
