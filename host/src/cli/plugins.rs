//! `wasmnode plugins` and `wasmnode inspect`: plugins of a node, and files that could become one.

use super::names::suggest;
use super::{ANSWER, ConnectArgs, Failed, print, read};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::Config;
use wasmnode_api::{self as api, GenerationState, PluginReport};
use wasmnode_client::Request;
use wasmnode_core::{ServiceName, text};
use wasmnode_files as files;

/// Largest file that is signed, in bytes: the maximum of `limits.plugin`.
pub(super) const FILE_BYTES: u64 = 4 << 30;

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub(super) to: ConnectArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Return to the version before the serving one
    Rollback {
        /// The service's name
        #[arg(value_parser = super::names::service)]
        service: ServiceName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component, or core module
    file: PathBuf,
}

/// Reports what a file is, and whether it could serve.
pub(crate) fn inspect(args: &InspectArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let config = match config {
        Some(file) => Config::load(file)?,
        None => Config::embedded(),
    };
    let refused = |why: String| {
        let (file, why) = (text::shown(&args.file), text::into_line(why, text::MAX_LINE));
        Failed { message: format!("{file}: {why}"), exit: 1 }
    };
    let (bytes, _) = files::read(&args.file, config.plugin_bytes).map_err(|error| refused(error.to_string()))?;
    let inspection =
        wasmnode_sandbox::inspect(&bytes, &config.sandbox()).map_err(|error| refused(error.to_string()))?;
    print(&vec![inspection.to_string().into()])?;
    Ok(if inspection.can_serve() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists the plugins, or returns to the version before.
pub(crate) fn plugins(args: &PluginsArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let mut client = args.to.connect(config)?;
    let words = match &args.action {
        Some(Action::Rollback { service }) => vec!["rollback".to_owned(), service.to_string()],
        None => Vec::new(),
    };
    let reply = client.call(Request::new(api::PLUGINS).body(words).deadline(ANSWER), |_| {});
    let reply = reply.map_err(|error| match &args.action {
        Some(Action::Rollback { service }) => suggest(&mut client, &service.clone().into(), error),
        None => error.into(),
    })?;
    if args.action.is_some() {
        print(&vec![format!("{}\n", text::line_of(&reply.concat(), text::MAX_LINE)).into()])?;
    } else if args.json {
        print(&vec![format!("{}\n", read::<Value>(&reply)?).into()])?;
    } else {
        print(&vec![table(&read::<Vec<PluginReport>>(&reply)?).into()])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(plugins: &[PluginReport]) -> String {
    let mut text = format!(
        "{:<24} {:>4} {:<12} {:<8} {:>10} {:>8} {:<20}\n",
        "SERVICE", "GEN", "STATE", "DIGEST", "REQUESTS", "CRASHES", "LOADED"
    );
    for plugin in plugins {
        for generation in &plugin.generations {
            let state = match generation.state {
                GenerationState::Serving => "serving",
                GenerationState::Previous => "previous",
                GenerationState::RolledBack => "rolled back",
            };
            let _writing_to_a_string_succeeds = writeln!(
                text,
                "{:<24} {:>4} {state:<12} {:<8} {:>10} {:>8} {:<20}",
                plugin.service,
                generation.generation,
                generation.digest.get(..8).unwrap_or("?"),
                generation.requests,
                generation.crashes,
                generation.loaded_at
            );
        }
        let serving = plugin.generations.iter().find(|generation| generation.state == GenerationState::Serving);
        if let Some(ms) = serving.map(|serving| serving.quarantine_ms).filter(|ms| *ms > 0) {
            let _writing_to_a_string_succeeds =
                writeln!(text, "  in quarantine for {ms} ms more: it crashed in its last requests");
        }
        if let Some(refused) = &plugin.refused {
            let _writing_to_a_string_succeeds = writeln!(text, "{:<24}    - refused: {}", plugin.service, refused.why);
        }
    }
    text
}
