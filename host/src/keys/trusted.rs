//! Who is trusted: one file for each, `trusted/NAME.toml`.

use super::{Key, KeyError};
use crate::config::value::{self as values, quoted};
use crate::config::{Fields, read_file};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::DeValue;
use wasmnode_core::{Grant, Label, Part, Pattern, Quota};

/// Somebody who is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// What it proves itself with.
    pub credential: Credential,
    /// What it may do.
    pub grant: Grant,
}

/// What somebody proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A key, on tcp.
    Key(Key),
    /// The number of its user on this machine, on ipc.
    Uid(u32),
}

/// What somebody is trusted as, as the command line and the file name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// It asks, and may serve as a worker
    Client,
    /// It is a node or a router of this zone
    Peer,
    /// It is a router of another zone
    Router,
}

const ROLES: [(&str, Role); 3] = [("client", Role::Client), ("peer", Role::Peer), ("router", Role::Router)];

impl Trusted {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or has mistakes.
    pub(super) fn load(file: &Path) -> Result<Self, KeyError> {
        // Without mistakes there is one.
        let why = || KeyError::File(file.into(), "names neither a key nor a uid".into());
        read_file(file, Self::read)?.ok_or_else(why)
    }

    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let by_key = key(&mut fields, "key").map(Credential::Key);
        let by_uid = fields.take("uid", values::number(0..=u32::MAX.into())).map(Credential::Uid);
        match (fields.has("key"), fields.has("uid")) {
            (false, false) => {
                fields.complain("key", "is missing: its public key, as `wasmnode keygen` printed it there");
            }
            (true, true) => fields.complain("uid", "stands beside a key; one of the two is who it is"),
            _ => {}
        }
        let role = fields.take("role", values::choice(&ROLES)).unwrap_or(Role::Client);
        let mut patterns = |key, default: &[Pattern]| fields.list(key, values::pattern).unwrap_or(default.to_vec());
        let all = [Pattern::everything()];
        let (allow, work, offer) = (patterns("allow", &all), patterns("work", &[]), patterns("offer", &all));
        let zone = fields.take("zone", values::label);
        let is_admin = fields.take("admin", values::boolean).unwrap_or(false);
        let quota = Quota {
            requests_per_second: fields.take("requests-per-second", values::number(1..=1_000_000_000)),
            bytes_per_second: fields.take("bytes-per-second", values::size(1..=1 << 40)).map(|bytes| bytes as u64),
            outstanding: fields.take("outstanding", values::number(1..=10_000_000)),
        };
        match role {
            Role::Router if zone.is_none() && !fields.has("zone") => {
                fields.complain("zone", "is missing: the zone that this router is of");
            }
            Role::Client | Role::Peer if fields.has("zone") => {
                fields.complain("zone", "is only for a router of another zone");
            }
            _ => {}
        }
        if role != Role::Peer && fields.has("offer") {
            fields
                .complain("offer", "is only for a peer; what a router of another zone tells, router.neighbour decides");
        }
        fields.done();
        let part = match (role, zone) {
            (Role::Router, Some(zone)) => Part::Router { zone },
            (Role::Peer, _) => Part::Peer { offer },
            _ => Part::Client,
        };
        Some(Self { credential: by_key.or(by_uid)?, grant: Grant { part, allow, work, is_admin, quota } })
    }

    /// The key, if it is one that it proves itself with.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self.credential {
            Credential::Key(key) => Some(key),
            Credential::Uid(_) => None,
        }
    }

    /// Writes the file of somebody who is trusted from now on; one that is there stays.
    ///
    /// # Errors
    /// If the name is taken, or the folder cannot be written.
    pub fn save(&self, folder: &Path, name: &Label) -> Result<PathBuf, KeyError> {
        let file = file_of(folder, name);
        let failed = |error: &io::Error| KeyError::File(file.clone(), error.to_string());
        fs::create_dir_all(folder.join("trusted")).map_err(|error| failed(&error))?;
        if file.exists() {
            let why = format!("{name} is trusted already; to trust another key, first: wasmnode distrust {name}");
            return Err(KeyError::File(file, why));
        }
        // Whole or not at all: a running node may read it at any time.
        let unfinished = file.with_extension("new");
        fs::write(&unfinished, self.text())
            .and_then(|()| fs::rename(&unfinished, &file))
            .map_err(|error| failed(&error))?;
        Ok(file)
    }

    fn text(&self) -> String {
        let list = |patterns: &[Pattern]| {
            let quoted: Vec<String> = patterns.iter().map(|pattern| quoted(&pattern.to_string())).collect();
            format!("[{}]", quoted.join(", "))
        };
        let Grant { part, allow, work, is_admin, quota } = &self.grant;
        let mut text = match self.credential {
            Credential::Key(key) => format!("key   = \"{key}\"\n"),
            Credential::Uid(uid) => format!("uid   = {uid}\n"),
        };
        let part = match part {
            Part::Client | Part::Owner => "role  = \"client\"\n".to_owned(),
            Part::Peer { offer } => format!("role  = \"peer\"\noffer = {}\n", list(offer)),
            Part::Router { zone } => format!("role  = \"router\"\nzone  = \"{zone}\"\n"),
        };
        text.push_str(&part);
        let _writing_to_a_string_succeeds =
            write!(text, "allow = {}\nwork  = {}\nadmin = {is_admin}\n", list(allow), list(work));
        let Quota { requests_per_second, bytes_per_second, outstanding } = quota;
        let outstanding = outstanding.map(|most| most as u64);
        let quotas = [
            ("requests-per-second", *requests_per_second),
            ("bytes-per-second", *bytes_per_second),
            ("outstanding", outstanding),
        ];
        for (key, quota) in quotas.into_iter().filter_map(|(key, quota)| Some((key, quota?))) {
            let _writing_to_a_string_succeeds = writeln!(text, "{key} = {quota}");
        }
        text
    }
}

/// Ends the trust in somebody.
///
/// # Errors
/// If it was not trusted, or its file cannot be removed.
pub fn distrust(folder: &Path, name: &Label) -> Result<(), KeyError> {
    let file = file_of(folder, name);
    fs::remove_file(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::File(file, format!("{name} is not trusted, as there is no such file")),
        _ => KeyError::File(file, error.to_string()),
    })
}

/// The files of everybody who is trusted, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<(Label, PathBuf)>, KeyError> {
    let folder = folder.join("trusted");
    let failed = |error: &io::Error| KeyError::File(folder.clone(), error.to_string());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(&error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| failed(&error))?.path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = file.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let why = "is not named after anybody: 1 to 63 letters of A-Z, a-z, 0-9, '_' and '-' before \".toml\"";
        files.push((name.ok_or_else(|| KeyError::File(file.clone(), why.into()))?, file));
    }
    files.sort();
    Ok(files)
}

/// A key of a table, if it is there and can be read.
pub(super) fn key(fields: &mut Fields<'_>, name: &'static str) -> Option<Key> {
    fields.take(name, |value: &DeValue<'_>| {
        let text = values::text(value, "a key, 40 characters of Z85")?;
        text.parse().map_err(|problem| format!("{} {problem}", quoted(text)))
    })
}

fn file_of(folder: &Path, name: &Label) -> PathBuf {
    folder.join("trusted").join(format!("{name}.toml"))
}
