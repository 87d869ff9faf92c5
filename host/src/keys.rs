//! Keys: a process's own pair, and the keys and users that it trusts.
//!
//! A folder holds both, as text:
//!
//! ```text
//! keys/self.toml           this process's own pair, readable by its user only:  public = "..."  secret = "..."
//! keys/trusted/NAME.toml   a trusted key or user, and what it may do: the table in docs/guide/keys.md
//! ```
//!
//! Keys are those of CURVE ([ZeroMQ RFC 26](https://rfc.zeromq.org/spec/26/)), 32 bytes, written in Z85 ([ZeroMQ RFC
//! 32](https://rfc.zeromq.org/spec/32/)).

mod folder;
mod guard;
mod rejection;
mod trust;
mod trusted;

pub(crate) use trust::Trust;
pub use trusted::{BYTES_PER_SECOND, Credential, OUTSTANDING, REQUESTS_PER_SECOND, Trusted, distrust};

use crate::config::{ConfigError, Fields};
use folder::{FILE_BYTES, TrustFolder};
use guard::Guard;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wasmnode_client::{Key, KeyPair, SocketError};
use wasmnode_core::{Access, Grant, Label, Pattern, Quota, Role};
use wasmnode_files::{self as files, FileError};

/// Content of a folder of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The process's own pair.
    pub own: KeyPair,
    /// Trusted keys and users, by name.
    pub trusted: BTreeMap<Label, Trusted>,
}

/// Why keys cannot be read or made.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The folder has no pair of its own.
    None(PathBuf),
    /// A file is refused; with the reason and a remedy.
    File(PathBuf, String),
    /// A file cannot be read.
    Read(PathBuf, FileError),
    /// New keys cannot be written to a file.
    Write(PathBuf, io::Error),
    /// The system fails to examine, write or remove a file.
    System(PathBuf, io::Error),
    /// libzmq cannot make keys, which were to be written to a file.
    Random(PathBuf, SocketError),
    /// Mistakes in a file.
    Mistakes(ConfigError),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(folder) => {
                let folder = folder.display();
                write!(f, "{folder} holds no keys; make some with: wasmnode keygen --keys {folder}")
            }
            Self::File(file, why) => write!(f, "{}: {why}", file.display()),
            Self::Read(file, error) => write!(f, "{}: cannot be read: {error}", file.display()),
            Self::Write(file, error) => write!(f, "{}: cannot write the keys: {error}", file.display()),
            Self::System(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Random(file, error) => {
                write!(f, "{}: this build of libzmq cannot make keys: {error}", file.display())
            }
            Self::Mistakes(mistakes) => mistakes.fmt(f),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::None(_) | Self::File(..) => None,
            Self::Read(_, error) => Some(error),
            Self::Write(_, error) | Self::System(_, error) => Some(error),
            Self::Random(_, error) => Some(error),
            Self::Mistakes(mistakes) => Some(mistakes),
        }
    }
}

impl From<ConfigError> for KeyError {
    fn from(mistakes: ConfigError) -> Self {
        Self::Mistakes(mistakes)
    }
}

/// Makes a new pair and writes it. An existing pair stays.
///
/// # Errors
/// If there is a pair already, or the folder cannot be written.
pub fn generate(folder: &Path) -> Result<KeyPair, KeyError> {
    let file = own_file(folder);
    let failed = |error: io::Error| KeyError::Write(file.clone(), error);
    let pair = KeyPair::random().map_err(|error| KeyError::Random(file.clone(), error))?;
    let text = format!(
        "# The keys of this process. A holder of the secret key can pose as it: keep it private.\n\
         public = \"{}\"\nsecret = \"{}\"\n",
        pair.public, pair.secret
    );
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut opened = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let public = match load_pair(folder) {
                Ok(pair) => format!("; the public one is {}", pair.public),
                Err(_) => String::new(),
            };
            let why = format!("there are keys already{public}; to make new ones, move this file away first");
            return Err(KeyError::File(file, why));
        }
        opened => opened.map_err(failed)?,
    };
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed)?;
    Ok(pair)
}

/// Reads the own pair of a folder.
///
/// # Errors
/// If there is none, if other users may read it, or if the file has mistakes.
pub fn load_pair(folder: &Path) -> Result<KeyPair, KeyError> {
    let file = own_file(folder);
    let refused = |why: String| KeyError::File(file.clone(), why);
    let (content, _) = match files::read(&file, FILE_BYTES) {
        Err(FileError::NotFound) => return Err(KeyError::None(folder.into())),
        read => read.map_err(|error| KeyError::Read(file.clone(), error))?,
    };
    let failed = |error: io::Error| KeyError::System(file.clone(), error);
    let mode = fs::metadata(&file).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        let why = format!("other users may read the secret key; restrict it with: chmod 600 {}", file.display());
        return Err(refused(why));
    }
    if let Guard::Open(why) = guard::examine(&file).map_err(failed)? {
        return Err(refused(why));
    }
    let pair = crate::config::read_content(&file, content, |mut fields: Fields<'_>| {
        let pair = (trusted::key(&mut fields, "public"), trusted::key(&mut fields, "secret"));
        for (key, found) in [("public", pair.0), ("secret", pair.1)] {
            if found.is_none() && !fields.has(key) {
                fields.complain(key, "is missing; make a new pair with: wasmnode keygen");
            }
        }
        fields.done();
        pair.0.zip(pair.1)
    })?;
    // Without mistakes both exist.
    pair.map(|(public, secret)| KeyPair { public, secret }).ok_or(KeyError::None(folder.into()))
}

impl Keys {
    /// Reads a folder. A rejected file grants no trust and does not affect the others; [`Self::mistakes`] names it.
    ///
    /// # Errors
    /// If the own pair cannot be read.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let own = load_pair(folder)?;
        let trusted = TrustFolder::new(folder, Some(own.public)).look(Instant::now()).trusted;
        Ok(Self { own, trusted })
    }

    /// Returns every mistake in a folder of keys, with the name of its file.
    #[must_use]
    pub fn mistakes(folder: &Path) -> Vec<String> {
        let (own, mistake) = match load_pair(folder) {
            Ok(pair) => (Some(pair.public), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let remarks = TrustFolder::new(folder, own).look(Instant::now()).remarks;
        let of_others = remarks.into_iter().filter(|remark| remark.is_mistake).map(|remark| remark.to_string());
        mistake.into_iter().chain(of_others).collect()
    }

    /// Returns the number of trusted names, as a text.
    pub(crate) fn how_many(&self) -> String {
        match self.trusted.len() {
            1 => "1 is trusted".into(),
            count => format!("{count} are trusted"),
        }
    }

    /// Returns the key that a process of this name must have.
    #[must_use]
    pub fn key_of(&self, name: &Label) -> Option<Key> {
        self.trusted.get(name).and_then(Trusted::key)
    }

    /// Returns the grants of all names; the node's own user, or key, may do everything.
    #[must_use]
    pub fn access(&self, me: &Label) -> Access {
        let all = || vec![Pattern::everything()];
        let owner = Grant { role: Role::Owner, allow: all(), work: all(), is_admin: true, quota: Quota::default() };
        let grants = self.trusted.iter().map(|(name, trusted)| (name.clone(), trusted.grant.clone()));
        Access { grants: grants.chain([(me.clone(), owner)]).collect() }
    }
}

fn own_file(folder: &Path) -> PathBuf {
    folder.join("self.toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmnode_core::Quota;

    fn pattern(text: &str) -> Vec<Pattern> {
        vec![text.parse().unwrap()]
    }

    #[test]
    fn written_keys_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let own = generate(folder.path()).unwrap();
        let quota = Quota { requests_per_second: Some(5), bytes_per_second: Some(1 << 20), outstanding: Some(7) };
        let parts = [
            ("shop", Role::Client, quota),
            ("node2", Role::Peer { offer: pattern("a*") }, Quota::default()),
            ("lyon1", Role::Router { zone: "lyon".parse().unwrap() }, Quota::default()),
        ];
        let mut trusted = BTreeMap::new();
        for (name, part, quota) in parts {
            let key = KeyPair::random().unwrap().public;
            let grant =
                Grant { role: part, allow: pattern("storage.*"), work: pattern("print"), is_admin: true, quota };
            let one = Trusted { credential: Credential::Key(key), grant };
            let name: Label = name.parse().unwrap();
            one.save(folder.path(), &name).unwrap();
            let again = one.save(folder.path(), &name).unwrap_err().to_string();
            assert!(again.contains("is trusted already"), "{again}");
            trusted.insert(name, one);
        }
        let grant = Grant {
            role: Role::Client,
            allow: pattern("*"),
            work: Vec::new(),
            is_admin: false,
            quota: Quota::default(),
        };
        let user = Trusted { credential: Credential::Uid(1001), grant };
        user.save(folder.path(), &"backup".parse().unwrap()).unwrap();
        trusted.insert("backup".parse().unwrap(), user);
        assert_eq!(Keys::load(folder.path()).unwrap(), Keys { own, trusted });
        distrust(folder.path(), &"backup".parse().unwrap()).unwrap();
        assert!(distrust(folder.path(), &"backup".parse().unwrap()).is_err());
        assert_eq!(Keys::load(folder.path()).unwrap().trusted.len(), 3);
    }

    #[test]
    fn each_mistake_in_a_key_has_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let said = |text: &str| {
            load_pair(folder.path()).or_else(|_| generate(folder.path())).unwrap();
            fs::create_dir_all(folder.path().join("trusted")).unwrap();
            fs::write(folder.path().join("trusted/x.toml"), text).unwrap();
            assert!(!Keys::load(folder.path()).unwrap().trusted.contains_key("x"));
            Keys::mistakes(folder.path()).join("\n")
        };
        let key = KeyPair::random().unwrap().public;
        for (text, why) in [
            (String::new(), "key: is missing: its public key"),
            ("key = 'short'".into(), "\"short\" is not a key: 40 characters of Z85"),
            (format!("key = '{}'", "\u{e9}".repeat(20)), "is not a key"),
            (format!("key = '{}'", "#".repeat(40)), "is not a key"),
            (format!("key = '{key}'\nuid = 1"), "uid: cannot be combined with a key"),
            (format!("key = '{key}'\nrole = 'router'"), "zone: is missing"),
            (format!("key = '{key}'\nzone = 'a'"), "zone: is only for a router"),
            (format!("key = '{key}'\noffer = ['a']"), "offer: is only for a peer"),
            (format!("key = '{key}'\nrole = 'king'"), "expected \"client\" or \"peer\" or \"router\""),
            (format!("key = '{key}'\nalow = ['a']"), "did you mean allow?"),
        ] {
            let said = said(&text);
            assert!(said.contains(why), "{text}: {said}");
        }
        let own = load_pair(folder.path()).unwrap().public;
        let grant = Trusted::parse(Path::new("x"), format!("key = '{key}'").into_bytes()).unwrap().grant;
        let me = Trusted { credential: Credential::Key(own), grant };
        let refused = me.save(folder.path(), &"me".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("this node's own key is always trusted; there is nothing to do"), "{refused}");
        assert!(!folder.path().join("trusted/me.toml").exists());
        assert!(said(&format!("key = '{own}'")).contains("this node's own key"));
        fs::write(folder.path().join("trusted/a.toml"), format!("key = '{key}'")).unwrap();
        assert!(said(&format!("key = '{key}'")).contains("is the same key as that of a"));
        fs::write(folder.path().join("trusted/a b.toml"), "").unwrap();
        assert!(said(&format!("key = '{key}'")).contains("its name is not valid"));
    }

    #[test]
    fn a_key_is_never_shown_by_accident() {
        let pair = KeyPair::random().unwrap();
        assert!(!format!("{pair:?}").contains(&pair.secret.to_string()));
    }
}
