//! The versions of one plugin: the serving one, and those that a rollback can return to.

use crate::loading::history::{Record, RolledBack, Version};
use crate::plugin::{Origin, Plugin};
use crate::settings::SandboxSettings;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::warn;
use wasmnode_api::{GenerationState, PluginStatus, Refusal};
use wasmnode_protocol::ServiceName;
use wasmnode_protocol::text::shown;

/// Largest number of versions kept, including the serving one; each takes the memory of its compiled code.
const KEPT: usize = 4;

/// Largest number of rolled back digests kept when a service's file is removed; each takes about 100 bytes of the
/// state.
const ROLLED_BACK: usize = 16;

/// All kept versions of one service's plugin.
#[derive(Default)]
pub(crate) struct Versions {
    /// Versions, oldest first.
    kept: Vec<Generation>,
    /// Index of the version that serves; `None` if none does.
    serving: Option<usize>,
    newest: u64,
    /// Digest of the file that was loaded last.
    file: String,
    refused: Option<Refusal>,
    /// Bytes that were rolled back before the file was removed, oldest first; only `deploy` makes them serve again.
    rolled_back: Vec<RolledBack>,
    /// Time when the file was removed, in seconds since 1970, if no version has served since.
    removed_at: Option<u64>,
    /// Rolled back version whose file in the folder was logged, so that it is logged once.
    logged_rollback: Option<u64>,
}

struct Generation {
    /// The version as recorded; its state may be outdated.
    version: Version,
    /// `None` after a restart, until the version has been restored.
    plugin: Option<Arc<Plugin>>,
    is_rolled_back: bool,
}

/// Outcome of installing a version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// The version serves, under this number.
    As(u64),
    /// The serving version has the same bytes.
    Already,
    /// The version was rolled back before the file was removed, and stays so.
    RolledBack,
}

/// Reason why a rollback is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollbackError {
    /// Every version before the serving one was rolled back, or there is none.
    Nothing {
        /// Whether there are rolled back versions.
        are_rolled_back: bool,
    },
    /// The version with this number is still being restored after a restart.
    Restoring(u64),
}

impl Versions {
    /// Resumes the versions from before a restart; `serving` is the version that served, if it could be restored.
    pub(crate) fn resume(record: Record, serving: Option<Plugin>) -> Self {
        let Record { file, newest, versions, rolled_back, removed_at } = record;
        let index = versions.iter().position(|version| version.state == GenerationState::Serving);
        let index = index.filter(|_| serving.is_some());
        let generation = |version: Version| Generation {
            is_rolled_back: version.state == GenerationState::RolledBack,
            plugin: None,
            version,
        };
        let mut kept: Vec<Generation> = versions.into_iter().map(generation).collect();
        let has_fallback = kept.iter().take(index.unwrap_or_default()).any(|before| !before.is_rolled_back);
        if let Some(generation) = index.and_then(|index| kept.get_mut(index)) {
            serving.iter().for_each(|serving| serving.installed(generation.version.number, has_fallback));
            generation.plugin = serving.map(Arc::new);
        } else {
            kept.retain(|generation| generation.version.state != GenerationState::Serving);
        }
        Self { kept, serving: index, newest, file, refused: None, rolled_back, removed_at, logged_rollback: None }
    }

    /// Returns the record with which a restart restores this state; `None` if there was never a version.
    pub(crate) fn record(&self) -> Option<Record> {
        let versions = self.kept.iter().enumerate();
        let versions = versions.map(|(index, kept)| Version { state: self.state(index), ..kept.version.clone() });
        let record = Record {
            file: self.file.clone(),
            newest: self.newest,
            versions: versions.collect(),
            rolled_back: self.rolled_back.clone(),
            removed_at: self.removed_at,
        };
        (self.newest > 0).then_some(record)
    }

    /// Returns the record to keep when the file is removed: the number of the newest version, and the rolled back
    /// bytes.
    pub(crate) fn remove(self) -> Option<Record> {
        let is_rolled_back = |kept: &&Generation| kept.is_rolled_back && !self.serves_again(kept);
        let added = self.kept.iter().filter(is_rolled_back).map(|kept| &kept.version);
        let added = added.map(|version| RolledBack { number: version.number, digest: version.digest.clone() });
        let mut rolled_back: Vec<RolledBack> = self.rolled_back.iter().cloned().chain(added).collect();
        rolled_back.drain(..rolled_back.len().saturating_sub(ROLLED_BACK));
        let removed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let record = Record {
            file: String::new(),
            newest: self.newest,
            versions: Vec::new(),
            rolled_back,
            removed_at: Some(removed_at),
        };
        (self.newest > 0).then_some(record)
    }

    /// Returns `true` if the bytes of a version were installed again later, and have not been rolled back since.
    fn serves_again(&self, before: &Generation) -> bool {
        let mut later = self.kept.iter().filter(|kept| kept.version.number > before.version.number);
        later.any(|kept| kept.version.digest == before.version.digest && !kept.is_rolled_back)
    }

    /// Returns the plugin that serves.
    pub(crate) fn serving(&self) -> Option<&Arc<Plugin>> {
        self.kept.get(self.serving?)?.plugin.as_ref()
    }

    /// Returns the number of the version that serves.
    pub(crate) fn serving_number(&self) -> Option<u64> {
        Some(self.kept.get(self.serving?)?.version.number)
    }

    /// Returns why the newest file does not serve, if it was refused.
    pub(crate) fn refused(&self) -> Option<&Refusal> {
        self.refused.as_ref()
    }

    /// Records that the newest file cannot serve; returns `false` if that was recorded before.
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> bool {
        let is_same = |known: &Refusal| (&known.digest, &known.why) == (&refusal.digest, &refusal.why);
        let is_known = self.refused.as_ref().is_some_and(is_same);
        self.refused = Some(refusal);
        !is_known
    }

    /// Records that the newest file is valid: it has the bytes that were loaded last. If these were rolled back, the
    /// file in the folder does not serve, which is logged once.
    pub(crate) fn accept(&mut self) {
        self.refused = None;
        let is_in_file = |kept: &&Generation| kept.is_rolled_back && kept.version.digest == self.file;
        let kept = self.kept.iter().rfind(is_in_file).map(|kept| kept.version.number);
        let before = || self.rolled_back.iter().rfind(|before| before.digest == self.file).map(|before| before.number);
        let Some(number) = kept.or_else(before) else { return };
        let Some(serving) = self.serving().filter(|serving| serving.digest() != self.file) else { return };
        if self.logged_rollback != Some(number) {
            let serves = self.serving_number().unwrap_or_default();
            let (service, file) = (&serving.context.service, &serving.origin.file);
            warn!("{}", stays_rolled_back(service, file, number, &format!("generation {serves} keeps serving")));
            self.logged_rollback = Some(number);
        }
    }

    /// Records that the newest file has bytes that were rolled back before the file was removed, which is logged once.
    /// If no version serves, this becomes the refusal.
    fn pass_over(&mut self, plugin: &Plugin, number: u64) {
        if self.serving().is_some() {
            return self.accept();
        }
        let (service, file) = (&plugin.context.service, &plugin.origin.file);
        let why = stays_rolled_back(service, file, number, &format!("no plugin serves {service}"));
        if self.logged_rollback != Some(number) {
            warn!("{why}");
            self.logged_rollback = Some(number);
        }
        let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        self.refused = Some(Refusal { digest: self.file.clone(), why, at });
    }

    /// Returns the status of all versions, newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = PluginStatus> {
        self.kept.iter().enumerate().rev().map(|(index, kept)| kept.status(self.state(index)))
    }

    fn state(&self, index: usize) -> GenerationState {
        match self.kept.get(index) {
            _ if self.serving == Some(index) => GenerationState::Serving,
            Some(Generation { is_rolled_back: true, .. }) => GenerationState::RolledBack,
            _ => GenerationState::Previous,
        }
    }

    /// Makes a new version serve, unless it has the bytes of the serving version, or bytes that were rolled back before
    /// the file was removed and are not deployed.
    pub(crate) fn install(&mut self, plugin: Plugin, is_deployed: bool) -> Installed {
        self.refused = None;
        plugin.digest().clone_into(&mut self.file);
        if self.serving().is_some_and(|serving| serving.digest() == plugin.digest()) {
            return Installed::Already;
        }
        if is_deployed {
            self.rolled_back.retain(|before| before.digest != plugin.digest());
        } else if let Some(before) = self.rolled_back.iter().rfind(|before| before.digest == plugin.digest()) {
            let number = before.number;
            self.pass_over(&plugin, number);
            return Installed::RolledBack;
        }
        (self.removed_at, self.logged_rollback) = (None, None);
        if self.kept.len() >= KEPT {
            // The oldest is dropped, unless it serves after a rollback.
            self.kept.remove(usize::from(self.serving == Some(0)));
        }
        self.newest += 1;
        plugin.installed(self.newest, self.kept.iter().any(|kept| !kept.is_rolled_back));
        let version = version_of(&plugin, self.newest);
        self.kept.push(Generation { version, plugin: Some(Arc::new(plugin)), is_rolled_back: false });
        self.serving = Some(self.kept.len() - 1);
        Installed::As(self.newest)
    }

    /// Gives all versions these settings.
    pub(crate) fn reconfigure(&mut self, settings: &SandboxSettings) {
        let serving = self.serving().filter(|serving| serving.context.settings != *settings).is_some();
        for plugin in self.kept.iter_mut().filter_map(|kept| kept.plugin.as_mut()) {
            if plugin.context.settings != *settings {
                *plugin = Arc::new(plugin.with_settings(settings.clone()));
            }
        }
        if let Some(serving) = self.serving().filter(|_| serving) {
            // The crashes are counted anew.
            serving.report_quarantine();
        }
    }

    /// Completes a version from before a restart, or drops it if it is lost.
    pub(crate) fn restored(&mut self, number: u64, plugin: Option<Plugin>) {
        // A version that has its plugin is a later one, which has the number of a version whose file was removed
        // meanwhile.
        let is_it = |kept: &Generation| kept.version.number == number && kept.plugin.is_none();
        let Some(index) = self.kept.iter().position(is_it) else { return };
        let has_fallback = self.kept.iter().take(index).any(|before| !before.is_rolled_back);
        match (plugin, self.kept.get_mut(index)) {
            (Some(plugin), Some(kept)) => {
                plugin.installed(number, has_fallback);
                kept.plugin = Some(Arc::new(plugin));
            }
            _ => {
                self.kept.remove(index);
                self.serving = self.serving.map(|serving| serving - usize::from(index < serving));
            }
        }
    }

    /// Rolls back to the version before the serving one, skipping those that were rolled back earlier. Returns the
    /// numbers of both, from and to.
    pub(crate) fn roll_back(&mut self) -> Result<(u64, u64), RollbackError> {
        let nothing = RollbackError::Nothing { are_rolled_back: self.kept.iter().any(|kept| kept.is_rolled_back) };
        let serving = self.serving.ok_or(nothing)?;
        let before = self.kept.get(..serving).unwrap_or_default();
        let previous = before.iter().rposition(|kept| !kept.is_rolled_back).ok_or(nothing)?;
        let to = self.kept.get(previous).ok_or(nothing)?;
        let number = to.version.number;
        if to.plugin.is_none() {
            return Err(RollbackError::Restoring(number));
        }
        let from = self.kept.get_mut(serving).ok_or(nothing)?;
        from.is_rolled_back = true;
        let from = from.version.number;
        self.serving = Some(previous);
        // The version may be in quarantine.
        self.serving().into_iter().for_each(|serving| serving.report_quarantine());
        Ok((from, number))
    }
}

impl Generation {
    fn status(&self, state: GenerationState) -> PluginStatus {
        let version = &self.version;
        match &self.plugin {
            Some(plugin) => plugin.status(version.number, state),
            None => PluginStatus {
                generation: version.number,
                state,
                file: String::new(),
                digest: version.digest.clone(),
                bytes: version.bytes,
                loaded_at: rfc3339(version.loaded_at),
                requests: 0,
                crashes: 0,
                quarantine_ms: 0,
                mean_us: 0,
                log_lines_dropped: 0,
            },
        }
    }
}

/// Returns the record of a plugin that begins to serve under this number.
fn version_of(plugin: &Plugin, number: u64) -> Version {
    let Origin { digest, bytes, signature, loaded_at, .. } = &plugin.origin;
    let (digest, signature) = (digest.clone(), signature.clone());
    let loaded_at = loaded_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Version { number, state: GenerationState::Serving, digest, bytes: *bytes, signature, loaded_at }
}

/// Returns the message for a file whose bytes were rolled back: the consequence and the remedy.
fn stays_rolled_back(service: &ServiceName, file: &Path, number: u64, consequence: &str) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    format!(
        "{service}.wasm is generation {number} of {service}, which was rolled back: {consequence}; to serve the file: \
         wasmnode deploy {}",
        shown(&file)
    )
}

fn rfc3339(seconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}
