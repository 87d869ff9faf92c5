//! `wasmnode keygen`, `trust` and `distrust`: keys, and what each may do.

use super::{Failed, print};
use clap::{Args, ValueEnum, value_parser};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::{Config, parse_size};
use wasmnode::keys::{self, BYTES_PER_SECOND, Credential, KeyError, OUTSTANDING, REQUESTS_PER_SECOND, Trusted};
use wasmnode_client::Key;
use wasmnode_core::{Grant, Label, Pattern, Quota, Role};

pub(crate) const KEYS: &str = "\
Examples:
  wasmnode keygen                                        make this machine's keys, in keys/; prints the public one
  wasmnode trust node2 'KEY' --role peer                 trust node2 of this zone, whose keygen printed KEY
  wasmnode trust lyon1 'KEY' --role router --zone lyon   link with the router lyon1 of zone lyon
  wasmnode trust shop 'KEY' --allow print,storage.*      trust a client, which may call these services
  wasmnode trust lab 'KEY' --work resize                 trust a client that may also serve resize as a worker
  wasmnode trust backup --uid 1001 --allow storage.*     trust a user of this machine, by ipc
  wasmnode distrust shop                                 revoke a trust; its connections end within a second

A running node picks up the change by itself. Trusted keys are files in the folder, keys/trusted/NAME.toml, which may be
edited.";

/// Default folder of keys.
pub(super) const DEFAULT_KEYS: &str = "keys";

/// Option for the folder of keys.
#[derive(Debug, Args)]
pub(crate) struct KeysFolderArgs {
    /// The folder of keys; by default security.keys in the file of --config, or keys
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

/// Role of a trusted key, as `--role` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// Sends requests, and may serve as a worker
    Client,
    /// Node or router of this zone
    Peer,
    /// Router of another zone
    Router,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The name to trust it under; for a node or router, its own name
    name: Label,
    /// Its public key, as `wasmnode keygen` printed it there
    #[arg(required_unless_present = "uid", allow_hyphen_values = true)]
    key: Option<Key>,
    /// The number of a user of this machine, who connects by ipc, instead of a key
    #[arg(long, conflicts_with = "key", allow_hyphen_values = true, value_parser = uid)]
    uid: Option<u32>,
    /// Its role
    #[arg(long, value_enum, default_value = "client")]
    role: RoleArg,
    /// The zone of a router of another zone
    #[arg(long, required_if_eq("role", "router"))]
    zone: Option<Label>,
    /// The services that it may call, by name or prefix (storage.*)
    #[arg(long, value_name = "SERVICES", value_delimiter = ',', default_value = "*")]
    allow: Vec<Pattern>,
    /// The services that it may serve as a worker
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    work: Vec<Pattern>,
    /// The services that a peer may advertise; by default all
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    offer: Option<Vec<Pattern>>,
    /// Allow it to change what the node serves (`wasmnode plugins rollback`)
    #[arg(long)]
    admin: bool,
    /// The largest number of requests per second, on average
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(REQUESTS_PER_SECOND))]
    requests_per_second: Option<u64>,
    /// The largest number of bytes of these requests per second, on average (10MiB)
    #[arg(long, value_name = "SIZE", value_parser = |size: &str| parse_size(size, &BYTES_PER_SECOND))]
    bytes_per_second: Option<u64>,
    /// The largest number of its requests that may wait for their answers
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(OUTSTANDING))]
    outstanding: Option<u64>,
    #[command(flatten)]
    pub(super) folder: KeysFolderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DistrustArgs {
    /// The name that it is trusted under
    name: Label,
    #[command(flatten)]
    pub(super) folder: KeysFolderArgs,
}

impl From<KeyError> for Failed {
    fn from(error: KeyError) -> Self {
        Self { message: error.to_string(), exit: 1 }
    }
}

/// Why a text is not the number of a user.
#[derive(Debug)]
struct InvalidUid(ParseIntError);

impl fmt::Display for InvalidUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a user number; `id -u NAME` prints the number of a user")
    }
}

impl std::error::Error for InvalidUid {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Parses the number of a user. Names are not accepted, because a name can be reassigned to another user.
fn uid(text: &str) -> Result<u32, InvalidUid> {
    text.parse().map_err(InvalidUid)
}

/// Makes a pair of keys, and prints the public one.
pub(crate) fn keygen(args: &KeygenArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let folder = args.folder.path(config)?;
    let pair = keys::generate(&folder)?;
    // Stdout gets only the key, for scripts.
    print(&vec![format!("{}\n", pair.public).into()])?;
    let explained = format!(
        "written to {folder}, with the secret key. To trust this machine elsewhere: wasmnode trust NAME '{key}'\n",
        key = pair.public,
        folder = folder.display()
    );
    if io::stdout().is_terminal() {
        print(&vec![explained.into()])?;
    } else {
        let _stderr_may_be_closed = io::stderr().write_all(explained.as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// Trusts a key or user.
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

/// Revokes a trusted key or user.
pub(crate) fn distrust(args: &DistrustArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    keys::distrust(&args.folder.path(config)?, &args.name)?;
    print(&vec![format!("the trust in {} is revoked\n", args.name).into()])?;
    Ok(ExitCode::SUCCESS)
}
