//! Components of the node's own world (`wit/service.wit`), which take a request as frames and return the frames of the
//! reply.

use crate::calls::RunId;
use crate::engine::backtrace;
use crate::host_state::HostState;
use crate::host_state::bindings::wasmnode::service::types;
use crate::host_state::bindings::{Service, ServicePre};
use crate::host_state::wasi_context::{ServiceContext, WasiContext};
use crate::run::job::{Outcome, Run};
use crate::run::store::{TICKS, explain, over_reply_limit, store};
use crate::settings::Reuse;
use std::sync::{Arc, Mutex, PoisonError};
use wasmnode_protocol::message::size;
use wasmnode_protocol::{Body, Code, Failure, Frame};
use wasmtime::Store;

/// A linked component, and its idle instances.
pub(crate) struct ServiceGuest {
    pre: ServicePre<HostState>,
    /// Idle instances, of a service that reuses instances.
    idle: Mutex<Vec<Instance>>,
}

struct Instance {
    store: Store<HostState>,
    exports: Service,
    served: u32,
}

impl ServiceGuest {
    pub(crate) fn new(pre: ServicePre<HostState>) -> Self {
        Self { pre, idle: Mutex::default() }
    }

    pub(crate) fn without_instances(&self) -> Self {
        Self::new(self.pre.clone())
    }

    /// Serves one request, in an idle or a new instance.
    pub(crate) async fn serve(&self, context: &Arc<ServiceContext>, request: &Run) -> Outcome {
        let mut instance = match self.take_idle() {
            Some(instance) => instance,
            // Boxed, because the future is large and would bloat the common path.
            None => match Box::pin(self.instantiate(context, request.id)).await {
                Ok(instance) => instance,
                Err(outcome) => return outcome,
            },
        };
        instance.store.data_mut().begin(request.id, context.settings.reply);
        instance.store.set_epoch_deadline(TICKS);
        let traceparent = request.traceparent.as_ref().map(|text| String::from_utf8_lossy(text));
        let frames = request.body.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let lowered = lower(request, traceparent.as_deref(), &frames);
        let called = instance.exports.wasmnode_service_handler().call_handle(&mut instance.store, lowered).await;
        let guest = instance.store.data_mut();
        guest.end();
        let sent_partials = guest.has_sent_partials();
        let mut backtrace = None;
        let result = match called {
            Ok(reply) => {
                let result = lift(context, reply, guest);
                self.keep(context, instance);
                result
            }
            Err(error) => {
                backtrace = backtrace::of(&error);
                Err(explain(context, &error, guest))
            }
        };
        Outcome { result, sent_partials, backtrace }
    }

    async fn instantiate(&self, context: &Arc<ServiceContext>, run: RunId) -> Result<Instance, Outcome> {
        // Opened before the guest starts, so that a failure is reported as the reason.
        let wasi_context = if context.settings.grants.fs.is_empty() {
            None
        } else {
            Some(WasiContext::logging(context, context.open_folders().await.map_err(Outcome::failed)?))
        };
        let mut store = store(context, self.pre.engine(), wasi_context, run).await;
        store.data_mut().begin(run, context.settings.reply);
        match self.pre.instantiate_async(&mut store).await {
            Ok(exports) => Ok(Instance { store, exports, served: 0 }),
            Err(error) => {
                let failed = Outcome::failed(explain(context, &error, store.data()));
                Err(Outcome { backtrace: backtrace::of(&error), ..failed })
            }
        }
    }

    fn take_idle(&self) -> Option<Instance> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, context: &ServiceContext, mut instance: Instance) {
        instance.served += 1;
        let is_kept = match context.settings.reuse {
            Reuse::Requests(requests) => instance.served < requests.get(),
            Reuse::Singleton => true,
        };
        if is_kept {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }
}

fn lift(
    context: &ServiceContext,
    reply: Result<types::BodyResult, types::Failure>,
    guest: &HostState,
) -> Result<Body, Failure> {
    let body: Body = match reply {
        Ok(frames) => {
            // One more, for the header of the sent message.
            let mut body = Body::with_capacity(frames.len() + 1);
            body.extend(frames.into_iter().map(Frame::from));
            body
        }
        Err(types::Failure::Rejected(reason)) => return Err(Failure::new(Code::Rejected, reason)),
        Err(types::Failure::Failed(reason)) => return Err(Failure::new(Code::Failed, reason)),
    };
    let (frames, limit) = (body.len(), context.max_frames);
    if frames > limit {
        let reason = format!("a reply of {} has {frames} frames: over limits.frames = {limit}", context.service);
        return Err(Failure::new(Code::TooLarge, reason));
    }
    if size(&body) > guest.reply_left() {
        return Err(over_reply_limit(context));
    }
    Ok(body)
}

/// Borrows a request as a guest receives it, so that it is copied once, into the guest's memory.
fn lower<'a>(request: &'a Run, traceparent: Option<&'a str>, frames: &'a [&'a [u8]]) -> types::Request<'a> {
    types::Request {
        service: request.service.as_str(),
        metadata: types::Metadata {
            request_id: request.id.0,
            remaining_us: request.remaining_us(),
            caller: &request.caller,
            traceparent,
            idempotency_key: request.idempotency_key.as_deref(),
        },
        body: frames,
    }
}
