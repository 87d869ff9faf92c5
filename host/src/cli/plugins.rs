//! `wasmnode plugins` and `wasmnode deploy`: what serves, and how it gets there.

use super::{ANSWER, Failed, To, print, read};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wasmnode::GenerationState;
use wasmnode::client::{self, Ask};
use wasmnode::config::Config;
use wasmnode::report::{self, PluginReport};
use wasmnode_core::ServiceName;

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
    let refused = |why: String| Failed { message: format!("{}: {why}", args.file.display()), exit: 1 };
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
    let folder = node.plugins;
    let trouble = |what: &Path, error: io::Error| Failed { message: format!("{}: {error}", what.display()), exit: 1 };
    let bytes = fs::read(&args.file).map_err(|error| trouble(&args.file, error))?;
    put(&folder, &service, &bytes).map_err(|error| trouble(&folder, error))?;
    let said = wait_until_serving(&service, &wasmnode::digest(&bytes), args, config)?;
    print(&vec![said.into()])?;
    Ok(ExitCode::SUCCESS)
}

fn service_of(file: &Path) -> Result<ServiceName, Failed> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| Failed { message: format!("{error}; give the service's name with --name"), exit: 2 })
}

/// Writes beside the final name and moves: a node never sees a part. What is written survives a power failure.
fn put(folder: &Path, service: &ServiceName, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!(".{service}.wasm.{}", std::process::id()));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(format!("{service}.wasm")))?;
        File::open(folder)?.sync_all()
    });
    written.inspect_err(|_| {
        let _it_may_not_exist = fs::remove_file(&unfinished);
    })
}

fn wait_until_serving(
    service: &ServiceName,
    digest: &str,
    args: &Deploy,
    config: Option<&Path>,
) -> Result<String, Failed> {
    let mut client = args.to.connect(config)?;
    let began = Instant::now();
    loop {
        let reply = match client.call(Ask::new(report::PLUGINS).deadline(ANSWER), |_| {}) {
            Err(client::Error::Unreachable { endpoint }) => {
                return Ok(format!(
                    "{service} is in place; no node listens at {endpoint}: it serves from the node's start\n"
                ));
            }
            reply => reply?,
        };
        if let Some(plugin) =
            read::<Vec<PluginReport>>(&reply)?.into_iter().find(|plugin| plugin.service == service.as_str())
        {
            let is_it = |generation: &&wasmnode::PluginStatus| generation.digest == digest;
            if let Some(serving) =
                plugin.generations.iter().find(is_it).filter(|it| it.state == GenerationState::Serving)
            {
                return Ok(format!("generation {} of {service} serves\n", serving.generation));
            }
            if let Some(refused) = plugin.refused.filter(|refused| refused.digest == digest) {
                return Err(Failed { message: format!("{service} is refused: {}", refused.why), exit: 1 });
            }
        }
        if began.elapsed() >= args.timeout {
            let message =
                format!("{service} is in place, but does not serve after {:?}; the node's log tells why", args.timeout);
            return Err(Failed { message, exit: 4 });
        }
        std::thread::sleep(ASK_AGAIN);
    }
}
