//! Configuration of `wasmnode traffic`: senders, addresses and rhythms. Read like the node's own configuration.

use super::endpoint::Contact;
use super::error::{ConfigError, Mistakes};
use super::fields::Fields;
use super::peers::contact;
use super::value::{self, number, quoted, size, text};
use super::{folder_of, parse, text_of};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};
use wasmnode_core::{Address, Label};

/// Largest number of senders: each is a thread and a connection.
const MOST_SENDERS: usize = 100;

/// Configuration of `wasmnode traffic`.
///
/// ```
/// use std::path::Path;
/// use wasmnode::config::LoadConfig;
///
/// let text = "sender.a = { endpoint = 'tcp://127.0.0.1:5555', to = ['print'], pattern = 'poisson', rate = 9 }";
/// assert_eq!(LoadConfig::parse(text, Path::new("traffic.toml"))?.requests, 1_000);
/// # Ok::<(), wasmnode::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// Seed of the schedule: the same seed sends the same requests at the same times. `seed`, default 1.
    pub seed: u64,
    /// Number of requests of all senders together. `requests`, default 1,000, 1 to 1,000,000.
    pub requests: usize,
    /// Time limit for sending, even if fewer requests were sent; answers may arrive later. `at-most`, default 1 min.
    pub at_most: Duration,
    /// Time limit from a request to its answer; a second later, the answer counts as missing. `deadline`, default 5 s.
    pub deadline: Duration,
    /// Folder with the keys of the senders and of the nodes. `keys`, default none.
    pub keys: Option<PathBuf>,
    /// Senders; at least one, at most 100. `[sender.NAME]`.
    pub senders: Vec<LoadSender>,
}

/// Connection to a node, and the requests sent on it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSender {
    /// Name of the sender in reports.
    pub name: Label,
    /// Endpoint of the node. `endpoint`; with `keys`, the node's name comes before a tcp endpoint:
    /// `node1@tcp://10.0.0.1:5555`.
    pub endpoint: Contact,
    /// Addresses to draw from for each request; one that is listed twice is drawn twice as often. `to`, at least one.
    pub to: Vec<Address>,
    /// Sizes of the body, in bytes, to draw from for each request. `bytes`, default `[64]`.
    pub bytes: Vec<usize>,
    /// Rhythm of its requests. `pattern` and the keys that belong to it.
    pub rhythm: Rhythm,
}

/// Rhythm of a sender. Bursts and pauses begin at a random moment, so that senders are not in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rhythm {
    /// Independent requests at a mean rate. `pattern = "poisson"` with `rate`.
    Poisson {
        /// Requests a second.
        rate: u32,
    },
    /// A burst of requests in each period. `pattern = "bursts"` with `burst` and `every`.
    Bursts {
        /// Requests per burst.
        burst: u32,
        /// Period.
        every: Duration,
    },
    /// Independent requests for a while, then none for a while. `pattern = "on-off"` with `on`, `off` and `rate`.
    OnOff {
        /// Time for which it sends.
        on: Duration,
        /// Time for which it pauses.
        off: Duration,
        /// Requests a second while it sends.
        rate: u32,
    },
}

/// Value of `pattern`; the other keys complete it.
#[derive(Clone, Copy)]
enum Pattern {
    Poisson,
    Bursts,
    OnOff,
}

impl LoadConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has mistakes that [`LoadConfig::parse`] finds.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&text_of(path, "")?, path)
    }

    /// Parses the text of a file; messages contain `file`, and relative paths start at its folder.
    ///
    /// # Errors
    /// Every mistake of the text, as for a node's configuration.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        parse(text, file, |table, report| Self::read(table, folder_of(file), report))
    }

    fn read(table: &DeTable<'_>, folder: &Path, report: &Mistakes<'_>) -> Self {
        let mut root = Fields::root(table, report);
        let keys = root.take("keys", value::path).map(|path| folder.join(path));
        let with_keys = keys.is_some();
        let traffic = Self {
            keys,
            seed: root.take("seed", number(0..=u64::MAX)).unwrap_or(1),
            requests: root.take("requests", number(1..=1_000_000)).unwrap_or(1_000),
            at_most: root.take("at-most", value::duration).unwrap_or(Duration::from_secs(60)),
            deadline: root.take("deadline", value::duration).unwrap_or(Duration::from_secs(5)),
            senders: {
                let entries = root.table("sender").entries(label);
                let count = entries.len();
                if !(1..=MOST_SENDERS).contains(&count) {
                    let problem = format!("there are {count}; write 1 to {MOST_SENDERS} tables such as [sender.paris]");
                    root.complain("sender", &problem);
                }
                entries.into_iter().filter_map(|(name, given)| sender(name, given, folder, with_keys)).collect()
            },
        };
        root.done();
        traffic
    }
}

fn label(name: &str) -> Result<Label, String> {
    name.parse().map_err(|error| format!("{} {error}", quoted(name)))
}

/// Reads one sender; `None` if a part is missing, which is reported.
fn sender(name: Option<Label>, mut given: Fields<'_>, folder: &Path, with_keys: bool) -> Option<LoadSender> {
    let endpoint =
        needed(&mut given, "endpoint", "the node, such as \"tcp://127.0.0.1:5555\"", |v| contact(v, folder, with_keys));
    let to = filled(&mut given, "to", "an address such as \"print\" or \"afficher@lyon\"", address);
    if !given.has("to") {
        given.complain("to", "is missing: addresses such as [\"print\", \"afficher@lyon\"]");
    }
    let bytes = filled(&mut given, "bytes", "a size such as 64 or \"1KiB\"", |value| size(0..=16 << 20)(value));
    let rhythm = rhythm(&mut given);
    given.done();
    Some(LoadSender {
        name: name?,
        endpoint: endpoint?,
        to: to?,
        bytes: bytes.unwrap_or_else(|| vec![64]),
        rhythm: rhythm?,
    })
}

/// Reads only the keys of the pattern, so that those of another pattern are unknown keys.
fn rhythm(given: &mut Fields<'_>) -> Option<Rhythm> {
    let patterns = [("poisson", Pattern::Poisson), ("bursts", Pattern::Bursts), ("on-off", Pattern::OnOff)];
    let what = "\"poisson\" with rate, \"bursts\" with burst and every, or \"on-off\" with on, off and rate";
    let Some(pattern) = needed(given, "pattern", what, value::choice(&patterns)) else {
        // Without a pattern it is unknown which keys belong here, so none is reported.
        let _rate = (given.take("rate", rate), given.take("burst", rate));
        let _times = ["every", "on", "off"].map(|key| given.take(key, value::duration));
        return None;
    };
    let per_second = "requests a second, such as 100";
    match pattern {
        Pattern::Poisson => Some(Rhythm::Poisson { rate: needed(given, "rate", per_second, rate)? }),
        Pattern::Bursts => {
            let burst = needed(given, "burst", "requests per burst, such as 50", rate);
            let every = needed(given, "every", "the time from burst to burst, such as \"500ms\"", value::duration);
            Some(Rhythm::Bursts { burst: burst?, every: every? })
        }
        Pattern::OnOff => {
            let on = needed(given, "on", "how long it sends, such as \"1s\"", value::duration);
            let off = needed(given, "off", "how long it pauses, such as \"1s\"", value::duration);
            let rate = needed(given, "rate", per_second, rate);
            Some(Rhythm::OnOff { on: on?, off: off?, rate: rate? })
        }
    }
}

fn rate(value: &DeValue<'_>) -> Result<u32, String> {
    number(1..=1_000_000)(value)
}

fn address(value: &DeValue<'_>) -> Result<Address, String> {
    let written = text(value, "an address such as \"print\" or \"afficher@lyon\"")?;
    written.parse().map_err(|error| format!("{}: {error}", quoted(written)))
}

/// Reads a required key.
fn needed<T>(
    given: &mut Fields<'_>,
    key: &'static str,
    what: &str,
    read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
) -> Option<T> {
    if !given.has(key) {
        given.complain(key, &format!("is missing: {what}"));
    }
    given.take(key, read)
}

/// Reads a list that may be absent, but not empty.
fn filled<T>(
    given: &mut Fields<'_>,
    key: &'static str,
    what: &str,
    read: impl FnMut(&DeValue<'_>) -> Result<T, String>,
) -> Option<Vec<T>> {
    let list = given.list(key, read);
    if list.as_ref().is_some_and(Vec::is_empty) && given.is_good(key) {
        given.complain(key, &format!("is empty; write {what}"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    fn mistakes(text: &str) -> String {
        LoadConfig::parse(text, Path::new("etc/traffic.toml")).expect_err(text).to_string()
    }

    #[test]
    fn every_key_reaches_its_field() {
        let text = r#"
            seed = 7
            keys = "keys"
            requests = 9
            at-most = "2s"
            deadline = "3s"
            [sender.a]
            endpoint = "node1@ipc://a.ipc"
            to = ["print", "print@lyon"]
            bytes = [0, "1KiB"]
            pattern = "on-off"
            on = "4s"
            off = "5s"
            rate = 6
        "#;
        let traffic = LoadConfig::parse(text, Path::new("/etc/traffic.toml")).unwrap();
        let rhythm = Rhythm::OnOff { on: Duration::from_secs(4), off: Duration::from_secs(5), rate: 6 };
        let to = ["print", "print@lyon"].map(|address| address.parse().unwrap()).to_vec();
        let endpoint = Contact { name: Some("node1".parse().unwrap()), endpoint: Endpoint::Ipc("/etc/a.ipc".into()) };
        let keys = Some("/etc/keys".into());
        let sender = LoadSender { name: "a".parse().unwrap(), endpoint, to, bytes: vec![0, 1024], rhythm };
        let (at_most, deadline) = (Duration::from_secs(2), Duration::from_secs(3));
        assert_eq!(traffic, LoadConfig { seed: 7, requests: 9, at_most, deadline, keys, senders: vec![sender] });
    }

    #[test]
    fn without_a_sender_there_is_no_traffic() {
        assert_eq!(mistakes(""), "etc/traffic.toml: sender: there are 0; write 1 to 100 tables such as [sender.paris]");
    }

    #[test]
    fn keys_of_another_pattern_are_unknown_and_those_of_no_pattern_are_not() {
        let sender = "[sender.a]\nendpoint = 'ipc://a.ipc'\nto = ['print']\n";
        let found = mistakes(&format!("{sender}pattern = 'poisson'\nrate = 1\nburst = 5"));
        assert!(found.starts_with("etc/traffic.toml:6: sender.a.burst: unknown key"), "{found}");
        let found = mistakes(&format!("{sender}rate = 1\nburst = 5\nevery = '1s'"));
        assert!(
            found.starts_with("etc/traffic.toml:1: sender.a.pattern: is missing") && !found.contains('\n'),
            "{found}"
        );
    }
}
