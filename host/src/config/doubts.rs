//! What is no mistake in a configuration, and was perhaps meant otherwise: `[service.NAME]` for a plugin of another name.
//!
//! Workers and peers serve services of any name, so only a name that is nearly one of a plugin is worth a word, unless that
//! one has settings of its own.

use super::Config;
use crate::near::nearest;
use std::fs;
use wasmnode_core::ServiceName;

impl Config {
    /// Services whose settings no plugin of `node.services` gets, with the one that was perhaps meant.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let Some(listed) = &self.services else { return Vec::new() };
        let listed: Vec<&str> = listed.iter().map(ServiceName::as_str).collect();
        self.misspelt(&listed, "node.services does not list it")
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
