//! The node's own services, besides `mmi.*`.

use super::Driver;
use crate::admin::{self, json};
use wasmnode_api as api;
use wasmnode_core::{Address, Caller, Code, Failure, Input, Run, ServiceName};

/// Returns their names.
pub(super) fn own_services() -> impl Iterator<Item = ServiceName> {
    let names = [api::SERVICES, api::PLUGINS, api::MEMBERS, api::EXPLAIN, api::RELOAD];
    names.into_iter().filter_map(|name| name.parse().ok())
}

impl Driver {
    /// Answers a request for one of them; `None` if the answer follows later, by the event queue.
    pub(super) fn answer_own_service(&mut self, request: &Run) -> Option<Input> {
        let result = match request.service.as_str() {
            api::PLUGINS => return self.plugins_command(request),
            api::RELOAD => match self.request_reload(request) {
                Ok(()) => return None,
                Err(failure) => Err(failure),
            },
            api::MEMBERS => json(&admin::members(&self.node, &self.config.node.zone)),
            api::EXPLAIN => self.explain(request),
            _ => {
                let counters = [self.rejected, self.over_limit];
                json(&admin::services(&self.node, &self.plugins, &self.sockets, counters, self.now()))
            }
        };
        Some(Input::Finished { request: request.id, result: result.map(|text| vec![text.into()]) })
    }

    /// `node.explain`: one frame, the address.
    fn explain(&self, request: &Run) -> Result<String, Failure> {
        let address = request.body.first().map(|frame| Address::from_bytes(frame));
        let rejected = || Failure::new(Code::Rejected, "node.explain takes a service, or SERVICE@NODE");
        json(&admin::explain(&self.node, &address.ok_or_else(rejected)??, self.now()))
    }

    /// Returns `true` if a request comes from an administrator: a client with a key that has `admin`, or by ipc where
    /// no keys are required.
    pub(super) fn is_admin(&self, caller: &Caller) -> bool {
        matches!(caller, Caller::Client(peer) if self.node.is_admin(peer))
    }

    /// Checks that a request comes from an administrator.
    ///
    /// # Errors
    /// Failure 403, with what only an administrator may do.
    pub(super) fn check_admin(&self, caller: &Caller, what: &str) -> Result<(), Failure> {
        if self.is_admin(caller) {
            return Ok(());
        }
        let reason = format!(
            "only a client of this node may {what}, with a key that has `admin`, or by ipc where no keys are required"
        );
        Err(Failure::new(Code::Forbidden, reason))
    }
}
