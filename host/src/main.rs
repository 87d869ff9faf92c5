//! Entry point: arguments, configuration, command, exit code.

mod cli;
mod loadgen;
mod memory;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;
use wasmnode::config::Config;
use wasmnode::driver;

fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::report_arguments(&error),
    };
    let done = cli.complete().and_then(|()| execute(&cli));
    done.unwrap_or_else(|failed| failed.report())
}

fn execute(cli: &Cli) -> Result<ExitCode, cli::Failed> {
    let config = cli.config.as_deref();
    match &cli.command {
        None => run(cli),
        Some(Command::Call(call)) => cli::call(call, config),
        Some(Command::Services(listing)) => cli::services(listing, config),
        Some(Command::Members(listing)) => cli::members(listing, config),
        Some(Command::Explain(explain)) => cli::explain(explain, config),
        Some(Command::Trace(trace)) => cli::trace(trace, config),
        Some(Command::Plugins(plugins)) => cli::plugins(plugins, config),
        Some(Command::Deploy(deploy)) => cli::deploy(deploy, config),
        Some(Command::Reload(listing)) => cli::reload(listing, config),
        Some(Command::Sign(sign)) => cli::sign(sign),
        Some(Command::New(new)) => cli::new(new),
        Some(Command::Inspect(inspect)) => cli::inspect(inspect, config),
        Some(Command::Traffic(traffic)) => cli::traffic(traffic, config),
        Some(Command::Keygen(keygen)) => cli::keygen(keygen, config),
        Some(Command::Trust(trust)) => cli::trust(trust, config),
        Some(Command::Distrust(distrust)) => cli::distrust(distrust, config),
        Some(Command::Init(init)) => cli::init(init),
        Some(Command::Check(check)) => cli::check(check, config),
        Some(Command::CompileProcess) => Ok(wasmnode_sandbox::compile_process()),
    }
}

fn run(cli: &Cli) -> Result<ExitCode, cli::Failed> {
    memory::return_freed_memory();
    let _logs_until_dropped = cli.start_logging()?;
    let overrides = cli.node.overrides();
    let config = match &cli.config {
        Some(file) => Config::load_with(file, &overrides)?,
        None => Config::embedded_with(&overrides)?,
    };
    driver::run(&config, |endpoints| cli::print_first_steps(&config, endpoints))?;
    Ok(ExitCode::SUCCESS)
}
