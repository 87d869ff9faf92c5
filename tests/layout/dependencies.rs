//! Direction of dependencies between crates and modules, and places that may name external crates.

use crate::sources::Source;

/// External crates, and the paths that may name them, because each purpose has one place.
const PLACES: [(&str, &[&str]); 3] = [
    ("wasmtime", &["host/sandbox/", "host/benches/"]),
    ("zmq", &["host/src/transport/zmq", "host/client/", "host/third-party/", "host/benches/", "tests/"]),
    ("clap", &["host/src/cli", "host/src/main.rs", "host/benches/"]),
];

/// Crates of the workspace, each with its allowed dependencies.
const CRATES: [(&str, &[&str]); 7] = [
    ("host/protocol", &[]),
    ("host/files", &[]),
    ("host/api", &[]),
    ("host/core", &["protocol"]),
    ("host/client", &["protocol"]),
    ("host/sandbox", &["protocol", "files", "api"]),
    ("host", &["protocol", "files", "api", "core", "client", "sandbox"]),
];

/// Modules of a crate from the top layer down; each uses only those below it. Modules of one layer do not use each
/// other.
const MODULES: [(&str, &[&[&str]]); 3] = [
    (
        "host/sandbox/src",
        &[
            &["lib"],
            &["plugins"],
            &["loading"],
            &["plugin"],
            &["guests"],
            &["run"],
            &["linker"],
            &["host_state"],
            &["calls"],
            &["engine", "error", "settings", "event_sender", "guard", "log_throttle"],
        ],
    ),
    (
        "host/core/src",
        &[
            &["lib"],
            &["node"],
            &["broker", "links", "members", "directory", "paths"],
            &["settings"],
            &["access", "policy"],
            &["connection", "time"],
        ],
    ),
    (
        "host/src",
        &[
            &["main"],
            &["cli"],
            &["loadgen", "memory", "lib"],
            &["driver"],
            &["admin"],
            &["transport", "reload", "signals"],
            &["keys"],
            &["config"],
            &["built_in", "event_queue", "repeats", "suggestion"],
        ],
    ),
];

/// Returns the lines that name an external crate in the wrong place.
pub(crate) fn misplaced_names(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.path != "tests/layout/dependencies.rs") {
        for (name, places) in PLACES {
            let uses = [format!("{name}::"), format!("use {name}")];
            let is_use = |line: &&str| {
                let code = line.split("//").next().unwrap_or_default();
                uses.iter().any(|used| words(code, used))
            };
            if !places.iter().any(|place| source.path.starts_with(place))
                && source.text.lines().any(|line| is_use(&line))
            {
                violations.push(format!("{} names {name}, which belongs to {places:?}", source.path));
            }
        }
    }
    violations
}

/// Returns `true` if a line contains `used` as a path of its own, not as the end of another.
fn words(line: &str, used: &str) -> bool {
    line.match_indices(used).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
    })
}

/// Returns the dependencies between the workspace's crates that point upwards.
pub(crate) fn upward_crates(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for (folder, allowed) in CRATES {
        let manifest = format!("{folder}/Cargo.toml");
        let Some(manifest) = sources.iter().find(|source| source.path == manifest) else { continue };
        let dependencies = manifest.text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let Some(name) = line.strip_prefix("wasmnode-").and_then(|line| line.split(' ').next()) else { continue };
            if !allowed.contains(&name) {
                violations.push(format!("{folder} depends on {name}, and may on {allowed:?}"));
            }
        }
    }
    violations
}

/// Returns the uses of modules that point upwards, or to the same layer.
pub(crate) fn upward_modules(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for (folder, layers) in MODULES {
        let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        for source in sources.iter().filter(|source| source.is_rust()) {
            let Some(path) = source.path.strip_prefix(&format!("{folder}/")) else { continue };
            let module = path.split(['/', '.']).next().unwrap_or_default();
            let Some(own) = layer(module) else {
                violations.push(format!("{}: {module} is in no layer", source.path));
                continue;
            };
            for used in source.text.lines().flat_map(used_modules) {
                let is_below = layer(used).is_none_or(|layer| layer > own) || used == module;
                if !is_below {
                    violations.push(format!("{} uses {used}, which is not below {module}", source.path));
                }
            }
        }
    }
    violations
}

/// Returns the modules of the own crate that a line of code names.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("crate::").map(|(at, found)| {
        let rest = &code[at + found.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

#[test]
fn a_name_in_the_wrong_place_is_noticed() {
    for (path, text) in [
        ("host/core/src/a.rs", "use wasmtime::Engine;"),
        ("host/src/driver.rs", "    let socket: zmq::Socket;"),
        ("host/src/config.rs", "use clap::Parser;"),
    ] {
        assert_eq!(misplaced_names(&[Source::new(path, text)]).len(), 1, "{text}");
    }
    let allowed = "// zmq::Socket\nuse crate::transport::zmq::Sockets;\nlet of = my_zmq::X;";
    assert_eq!(misplaced_names(&[Source::new("host/src/driver.rs", allowed)]), Vec::<String>::new());
}

#[test]
fn a_dependency_that_points_upwards_is_noticed() {
    let manifest = "[dependencies]\nwasmnode-core = { path = \"../core\" }\n[dev-dependencies]\nwasmnode-api = \"1\"\n";
    assert_eq!(upward_crates(&[Source::new("host/client/Cargo.toml", manifest)]).len(), 1);
    assert_eq!(upward_crates(&[Source::new("host/Cargo.toml", manifest)]), Vec::<String>::new());
    for (path, text) in [
        ("host/sandbox/src/engine/a.rs", "use crate::plugins::Plugins;"),
        ("host/core/src/links.rs", "fn a(b: crate::members::Members) {}"),
        ("host/core/src/new.rs", ""),
    ] {
        assert_eq!(upward_modules(&[Source::new(path, text)]).len(), 1, "{path}");
    }
    let downwards = "use crate::settings::A; // crate::node\nuse crate::broker::B;";
    assert_eq!(upward_modules(&[Source::new("host/core/src/broker/a.rs", downwards)]), Vec::<String>::new());
}
