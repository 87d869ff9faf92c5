//! Application of file events to the services.

use super::Plugins;
use crate::loading::event::{Loaded, PluginEvent};
use crate::loading::history::{REMOVED_RECORDS, Record};
use crate::loading::versions::{Installed, Versions};
use std::time::Duration;
use tracing::info;
use wasmnode_protocol::ServiceName;

/// Event of a file in the plugin folder, for [`Plugins::apply`].
#[derive(Debug)]
pub struct FolderEvent(pub(crate) PluginEvent);

/// Change of what plugins offer.
#[derive(Debug, PartialEq, Eq)]
pub enum OfferChange {
    /// A plugin has begun to serve this service.
    Offered(ServiceName),
    /// No plugin serves this service.
    Withdrawn(ServiceName),
    /// The quarantine of a service has begun or ended. In quarantine, the service rejects requests, because its plugin
    /// crashed in several consecutive ones.
    Quarantine {
        /// The service.
        service: ServiceName,
        /// Time until the quarantine ends; zero if it has ended.
        lasts: Duration,
    },
}

impl Plugins {
    /// Applies the event of a file; returns the resulting change of what plugins offer.
    #[must_use]
    pub fn apply(&mut self, event: FolderEvent) -> Option<OfferChange> {
        let FolderEvent(news) = event;
        self.note_finished(&news);
        match news {
            PluginEvent::FirstPass(unfinished) => {
                // If the loader restarts after a panic, its second first pass does not count.
                self.unfinished.get_or_insert_with(|| unfinished.into_iter().collect());
                None
            }
            PluginEvent::Loaded(service, Loaded { plugin, is_deployed, claim }) => {
                let plugin = self.with_current_settings(*plugin);
                let generations = self.generations(&service);
                let was_offered = generations.serving().is_some();
                let installed = generations.install(plugin, is_deployed);
                let record = generations.record();
                if let (Some(history), Some(claim)) = (&self.history, claim) {
                    history.record_loaded(&service, record, claim);
                }
                let Installed::As(number) = installed else { return None };
                info!("generation {number} of {service} serves");
                let fit = OfferChange::Quarantine { service: service.clone(), lasts: Duration::ZERO };
                Some(if was_offered { fit } else { OfferChange::Offered(service) })
            }
            PluginEvent::Resumed(service, record, plugin) => {
                let plugin = plugin.map(|plugin| self.with_current_settings(*plugin));
                let generations = Versions::resume(record, plugin);
                let number = generations.serving_number();
                self.services.insert(service.clone(), generations);
                info!("generation {} of {service} serves as before the restart", number?);
                Some(OfferChange::Offered(service))
            }
            PluginEvent::Restored(service, number, plugin) => {
                let plugin = plugin.map(|plugin| self.with_current_settings(*plugin));
                self.services.get_mut(&service)?.restored(number, plugin);
                self.keep_record(&service, None);
                self.resume_rollbacks(&service);
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
            PluginEvent::Unchanged(service) => {
                self.services.get_mut(&service)?.accept();
                None
            }
            PluginEvent::Gone(service) => {
                let generations = self.services.remove(&service)?;
                let offered = generations.serving().is_some();
                self.remember(&service, generations.remove());
                self.resume_rollbacks(&service);
                if offered {
                    info!("no plugin serves {service}: its file was removed; requests in flight continue");
                }
                offered.then_some(OfferChange::Withdrawn(service))
            }
        }
    }

    /// Returns the offer change that a quarantine causes; `None` if the version does not serve.
    #[must_use]
    pub fn quarantine(&self, service: ServiceName, generation: u64, lasts: Duration) -> Option<OfferChange> {
        let serving = self.services.get(&service)?.serving()?;
        (serving.generation() == generation).then_some(OfferChange::Quarantine { service, lasts })
    }

    /// Returns the versions of a service, resumed from the kept record if its file was removed.
    fn generations(&mut self, service: &ServiceName) -> &mut Versions {
        let removed = &mut self.removed;
        self.services.entry(service.clone()).or_insert_with(|| {
            removed.remove(service).map_or_else(Versions::default, |record| Versions::resume(record, None))
        })
    }

    /// Keeps the record of a service whose file was removed, for a limited number of services.
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

    /// Records that an initial file has been tried, if the event is about one.
    fn note_finished(&mut self, news: &PluginEvent) {
        let finished = match news {
            PluginEvent::Loaded(service, _) | PluginEvent::Refused(service, _) => service,
            PluginEvent::Unchanged(service) | PluginEvent::Gone(service) => service,
            PluginEvent::Resumed(..) | PluginEvent::Restored(..) | PluginEvent::Tried(..) => return,
            PluginEvent::FirstPass(_) => return,
        };
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.remove(finished);
        }
    }
}
