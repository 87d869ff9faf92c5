//! The interfaces that a component names, and those that the host offers.

use crate::linker::Sandbox;
use wasmnode_protocol::text;
use wasmtime::component::Component;

/// Largest name of an import or an export that is shown, in bytes: longer ones are nobody's interface.
const MAX_NAME: usize = 256;

/// What the host offers, by the beginning of an interface's name, and on which condition. The first that fits counts.
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

/// The names of all that a component imports.
pub(crate) fn imports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().imports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// The names of all that a component exports.
pub(crate) fn exports(sandbox: &Sandbox, component: &Component) -> Vec<String> {
    component.component_type().exports(&sandbox.engine).map(|(name, _)| shown(name)).collect()
}

/// A name that the author of a file chose.
fn shown(name: &str) -> String {
    text::line(name, MAX_NAME).into_owned()
}

/// Whether, and on which condition, the host offers an interface.
pub(crate) fn offer(interface: &str) -> Option<&'static str> {
    let is_known = interface.starts_with("wasmnode:") || interface.contains("@0.2.");
    let (_, condition) = OFFERED.iter().find(|(name, _)| is_known && interface.starts_with(name))?;
    Some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_grant_says_so() {
        assert_eq!(offer("wasi:cli/stdin@0.2.6"), Some("yes"));
        assert_eq!(offer("wasi:cli/environment@0.2.6"), Some("yes; variables if `env` grants them"));
        assert_eq!(offer("wasi:http/outgoing-handler@0.2.6"), Some("yes; connections if `http` grants them"));
        assert_eq!(offer("wasi:http/handler@0.3.0"), None);
        assert_eq!(offer("wasi:clocks/types@0.3.0"), None);
    }
}
