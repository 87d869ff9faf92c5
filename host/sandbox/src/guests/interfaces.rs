//! The interfaces that a component imports and exports, and those that the host offers.

use crate::linker::Sandbox;
use wasmnode_protocol::text;
use wasmtime::component::Component;

/// Longest name of an import or export that is shown, in bytes; no known interface has a longer one.
const MAX_NAME: usize = 256;

/// Interfaces that the host offers, by the prefix of their names, each with its condition. The first match counts.
const OFFERED: [(&str, &str); 11] = [
    ("wasmnode:service/calls@0.1", "yes; other services if `calls` grants them"),
    ("wasmnode:service/", "yes"),
    ("wasi:cli/environment@0.2", "yes; variables if `env` grants them"),
    ("wasi:cli/", "yes"),
    ("wasi:filesystem/", "yes; folders if `fs` grants them"),
    ("wasi:sockets/", "yes; connections if `net` grants them"),
    ("wasi:http/outgoing-handler@0.2", "yes; connections if `http` grants them"),
    ("wasi:http/types@0.2", "yes"),
    ("wasi:io/", "yes"),
    ("wasi:clocks/", "yes"),
    ("wasi:random/", "yes"),
];

/// Names of a component's imports.
pub(crate) fn imports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().imports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// Names of a component's exports.
pub(crate) fn exports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().exports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// Returns an untrusted name from a file as one safe, short line.
fn shown(name: &str) -> String {
    text::line(name, MAX_NAME).into_owned()
}

/// Returns the condition on which the host offers an interface; `None` if it does not offer it.
pub(crate) fn offer(interface: &str) -> Option<&'static str> {
    let is_known = interface.starts_with("wasmnode:") || interface.contains("@0.2.");
    let (_, condition) = OFFERED.iter().find(|(name, _)| is_known && interface.starts_with(name))?;
    Some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_needs_a_grant_names_it() {
        assert_eq!(offer("wasi:cli/stdin@0.2.6"), Some("yes"));
        assert_eq!(offer("wasi:cli/environment@0.2.6"), Some("yes; variables if `env` grants them"));
        assert_eq!(offer("wasi:http/outgoing-handler@0.2.6"), Some("yes; connections if `http` grants them"));
        assert_eq!(offer("wasi:http/handler@0.3.0"), None);
        assert_eq!(offer("wasi:clocks/types@0.3.0"), None);
    }
}
