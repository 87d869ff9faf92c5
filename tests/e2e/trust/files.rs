//! The folder of trusted keys, and other files in it: each file is checked on its own.

use super::{acquainted, call_once, distrust, keys_of, trust};
use crate::node::{Node, run};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn trusted(node: &Node) -> PathBuf {
    node.folder.path("keys/trusted")
}

/// Creates files that editors, other systems and mistakes leave in a folder of keys.
fn litter(trusted: &Path) {
    symlink("me@host:1", trusted.join(".#shop.toml")).unwrap();
    fs::write(trusted.join("._x.toml"), "left behind").unwrap();
    fs::write(trusted.join("shop (copy).toml"), "key = 'short'").unwrap();
    fs::create_dir(trusted.join("folder.toml")).unwrap();
    assert!(Command::new("mkfifo").arg(trusted.join("pipe.toml")).status().unwrap().success());
    symlink("/nowhere", trusted.join("dangling.toml")).unwrap();
    symlink("/dev/zero", trusted.join("zero.toml")).unwrap();
    fs::write(trusted.join("long.toml"), " ".repeat(70_000)).unwrap();
    fs::write(trusted.join("typo.toml"), "key = \"short\"\nrole = \"king\"\n").unwrap();
}

const NAMED: [&str; 8] = [
    "._x.toml: is skipped",
    "shop (copy).toml: is skipped, because its name is not valid",
    "folder.toml: is skipped: not a regular file but a folder",
    "pipe.toml: is skipped: not a regular file but a FIFO",
    "dangling.toml: is skipped: a symbolic link to a file that does not exist",
    "zero.toml: is skipped: not a regular file but a device",
    "long.toml: cannot be read: longer than 65536 bytes; long is not trusted",
    "typo.toml:1: key: \"short\" is not a key",
];

#[test]
fn other_files_do_not_prevent_trust_and_distrust() {
    let (party, shop, other) = acquainted();
    party.trusts(&other, &[]);
    let key = party.pair;
    let mut node = party.start("");
    let (mut client, mut served) = (shop.client(&node, &key), other.client(&node, &key));
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x");
    litter(&trusted(&node));
    for named in NAMED {
        node.wait_for(named);
    }
    distrust(&keys_of(&node), "shop");
    node.wait_for("the keys have changed: 1 is trusted");
    assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
    assert_eq!(call_once(&mut served, "echo").unwrap(), b"x");
    trust(&keys_of(&node), &shop, &[]);
    node.wait_for("the keys have changed: 2 are trusted");
    assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x");
    node.signal("-TERM");
    assert!(node.wait().success());
    let said = node.log_to_its_end().iter().filter(|line| line.contains("pipe.toml")).count();
    assert_eq!(said, 1, "each is named once");
}

#[test]
fn a_node_starts_with_other_files_beside_good_ones() {
    let (party, shop, _) = acquainted();
    litter(&party.folder.path("keys/trusted"));
    let key = party.pair;
    let mut node = party.start("");
    for named in NAMED {
        node.wait_for(named);
    }
    assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x");
}

#[test]
fn a_file_that_stops_being_regular_ends_its_trust() {
    for turn in [
        (|file: &Path| assert!(Command::new("mkfifo").arg(file).status().unwrap().success())) as fn(&Path),
        |file| fs::create_dir(file).unwrap(),
        |file| symlink("/nowhere", file).unwrap(),
        |file| symlink("/dev/zero", file).unwrap(),
    ] {
        let (party, shop, _) = acquainted();
        let key = party.pair;
        let mut node = party.start("");
        let file = trusted(&node).join("shop.toml");
        assert_eq!(call_once(&mut shop.client(&node, &key), "echo").unwrap(), b"x");
        fs::remove_file(&file).unwrap();
        turn(&file);
        node.wait_for("the keys have changed: 0 are trusted");
        assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
        node.signal("-TERM");
        assert!(node.wait().success(), "it still ends");
    }
}

#[test]
fn a_file_that_is_replaced_with_its_size_and_time_kept_is_read_again() {
    let (party, shop, other) = acquainted();
    let key = party.pair;
    let mut node = party.start("");
    let file = trusted(&node).join("shop.toml");
    let (text, time) = (fs::read_to_string(&file).unwrap(), fs::metadata(&file).unwrap().modified().unwrap());
    let replaced = text.replace(&shop.pair.public.to_string(), &other.pair.public.to_string());
    assert!(replaced.len() == text.len() && replaced != text);
    let beside = trusted(&node).join("beside");
    fs::write(&beside, replaced).unwrap();
    File::options().append(true).open(&beside).unwrap().set_modified(time).unwrap();
    fs::rename(&beside, &file).unwrap();
    node.wait_for("the keys have changed: 1 is trusted");
    assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
    assert_eq!(call_once(&mut other.client(&node, &key), "echo").unwrap(), b"x");
}

#[test]
fn a_file_with_new_mistakes_counts_for_the_grace_period_and_then_ends_its_trust() {
    let (party, shop, _) = acquainted();
    let key = party.pair;
    let mut node = party.start("");
    let mut client = shop.client(&node, &key);
    fs::write(trusted(&node).join("shop.toml"), "key = \n").unwrap();
    node.wait_for("its last valid content counts for 10 s");
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x");
    node.wait_for("shop is not trusted");
    node.wait_for("the keys have changed: 0 are trusted");
    assert!(call_once(&mut shop.client(&node, &key), "echo").is_err());
}

#[test]
fn distrusting_a_key_that_is_trusted_under_another_name_is_an_error() {
    let (party, shop, _) = acquainted();
    let folder = party.folder.path("keys/trusted");
    fs::copy(folder.join("shop.toml"), folder.join("a.toml")).unwrap();
    let distrust = |name: &str| run(&["distrust", name, "--keys", &party.keys()]);
    let done = distrust("shop");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(1) && said.contains("the same key is trusted as a"), "{said}");
    let twice = run(&["trust", "again", &shop.pair.public.to_string(), "--keys", &party.keys()]);
    let said = String::from_utf8(twice.stderr).unwrap();
    assert!(twice.status.code() == Some(1) && said.contains("the same key is trusted as a"), "{said}");
    assert!(distrust("a").status.success());
    let gone = distrust("a");
    assert!(gone.status.code() == Some(1), "{gone:?}");
    party.trusts(&shop, &[]);
    let said = String::from_utf8(distrust("shpo").stderr).unwrap();
    assert!(said.contains("shpo is not trusted") && said.contains("did you mean shop?"), "{said}");
}

#[test]
fn a_folder_that_every_user_may_write_to_grants_no_trust() {
    let (party, shop, stranger) = acquainted();
    let key = party.pair;
    let mut node = party.start("");
    let mut client = shop.client(&node, &key);
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x");
    fs::set_permissions(trusted(&node), Permissions::from_mode(0o777)).unwrap();
    trust(&keys_of(&node), &stranger, &[]);
    let line = node.wait_for("every user may write to");
    assert!(line.contains("chmod o-w"), "{line}");
    node.wait_for("; therefore not trusted: stranger");
    assert!(call_once(&mut stranger.client(&node, &key), "echo").is_err());
    assert_eq!(call_once(&mut client, "echo").unwrap(), b"x", "whom it knew before it knows");
    fs::set_permissions(trusted(&node), Permissions::from_mode(0o700)).unwrap();
    node.wait_for("the keys have changed: 2 are trusted");
    assert_eq!(call_once(&mut stranger.client(&node, &key), "echo").unwrap(), b"x");
}

#[test]
fn a_client_without_a_key_fails_soon_and_one_log_line_names_it() {
    let (party, shop, _) = acquainted();
    let mut node = party.start("");
    let done = run(&["call", "echo", "x", "--to", &node.tcp]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(8) && said.contains("no key was presented"), "{said}");
    assert!(said.contains("--keys FOLDER --to NAME@ENDPOINT"), "{said}");
    // With the node's name, the keys of the folder `keys` here are shown by themselves.
    let mut command = crate::node::wasmnode();
    command.args(["call", "echo", "x", "--to", &format!("node1@{}", node.tcp)]);
    let done = command.current_dir(shop.folder.path(".")).output().unwrap();
    assert_eq!(done.stdout, b"x", "{done:?}");
    assert_eq!(run(&["call", "echo", "x", "--to", &node.tcp]).status.code(), Some(8));
    node.signal("-TERM");
    let lines: Vec<_> = node.log_to_its_end().iter().filter(|line| line.contains("rejected: ")).collect();
    let is_remedy =
        |line: &str| line.contains("connection from 127.0.0.1 shows no key") && line.contains("--keys FOLDER");
    assert!(lines.len() == 1 && is_remedy(lines[0]), "{lines:?}");
}
