//! Settings that change while the node runs.

use super::Broker;
use super::deadlines::Terms;
use crate::name::ServiceName;
use crate::settings::RunningSettings;
use crate::time::Time;

impl Broker {
    /// Replaces settings. Requests that are held keep their deadlines; those that wait are served if there is room now.
    pub fn reconfigure(&mut self, settings: RunningSettings, now: Time) {
        settings.apply_to(&mut self.settings);
        let names: Vec<ServiceName> = self.services.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let (own, terms) = (self.settings.of(&name).clone(), Terms::new(&self.settings, &name));
            let entry = self.service(&name);
            (entry.settings, entry.terms) = (own, terms);
            self.advertise(&name);
            self.dispatch(&name, now);
        }
    }
}
