//! `wasmnode reload`: has a node read its configuration and its keys again.

use super::status::{ListArgs, print_list};
use super::{Failed, read};
use std::path::Path;
use std::process::ExitCode;
use wasmnode_api::{self as api, ReloadReport};
use wasmnode_client::Request;

/// Reads the configuration again, and reports what has changed.
pub(crate) fn reload(args: &ListArgs, config: Option<&Path>) -> Result<ExitCode, Failed> {
    let mut client = args.to.connect(config)?;
    print_list(&mut client, args, Request::new(api::RELOAD), |reply| Ok(lines(&read(reply)?)))?;
    Ok(ExitCode::SUCCESS)
}

fn lines(report: &ReloadReport) -> String {
    let line = |what: &str, keys: &[String]| {
        if keys.is_empty() { String::new() } else { format!("{what}: {}\n", keys.join(", ")) }
    };
    let text = line("changed", &report.changed) + &line("needs a restart", &report.needs_restart);
    if text.is_empty() { "nothing has changed\n".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_changed_and_those_that_need_a_restart_are_lines() {
        let report = |changed: &[&str], needs_restart: &[&str]| {
            let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
            lines(&ReloadReport { changed: owned(changed), needs_restart: owned(needs_restart) })
        };
        assert_eq!(report(&[], &[]), "nothing has changed\n");
        assert_eq!(report(&["a", "b"], &["c"]), "changed: a, b\nneeds a restart: c\n");
    }
}
