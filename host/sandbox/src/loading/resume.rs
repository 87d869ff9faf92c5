//! Loading of versions from before a restart, and trials of staged files of `deploy`.

use crate::loading::compile::Attempt;
use crate::loading::content::{Content, digest};
use crate::loading::error::LoadError;
use crate::loading::event::PluginEvent;
use crate::loading::history::Version;
use crate::loading::loader::{Loader, lock, log_admission};
use crate::loading::names::loadable;
use crate::loading::provenance::{FileName, in_folder};
use crate::loading::scanner::Stamp;
use crate::loading::task::Postponed;
use crate::plugin::{Origin, Plugin};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tracing::warn;
use wasmnode_api::GenerationState;
use wasmnode_protocol::text;
use wasmnode_protocol::{Failure, ServiceName};

impl Loader {
    /// Restores the version of a service that served before a restart, when its file is first examined, because that
    /// file may be newer, rolled back, or incomplete. The other versions are restored later.
    ///
    /// # Errors
    /// If the version needs more effort, the node stops, or the attempt is cancelled.
    pub(crate) fn resume(
        &self,
        service: &ServiceName,
        file: &Path,
        content: Option<&(String, Content)>,
        attempt: &Attempt,
    ) -> Result<Option<PluginEvent>, Postponed> {
        let Some(history) = &self.history else { return Ok(None) };
        let Some(record) = history.take(service) else { return Ok(None) };
        let restored = record.serving().map(|serving| self.restore(service, file, serving, content, attempt));
        let plugin = match restored {
            None => None,
            Some(Ok(plugin)) => Some(plugin),
            Some(Err(error)) => match error.postponed() {
                None => {
                    let why = error.to_string();
                    record.serving().into_iter().for_each(|serving| self.lost(service, serving, &why));
                    None
                }
                Some(postponed) => {
                    history.give_back(service, record);
                    return Err(postponed);
                }
            },
        };
        if plugin.is_some() {
            lock(&self.loaded).insert(service.clone(), record.file.clone());
        }
        let others = record.versions.iter().rev().filter(|version| version.state != GenerationState::Serving);
        lock(&self.restores).extend(others.map(|version| (service.clone(), version.clone())));
        Ok(Some(PluginEvent::Resumed(service.clone(), record, plugin.map(Box::new))))
    }

    /// Prepares a version from before a restart, from the file if the file has its bytes, else from the state folder.
    pub(crate) fn restore(
        &self,
        service: &ServiceName,
        file: &Path,
        version: &Version,
        content: Option<&(String, Content)>,
        attempt: &Attempt,
    ) -> Result<Plugin, LoadError> {
        let Version { digest, loaded_at, .. } = version;
        let loaded_at =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*loaded_at)).unwrap_or(SystemTime::now());
        if let Some((_, Content { bytes, signature })) = content.filter(|(found, _)| found == digest)
            && let Ok(verified) = self.admit(&in_folder(file), bytes, digest, signature.clone())
        {
            let signature = signature.clone().and_then(Result::ok);
            let origin = Origin { loaded_at, ..Origin::now(file, digest, bytes.len(), signature) };
            let plugin = self.build(service, bytes, origin, attempt)?;
            log_admission(file, verified.as_deref());
            return Ok(plugin);
        }
        let history = self.history.as_ref().ok_or(LoadError::NothingKept)?;
        let bytes = history.bytes(digest).map_err(LoadError::History)?;
        self.admit(&in_folder(file), &bytes, digest, version.signature.clone().map(Ok))
            .map_err(LoadError::Unverified)?;
        let origin = Origin { loaded_at, ..Origin::now(file, digest, bytes.len(), version.signature.clone()) };
        self.build(service, &bytes, origin, attempt)
    }

    pub(crate) fn lost(&self, service: &ServiceName, version: &Version, why: &str) {
        let why = text::line(why, Failure::MAX_REASON);
        warn!("generation {} of {service} was lost in the restart: {why}", version.number);
    }

    /// Tries a staged file; returns its digest if it can serve.
    ///
    /// # Errors
    /// The reason, if it cannot serve, or if the trial needs more effort.
    pub(crate) fn try_staged(
        &self,
        service: &ServiceName,
        staged: &str,
        called: Option<&str>,
        attempt: &Attempt,
    ) -> Result<String, LoadError> {
        loadable(service).map_err(LoadError::Name)?;
        if !self.is_wanted(service) {
            return Err(LoadError::NotListed(service.clone()));
        }
        let staged = self.folder.join(staged);
        let stamp = Stamp::of(&staged).map_err(|source| LoadError::Staged { file: staged.clone(), source })?;
        let content = self.read_whole(&staged, &stamp).map_err(LoadError::Content)?;
        let (digest, file) = (digest(&content.bytes), self.file_of(service));
        let called = called.map_or_else(|| in_folder(&file), FileName::to_deploy);
        let verified = self.admit(&called, &content.bytes, &digest, content.signature.clone());
        verified.map_err(LoadError::Unverified)?;
        let signature = content.signature.and_then(Result::ok);
        let origin = Origin::now(&file, &digest, content.bytes.len(), signature);
        let plugin = self.build_and_log(service, &content.bytes, origin, attempt)?;
        // A deployed file must serve, even if its bytes were rolled back.
        lock(&self.loaded).retain(|loaded, last| loaded != service || *last != digest);
        *lock(&self.candidate) = Some(plugin);
        lock(&self.deployed).insert(service.clone(), digest.clone());
        Ok(digest)
    }
}
