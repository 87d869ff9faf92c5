//! The services that have providers or waiting requests, and the zones that routes lead to.

use super::service::Service;
use super::slab_map::SlabMap;
use crate::connection::LinkId;
use crate::message::peer::Traits;
use crate::name::{Address, Label, Location, ServiceName};
use crate::settings::NodeSettings;
use std::collections::BTreeMap;

/// Services by name.
#[derive(Debug)]
pub(super) struct ServiceTable {
    services: SlabMap<ServiceName, Service>,
    /// Other zones that routers lead to, each with the number of its known services.
    zones: BTreeMap<Label, usize>,
}

impl ServiceTable {
    pub(super) fn new() -> Self {
        Self { services: SlabMap::new(), zones: BTreeMap::new() }
    }

    pub(super) fn get(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ServiceName) -> Option<&mut Service> {
        self.services.get_mut(name)
    }

    /// Returns the name of a service in the table, from its text.
    pub(super) fn name(&self, text: &str) -> Option<&ServiceName> {
        self.services.key(text)
    }

    /// Iterates over the services, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceName, &Service)> {
        self.services.iter()
    }

    /// Returns a service, and inserts it if it is not there.
    pub(super) fn entry(&mut self, name: &ServiceName, settings: &NodeSettings) -> &mut Service {
        self.services.get_or_insert_with(name, || Service::new(settings, name))
    }

    /// Removes a service that has no provider, no run and no waiting request.
    pub(super) fn remove_unused(&mut self, name: &ServiceName) {
        if self.get(name).is_some_and(Service::is_forgettable) {
            self.services.remove(name);
        }
    }

    /// Adds a link to a service of this zone or of another, or replaces its traits and its cost. Returns the service,
    /// which is inserted if it is not there.
    pub(super) fn add_link(
        &mut self,
        link: LinkId,
        address: &Address,
        traits: Traits,
        cost: u32,
        settings: &NodeSettings,
    ) -> &Service {
        let name = &address.service;
        let service = self.services.get_or_insert_with(name, || Service::new(settings, name));
        let Location::Named(zone) = &address.location else {
            service.add_peer(link, traits);
            return service;
        };
        if !service.remote_zones.contains_key(zone) {
            *self.zones.entry(zone.clone()).or_default() += 1;
        }
        service.remote_zones.entry(zone.clone()).or_default().put(link, cost, traits.by_workers);
        service
    }

    /// Removes a link to a service.
    pub(super) fn drop_link(&mut self, link: LinkId, address: &Address) {
        let Some(service) = self.services.get_mut(&address.service) else { return };
        if let (true, Location::Named(zone)) = (service.drop_link(link, address), &address.location)
            && let Some(services) = self.zones.get_mut(zone)
        {
            *services -= 1;
            if *services == 0 {
                self.zones.remove(zone);
            }
        }
    }

    /// Iterates over the other zones with known services, by name.
    pub(super) fn zones(&self) -> impl ExactSizeIterator<Item = &Label> {
        self.zones.keys()
    }
}
