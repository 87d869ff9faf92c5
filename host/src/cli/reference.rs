//! Check of the reference against the command line and its exit codes.

use super::{Cli, exit_code};
use clap::{Command, CommandFactory};
use std::collections::BTreeSet;
use wasmnode_core::Code;

const COMMANDS: &str = include_str!("../../../docs/reference/command-line.md");
const CODES: &str = include_str!("../../../docs/reference/codes.md");

/// Returns the commands and options that only the reference or only the command line has.
fn gaps(reference: &str, cli: &Command) -> Vec<String> {
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let mut known = BTreeSet::new();
    let mut gaps = Vec::new();
    let commands: Vec<&Command> = cli.get_subcommands().filter(shown).collect();
    for command in std::iter::once(&cli).chain(&commands) {
        let options = command.get_arguments().filter(|option| !option.is_hide_set());
        known.extend(options.filter_map(|option| option.get_long()).map(|name| format!("--{name}")));
    }
    for command in &commands {
        if !reference.contains(&format!("| `{}", command.get_name())) {
            gaps.push(format!("the table of commands lacks {}", command.get_name()));
        }
    }
    let is_end = |c: char| !c.is_ascii_lowercase() && c != '-';
    let words = reference.match_indices("`--").map(|(at, _)| reference[at + 1..].split(is_end).next());
    let named: BTreeSet<String> = words.flatten().map(String::from).collect();
    let general = ["--help", "--version"].map(String::from);
    gaps.extend(known.difference(&named).filter(|name| !general.contains(name)).map(|name| format!("no {name} there")));
    gaps.extend(named.difference(&known).filter(|name| !general.contains(name)).map(|name| format!("no {name} here")));
    gaps
}

/// Returns the codes whose row has a different exit code.
fn wrong_exits(reference: &str) -> Vec<Code> {
    let has_row = |code: &Code| {
        let begins = format!("| {} | {} |", code.number(), code.name());
        let row = reference.lines().find(|line| line.starts_with(&begins));
        row.is_some_and(|row| row.ends_with(&format!("| {} |", exit_code(*code))))
    };
    Code::ALL.into_iter().filter(|code| !has_row(code)).collect()
}

#[test]
fn the_reference_has_every_command_and_option_and_no_other() {
    assert_eq!(gaps(COMMANDS, &Cli::command()), Vec::<String>::new());
}

#[test]
fn the_table_of_codes_has_the_exit_codes() {
    assert_eq!(wrong_exits(CODES), []);
}

#[test]
fn a_command_option_or_exit_code_that_is_not_as_documented_is_noticed() {
    let edited = COMMANDS.replace("| `keygen` |", "| `genkey` |").replace("`--traceparent", "`--trace-parent");
    assert_eq!(gaps(&edited, &Cli::command()).len(), 3);
    assert_eq!(wrong_exits(&CODES.replace("| no | 3 |", "| no | 4 |")), [Code::UnknownService]);
}
