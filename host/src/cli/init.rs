//! `wasmnode init`: writes a commented configuration.

use super::{Failed, print};
use clap::Args;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasmnode::config::Config;
use wasmnode_core::text;

/// The configuration, in which `{{file}}` and `{{name}}` are filled in.
const TEMPLATE: &str = include_str!("init/node.toml");

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write; a file that exists is never replaced. The folder plugins/ is made beside it
    #[arg(default_value = "node.toml")]
    file: PathBuf,
}

/// Writes the configuration of a node, and makes its plugin folder.
pub(crate) fn init(args: &InitArgs) -> Result<ExitCode, Failed> {
    let (file, shown) = (&args.file, text::shown(&args.file));
    let failed = |what: String| Failed { message: what, exit: 1 };
    let mut written = File::create_new(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => failed(format!("{shown} exists already; name another file: wasmnode init FILE")),
        _ => failed(format!("cannot write {shown}: {error}")),
    })?;
    let text = filled(&shown, Config::embedded().node.name.as_str());
    written.write_all(text.as_bytes()).map_err(|error| {
        let _half_a_file_is_worse_than_none = fs::remove_file(file);
        failed(format!("cannot write {shown}: {error}"))
    })?;
    let folder = file.parent().unwrap_or(Path::new("")).join("plugins");
    fs::create_dir_all(&folder).map_err(|error| failed(format!("cannot make {}: {error}", text::shown(&folder))))?;
    print(&vec![format!("{shown} is written; run it with: wasmnode --config {shown}\n").into()])?;
    Ok(ExitCode::SUCCESS)
}

fn filled(file: &str, name: &str) -> String {
    TEMPLATE.replace("{{file}}", file).replace("{{name}}", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("node.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_file_has_the_defaults() {
        let text = filled("node.toml", "paris1");
        let defaults = parse("node.name = 'paris1'");
        assert_eq!(parse(&text), defaults);
        // Up to the grants, each commented key has its default; the deadline is that of plugins alone.
        let (settings, _) = text.split_once("# Grants:").unwrap();
        let uncommented: String = settings
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .filter(|line| !["services = ", "keys = ", "deadline = "].iter().any(|key| line.starts_with(key)))
            .collect();
        assert_eq!(parse(&uncommented), defaults);
    }

    #[test]
    fn a_name_of_several_lines_stays_in_its_comment() {
        let text = filled(&text::shown(Path::new("a\nlimits.requests = 1\n#.toml")), "paris1");
        assert_eq!(parse(&text), parse("node.name = 'paris1'"));
    }

    #[test]
    fn the_example_of_grants_is_valid() {
        let text = filled("node.toml", "paris1");
        let (_, grants) = text.split_once("# Grants:").unwrap();
        let uncommented: Vec<_> = grants.lines().skip(1).filter_map(|line| line.strip_prefix("# ")).collect();
        parse(&uncommented.join("\n"));
    }
}
