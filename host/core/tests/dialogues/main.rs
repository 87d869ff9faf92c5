//! Dialogues between a node and its peers, written as text: messages, expected answers, and times.
//!
//! Each `.txt` file holds dialogues; `notation.txt` explains their notation. They are run against [`Node`] through its
//! three methods alone, so each reads like a trace of the wire.
//!
//! [`Node`]: wasmnode_core::Node

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod notation;
mod script;

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues")
}

/// Plays every dialogue of a file, and fails with the list of all that differ.
fn play(file: &str) {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let dialogues = script::dialogues(&text);
    assert!(!dialogues.is_empty(), "{file} holds no dialogue");
    let mut failures = String::new();
    for dialogue in &dialogues {
        for dialects in dialogue.dialects() {
            if let Err(mistake) = harness::play(dialogue, dialects) {
                let place = format!("tests/dialogues/{file}:{}", mistake.line);
                let title = &dialogue.title;
                write!(failures, "\n\n{place}: {title} (in {dialects})\n{}", mistake.text).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{failures}\n");
}

/// Defines one test for each file, and one that checks that no file is left out.
macro_rules! files {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            play($file);
        })*

        #[test]
        fn every_file_of_dialogues_is_played() {
            let mut found: Vec<String> = std::fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.ends_with(".txt"))
                .collect();
            found.sort();
            let mut played = vec![$($file),*];
            played.sort_unstable();
            assert_eq!(found, played);
        }
    };
}

files! {
    the_notation_says_what_it_means: "notation.txt",
    the_worker_state_table_holds_cell_by_cell: "workers.txt",
    majordomo_clients_are_answered_in_their_dialect: "majordomo-clients.txt",
    native_clients_pipeline_cancel_and_are_told_of_failures: "native-clients.txt",
    requests_are_shared_out_queued_and_limited: "sharing.txt",
    traces_tell_the_way_and_run_nothing: "traces.txt",
    requests_with_a_key_run_once: "keys.txt",
    who_comes_back_in_time_finds_its_answer: "reconnect.txt",
    every_deadline_is_the_one_that_is_set_and_its_failure_names_it: "deadlines.txt",
    services_call_services_within_bounds: "calls.txt",
    nobody_does_what_its_key_does_not_allow: "trust.txt",
    a_node_goes_down_in_order: "shutdown.txt",
    mistakes_of_other_brokers_are_not_repeated: "mistakes.txt",
}

#[test]
fn a_dialogue_that_differs_is_reported_in_its_own_notation() {
    let text = "# title: t\nplugin print\nc1 > ask(1 print) \"a\"\nrun print \"a\" as $1\nfinish $1 \"b\"\nc1 < final(2) \"b\"";
    let dialogue = &script::dialogues(text)[0];
    let mistake = harness::play(dialogue, dialogue.dialects()[0]).unwrap_err();
    assert_eq!(mistake.line, 6);
    assert_eq!(mistake.text, "  expected: c1 < final(2) \"b\"\n  got:      c1 < final(1) \"b\"");
}

#[test]
fn output_that_no_line_expects_is_a_mistake() {
    for rest in ["", "\n+1s", "\nnothing"] {
        let text = format!("# title: t\nplugin print\nc1 > ask(1 print) \"a\"{rest}");
        let dialogue = &script::dialogues(&text)[0];
        let mistake = harness::play(dialogue, dialogue.dialects()[0]).unwrap_err();
        assert!(mistake.text.contains("got:      run print \"a\""), "{}", mistake.text);
    }
}
