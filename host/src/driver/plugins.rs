//! Service `node.plugins`: the list of plugins, rollback, and the requests of `deploy`.

use super::Driver;
use crate::admin::json;
use wasmnode_core::{Caller, Code, Failure, Input, RequestId, Run};
use wasmnode_sandbox::RunId;

impl Driver {
    /// Answers a request for `node.plugins`; `None` if the answer follows later, by the event queue.
    ///
    /// A rollback requires an administrator: a client with a key that has `admin`, or by ipc where no keys are
    /// required.
    pub(super) fn plugins_command(&mut self, request: &Run) -> Option<Input> {
        let words: Vec<_> = request.body.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let result = match (&words[..], &request.caller) {
            ([] | [""], _) => {
                self.list_plugins(request.id);
                return None;
            }
            (["folder"], caller) => {
                let is_admin = matches!(caller, Caller::Client(peer) if self.node.is_admin(peer));
                self.plugins.folder(is_admin).and_then(|folder| json(&folder))
            }
            (["try", service, staged, called @ ..], _) if called.len() <= 1 => {
                let called = called.first().copied();
                self.plugins.verdict(service, staged, called).and_then(|verdict| json(&verdict))
            }
            (["rollback", service], Caller::Client(peer)) if self.node.is_admin(peer) => {
                let run = RunId(request.id.0);
                match service.parse().map_err(Failure::from).and_then(|service| self.plugins.roll_back(service, run)) {
                    Ok(()) => return None,
                    Err(failure) => Err(failure),
                }
            }
            (["rollback", _], _) => {
                let reason = "only a client of this node may roll back plugins, with a key that has `admin`, or by ipc \
                              where no keys are required";
                Err(Failure::new(Code::Forbidden, reason))
            }
            _ => {
                let reason = "node.plugins takes no body, or the frames \"rollback\" and NAME, \"folder\", or \"try\", \
                              NAME, the name of a file in that folder, and the path to show in messages";
                Err(Failure::new(Code::Rejected, reason))
            }
        };
        Some(Input::Finished { request: request.id, result: result.map(|text| vec![text.into()]) })
    }

    /// Answers with all plugins, and the files of the folder whose names cannot be those of plugins.
    fn list_plugins(&self, request: RequestId) {
        let (mut all, misnamed, sending) = (self.plugins.reports(), self.plugins.misnamed(), self.sending.clone());
        tokio::spawn(async move {
            all.extend(misnamed.await);
            sending.send(Input::Finished { request, result: json(&all).map(|text| vec![text.into()]) });
        });
    }
}
