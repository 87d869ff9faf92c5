//! Options of a node that runs, and what it prints for its first user.

use super::Failed;
use clap::Args;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use wasmnode::config::{Config, Endpoint, Overrides};
use wasmnode_core::Label;

/// Options of a command line without a command. They take precedence over the file.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// An endpoint to listen on, instead of node.listen; may be given several times
    #[arg(long, value_name = "ENDPOINT")]
    listen: Vec<Endpoint>,
    /// The folder of plugins, instead of node.plugins
    #[arg(long, value_name = "FOLDER")]
    plugins: Option<PathBuf>,
    /// The node's name, instead of node.name
    #[arg(long, value_name = "NAME")]
    name: Option<Label>,
}

impl NodeArgs {
    /// Returns the settings that the options replace.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { name: self.name.clone(), listen: self.listen.clone(), plugins: self.plugins.clone() }
    }

    /// Checks that no option is given before a command, which would ignore it.
    pub(super) fn reject_beside_command(&self) -> Result<(), Failed> {
        let given = [
            ("--listen", !self.listen.is_empty()),
            ("--plugins", self.plugins.is_some()),
            ("--name", self.name.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => {
                let message = format!("{option} before a command is an option of a node that runs; leave it out");
                Err(Failed { message, exit: 2 })
            }
            None => Ok(()),
        }
    }
}

/// Prints what to type next, for a node without a configuration that serves in a terminal.
pub(crate) fn print_first_steps(config: &Config, endpoints: &[String]) {
    let mut stdout = std::io::stdout();
    if config.source.is_some() || !stdout.is_terminal() {
        return;
    }
    let _stdout_may_be_closed = writeln!(
        stdout,
        "wasmnode {} listens on {}. Next, in another terminal in this folder:\n\n    \
         wasmnode call afficher bonjour     call a service\n    \
         wasmnode services                  list all services\n    \
         wasmnode new hello                 start a service of your own; --lang for other languages than Rust\n\n\
         Ctrl-C stops the node.\n",
        env!("CARGO_PKG_VERSION"),
        endpoints.join(" and "),
    );
}
