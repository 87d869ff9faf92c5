//! Provenance of plugins: if the configuration requires it, a file needs a listed digest, or a signature of its exact
//! bytes by a trusted key.
//!
//! A signature covers neither the file's name nor its version: a user with write access to the folder can choose among
//! all files that were ever signed.

use crate::loading::scanner::signature_of;
use crate::settings::Provenance;
use minisign_verify::{Error, Signature};
use std::fmt;
use std::path::Path;
use wasmnode_files::FileError;

/// Name of a file in refusals; the name of its signature is derived from it.
#[derive(Debug, Clone)]
pub(crate) struct FileName {
    plugin: String,
    /// Whether the file is from `deploy`, which can sign it.
    is_deployed: bool,
}

impl FileName {
    /// Returns the name of a file to deploy, as the user wrote it.
    pub(crate) fn to_deploy(plugin: &str) -> Self {
        Self { plugin: plugin.into(), is_deployed: true }
    }
}

/// Returns the name in refusals of a file of the plugin folder.
pub(crate) fn in_folder(file: &Path) -> FileName {
    let plugin = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    FileName { plugin, is_deployed: false }
}

/// Reason why a file is not proven to be of a trusted origin. The message has the remedy.
#[derive(Debug)]
pub(crate) struct Unverified {
    flaw: Flaw,
    called: FileName,
    digest: String,
}

/// What a file lacks.
#[derive(Debug)]
enum Flaw {
    /// The digest of the file is not listed, and no signature would do.
    NotListed,
    /// There is no signature.
    NotSigned,
    /// The signature cannot be read.
    Unreadable(FileError),
    /// The signature is not one of these bytes by a trusted key.
    Signature(Error),
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileName { plugin, is_deployed } = &self.called;
        let beside = signature_of(Path::new(plugin));
        let beside = beside.display();
        let listing = format!("list \"sha256:{}\" in security.plugins.digests", self.digest);
        match &self.flaw {
            Flaw::NotListed => return write!(f, "security.plugins.digests does not list it; {listing}"),
            Flaw::NotSigned => write!(f, "it is not signed: there is no {beside}")?,
            Flaw::Unreadable(error) => write!(f, "{beside} cannot be read: {error}")?,
            Flaw::Signature(Error::InvalidSignature) => {
                write!(f, "its bytes are not those that {beside} was made for")?;
            }
            Flaw::Signature(Error::UnexpectedKeyId) => {
                write!(f, "{beside} is by a key that security.plugins.signers does not list")?;
            }
            Flaw::Signature(_) => write!(f, "{beside} is not a signature of minisign")?,
        }
        write!(f, "; sign it with `wasmnode sign {plugin} --key SECRET`")?;
        if *is_deployed {
            write!(f, ", or deploy it with --sign-key SECRET, or {listing}")
        } else {
            write!(f, " and put {beside} beside it, or {listing}")
        }
    }
}

impl std::error::Error for Unverified {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.flaw {
            Flaw::Unreadable(error) => Some(error),
            Flaw::Signature(error) => Some(error),
            Flaw::NotListed | Flaw::NotSigned => None,
        }
    }
}

/// Returns the proof of a file's provenance; `signature` is the text of its signature file, or the error of reading it.
///
/// # Errors
/// If there is no proof; the text has the reason and the remedy.
pub(crate) fn check_origin(
    policy: &Provenance,
    called: &FileName,
    bytes: &[u8],
    digest: &str,
    signature: Option<Result<String, FileError>>,
) -> Result<String, Unverified> {
    if policy.digests.contains(digest) {
        return Ok("its digest is listed".into());
    }
    let flaw = match signature {
        _ if policy.signers.is_empty() => Flaw::NotListed,
        None => Flaw::NotSigned,
        Some(Err(error)) => Flaw::Unreadable(error),
        Some(Ok(signature)) => match verify(policy, bytes, &signature) {
            Ok(signer) => return Ok(format!("it is signed by {signer}")),
            Err(error) => Flaw::Signature(error),
        },
    };
    Err(Unverified { flaw, called: called.clone(), digest: digest.into() })
}

/// Returns the name of the signer of a valid signature.
fn verify<'a>(policy: &'a Provenance, bytes: &[u8], signature: &str) -> Result<&'a str, Error> {
    let signature = Signature::decode(signature)?;
    let mut refused = Error::UnexpectedKeyId;
    for signer in &policy.signers {
        // Also accepts the format of minisign before 0.11, which signs the bytes and not their hash.
        match signer.key.verify(bytes, &signature, true) {
            Ok(()) => return Ok(&signer.name),
            Err(Error::UnexpectedKeyId) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loading::content::digest;
    use crate::settings::Signer;
    use minisign_verify::PublicKey;

    // Made by minisign 0.11: `minisign -G -W`, `minisign -S -m test` and, for the second, `-l`; the file holds "test".
    const KEY: &str = "RWTRMISEWZrE9/iFh9BmF06lqG4oNtfs++WXQLNVULyYhLt87wQ4CyUQ";
    const SIGNATURE: &str = "\
        untrusted comment: signature from minisign secret key\n\
        RUTRMISEWZrE91e1C8Wof/9/nhH0Vun3gyeMz9MbURjtYvaiOeKWYqinKsYbkF0umnf0RYLDBY1t5Nu7lns8mkcI0UowKfezowo=\n\
        trusted comment: timestamp:1795534489\tfile:test\thashed\n\
        kFOPUOsX4fyGAYNkeSQTD8j1LmU+YlzTwUH4rMKPNgEC0DhYRRHRZiro7jmba3OaiR0gRD1R5BXmec7OAnbCCA==\n";
    const LEGACY: &str = "\
        untrusted comment: signature from minisign secret key\n\
        RWTRMISEWZrE9yIp3o4Bo/IGg/Vrp9I6ZameG8wxEwFsllMYJzzSg9ziMp+DH+WR8ybp+KBlF6vi/BwilbqMsC0dUTAL7JJE4gI=\n\
        trusted comment: timestamp:1795534489\tfile:test\n\
        OEmqPt7jqHcLc2O8f8N+27P32UptYHUplvl0d4zkwz3iagDXQewUeWG1p+NhC/bWlqmMlXSCPJqLnlPMttrAAA==\n";
    /// From the documentation of the crate that verifies.
    const OTHER_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn signer(key: &str) -> Signer {
        Signer { name: key[..4].into(), key: PublicKey::from_base64(key).unwrap() }
    }

    fn trusting(keys: &[&str]) -> Provenance {
        Provenance { signers: keys.iter().map(|key| signer(key)).collect(), ..Provenance::default() }
    }

    fn origin_of_print(policy: &Provenance, bytes: &[u8], signature: Option<&str>) -> Result<String, Unverified> {
        let signature = signature.map(|text| Ok(text.to_owned()));
        check_origin(policy, &in_folder(Path::new("plugins/print.wasm")), bytes, &digest(bytes), signature)
    }

    #[test]
    fn a_signature_by_a_trusted_key_is_a_proof() {
        let signed = format!("it is signed by {}", &KEY[..4]);
        assert_eq!(origin_of_print(&trusting(&[KEY]), b"test", Some(SIGNATURE)).unwrap(), signed);
        assert_eq!(origin_of_print(&trusting(&[OTHER_KEY, KEY]), b"test", Some(SIGNATURE)).unwrap(), signed);
        assert_eq!(origin_of_print(&trusting(&[KEY]), b"test", Some(LEGACY)).unwrap(), signed);
    }

    #[test]
    fn a_file_without_proof_is_refused_with_reason_and_remedy() {
        let policy = trusting(&[KEY]);
        let altered_comment = SIGNATURE.replace("file:test", "file:text");
        for (policy, bytes, signature, why) in [
            (&policy, &b"test"[..], None, "it is not signed: there is no print.wasm.minisig"),
            (&policy, b"text", Some(SIGNATURE), "its bytes are not those that print.wasm.minisig was made for"),
            (&policy, b"text", Some(LEGACY), "its bytes are not those that print.wasm.minisig was made for"),
            (&policy, b"test", Some(&altered_comment), "its bytes are not those that"),
            (&trusting(&[OTHER_KEY]), b"test", Some(SIGNATURE), "print.wasm.minisig is by a key that"),
            (&policy, b"test", Some("rubbish"), "print.wasm.minisig is not a signature of minisign"),
            (&policy, b"test", Some(""), "print.wasm.minisig is not a signature of minisign"),
        ] {
            let refused = origin_of_print(policy, bytes, signature).unwrap_err().to_string();
            assert!(refused.starts_with(why), "{refused}");
            let remedy = format!(
                "; sign it with `wasmnode sign print.wasm --key SECRET` and put print.wasm.minisig beside it, or list \
                 \"sha256:{}\" in security.plugins.digests",
                digest(bytes)
            );
            assert!(refused.ends_with(&remedy), "{refused}");
        }
    }

    #[test]
    fn a_file_to_deploy_has_the_users_name_and_can_be_signed_by_deploy() {
        let called = FileName::to_deploy("../svc/up2.wasm");
        let refused =
            check_origin(&trusting(&[KEY]), &called, b"test", &digest(b"test"), None).unwrap_err().to_string();
        let why = "it is not signed: there is no ../svc/up2.wasm.minisig; sign it with `wasmnode sign ../svc/up2.wasm --key \
                   SECRET`, or deploy it with --sign-key SECRET, or list \"sha256:";
        assert!(refused.starts_with(why), "{refused}");
    }

    #[test]
    fn an_unreadable_signature_is_reported() {
        let signature = Some(Err(FileError::NotAFile("a FIFO")));
        let refused =
            check_origin(&trusting(&[KEY]), &in_folder(Path::new("print.wasm")), b"test", &digest(b"test"), signature);
        let why = "print.wasm.minisig cannot be read: not a regular file but a FIFO; sign it with";
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with(why), "{refused}");
    }

    #[test]
    fn a_listed_digest_suffices_and_a_signature_does_not_replace_it() {
        let policy = Provenance { digests: [digest(b"test")].into(), ..Provenance::default() };
        assert_eq!(origin_of_print(&policy, b"test", None).unwrap(), "its digest is listed");
        let refused = origin_of_print(&policy, b"text", Some(SIGNATURE)).unwrap_err().to_string();
        assert!(refused.starts_with("security.plugins.digests does not list it; list \"sha256:"), "{refused}");
        assert!(
            origin_of_print(&Provenance::default(), b"test", Some(SIGNATURE)).is_err(),
            "an empty policy admits nothing"
        );
    }

    #[test]
    fn a_changed_or_truncated_signature_is_refused_without_a_panic() {
        let policy = trusting(&[KEY]);
        let is_comment = |at: usize| SIGNATURE.find('\n').is_some_and(|end| at <= end);
        for at in 0..SIGNATURE.len() {
            assert!(
                origin_of_print(&policy, b"test", Some(&SIGNATURE[..at])).is_err() || at == SIGNATURE.len() - 1,
                "cut at {at}"
            );
            let mut altered = SIGNATURE.as_bytes().to_vec();
            altered[at] ^= 0x10;
            let altered = String::from_utf8_lossy(&altered).into_owned();
            // The first line is a comment, and is not signed.
            assert!(
                is_comment(at)
                    || origin_of_print(&policy, b"test", Some(&altered)).is_err()
                    || at == SIGNATURE.len() - 1,
                "{at}"
            );
        }
    }
}
