//! `wasmnode check`: every mistake of a configuration.

use super::{Failed, print};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::Config;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration; --config FILE says the same
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

/// Checks a configuration.
pub(crate) fn check(args: &Check, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let Some(file) = args.file.as_deref().or(config) else {
        let message = "say which file to check: wasmnode check FILE, or wasmnode check --config FILE";
        return Err(Failed { message: message.into(), exit: 2 });
    };
    let config = Config::check(file)?;
    let summary = format!("{}: no mistakes; node {} of zone {}\n", file.display(), config.node.name, config.node.zone);
    print(&vec![summary.into()])?;
    Ok(ExitCode::SUCCESS)
}
