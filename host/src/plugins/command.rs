//! Any WASI command as a plugin: the body is its standard input, and what it prints is the reply.
//!
//! A command has no notion of frames: those of a request are joined, and the reply is one frame. It runs once for each
//! request, in an instance of its own. WASI 0.2 knows two exit codes, 0 and 1.

use super::backtrace;
use super::grants;
use super::host_state::HostState;
use super::http::join;
use super::plugin::{Job, Outcome, Plugin};
use super::stdio::Stdio;
use super::wasi_context::WasiContext;
use std::sync::Arc;
use tracing::Level;
use wasmnode_core::{Code, Failure, Frame, Run};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

/// Serves one request.
pub(super) async fn serve(plugin: &Plugin, command: &CommandPre<HostState>, job: &Job) -> Outcome {
    let remaining_us = job.remaining_us();
    let request = &job.request;
    let limit = plugin.context.settings.reply;
    // One byte more than allowed, so that too much is told from just enough.
    let stdout = MemoryOutputPipe::new(limit.saturating_add(1));
    let stderr = Stdio::with_tail(Arc::clone(&plugin.context.log), Level::WARN);
    let roots = match plugin.context.open_folders().await {
        Ok(roots) => roots,
        Err(failure) => return Outcome::failed(failure),
    };
    let wasi = grants::context(&plugin.context.settings.grants)
        .stdin(MemoryInputPipe::new(join(&request.body)))
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .args(&[request.service.as_str()])
        .envs(&environment(request, remaining_us))
        .build();
    let outside = WasiContext::new(&plugin.context, wasi, roots, vec![stderr.clone()]);
    let mut store = plugin.store(command.engine(), Some(outside), request.id).await;
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
        // Whatever it died of after that.
        return failed(plugin.over_reply_limit());
    }
    let exit = match ran {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => {
                let Failure { code, reason } = plugin.explain(&error, store.data());
                let failure = Failure::new(code, reason + &behind("; it said: ", &stderr.tail()));
                return Outcome { backtrace: backtrace::of(&error), ..failed(failure) };
            }
        },
    };
    if exit != 0 {
        let said = behind(": ", &stderr.tail());
        let reason = format!("{} ended with exit code {exit}{said}", request.service);
        return failed(Failure::new(Code::Failed, reason));
    }
    Outcome { result: Ok(vec![printed]), sent_partials, backtrace: None }
}

/// What a command said, behind the words that introduce it; nothing if it said nothing.
fn behind(introduction: &str, said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("{introduction}{said}") }
}

/// What the command is told about the request; all else of the node's environment stays the node's.
fn environment(request: &Run, remaining_us: u64) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("WASMNODE_SERVICE", request.service.to_string()),
        ("WASMNODE_REQUEST_ID", request.id.0.to_string()),
        ("WASMNODE_REMAINING_US", remaining_us.to_string()),
        ("WASMNODE_CALLER", request.caller.to_string()),
    ];
    let text = |frame: &Frame| String::from_utf8_lossy(frame).into_owned();
    variables.extend(request.traceparent.as_ref().map(|trace| ("TRACEPARENT", text(trace))));
    variables.extend(request.idempotency_key.as_ref().map(|key| ("WASMNODE_IDEMPOTENCY_KEY", text(key))));
    variables
}
