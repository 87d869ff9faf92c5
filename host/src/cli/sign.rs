//! `wasmnode sign`: signatures for plugins, in the format of the tool minisign.

use super::atomic_file::Unfinished;
use super::plugins::FILE_BYTES;
use super::{Failed, print};
use clap::Args;
use ct_codecs::{Base64, Decoder};
use minisign::{KeyPair, PError, PublicKey, SecretKey, SecretKeyBox};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use wasmnode_files as files;
use wasmnode_sandbox::signature_of;

pub(crate) const SIGNING: &str = "\
Examples:
  wasmnode sign --new-key                            make your keys, in ~/.config/wasmnode/; prints the node's setting
  wasmnode sign --new-key release                    make release.key and release.pub here, for a build server
  wasmnode sign hello.wasm                           write hello.wasm.minisig, which belongs beside hello.wasm
  wasmnode sign *.wasm --key release.key             the same with that key
  wasmnode deploy hello.wasm --sign-key release.key  sign and put both into the plugin folder

Keys and signatures are those of minisign: `minisign -S` and `minisign -V` do as well.";

/// Public key of minisign: its size in bytes, and its first bytes.
const PUBLIC_BYTES: usize = 42;
const ALGORITHM: &[u8] = b"Ed";

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The files; the signature of each is written beside it, FILE.minisig
    #[arg(value_name = "FILE", required_unless_present = "new_key")]
    files: Vec<PathBuf>,
    /// The secret key; by default signing.key in ~/.config/wasmnode
    #[arg(long, value_name = "SECRET")]
    key: Option<PathBuf>,
    /// Make a pair of keys instead, NAME.key and NAME.pub; by default ~/.config/wasmnode/signing
    #[arg(long, value_name = "NAME", num_args = 0..=1, conflicts_with_all = ["files", "key"])]
    new_key: Option<Option<PathBuf>>,
    /// Protect the new secret key with a password
    #[arg(long, requires = "new_key")]
    password: bool,
}

/// Signs files, or makes the keys for it.
pub(crate) fn sign(args: &SignArgs) -> Result<ExitCode, Failed> {
    if let Some(name) = &args.new_key {
        let name = match name {
            Some(name) => name.clone(),
            None => own_key()?,
        };
        print(&vec![make_keys(&name, args.password)?.into()])?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = match &args.key {
        Some(file) => file.clone(),
        None => with_ending(&own_key()?, "key"),
    };
    let signer = SigningKey::load(&key)?;
    for file in &args.files {
        let (bytes, _) = files::read(file, FILE_BYTES).map_err(|error| failed(file, &error))?;
        let beside = signature_of(file);
        let signature = signer.sign(file, &bytes)?;
        let written = Unfinished::write(&beside, signature.as_bytes()).and_then(Unfinished::finish);
        written.map_err(|error| failed(&beside, &error))?;
        print(&vec![format!("{} is written\n", beside.display()).into()])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Largest file of a secret key, in bytes; those of minisign have about 300.
const KEY_BYTES: u64 = 16 << 10;

/// Secret key that is ready for use.
pub(super) struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a secret key; asks for its password if it has one.
    pub(super) fn load(file: &Path) -> Result<Self, Failed> {
        let (text, _) = files::read(file, KEY_BYTES).map_err(|error| {
            let remedy = "name a key with --key, or make one with `wasmnode sign --new-key`";
            Failed { message: format!("the secret key {}: {error}; {remedy}", file.display()), exit: 1 }
        })?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let unusable = |error: &PError| failed(file, &format!("it is not a secret key that can be used: {error}"));
        let encoded = text.lines().nth(1).unwrap_or_default();
        let decoded = Base64::decode_to_vec(encoded, None).unwrap_or_default();
        if decoded.len() == PUBLIC_BYTES && decoded.starts_with(ALGORITHM) {
            let why =
                "it is the public key, which nodes verify with; sign with the secret one, whose file ends in .key";
            return Err(failed(file, &why));
        }
        // Decoded by hand, because minisign omits the checksum that the library requires of a key without a password.
        let secret = SecretKey::from_bytes(&decoded).map_err(|error| unusable(&error))?;
        let secret = if secret.is_encrypted() {
            SecretKey::from_box(SecretKeyBox::from(text), None).map_err(|error| unusable(&error))?
        } else {
            secret
        };
        let public = PublicKey::from_secret_key(&secret).map_err(|error| unusable(&error))?;
        Ok(Self { secret, public })
    }

    /// Returns the text of a signature of these bytes, from a file of that name.
    pub(super) fn sign(&self, file: &Path, bytes: &[u8]) -> Result<String, Failed> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // The comment of minisign; a file name may contain a line break, which the comment may not.
        let trusted = format!("timestamp:{now}\tfile:{}\thashed", name.escape_debug());
        let signature =
            minisign::sign(Some(&self.public), &self.secret, bytes, Some(&trusted), Some("signed by wasmnode"));
        Ok(signature.map_err(|error| failed(file, &format!("cannot be signed: {error}")))?.into_string())
    }
}

/// Makes a pair of keys; returns instructions for their use.
fn make_keys(name: &Path, has_password: bool) -> Result<String, Failed> {
    let (secret_file, public_file) = (with_ending(name, "key"), with_ending(name, "pub"));
    for file in [&secret_file, &public_file] {
        if file.symlink_metadata().is_ok() {
            return Err(failed(file, &"already exists, and keys are never overwritten; give another name"));
        }
    }
    let made =
        if has_password { KeyPair::generate_encrypted_keypair(None) } else { KeyPair::generate_unencrypted_keypair() };
    let refused = |error: PError| failed(name, &format!("the key cannot be made: {error}"));
    let KeyPair { pk, sk } = made.map_err(refused)?;
    let kind = if has_password { "minisign encrypted secret key" } else { "minisign secret key" };
    let secret = sk.to_box(Some(kind)).map_err(refused)?.into_string();
    let public = pk.to_box().map_err(refused)?.into_string();
    if let Some(folder) = name.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(folder, &error))?;
    }
    write_new(&secret_file, 0o600, &secret).map_err(|error| failed(&secret_file, &error))?;
    write_new(&public_file, 0o644, &public).map_err(|error| failed(&public_file, &error))?;
    Ok(format!(
        "{} is the secret key; keep it private\n{} is the public key; a node trusts it by\n\n[security]\n\
         plugins = {{ signers = [\"{}\"] }}\n",
        secret_file.display(),
        public_file.display(),
        pk.to_base64()
    ))
}

/// Writes a new file; fails if it exists.
fn write_new(file: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Returns the path of the user's own pair of keys, without extensions. A relative `XDG_CONFIG_HOME` is invalid by its
/// specification.
fn own_key() -> Result<PathBuf, Failed> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let message = "there is no home folder to keep keys in; name a place: --key SECRET, or --new-key NAME";
    let config = config.ok_or_else(|| Failed { message: message.into(), exit: 2 })?;
    Ok(config.join("wasmnode/signing"))
}

/// Appends an extension to a name, whatever the name contains.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn failed(file: &Path, why: &dyn std::fmt::Display) -> Failed {
    Failed { message: format!("{}: {why}", file.display()), exit: 1 }
}
