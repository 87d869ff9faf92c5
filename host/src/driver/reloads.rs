//! Service `node.reload`, and SIGHUP: the configuration is read again in another thread, and used from here.

use super::Driver;
use crate::admin::json;
use crate::config::Reread;
use crate::reload::{ReloadError, Reloaded, Trigger};
use tracing::{info, warn};
use wasmnode_api::ReloadReport;
use wasmnode_core::{Code, Failure, Input, Run, RunningSettings};

impl Driver {
    /// Has the files read again for a request, which [`Self::reloaded`] answers.
    ///
    /// # Errors
    /// If the caller may not, or too many such requests wait.
    pub(super) fn request_reload(&mut self, request: &Run) -> Result<(), Failure> {
        self.check_admin(&request.caller, "reload its configuration")?;
        self.reload.try_send(Trigger::Request(request.id)).map_err(|_| {
            Failure::new(Code::Overloaded, "the node is reading its configuration already; try again later")
        })
    }

    /// Uses a configuration that was read again, logs what has changed, and answers the request for it, if any.
    pub(super) fn reloaded(&mut self, reloaded: Reloaded) {
        let result = match reloaded.outcome {
            Ok(Some(reread)) => json(&self.reconfigure(*reread)),
            Ok(None) => {
                info!("this node was started without a configuration; there is nothing to reload");
                Err(Failure::new(Code::Rejected, "this node was started without a configuration"))
            }
            Err(error) => {
                let what = match &error {
                    ReloadError::Config(_) => "the configuration has mistakes",
                    ReloadError::Folder(_) => "the configuration cannot be used",
                };
                warn!("{what}, and nothing was changed: {error}");
                Err(Failure::new(Code::Rejected, format!("{what}, and nothing was changed: {error}")))
            }
        };
        if let Trigger::Request(request) = reloaded.trigger {
            self.handle(Input::Finished { request, result: result.map(|text| vec![text.into()]) });
        }
    }

    fn reconfigure(&mut self, reread: Reread) -> ReloadReport {
        let Reread { config, changed, needs_restart } = reread;
        let file = config.source.as_ref().map(|source| source.file().display().to_string()).unwrap_or_default();
        if changed.is_empty() && needs_restart.is_empty() {
            info!("{file} was read again; nothing has changed");
        }
        if !changed.is_empty() {
            config.doubts().iter().for_each(|doubt| warn!("{doubt}"));
            self.config.take_running(config);
            self.plugins.reconfigure(&self.config.sandboxes);
            self.handle(Input::Reconfigure(Box::new(RunningSettings::of(&self.config.node))));
            info!("{file} was read again; changed: {}", changed.join(", "));
        }
        if !needs_restart.is_empty() {
            warn!("{file} has changes that need a restart of the node: {}", needs_restart.join(", "));
        }
        ReloadReport { changed, needs_restart }
    }
}
