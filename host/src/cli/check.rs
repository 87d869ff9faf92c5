//! `wasmnode check`: lists every mistake of a configuration.

use super::{Failed, print};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::{Config, LoadConfig};
use wasmnode::keys::Keys;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration; the same as --config FILE
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

/// Checks a configuration: lists its mistakes, or what could be meant differently.
pub(crate) fn check(args: &CheckArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let Some(file) = args.file.as_deref().or(config) else {
        let message = "name the file to check: wasmnode check FILE, or wasmnode check --config FILE";
        return Err(Failed { message: message.into(), exit: 2 });
    };
    let shown = file.display();
    let config = Config::check(file, Keys::mistakes).map_err(|mistakes| match LoadConfig::load(file) {
        Ok(_) => Failed {
            message: format!(
                "{shown}: not a node's configuration, but a traffic plan: wasmnode traffic --config {shown}"
            ),
            exit: 1,
        },
        Err(_) => mistakes.into(),
    })?;
    let (name, zone) = (&config.node.name, &config.node.zone);
    let mut lines: Vec<String> = config.doubts().into_iter().chain(config.unmatched()).collect();
    lines.push(format!("no mistakes; node {name} of zone {zone}"));
    print(&vec![lines.iter().map(|line| format!("{shown}: {line}\n")).collect::<String>().into()])?;
    Ok(ExitCode::SUCCESS)
}
