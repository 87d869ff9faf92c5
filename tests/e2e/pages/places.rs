//! Addresses, ports and folders of the pages, and their replacements in a session.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Address in all pages and examples.
const ADDRESS: &str = "127.0.0.1";

/// Largest number of sessions in a process.
const ADDRESSES: u32 = 64;

pub(super) struct Places {
    /// Words of the pages, each with its replacement in the session.
    words: Vec<(String, String)>,
    /// Replacement of `/tmp/` in the session.
    tmp: String,
}

impl Places {
    /// Chooses an address, and a free port for each port after the address of the pages in these texts.
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>, tmp: &Path) -> Self {
        let named: BTreeSet<String> = texts.flat_map(ports).collect();
        let address = own_address();
        // All bound at the same time, so that no two are equal. They stay free, because no other process uses the
        // address.
        let free: Vec<TcpListener> = named.iter().map(|_| TcpListener::bind((address, 0)).unwrap()).collect();
        let free = free.iter().map(|listener| listener.local_addr().unwrap().port().to_string());
        let address = (ADDRESS.to_owned(), address.to_string());
        Self { words: named.into_iter().zip(free).chain([address]).collect(), tmp: format!("{}/", tmp.display()) }
    }

    /// Replaces the places of the pages in a text with those of the session.
    pub(super) fn own(&self, text: &str) -> String {
        let pairs = self.words.iter().map(|(page, own)| (page.as_str(), own.as_str()));
        exchange(&text.replace("/tmp/", &self.tmp), &pairs.collect::<Vec<_>>())
    }

    /// Replaces the places of the session in a text with those of the pages.
    pub(super) fn of_the_page(&self, text: &str) -> String {
        let pairs = self.words.iter().map(|(page, own)| (own.as_str(), page.as_str()));
        exchange(&text.replace(&self.tmp, "/tmp/"), &pairs.collect::<Vec<_>>())
    }
}

/// Returns a loopback address that no other session has, in this process or another.
fn own_address() -> Ipv4Addr {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    assert!(session < ADDRESSES);
    let [_, a, b, c] = process::id().wrapping_mul(ADDRESSES).wrapping_add(session).to_be_bytes();
    Ipv4Addr::new(127, a, b, c)
}

/// Returns the ports after the address of the pages.
fn ports(text: &str) -> impl Iterator<Item = String> {
    let after = text.split(ADDRESS).skip(1).filter_map(|after| after.strip_prefix(':'));
    let ports = after.map(|after| after.chars().take_while(char::is_ascii_digit).collect::<String>());
    ports.filter(|port| !port.is_empty() && port != "0")
}

/// Replaces whole words.
fn exchange(text: &str, pairs: &[(&str, &str)]) -> String {
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '.';
    let (mut exchanged, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find(is_of_a_word) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.find(|c| !is_of_a_word(c)).unwrap_or(from.len()));
        exchanged.push_str(before);
        exchanged.push_str(pairs.iter().find(|(from, _)| *from == word).map_or(word, |(_, to)| to));
        rest = after;
    }
    exchanged + rest
}

#[test]
fn addresses_ports_and_folders_are_exchanged_there_and_back() {
    let texts = ["call --to tcp://127.0.0.1:5555", "5611 paris1; tcp://127.0.0.1:5611/, 127.0.0.1:0"];
    let places = Places::new(texts.into_iter(), Path::new("/home/tmp"));
    assert_eq!(places.words.len(), 3);
    let text = "5611 paris1, /tmp/x at tcp://127.0.0.1:5555/ and 127.0.0.1:0, not 55555 or a5555";
    let own = places.own(text);
    let kept = [":0, not 55555 or a5555", " paris1, /home/tmp/x at tcp://127."];
    assert!(kept.iter().all(|kept| own.contains(kept)), "{own}");
    assert!(!own.contains("127.0.0.1") && !own.contains("5611"), "{own}");
    assert_eq!(places.of_the_page(&own), text);
}
