//! Service `node.plugins`: the list of plugins, rollback, and the requests of `deploy`.

use super::Driver;
use crate::admin::json;
use wasmnode_core::{Code, Failure, Input, RequestId, Run};
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
            (["folder"], caller) => self.plugins.folder(self.is_admin(caller)).and_then(|folder| json(&folder)),
            (["try", service, staged, called @ ..], _) if called.len() <= 1 => {
                let called = called.first().copied();
                self.plugins.verdict(service, staged, called).and_then(|verdict| json(&verdict))
            }
            (["rollback", service], caller) => {
                let service = self.check_admin(caller, "roll back plugins").and_then(|()| Ok(service.parse()?));
                match service.and_then(|service| self.plugins.roll_back(service, RunId(request.id.0))) {
                    Ok(()) => return None,
                    Err(failure) => Err(failure),
                }
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
