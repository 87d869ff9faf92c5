//! `wasmnode reload`: what changes while the node runs, what needs a restart, and what a mistake changes.

use crate::command_line::text;
use crate::node::{Node, run};
use std::fs;
use wasmnode_client::Code;

const LONG: [u8; 2048] = [b'x'; 2048];

/// Writes the configuration with these settings after those of the start, and reloads it; returns exit code and output.
fn reload(node: &Node, start: &str, settings: &str) -> (Option<i32>, String) {
    fs::write(node.folder.path("node.toml"), start.to_owned() + settings).unwrap();
    let done = run(&["reload", "--to", &node.ipc()]);
    (done.status.code(), text(&done.stdout) + &text(&done.stderr))
}

#[test]
fn settings_of_services_change_while_they_serve() {
    let node = Node::start(&["echo"], "");
    let start = fs::read_to_string(node.folder.path("node.toml")).unwrap();
    assert_eq!(node.call("echo", &[&LONG]).unwrap().concat(), LONG);
    let changed = reload(&node, &start, "[service.echo]\nreply = '1KiB'\n");
    assert_eq!(changed, (Some(0), "changed: service.echo.reply\n".into()));
    assert_eq!(node.fail("echo", &[&LONG]).0, Code::TooLarge);
    let plugins = text(&run(&["plugins", "--to", &node.ipc()]).stdout);
    assert_eq!(plugins.lines().count(), 2, "a generation follows only a new file: {plugins}");

    let (code, said) = reload(&node, &start, "[limits]\nmessage = '2MiB'\ncall-depth = 3\n");
    assert_eq!(
        (code, &said[..]),
        (Some(0), "changed: limits.call-depth, service.echo.reply\nneeds a restart: limits.message\n")
    );
    assert_eq!(node.call("echo", &[&LONG]).unwrap().concat(), LONG);
    let (_, said) = reload(&node, &start, "[limits]\nmessage = '2MiB'\ncall-depth = 3\n");
    assert_eq!(said, "needs a restart: limits.message\n");
}

#[test]
fn a_reload_with_a_mistake_changes_nothing_and_names_it() {
    let mut node = Node::start(&["echo"], "");
    let start = fs::read_to_string(node.folder.path("node.toml")).unwrap();
    for (settings, why) in [
        ("[service.echo]\nreply = '1KiB'\nqueue = 'long'\n", "service.echo.queue: expected a whole number"),
        ("[service.echo]\nreply = '1KiB'\nfs = [{ host = 'missing', guest = '/m' }]\n", "missing"),
        ("[service.echo\n", "not TOML"),
    ] {
        let (code, said) = reload(&node, &start, settings);
        assert!(code == Some(7) && said.contains(why) && said.contains("nothing was changed"), "{code:?} {said}");
        node.wait_for("nothing was changed");
        assert_eq!(node.call("echo", &[&LONG]).unwrap().concat(), LONG);
    }
    assert_eq!(reload(&node, &start, ""), (Some(0), "nothing has changed\n".into()));
}

#[test]
fn only_an_administrator_may_reload() {
    let node = Node::start(&["echo"], "");
    let done = run(&["reload", "--to", &node.tcp]);
    assert_eq!(done.status.code(), Some(8));
    assert!(text(&done.stderr).contains("may reload its configuration"), "{}", text(&done.stderr));
}
