//! Grants: what a plugin may reach beyond its sandbox, which is nothing unless the configuration grants it.

use super::claims::Needs;
use super::fields::Fields;
use super::value::{boolean, number, path, quoted, size, text};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use toml::de::DeValue;
use wasmnode_sandbox::{FolderGrant, HttpGrant};

/// Reads a table of environment variables.
pub(super) fn env(given: Fields<'_>) -> BTreeMap<String, String> {
    let variable = |name: &str, value: &DeValue<'_>| {
        let value = text(value, "text such as \"fr\"")?;
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("{} cannot be an environment variable", quoted(name)));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    given.values(variable).into_iter().collect()
}

/// Reads the grant of a folder; a relative path starts at `base`.
pub(super) fn folder(mut given: Fields<'_>, base: &Path) -> Option<FolderGrant> {
    let absolute = |value: &DeValue<'_>| match text(value, "a path such as \"/data\"")? {
        guest if guest.starts_with('/') => Ok(guest.to_owned()),
        guest => Err(format!("{} is not an absolute path; write \"/data\"", quoted(guest))),
    };
    let host = given.take("host", path).map(|host| base.join(host));
    host.iter().for_each(|host| given.claim("host", host, Needs::Folder));
    let guest = given.take("guest", absolute);
    let write = given.take("write", boolean).unwrap_or(false);
    let bytes = given.take("bytes", size(0..=1 << 60)).map_or(FolderGrant::BYTES, |bytes| bytes as u64);
    let files = given.take("files", number(0..=1 << 40)).unwrap_or(FolderGrant::FILES);
    for (key, what) in
        [("host", "the folder, such as \"data\""), ("guest", "where the plugin sees it, such as \"/data\"")]
    {
        if given.is_table() && !given.has(key) {
            given.complain(key, &format!("is missing: {what}"));
        }
    }
    given.done();
    Some(FolderGrant { host: host?, guest: guest?, write, bytes, files })
}

/// Reads a TCP address.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let written = text(value, "an address such as \"tcp:127.0.0.1:5432\"")?;
    written.strip_prefix("tcp:").and_then(|address| address.parse().ok()).ok_or_else(|| {
        format!("{} is not an address; write \"tcp:127.0.0.1:5432\" or \"tcp:[::1]:5432\"", quoted(written))
    })
}

/// Reads a host that may receive HTTP requests.
pub(super) fn http_host(value: &DeValue<'_>) -> Result<HttpGrant, String> {
    let written = text(value, "a host such as \"api.example.org\"")?;
    HttpGrant::parse(written).ok_or_else(|| {
        format!(
            "{} is not a host; write \"api.example.org\", \"api.example.org:8080\", or with its address \
             \"api.internal@10.0.0.5:8080\"",
            quoted(written)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use wasmnode_sandbox::Grants;

    fn read<T>(toml: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Result<T, String> {
        read(DeValue::parse(toml).unwrap().get_ref())
    }

    fn given(defaults: &str) -> Result<Grants, String> {
        let config = Config::parse(&format!("[defaults]\n{defaults}"), Path::new("/etc/n.toml"));
        config.map(|config| config.sandboxes.defaults.grants).map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_is_read_only_by_default() {
        let granted =
            |write, bytes, files| vec![FolderGrant { host: "/etc/d".into(), guest: "/d".into(), write, bytes, files }];
        assert_eq!(given("fs = [{ host = 'd', guest = '/d' }]").unwrap().fs, granted(false, 1 << 30, 10_000));
        let limited = "fs = [{ host = 'd', guest = '/d', write = true, bytes = '2MiB', files = 3 }]";
        assert_eq!(given(limited).unwrap().fs, granted(true, 2 << 20, 3));
    }

    #[test]
    fn every_mistake_in_one_grant_is_named() {
        let mistakes =
            given("env = { 'A=B' = 'c', D = 1 }\nfs = [{ guest = 'd', write = 'yes', wirte = true }, 5]").unwrap_err();
        for said in [
            "n.toml:2: defaults.env.\"A=B\": \"A=B\" cannot be an environment variable",
            "n.toml:2: defaults.env.D: expected text such as \"fr\", got the number 1",
            "n.toml:3: defaults.fs[0].host: is missing",
            "n.toml:3: defaults.fs[0].guest: \"d\" is not an absolute path",
            "n.toml:3: defaults.fs[0].write: expected true or false",
            "n.toml:3: defaults.fs[0].wirte: unknown key; did you mean write?",
            "n.toml:3: defaults.fs[1]: expected a table",
        ] {
            assert!(mistakes.contains(said), "no {said} in\n{mistakes}");
        }
        assert_eq!(mistakes.lines().count(), 7, "{mistakes}");
    }

    #[test]
    fn a_host_is_granted_with_or_without_a_port() {
        let granted = |host: &str, port| HttpGrant { host: host.into(), port, address: None };
        assert_eq!(read("'API.example.org'", http_host), Ok(granted("api.example.org", None)));
        assert_eq!(read("'127.0.0.1:8080'", http_host), Ok(granted("127.0.0.1", Some(8080))));
        assert_eq!(read("'[::1]:8080'", http_host), Ok(granted("[::1]", Some(8080))));
        assert_eq!(granted("[::1]", Some(8080)).to_string(), "[::1]:8080");
        for text in ["api.internal@10.0.0.5:8080", "api.internal@[fd00::5]:8080", "api.internal@10.0.0.5"] {
            let HttpGrant { host, port, address } = read(&format!("'{text}'"), http_host).unwrap();
            assert_eq!((host.as_str(), address.is_some()), ("api.internal", true));
            assert_eq!(HttpGrant { host, port, address }.to_string(), text);
        }
    }

    #[test]
    fn an_invalid_grant_grants_nothing() {
        for bad in [
            "'/d'",
            "{}",
            "{ host = 'd' }",
            "{ host = 'd', guest = 'd' }",
            "{ host = 'd', guest = '/d', write = 'yes' }",
            "{ host = 'd', guest = '/d', wirte = true }",
            "{ host = 'd', guest = '/d', bytes = 'much' }",
            "{ host = 'd', guest = '/d', files = -1 }",
        ] {
            assert!(given(&format!("fs = [{bad}]")).is_err(), "{bad}");
        }
        for bad in
            ["'127.0.0.1:1'", "'tcp:localhost:1'", "'tcp:127.0.0.1'", "'udp:127.0.0.1:1'", "'tcp:127.0.0.1:*'", "1"]
        {
            assert!(read(bad, address).is_err(), "{bad}");
        }
        for bad in [
            "'https://api.example.org'",
            "'api.example.org/v1'",
            "'user@api.example.org'",
            "'a:1@10.0.0.5'",
            "'a@10.0.0.5@10.0.0.6'",
            "'@10.0.0.5'",
            "'a@'",
            "'*.example.org'",
            "'api.example.org:'",
            "'api.example.org:http'",
            "'api.example.org:65536'",
            "':80'",
            "''",
            "80",
        ] {
            assert!(read(bad, http_host).is_err(), "{bad}");
        }
        for bad in ["'LANG=fr'", "{ LANG = 1 }", "{ 'A=B' = 'c' }"] {
            assert!(given(&format!("env = {bad}")).is_err(), "{bad}");
        }
    }
}
