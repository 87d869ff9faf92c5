//! Doubtful settings, which are not mistakes but perhaps unintended: `[service.NAME]` for a plugin of another name, or
//! a node that peers on other machines cannot dial.
//!
//! Workers and peers serve services of any name, so only a name that nearly matches a plugin is reported, unless that
//! plugin has settings of its own.

use super::{Config, Endpoint};
use crate::suggestion::nearest;
use std::fs;
use wasmnode_core::{Neighbour, ServiceName};

impl Config {
    /// Returns services whose settings apply to no plugin of `node.services`, each with the probable name; an
    /// advertised address that peers on other machines cannot dial; and doubtful settings of a router.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let listed = self.services.iter().flatten().map(ServiceName::as_str).collect::<Vec<_>>();
        let misspelt = self.services.as_ref().map(|_| self.misspelt(&listed, "node.services does not list it"));
        self.unreachable().into_iter().chain(misspelt.into_iter().flatten()).chain(self.idle_router()).collect()
    }

    /// Returns neighbours without traffic, neighbours that are not another router, and settings of plugins, which a
    /// router does not load.
    fn idle_router(&self) -> Vec<String> {
        let Some(router) = &self.node.router else { return Vec::new() };
        let mut doubts = Vec::new();
        for Neighbour { name, zone, endpoint, import, export, .. } in &router.neighbours {
            let key = format!("router.neighbour.{name}");
            if *zone == self.node.zone {
                doubts
                    .push(format!("{key}: its zone is this node's own, {zone}; set zone to that of the other router"));
            }
            if self.listen.iter().any(|own| own.to_string() == *endpoint) {
                doubts.push(format!(
                    "{key}.endpoint: this node itself listens at {endpoint}; name that of the other router"
                ));
            }
            if import.allow.is_empty() && export.allow.is_empty() {
                doubts.push(format!(
                    "{key}: nothing passes between this zone and {zone}, because neither import nor export lists a service; \
                     for all, set both to [\"*\"]"
                ));
            }
        }
        let has_sandbox = self.sandboxes.by_service.values().any(|sandbox| *sandbox != self.sandboxes.defaults);
        if self.services.is_some() || has_sandbox {
            doubts.push("node.services, service: a router loads no plugins, and ignores what is set for them".into());
        }
        doubts
    }

    /// Returns the doubt of a node whose tcp endpoints are all wildcards, so that it advertises its ipc endpoint.
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

    /// Returns the same doubts about the files in the plugin folder if `node.services` is not set; otherwise the listed
    /// services that have no file there.
    #[must_use]
    pub fn unmatched(&self) -> Vec<String> {
        let files = fs::read_dir(&self.plugins).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned));
        let names: Vec<String> = names.collect();
        if let Some(listed) = &self.services {
            let folder = self.plugins.display();
            let missing = listed.iter().filter(|service| !names.iter().any(|name| name == service.as_str()));
            let doubt = |service| format!("node.services: there is no {service}.wasm in {folder}");
            return if self.node.is_router() { Vec::new() } else { missing.map(doubt).collect() };
        }
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let folder = self.plugins.display();
        self.misspelt(&known, &format!("{folder} has no file of that name"))
    }

    fn misspelt(&self, known: &[&str], why: &str) -> Vec<String> {
        let unknown = self.sandboxes.by_service.keys().map(ServiceName::as_str).filter(|name| !known.contains(name));
        let is_set = |name: &str| self.sandboxes.by_service.keys().any(|set| set.as_str() == name);
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
        let [missing] = &read("node.services = ['print', 'prnt']", folder.path()).unmatched()[..] else {
            panic!("one")
        };
        assert!(missing.starts_with("node.services: there is no prnt.wasm in "), "{missing}");
    }

    #[test]
    fn a_neighbour_without_traffic_or_that_is_not_another_router_is_reported() {
        let doubts = |neighbour: &str| {
            let node = "[node]\nzone = 'paris'\nlisten = ['tcp://127.0.0.1:5600']\n[router.neighbour.lyon]\n";
            read(&format!("{node}{neighbour}"), Path::new("/etc")).doubts().join("\n")
        };
        assert_eq!(doubts("endpoint = 'tcp://10.0.0.2:5600'\nimport = ['*']\n"), "");
        assert!(doubts("endpoint = 'tcp://10.0.0.2:5600'\n").contains("neither import nor export lists a service"));
        assert!(
            doubts("endpoint = 'tcp://10.0.0.2:5600'\nzone = 'paris'\nimport = ['*']\n").contains("its zone is this")
        );
        assert!(doubts("endpoint = 'tcp://127.0.0.1:5600'\nimport = ['*']\n").contains("this node itself listens"));
        let with_plugin = "endpoint = 'tcp://10.0.0.2:5600'\nimport = ['*']\n[service.print]\nreuse = 2\n";
        assert!(doubts(with_plugin).contains("a router loads no plugins"));
    }
}
