//! What is no mistake in a configuration, and was perhaps meant otherwise: `[service.NAME]` for a plugin of another name, or
//! a node that peers on other machines cannot dial.
//!
//! Workers and peers serve services of any name, so only a name that is nearly one of a plugin is worth a word, unless that
//! one has settings of its own.

use super::{Config, Endpoint};
use crate::suggestion::nearest;
use std::fs;
use wasmnode_core::ServiceName;

impl Config {
    /// Services whose settings no plugin of `node.services` gets, with the one that was perhaps meant; and an address that is
    /// advertised to peers and tells those on other machines nothing.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let listed = self.services.iter().flatten().map(ServiceName::as_str).collect::<Vec<_>>();
        let misspelt = self.services.as_ref().map(|_| self.misspelt(&listed, "node.services does not list it"));
        self.unreachable().into_iter().chain(misspelt.into_iter().flatten()).collect()
    }

    /// A node whose tcp endpoints all are wildcards advertises its ipc endpoint.
    fn unreachable(&self) -> Option<String> {
        let mut tcp = self.listen.iter().filter(|endpoint| matches!(endpoint, Endpoint::Tcp(_))).peekable();
        let is_unreachable = self.advertise.is_none() && tcp.peek().is_some() && tcp.all(Endpoint::is_wildcard);
        let ipc = self.listen.iter().find(|endpoint| matches!(endpoint, Endpoint::Ipc(_)));
        ipc.filter(|_| is_unreachable).map(|ipc| {
            format!(
                "node.listen: peers on other machines cannot dial {ipc}, which this node advertises; add node.advertise = \
                 \"tcp://HOST:PORT\" if there are any"
            )
        })
    }

    /// The same of the files in the folder of plugins, where `node.services` does not say which are loaded.
    #[must_use]
    pub fn unmatched(&self) -> Vec<String> {
        if self.services.is_some() {
            return Vec::new();
        }
        let files = fs::read_dir(&self.plugins).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned));
        let names: Vec<String> = names.collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let folder = self.plugins.display();
        self.misspelt(&known, &format!("{folder} has no file of that name"))
    }

    fn misspelt(&self, known: &[&str], why: &str) -> Vec<String> {
        let unknown = self.sandboxes.keys().map(ServiceName::as_str).filter(|name| !known.contains(name));
        let is_set = |name: &str| self.sandboxes.keys().any(|set| set.as_str() == name);
        let free: Vec<&str> = known.iter().copied().filter(|name| !is_set(name)).collect();
        let doubt = |name| {
            let near = nearest(name, free.iter().copied())?;
            Some(format!("service.{name}: {why}; did you mean service.{near}?"))
        };
        unknown.filter_map(doubt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str, folder: &Path) -> Config {
        Config::parse(text, &folder.join("node.toml")).unwrap()
    }

    #[test]
    fn a_node_that_listens_everywhere_and_advertises_a_file_is_doubted() {
        let doubts = |text: &str| read(text, Path::new("/etc")).doubts();
        assert_eq!(
            doubts("node.listen = ['ipc://a.ipc', 'tcp://0.0.0.0:5555']\nsecurity.insecure = true\n"),
            ["node.listen: peers on other machines cannot dial ipc:///etc/a.ipc, which this node advertises; add \
              node.advertise = \"tcp://HOST:PORT\" if there are any"]
        );
        for reachable in [
            "node = { listen = ['ipc://a.ipc', 'tcp://0.0.0.0:5555'], advertise = 'tcp://10.0.0.2:5555' }\n",
            "node.listen = ['ipc://a.ipc', 'tcp://0.0.0.0:5555', 'tcp://10.0.0.2:5556']\n",
            "node.listen = ['ipc://a.ipc']\n",
        ] {
            let text = format!("{reachable}security.insecure = true\n");
            assert_eq!(doubts(&text), Vec::<String>::new(), "{reachable}");
        }
    }

    #[test]
    fn settings_of_a_service_that_is_nearly_a_listed_one_are_doubted() {
        let doubts = |text: &str| read(text, Path::new("")).doubts();
        assert_eq!(
            doubts("node.services = ['print']\n[service.prnt]\nreuse = 2\n"),
            ["service.prnt: node.services does not list it; did you mean service.print?"]
        );
        for meant in [
            "[service.prnt]\nreuse = 2\n",
            "node.services = ['print']\n[service.elsewhere]\nqueue = 2\n",
            "node.services = ['print1']\n[service.print1]\nreuse = 2\n[service.print2]\nqueue = 2\n",
        ] {
            assert_eq!(doubts(meant), Vec::<String>::new(), "{meant}");
        }
    }

    #[test]
    fn settings_of_a_service_that_is_nearly_a_file_are_doubted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::write(folder.path().join("plugins/print.wasm"), "").unwrap();
        let text = "[service.prnt]\nreuse = 2\n[service.elsewhere]\nqueue = 2\n";
        let [doubt] = &read(text, folder.path()).unmatched()[..] else { panic!("one doubt") };
        assert!(doubt.starts_with("service.prnt: ") && doubt.ends_with("; did you mean service.print?"), "{doubt}");
        let listed = format!("node.services = ['print']\n{text}");
        assert_eq!(read(&listed, folder.path()).unmatched(), Vec::<String>::new());
    }
}
