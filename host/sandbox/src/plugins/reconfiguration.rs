//! Settings of plugins that change while the node runs.

use super::Plugins;
use crate::host_state::fs::{GrantedFolder, UnopenedFolder};
use crate::plugin::Plugin;
use crate::settings::Sandboxes;

impl Plugins {
    /// Replaces the settings of all services. Runs in flight continue with those that they began with.
    pub fn reconfigure(&mut self, sandboxes: &Sandboxes) {
        for (service, versions) in &mut self.services {
            versions.reconfigure(sandboxes.of(service));
        }
        if let Some(loader) = &self.loader {
            loader.reconfigure(sandboxes.clone());
        }
        self.sandboxes = sandboxes.clone();
    }

    /// Returns a plugin that was just loaded, with the settings that may have changed meanwhile.
    pub(super) fn with_current_settings(&self, plugin: Plugin) -> Plugin {
        let settings = self.sandboxes.of(&plugin.context.service);
        if plugin.context.settings == *settings { plugin } else { plugin.with_settings(settings.clone()) }
    }
}

/// Checks that the folders that are granted to services can be opened. Waits for the disks.
///
/// # Errors
/// If a folder cannot be opened.
pub fn check_folders(sandboxes: &Sandboxes) -> Result<(), UnopenedFolder> {
    let all = sandboxes.by_service.values().chain([&sandboxes.defaults]);
    all.flat_map(|settings| &settings.grants.fs).try_for_each(GrantedFolder::check)
}
