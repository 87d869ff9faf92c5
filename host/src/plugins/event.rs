//! What the threads that load files tell the driver, and what follows from it for the services.

use super::history::{Claim, REMOVED_RECORDS, Record};
use super::plugin::Plugin;
use super::versions::Installed;
use super::{Plugins, Refusal, Verdict, Versions};
use std::fmt;
use std::time::Duration;
use tracing::info;
use wasmnode_core::{Input, ServiceName};

/// What happened to the file of a service.
pub(crate) enum PluginEvent {
    /// It is ready to serve.
    Loaded(ServiceName, Loaded),
    /// It served before a restart, in these versions; the plugin is the one that served, if it could be restored.
    Resumed(ServiceName, Record, Option<Box<Plugin>>),
    /// A version of the time before a restart, by its number, is ready, or is lost.
    Restored(ServiceName, u64, Option<Box<Plugin>>),
    /// What is thought of a staged file.
    Tried(String, Verdict),
    /// It cannot serve, and why.
    Refused(ServiceName, Refusal),
    /// It is in order, and holds what it held before.
    Unchanged(ServiceName),
    /// It is no longer there.
    Gone(ServiceName),
    /// All files that were there at the start have been tried; those of these services take longer.
    FirstPass(Vec<ServiceName>),
    /// One of its versions refuses requests for so long, because it crashed in every one; zero if it does so no more.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// Which version.
        generation: u64,
        /// How long.
        lasts: Duration,
    },
}

/// A file that is ready to serve.
pub(crate) struct Loaded {
    pub(super) plugin: Box<Plugin>,
    /// Whether `deploy` asked for it: then it serves also if it was rolled back.
    pub(super) is_deployed: bool,
    /// Keeps its bytes until a record names them.
    pub(super) claim: Option<Claim>,
}

impl fmt::Debug for PluginEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded(service, loaded) => write!(f, "Loaded({service}, {})", loaded.plugin.digest()),
            Self::Resumed(service, _, plugin) => write!(f, "Resumed({service}, {})", plugin.is_some()),
            Self::Restored(service, number, plugin) => write!(f, "Restored({service}, {number}, {})", plugin.is_some()),
            Self::Tried(staged, verdict) => write!(f, "Tried({staged}, {verdict:?})"),
            Self::Refused(service, refusal) => write!(f, "Refused({service}, {})", refusal.why),
            Self::Unchanged(service) => write!(f, "Unchanged({service})"),
            Self::Gone(service) => write!(f, "Gone({service})"),
            Self::FirstPass(unfinished) => write!(f, "FirstPass({unfinished:?})"),
            Self::Quarantine { service, generation, lasts } => {
                write!(f, "Quarantine({service}, {generation}, {lasts:?})")
            }
        }
    }
}

impl Plugins {
    /// Takes note of what happened to a file; returns what the core has to know of it.
    pub(crate) fn apply(&mut self, news: PluginEvent) -> Option<Input> {
        self.note_finished(&news);
        match news {
            PluginEvent::FirstPass(unfinished) => {
                // What a loader that began anew finds is not the start.
                self.unfinished.get_or_insert_with(|| unfinished.into_iter().collect());
                None
            }
            PluginEvent::Loaded(service, Loaded { plugin, is_deployed, claim }) => {
                let generations = self.generations(&service);
                let was_offered = generations.serving().is_some();
                let installed = generations.install(*plugin, is_deployed);
                let record = generations.record();
                if let (Some(history), Some(claim)) = (&self.history, claim) {
                    history.record_loaded(&service, record, claim);
                }
                let Installed::As(number) = installed else { return None };
                info!("generation {number} of {service} serves from now on");
                let fit = Input::Quarantine { service: service.clone(), lasts: Duration::ZERO };
                Some(if was_offered { fit } else { Input::Offered(service) })
            }
            PluginEvent::Resumed(service, record, plugin) => {
                let generations = Versions::resume(record, plugin.map(|plugin| *plugin));
                let number = generations.serving_number();
                self.services.insert(service.clone(), generations);
                info!("generation {} of {service} serves as before the restart", number?);
                Some(Input::Offered(service))
            }
            PluginEvent::Restored(service, number, plugin) => {
                self.services.get_mut(&service)?.restored(number, plugin.map(|plugin| *plugin));
                self.keep_record(&service, None);
                self.go_on_stepping_back(&service);
                None
            }
            PluginEvent::Tried(staged, verdict) => {
                self.trials.settle(&staged, verdict);
                None
            }
            PluginEvent::Refused(service, refusal) => {
                let is_new = self.generations(&service).refuse(refusal);
                self.refused += u64::from(is_new);
                None
            }
            PluginEvent::Quarantine { service, generation, lasts } => {
                let serving = self.services.get(&service)?.serving()?;
                (serving.generation() == generation).then_some(Input::Quarantine { service, lasts })
            }
            PluginEvent::Unchanged(service) => {
                self.services.get_mut(&service)?.accept();
                None
            }
            PluginEvent::Gone(service) => {
                let generations = self.services.remove(&service)?;
                let offered = generations.serving().is_some();
                self.remember(&service, generations.remove());
                self.go_on_stepping_back(&service);
                if offered {
                    info!("{service} is no longer served by a plugin: its file is gone; requests in flight go on");
                }
                offered.then_some(Input::Withdrawn(service))
            }
        }
    }

    /// The versions of a service; of one whose file was removed, what is kept of them.
    fn generations(&mut self, service: &ServiceName) -> &mut Versions {
        let removed = &mut self.removed;
        self.services.entry(service.clone()).or_insert_with(|| {
            removed.remove(service).map_or_else(Versions::default, |record| Versions::resume(record, None))
        })
    }

    /// Keeps what outlives the removal of a service's file, of a limited number of services.
    fn remember(&mut self, service: &ServiceName, record: Option<Record>) {
        if let Some(history) = &self.history {
            history.record(service, record.clone(), None);
        }
        let Some(record) = record else { return };
        self.removed.insert(service.clone(), record);
        if self.removed.len() > REMOVED_RECORDS {
            let oldest = self.removed.iter().min_by_key(|(_, record)| record.removed_at);
            let oldest = oldest.map(|(service, _)| service.clone());
            oldest.into_iter().for_each(|oldest| drop(self.removed.remove(&oldest)));
        }
    }

    /// A file that was there at the start has been compiled, if the news is of one.
    fn note_finished(&mut self, news: &PluginEvent) {
        let finished = match news {
            PluginEvent::Loaded(service, _) | PluginEvent::Refused(service, _) => service,
            PluginEvent::Unchanged(service) | PluginEvent::Gone(service) => service,
            PluginEvent::Resumed(..) | PluginEvent::Restored(..) | PluginEvent::Tried(..) => return,
            PluginEvent::FirstPass(_) | PluginEvent::Quarantine { .. } => return,
        };
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.remove(finished);
        }
    }
}
