//! What the loader makes ready besides new files: versions of the time before a restart, and files that `deploy` wants a
//! verdict on.

use super::content::{Content, Trouble};
use super::folder::Stamp;
use super::history::Version;
use super::instance::{Origin, Plugin};
use super::loader::{Loader, digest, loadable, lock, origin};
use super::{GenerationState, News};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tracing::warn;
use wasmnode_core::{Failure, ServiceName, text};

impl Loader {
    /// Makes a service serve as before a restart, when its file is looked at for the first time: what is in that file may
    /// be newer, rolled back, or not whole. The versions that could serve again are restored later.
    pub(super) fn resume(
        &self,
        service: &ServiceName,
        file: &Path,
        content: Option<&(String, Content)>,
    ) -> Option<News> {
        let record = self.history.as_ref()?.take(service)?;
        let plugin = record.serving().and_then(|serving| {
            let restored = self.restore(service, file, serving, content);
            restored.inspect_err(|why| self.lost(service, serving, why)).ok()
        });
        if plugin.is_some() {
            lock(&self.loaded).insert(service.clone(), record.file.clone());
        }
        let others = record.versions.iter().rev().filter(|version| version.state != GenerationState::Serving);
        lock(&self.restores).extend(others.map(|version| (service.clone(), version.clone())));
        Some(News::Resumed(service.clone(), record, plugin.map(Box::new)))
    }

    /// Makes a version of the time before a restart ready, from the file if that holds it, else from what was kept.
    pub(super) fn restore(
        &self,
        service: &ServiceName,
        file: &Path,
        version: &Version,
        content: Option<&(String, Content)>,
    ) -> Result<Plugin, String> {
        let Version { digest, loaded_at, .. } = version;
        let loaded_at =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*loaded_at)).unwrap_or(SystemTime::now());
        if let Some((_, Content { bytes, signature })) = content.filter(|(found, _)| found == digest)
            && self.admit(file, bytes, digest, signature.clone(), true).is_ok()
        {
            let signature = signature.clone().and_then(Result::ok);
            return self.build(service, bytes, Origin { loaded_at, ..origin(file, digest, bytes.len(), signature) });
        }
        let history = self.history.as_ref().ok_or("nothing was kept")?;
        let bytes = history.bytes(digest)?;
        self.admit(file, &bytes, digest, version.signature.clone().map(Ok), true)?;
        let origin = Origin { loaded_at, ..origin(file, digest, bytes.len(), version.signature.clone()) };
        self.build(service, &bytes, origin)
    }

    pub(super) fn lost(&self, service: &ServiceName, version: &Version, why: &str) {
        let why = text::line(why, Failure::MAX_REASON);
        warn!("generation {} of {service} is lost with the restart: {why}", version.number);
    }

    /// Looks into a file of the plugin folder that is to serve under another name.
    pub(super) fn try_staged(&self, service: &ServiceName, staged: &str) -> Result<String, String> {
        loadable(service)?;
        if self.config.services.as_ref().is_some_and(|wanted| !wanted.contains(service)) {
            return Err(format!("node.services does not list {service}; add it there first"));
        }
        let staged = self.config.plugins.join(staged);
        let stamp = Stamp::of(&staged).map_err(|error| format!("{}: {error}", staged.display()))?;
        let content =
            self.read_whole(&staged, &stamp).map_err(|(Trouble::Lasting(why) | Trouble::Passing(why))| why)?;
        let (digest, file) = (digest(&content.bytes), self.file_of(service));
        self.admit(&file, &content.bytes, &digest, content.signature.clone(), true)?;
        let signature = content.signature.and_then(Result::ok);
        let plugin = self.build(service, &content.bytes, origin(&file, &digest, content.bytes.len(), signature))?;
        // Who asks for a verdict wants it to serve, also if it is the file that was rolled back.
        lock(&self.loaded).retain(|loaded, last| loaded != service || *last != digest);
        *lock(&self.candidate) = Some(plugin);
        Ok(digest)
    }
}
