//! Replay of the pages for users: their blocks of commands are run, and the output is compared.
//!
//! A block with the info string `sh` is replayed; one that no test can run is `sh by-hand`. Blocks of `text` that
//! follow a replayed block, with no prose between, show its whole output. `…` matches any text in a line, and alone in
//! a line any lines; dates, digests and times may differ. A command that must fail has `exit code N` at the end of its
//! comment. A node runs in its own terminal until the prose says Ctrl-C.

mod clone;
mod output;
mod page;
mod places;
mod session;

use crate::commands::repository;
use page::{Block, Step, announced_exit};
use session::Session;
use std::collections::BTreeSet;
use std::fs;

/// State that a page assumes: a node, started as in the README, and plugins of the reader, which are copies of shipped
/// ones.
struct Start {
    runs_a_node: bool,
    plugins: &'static [(&'static str, &'static str)],
}

/// No node, as before the first command of the README.
const NOTHING: Start = Start { runs_a_node: false, plugins: &[] };
/// The first node of the README.
const A_NODE: Start = Start { runs_a_node: true, plugins: &[] };
/// That node, and a plugin of the reader in two versions.
const A_NODE_AND_HELLO: Start =
    Start { runs_a_node: true, plugins: &[("hello.wasm", "print"), ("build/out.wasm", "afficher")] };

macro_rules! pages {
    ($($test:ident: $page:literal, $start:expr;)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                let text = fs::read_to_string(repository($page)).unwrap();
                let wrong = replay(stringify!($test), &text, &$start);
                assert!(wrong.is_empty(), "{}:\n{}", $page, wrong.join("\n"));
            }
        )*
    };
}

pages! {
    readme: "README.md", NOTHING;
    clients: "docs/guide/clients.md", A_NODE;
    deploy_and_roll_back: "docs/guide/deploy-and-roll-back.md", A_NODE_AND_HELLO;
    first_plugin: "docs/guide/first-plugin.md", A_NODE;
    keys: "docs/guide/keys.md", NOTHING;
    production: "docs/guide/production.md", A_NODE;
    zones_and_routers: "docs/guide/zones-and-routers.md", NOTHING;
    demarrage_rapide: "docs/fr/demarrage-rapide.md", NOTHING;
}

#[test]
fn every_page_for_users_is_replayed() {
    let mut found = BTreeSet::from(["README.md".to_owned()]);
    for folder in ["docs/guide", "docs/fr"] {
        let entries = fs::read_dir(repository(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        found.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    assert_eq!(found, PAGES.iter().map(ToString::to_string).collect());
}

/// Replays a page; returns the differences.
fn replay(name: &str, text: &str, start: &Start) -> Vec<String> {
    let steps = match page::steps(text) {
        Ok(steps) => steps,
        Err(wrong) => return vec![wrong],
    };
    if !steps.iter().any(|step| matches!(step, Step::Play(_))) {
        return vec!["no block of it is replayed".to_owned()];
    }
    let mut session = Session::new(name, text);
    for (file, plugin) in start.plugins {
        session.give(file, plugin);
    }
    let node = Block { line: 0, commands: vec!["wasmnode".to_owned()], shown: None };
    let mut wrong = if start.runs_a_node { play(&mut session, &node) } else { Vec::new() };
    for step in &steps {
        match step {
            Step::Stop => session.stop(),
            Step::Play(block) => wrong.extend(play(&mut session, block)),
        }
    }
    wrong
}

/// Runs the commands of a block, and compares what they print.
fn play(session: &mut Session, block: &Block) -> Vec<String> {
    let (mut wrong, mut printed) = (Vec::new(), String::new());
    for command in &block.commands {
        let done = session.run(command);
        if done.exit != announced_exit(command) {
            wrong.push(format!("line {}: exit code {} of: {command}\n{}", block.line, done.exit, done.printed));
        }
        if !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        printed.push_str(&done.printed);
    }
    if let Some(shown) = block.shown.as_ref().filter(|shown| !output::is_as_shown(shown, &printed)) {
        wrong.push(format!("line {}: it shows\n{}\nbut this is printed:\n{printed}", block.line, shown.join("\n")));
    }
    wrong
}

/// Replays a small page with a node; returns the first line of each difference.
fn wrong_lines(page: &str) -> Vec<String> {
    let wrong = replay("planted", page, &A_NODE);
    wrong.iter().map(|wrong| wrong.lines().next().unwrap().to_owned()).collect()
}

#[test]
fn another_output_than_shown_is_noticed() {
    let call = "```sh\nwasmnode call print hello\n```\n\n```text\n";
    assert_eq!(wrong_lines(&format!("{call}printed 5 bytes\n```\n")), [""; 0]);
    for shown in ["printed 6 bytes\n", "", "printed 5 bytes\nand more\n", "… 6 bytes\n"] {
        assert_eq!(wrong_lines(&format!("{call}{shown}```\n")), ["line 1: it shows"], "{shown}");
    }
}

#[test]
fn a_command_that_fails_is_noticed_and_one_that_should_have_failed() {
    let page = "```sh\nwasmnode call print x\nwasmnode call missing x\nwasmnode call print x   # exit code 3\n```\n";
    let expected = ["line 1: exit code 3 of: wasmnode call missing x", "line 1: exit code 0 of: wasmnode call print x"];
    let wrong = wrong_lines(page);
    assert!(wrong.len() == 2 && wrong.iter().zip(expected).all(|(wrong, expected)| wrong.starts_with(expected)));
    assert_eq!(wrong_lines("```sh\nwasmnode call missing x   # exit code 3\n```\n"), [""; 0]);
}

#[test]
fn a_node_that_does_not_start_is_noticed() {
    let wrong = wrong_lines("```sh\nwasmnode --config nowhere.toml\n```\n");
    assert!(wrong.len() == 1 && wrong[0].starts_with("line 1: exit code"), "{wrong:?}");
}

#[test]
fn a_page_without_a_block_that_is_replayed_is_noticed() {
    let wrong = wrong_lines("Run:\n\n```sh by-hand\nwasmnode call print x\n```\n");
    assert_eq!(wrong, ["no block of it is replayed"]);
}
