//! `wasmnode plugins` and `wasmnode deploy`: what serves, and how it gets there.

use super::file::Unfinished;
use super::sign::Signer;
use super::{ANSWER, Failed, To, print, read};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wasmnode::client::{self, Ask, Client};
use wasmnode::config::Config;
use wasmnode::report::{self, PluginReport};
use wasmnode::{GenerationState, PluginStatus, Refusal, signature_of};
use wasmnode_core::{ServiceName, text};

/// How often `deploy` asks whether the node has it.
const ASK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    to: To,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the version before the serving one serve
    Rollback {
        /// The service's name
        service: ServiceName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The component
    file: PathBuf,
    /// The service's name; by default the file's stem
    #[arg(long)]
    name: Option<ServiceName>,
    /// Sign it with this secret key; by default the signature beside the file, FILE.minisig, comes along if there is one
    #[arg(long, value_name = "SECRET")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    to: To,
    /// How long to wait until it serves
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component, or core module
    file: PathBuf,
}

/// Says what a file is, and whether it could serve.
pub(crate) fn inspect(args: &Inspect) -> Result<ExitCode, Failed> {
    let refused = |why: String| {
        let (file, why) = (text::shown(&args.file), text::into_line(why, text::MAX_LINE));
        Failed { message: format!("{file}: {why}"), exit: 1 }
    };
    let bytes = fs::read(&args.file).map_err(|error| refused(error.to_string()))?;
    let inspection = wasmnode::inspect(&bytes).map_err(refused)?;
    print(&vec![inspection.to_string().into()])?;
    Ok(if inspection.can_serve() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists the plugins, or goes back to the version before.
pub(crate) fn plugins(args: &Plugins, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let mut client = args.to.connect(config)?;
    let words = match &args.action {
        Some(Action::Rollback { service }) => vec!["rollback".to_owned(), service.to_string()],
        None => Vec::new(),
    };
    let reply = client.call(Ask::new(report::PLUGINS).body(words).deadline(ANSWER), |_| {})?;
    if args.json || args.action.is_some() {
        print(&reply)?;
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
        if let Some(refused) = &plugin.refused {
            let _writing_to_a_string_succeeds = writeln!(text, "{:<24}    - refused: {}", plugin.service, refused.why);
        }
    }
    text
}

/// Puts a component into the plugin folder at one stroke, and waits until the node serves it.
pub(crate) fn deploy(args: &Deploy, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let node = match config {
        Some(file) => Config::load(file)?,
        None => Config::embedded(),
    };
    let service = match &args.name {
        Some(name) => name.clone(),
        None => service_of(&args.file)?,
    };
    if node.services.as_ref().is_some_and(|wanted| !wanted.contains(&service)) {
        let message =
            format!("node.services does not list {service}, so the node would not load it; add it there first");
        return Err(Failed { message, exit: 1 });
    }
    let target = node.plugins.join(format!("{service}.wasm"));
    let trouble = |what: &Path, error: io::Error| Failed { message: format!("{}: {error}", what.display()), exit: 1 };
    let bytes = fs::read(&args.file).map_err(|error| trouble(&args.file, error))?;
    let signature = signature(args, &bytes)?;
    let mut running = args.to.connect(config)?;
    // What it said of the same bytes before is not what it says of them with another signature.
    let before = ask(&mut running)?.into_iter().flatten().find(|plugin| plugin.service == service.as_str());
    put(&target, &bytes, signature.as_deref()).map_err(|error| trouble(&target, error))?;
    let before = before.and_then(|plugin| plugin.refused);
    let said = wait_until_serving(&mut running, &service, &wasmnode::digest(&bytes), before.as_ref(), args.timeout)?;
    print(&vec![said.into()])?;
    Ok(ExitCode::SUCCESS)
}

/// The signature to put beside the file: a new one, or the one that is there.
fn signature(args: &Deploy, bytes: &[u8]) -> Result<Option<String>, Failed> {
    if let Some(key) = &args.sign_key {
        return Signer::load(key)?.sign(&args.file, bytes).map(Some);
    }
    let beside = signature_of(&args.file);
    match fs::read_to_string(&beside) {
        Ok(signature) => Ok(Some(signature)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failed { message: format!("{}: {error}", beside.display()), exit: 1 }),
    }
}

fn service_of(file: &Path) -> Result<ServiceName, Failed> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| Failed { message: format!("{error}; give the service's name with --name"), exit: 2 })
}

/// Puts a plugin and its signature into place, so soon after one another that a node takes them as one. The signature
/// of another version does not stay.
fn put(target: &Path, bytes: &[u8], signature: Option<&str>) -> io::Result<()> {
    let beside = signature_of(target);
    let plugin = Unfinished::write(target, bytes)?;
    if let Some(signature) = signature {
        Unfinished::write(&beside, signature.as_bytes())?.finish()?;
        return plugin.finish();
    }
    plugin.finish()?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the node says of its plugins; `None` if there is no node.
fn ask(node: &mut Client) -> Result<Option<Vec<PluginReport>>, Failed> {
    match node.call(Ask::new(report::PLUGINS).deadline(ANSWER), |_| {}) {
        Err(client::Error::Unreachable { .. }) => Ok(None),
        reply => read(&reply?).map(Some),
    }
}

/// What the node says now of a file that was put into place, if it says anything. `before` is what it had refused then.
fn verdict(plugin: PluginReport, digest: &str, before: Option<&Refusal>) -> Option<Result<String, Failed>> {
    let is_it =
        |generation: &&PluginStatus| generation.digest == digest && generation.state == GenerationState::Serving;
    if let Some(serving) = plugin.generations.iter().find(is_it) {
        return Some(Ok(format!("generation {} of {} serves\n", serving.generation, plugin.service)));
    }
    let refused = plugin.refused.filter(|refused| refused.digest == digest && Some(refused) != before)?;
    Some(Err(Failed { message: format!("{} is refused: {}", plugin.service, refused.why), exit: 1 }))
}

/// Asks until the node has made up its mind.
fn wait_until_serving(
    node: &mut Client,
    service: &ServiceName,
    digest: &str,
    before: Option<&Refusal>,
    timeout: Duration,
) -> Result<String, Failed> {
    let began = Instant::now();
    loop {
        let Some(plugins) = ask(node)? else {
            return Ok(format!("{service} is in place; no node listens there: it serves from the node's start\n"));
        };
        let plugin = plugins.into_iter().find(|plugin| plugin.service == service.as_str());
        if let Some(verdict) = plugin.and_then(|plugin| verdict(plugin, digest, before)) {
            return verdict;
        }
        if began.elapsed() >= timeout {
            let message =
                format!("{service} is in place, but does not serve after {timeout:?}; the node's log tells why");
            return Err(Failed { message, exit: 4 });
        }
        std::thread::sleep(ASK_AGAIN);
    }
}
