//! Required provenance of plugins: `security.plugins`.

use super::fields::Fields;
use super::value::{self, quoted};
use minisign_verify::PublicKey;
use std::path::Path;
use toml::de::DeValue;
use wasmnode_files as files;
use wasmnode_sandbox::{Provenance, Signer};

/// Largest file with a public key, in bytes; those that minisign writes have about 100.
const KEY_FILE_BYTES: u64 = 4096;

/// Reads `security.plugins`; `None` if the key is absent. An empty list admits no plugin. Key files are read only here.
pub(super) fn read(security: &mut Fields<'_>, folder: &Path) -> Option<Provenance> {
    let is_given = security.has("plugins");
    let mut given = security.table("plugins");
    let digests = given.list("digests", digest).unwrap_or_default().into_iter().collect();
    let signers = given.list("signers", |value| signer(value, folder)).unwrap_or_default();
    given.done();
    is_given.then_some(Provenance { digests, signers })
}

fn digest(value: &DeValue<'_>) -> Result<String, String> {
    let written = value::text(value, "the digest of a file such as \"sha256:...\"")?;
    let digits = written.strip_prefix("sha256:").unwrap_or(written);
    if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    Err(format!("{} is not a digest; write \"sha256:\" and 64 digits, as sha256sum prints them", quoted(written)))
}

fn signer(value: &DeValue<'_>, folder: &Path) -> Result<Signer, String> {
    let path = value::path(value)?;
    let name = path.to_string_lossy().into_owned();
    if let Ok(key) = PublicKey::from_base64(&name) {
        return Ok(Signer { name, key });
    }
    let refused =
        |why: String| format!("{}: {why}; write a public key of minisign, or the path of its file", quoted(&name));
    let text = key_file(&folder.join(&path))
        .map_err(|why| refused(format!("neither a key, nor a file that can be read: {why}")))?;
    let key = PublicKey::decode(&text).or_else(|_| PublicKey::from_base64(text.trim()));
    let key = key.map_err(|_| refused("the file holds no public key".into()))?;
    Ok(Signer { name, key })
}

fn key_file(path: &Path) -> Result<String, String> {
    let (bytes, _) = files::read(path, KEY_FILE_BYTES).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn read(text: &str, file: &Path) -> Result<Option<Provenance>, String> {
        Config::parse(text, file).map(|config| config.provenance).map_err(|error| error.to_string())
    }

    #[test]
    fn without_the_key_any_plugin_is_loaded_and_an_empty_list_admits_none() {
        assert_eq!(read("security.insecure = true", Path::new("n.toml")), Ok(None));
        assert_eq!(read("[security.plugins]", Path::new("n.toml")), Ok(Some(Provenance::default())));
    }

    #[test]
    fn a_digest_may_be_written_as_sha256sum_prints_it() {
        let (small, large) = ("ab".repeat(32), "CD".repeat(32));
        let text = format!("security.plugins.digests = ['sha256:{small}', '{large}']");
        let digests = read(&text, Path::new("n.toml")).unwrap().unwrap().digests;
        assert_eq!(digests, BTreeSet::from([small, large.to_ascii_lowercase()]));
    }

    #[test]
    fn a_signer_is_a_key_or_the_file_of_one_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("release.pub"), format!("untrusted comment: ours\n{KEY}\n")).unwrap();
        fs::write(folder.path().join("bare.pub"), format!("{KEY}\n")).unwrap();
        let text = format!("security.plugins.signers = ['{KEY}', 'release.pub', 'bare.pub']");
        let signers = read(&text, &folder.path().join("n.toml")).unwrap().unwrap().signers;
        let names: Vec<&str> = signers.iter().map(|signer| signer.name.as_str()).collect();
        assert_eq!(names, [KEY, "release.pub", "bare.pub"]);
        let key = PublicKey::from_base64(KEY).unwrap();
        assert_eq!(signers[0].key, key);
        assert_eq!(signers[2].key, key);
        assert_eq!(signers[1].key.untrusted_comment(), Some("untrusted comment: ours"));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("n.toml");
        fs::write(folder.path().join("no.pub"), "untrusted comment: none\nRWQf\n").unwrap();
        fs::write(folder.path().join("large.pub"), "x".repeat(5000)).unwrap();
        let text = "[security.plugins]\ndigests = ['sha256:12', 3]\n\
                    signers = [\n'missing.pub',\n'no.pub',\n'large.pub',\n'.',\n'']\nsigner = 1\n";
        let mistakes = read(text, &file).unwrap_err();
        let lines: Vec<&str> = mistakes.lines().collect();
        let expected = [
            ":2: security.plugins.digests[0]: \"sha256:12\" is not a digest",
            ":2: security.plugins.digests[1]: expected the digest of a file",
            ":4: security.plugins.signers[0]: \"missing.pub\": neither a key, nor a file that can be read: no such file",
            ":5: security.plugins.signers[1]: \"no.pub\": the file holds no public key",
            ":6: security.plugins.signers[2]: \"large.pub\": neither a key, nor a file that can be read: longer than 4096",
            ":7: security.plugins.signers[3]: \".\": neither a key, nor a file that can be read: not a regular file but",
            ":8: security.plugins.signers[4]: is empty",
            ":9: security.plugins.signer: unknown key; did you mean signers?",
        ];
        assert_eq!(lines.len(), expected.len(), "{mistakes}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line}\n{expected}");
        }
    }
}
