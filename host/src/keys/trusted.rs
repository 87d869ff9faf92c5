//! Trusted keys and users: one file for each, `trusted/NAME.toml`.

use super::folder::{FILE_BYTES, OWN_KEY, TrustFolder};
use super::{KeyError, load_pair};
use crate::config::value::{self as values, quoted};
use crate::config::{Fields, read_content};
use crate::suggestion::nearest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use toml::de::DeValue;
use wasmnode_client::Key;
use wasmnode_core::{Grant, Label, Pattern, Quota, Role};
use wasmnode_files as files;

/// Trusted key or user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// Key or user number that identifies it.
    pub credential: Credential,
    /// Role and rights.
    pub grant: Grant,
}

/// Proof of identity of a trusted process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// A key, on tcp.
    Key(Key),
    /// The number of its user on this machine, on ipc.
    Uid(u32),
}

/// Role of a trusted key, as the command line and the file name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyRole {
    /// Sends requests, and may serve as a worker.
    Client,
    /// Node or router of this zone.
    Peer,
    /// Router of another zone.
    Router,
}

const ROLES: [(&str, KeyRole); 3] = [("client", KeyRole::Client), ("peer", KeyRole::Peer), ("router", KeyRole::Router)];

/// Range of `requests-per-second`.
pub const REQUESTS_PER_SECOND: RangeInclusive<u64> = 1..=1_000_000_000;
/// Range of `bytes-per-second`.
pub const BYTES_PER_SECOND: RangeInclusive<u64> = 1..=1 << 40;
/// Range of `outstanding`.
pub const OUTSTANDING: RangeInclusive<u64> = 1..=10_000_000;

impl Trusted {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// If it has mistakes.
    pub(super) fn parse(file: &Path, content: Vec<u8>) -> Result<Self, KeyError> {
        // Without mistakes there is a credential.
        let why = || KeyError::File(file.into(), "names neither a key nor a uid".into());
        read_content(file, content, Self::read)?.ok_or_else(why)
    }

    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let by_key = key(&mut fields, "key").map(Credential::Key);
        let by_uid = fields.take("uid", values::number(0..=u32::MAX.into())).map(Credential::Uid);
        match (fields.has("key"), fields.has("uid")) {
            (false, false) => {
                fields.complain("key", "is missing: its public key, as `wasmnode keygen` printed it there");
            }
            (true, true) => fields.complain("uid", "cannot be combined with a key; keep only one of the two"),
            _ => {}
        }
        let role = fields.take("role", values::choice(&ROLES)).unwrap_or(KeyRole::Client);
        let mut patterns = |key, default: &[Pattern]| fields.list(key, values::pattern).unwrap_or(default.to_vec());
        let all = [Pattern::everything()];
        let (allow, work, offer) = (patterns("allow", &all), patterns("work", &[]), patterns("offer", &all));
        let zone = fields.take("zone", values::label);
        let is_admin = fields.take("admin", values::boolean).unwrap_or(false);
        let quota = Quota {
            requests_per_second: fields.take("requests-per-second", values::number(REQUESTS_PER_SECOND)),
            bytes_per_second: fields.take("bytes-per-second", values::size(BYTES_PER_SECOND)).map(|bytes| bytes as u64),
            outstanding: fields.take("outstanding", values::number(OUTSTANDING)),
        };
        match role {
            KeyRole::Router if zone.is_none() && !fields.has("zone") => {
                fields.complain("zone", "is missing: the zone of this router");
            }
            KeyRole::Client | KeyRole::Peer if fields.has("zone") => {
                fields.complain("zone", "is only for a router of another zone");
            }
            _ => {}
        }
        if role != KeyRole::Peer && fields.has("offer") {
            fields.complain(
                "offer",
                "is only for a peer; router.neighbour decides what a router of another zone may offer",
            );
        }
        fields.done();
        let part = match (role, zone) {
            (KeyRole::Router, Some(zone)) => Role::Router { zone },
            (KeyRole::Peer, _) => Role::Peer { offer },
            _ => Role::Client,
        };
        Some(Self { credential: by_key.or(by_uid)?, grant: Grant { role: part, allow, work, is_admin, quota } })
    }

    /// Returns the key, if a key identifies it.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self.credential {
            Credential::Key(key) => Some(key),
            Credential::Uid(_) => None,
        }
    }

    /// Writes the file of a new trusted name. An existing file stays.
    ///
    /// # Errors
    /// If the name is taken, if the key is the folder's own or trusted under another name already, or if the folder
    /// cannot be written.
    pub fn save(&self, folder: &Path, name: &Label) -> Result<PathBuf, KeyError> {
        let file = file_of(folder, name);
        let refused = |why: String| KeyError::File(file.clone(), why);
        let failed = |error: io::Error| KeyError::System(file.clone(), error);
        if file.symlink_metadata().is_ok() {
            let why = format!("{name} is trusted already; to trust another key, first: wasmnode distrust {name}");
            return Err(refused(why));
        }
        // The folder of a client may not have a pair of its own yet.
        if self.key().is_some() && load_pair(folder).is_ok_and(|own| Some(own.public) == self.key()) {
            return Err(refused(format!("{OWN_KEY}; there is nothing to do")));
        }
        let text = self.text();
        Self::parse(&file, text.clone().into_bytes())?;
        if let Some((other, _)) = trusted_in(folder).iter().find(|(_, other)| other.credential == self.credential) {
            let why = format!(
                "the same key is trusted as {other}; to give it another name, first: wasmnode distrust {other}"
            );
            return Err(refused(why));
        }
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(folder.join("trusted")).map_err(failed)?;
        // Written atomically, because a running node may read it at any time.
        let unfinished = file.with_extension("new");
        fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &file)).map_err(failed)?;
        Ok(file)
    }

    fn text(&self) -> String {
        let list = |patterns: &[Pattern]| {
            let quoted: Vec<String> = patterns.iter().map(|pattern| quoted(&pattern.to_string())).collect();
            format!("[{}]", quoted.join(", "))
        };
        let Grant { role: part, allow, work, is_admin, quota } = &self.grant;
        let mut text = match self.credential {
            Credential::Key(key) => format!("key   = \"{key}\"\n"),
            Credential::Uid(uid) => format!("uid   = {uid}\n"),
        };
        let part = match part {
            Role::Client | Role::Owner => "role  = \"client\"\n".to_owned(),
            Role::Peer { offer } => format!("role  = \"peer\"\noffer = {}\n", list(offer)),
            Role::Router { zone } => format!("role  = \"router\"\nzone  = \"{zone}\"\n"),
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

/// Removes a trusted name.
///
/// # Errors
/// If it was not trusted, if its file cannot be removed, or if it is still trusted, because another file holds its key.
pub fn distrust(folder: &Path, name: &Label) -> Result<(), KeyError> {
    let file = file_of(folder, name);
    let failed = |why: String| KeyError::File(file.clone(), why);
    let before = files::read(&file, FILE_BYTES).ok().and_then(|(content, _)| Trusted::parse(&file, content).ok());
    fs::remove_file(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let others = trusted_in(folder);
            let near = nearest(name.as_str(), others.keys().map(Label::as_str));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            failed(format!("{name} is not trusted: there is no such file{hint}"))
        }
        _ => KeyError::System(file.clone(), error),
    })?;
    let Some(before) = before else { return Ok(()) };
    match trusted_in(folder).iter().find(|(_, other)| other.credential == before.credential) {
        Some((other, _)) => {
            let why = format!("is removed, but the same key is trusted as {other}; also: wasmnode distrust {other}");
            Err(failed(why))
        }
        None => Ok(()),
    }
}

fn trusted_in(folder: &Path) -> BTreeMap<Label, Trusted> {
    TrustFolder::new(folder, None).look(Instant::now()).trusted
}

/// Returns a key of a table, if it exists and is valid.
pub(super) fn key(fields: &mut Fields<'_>, name: &'static str) -> Option<Key> {
    fields.take(name, |value: &DeValue<'_>| {
        let text = values::text(value, "a key, 40 characters of Z85")?;
        text.parse().map_err(|problem| format!("{} {problem}", quoted(text)))
    })
}

fn file_of(folder: &Path, name: &Label) -> PathBuf {
    folder.join("trusted").join(format!("{name}.toml"))
}
