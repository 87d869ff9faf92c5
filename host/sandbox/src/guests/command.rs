//! WASI commands as plugins: the body is the standard input, and the standard output is the reply.
//!
//! A command has no notion of frames: the frames of a request are joined, and the reply is one frame. A command runs
//! once for each request, in an instance of its own. WASI 0.2 has two exit codes, 0 and 1.

use crate::engine::backtrace;
use crate::guests::http::join;
use crate::host_state::HostState;
use crate::host_state::grants;
use crate::host_state::stdio::Stdio;
use crate::host_state::wasi_context::ServiceContext;
use crate::host_state::wasi_context::WasiContext;
use crate::run::job::{Outcome, Run};
use crate::run::store::{explain, over_reply_limit, store};
use std::sync::Arc;
use tracing::Level;
use wasmnode_protocol::{Code, Failure, Frame};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

/// Serves one request.
pub(crate) async fn serve(context: &Arc<ServiceContext>, command: &CommandPre<HostState>, request: &Run) -> Outcome {
    let limit = context.settings.reply;
    // One byte more than the limit, to detect an excess.
    let stdout = MemoryOutputPipe::new(limit.saturating_add(1));
    let stderr = Stdio::with_tail(Arc::clone(&context.log), Level::WARN);
    let roots = match context.open_folders().await {
        Ok(roots) => roots,
        Err(failure) => return Outcome::failed(failure),
    };
    let wasi = grants::context(&context.settings.grants)
        .stdin(MemoryInputPipe::new(join(&request.body)))
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .args(&[request.service.as_str()])
        .envs(&environment(request))
        .build();
    let wasi_context = WasiContext::new(context, wasi, roots, vec![stderr.clone()]);
    let mut store = store(context, command.engine(), Some(wasi_context), request.id).await;
    store.data_mut().begin(request.id, limit);
    let ran = match command.instantiate_async(&mut store).await {
        Ok(instance) => instance.wasi_cli_run().call_run(&mut store).await,
        Err(error) => Err(error),
    };
    let guest = store.data();
    let (reply_left, sent_partials) = (guest.reply_left(), guest.has_sent_partials());
    let failed = |failure| Outcome { result: Err(failure), sent_partials, backtrace: None };
    let printed = stdout.contents();
    if printed.len() > reply_left {
        // The limit takes precedence over the way in which the command ended after that.
        return failed(over_reply_limit(context));
    }
    let exit = match ran {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => {
                let Failure { code, reason } = explain(context, &error, store.data());
                let failure = Failure::new(code, reason + &introduced("; stderr: ", &stderr.tail()));
                return Outcome { backtrace: backtrace::of(&error), ..failed(failure) };
            }
        },
    };
    if exit != 0 {
        let stderr_end = introduced(": ", &stderr.tail());
        let reason = format!("{} ended with exit code {exit}{stderr_end}", request.service);
        return failed(Failure::new(Code::Failed, reason));
    }
    Outcome { result: Ok(vec![printed]), sent_partials, backtrace: None }
}

/// Returns the end of a command's error output after `introduction`, or nothing if there is none.
fn introduced(introduction: &str, stderr_end: &str) -> String {
    if stderr_end.is_empty() { String::new() } else { format!("{introduction}{stderr_end}") }
}

/// Returns the environment variables that describe the request. The command has none of the node's own.
fn environment(request: &Run) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("WASMNODE_SERVICE", request.service.to_string()),
        ("WASMNODE_REQUEST_ID", request.id.0.to_string()),
        ("WASMNODE_REMAINING_US", request.remaining_us().to_string()),
        ("WASMNODE_CALLER", request.caller.clone()),
    ];
    let text = |frame: &Frame| String::from_utf8_lossy(frame).into_owned();
    variables.extend(request.traceparent.as_ref().map(|trace| ("TRACEPARENT", text(trace))));
    variables.extend(request.idempotency_key.as_ref().map(|key| ("WASMNODE_IDEMPOTENCY_KEY", text(key))));
    variables
}
