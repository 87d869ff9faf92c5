//! `wasmnode keygen`, `trust` and `distrust`: who may connect, and as what.

use super::{Failed, print};
use clap::{Args, ValueEnum, value_parser};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::{Config, parse_size};
use wasmnode::keys::{self, BYTES_PER_SECOND, Credential, KeyError, OUTSTANDING, REQUESTS_PER_SECOND, Trusted};
use wasmnode_client::Key;
use wasmnode_core::{Grant, Label, Pattern, Quota, Role};

pub(crate) const KEYS: &str = "\
Examples:
  wasmnode keygen                                        make this machine's keys, in keys/; prints the public one
  wasmnode trust node2 'KEY' --role peer                 let node2 of this zone in, which printed KEY
  wasmnode trust lyon1 'KEY' --role router --zone lyon   link with the router lyon1 of zone lyon
  wasmnode trust shop 'KEY' --allow print,storage.*      let a client in, which may call these services
  wasmnode trust lab 'KEY' --work resize                 let a client in that may also serve resize as a worker
  wasmnode trust backup --uid 1001 --allow storage.*     let a user of this machine in, by ipc
  wasmnode distrust shop                                 end that; its connections end within a second

A running node takes the change up by itself. Keys are files in the folder, keys/trusted/NAME.toml; edit them if you like.";

/// The folder of keys, if nothing else is said.
pub(super) const DEFAULT_KEYS: &str = "keys";

/// The folder of keys.
#[derive(Debug, Args)]
pub(crate) struct KeysFolderArgs {
    /// The folder of keys; by default security.keys of the file of --config, or keys
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(super) keys: Option<PathBuf>,
}

impl KeysFolderArgs {
    fn path(&self, config: Option<&Path>) -> Result<PathBuf, Failed> {
        let configured = match (&self.keys, config) {
            (None, Some(file)) => Config::load(file)?.keys,
            _ => None,
        };
        Ok(self.keys.clone().or(configured).unwrap_or_else(|| DEFAULT_KEYS.into()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    #[command(flatten)]
    pub(super) folder: KeysFolderArgs,
}

/// What a trusted key is, as `--role` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// It asks, and may serve as a worker
    Client,
    /// It is a node or a router of this zone
    Peer,
    /// It is a router of another zone
    Router,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// What it is called here; for a node or router, the name that it has itself
    name: Label,
    /// Its public key, as `wasmnode keygen` printed it there
    #[arg(required_unless_present = "uid", allow_hyphen_values = true)]
    key: Option<Key>,
    /// A user of this machine instead, by number, who connects by ipc
    #[arg(long, conflicts_with = "key", allow_hyphen_values = true, value_parser = uid)]
    uid: Option<u32>,
    /// What it is
    #[arg(long, value_enum, default_value = "client")]
    role: RoleArg,
    /// The zone of a router of another zone
    #[arg(long, required_if_eq("role", "router"))]
    zone: Option<Label>,
    /// The services that it may call, by name or beginning (storage.*)
    #[arg(long, value_name = "SERVICES", value_delimiter = ',', default_value = "*")]
    allow: Vec<Pattern>,
    /// The services that it may serve as a worker
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    work: Vec<Pattern>,
    /// The services that a peer may advertise; by default all
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    offer: Option<Vec<Pattern>>,
    /// It may change what the node serves (`wasmnode plugins rollback`)
    #[arg(long)]
    admin: bool,
    /// How many requests it may send in a second, on average
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(REQUESTS_PER_SECOND))]
    requests_per_second: Option<u64>,
    /// How many bytes they may have (10MiB)
    #[arg(long, value_name = "SIZE", value_parser = |size: &str| parse_size(size, &BYTES_PER_SECOND))]
    bytes_per_second: Option<u64>,
    /// How many of its requests may wait for their answers
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(OUTSTANDING))]
    outstanding: Option<u64>,
    #[command(flatten)]
    pub(super) folder: KeysFolderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DistrustArgs {
    /// What it is called here
    name: Label,
    #[command(flatten)]
    pub(super) folder: KeysFolderArgs,
}

impl From<KeyError> for Failed {
    fn from(error: KeyError) -> Self {
        Self { message: error.to_string(), exit: 1 }
    }
}

/// The number of a user. Names are for the machine to look up, and may change hands.
fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it is no number of a user; `id -u NAME` prints the number of a user".into())
}

/// Makes a pair of keys.
pub(crate) fn keygen(args: &KeygenArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let folder = args.folder.path(config)?;
    let pair = keys::generate(&folder)?;
    // A script gets the key alone.
    print(&vec![format!("{}\n", pair.public).into()])?;
    let explained = format!(
        "written to {folder}, with the secret one. Where this machine is to be let in: wasmnode trust NAME '{key}'\n",
        key = pair.public,
        folder = folder.display()
    );
    if io::stdout().is_terminal() {
        print(&vec![explained.into()])?;
    } else {
        let _nowhere_else_to_say_it = io::stderr().write_all(explained.as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// Trusts somebody.
pub(crate) fn trust(args: &TrustArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let credential = match (args.key, args.uid) {
        (Some(key), _) => Credential::Key(key),
        (None, uid) => Credential::Uid(uid.unwrap_or_default()),
    };
    let misplaced =
        |option: &str, role: &str| Failed { message: format!("{option} is only for --role {role}"), exit: 2 };
    let part = match (args.role, &args.zone) {
        (RoleArg::Client | RoleArg::Peer, Some(_)) => return Err(misplaced("--zone", "router")),
        (RoleArg::Client | RoleArg::Router, _) if args.offer.is_some() => return Err(misplaced("--offer", "peer")),
        (RoleArg::Router, Some(zone)) => Role::Router { zone: zone.clone() },
        (RoleArg::Peer, _) => Role::Peer { offer: args.offer.clone().unwrap_or_else(|| vec![Pattern::everything()]) },
        (RoleArg::Client | RoleArg::Router, _) => Role::Client,
    };
    let quota = Quota {
        requests_per_second: args.requests_per_second,
        bytes_per_second: args.bytes_per_second,
        outstanding: args.outstanding.and_then(|most| usize::try_from(most).ok()),
    };
    let grant = Grant { role: part, allow: args.allow.clone(), work: args.work.clone(), is_admin: args.admin, quota };
    let file = Trusted { credential, grant }.save(&args.folder.path(config)?, &args.name)?;
    print(&vec![format!("{} is trusted: {}\n", args.name, file.display()).into()])?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the trust in somebody.
pub(crate) fn distrust(args: &DistrustArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    keys::distrust(&args.folder.path(config)?, &args.name)?;
    print(&vec![format!("{} is not trusted any more\n", args.name).into()])?;
    Ok(ExitCode::SUCCESS)
}
