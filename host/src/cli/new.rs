//! `wasmnode new`: writes a small project that builds with the ordinary command of its language.

use super::{Failed, print};
use clap::{Args, ValueEnum};
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use wasmnode_core::ServiceName;

/// The contract that this binary was built with.
const WIT: &str = include_str!("../../../wit/service.wit");

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The service's name, and the folder's
    name: ServiceName,
    /// The language
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    C,
    Zig,
    Go,
    Python,
    #[value(alias = "js")]
    Javascript,
}

/// File to write: its path in the project, and its content. In both, `{{name}}` and `{{module}}` are filled in.
type File = (&'static str, &'static str);

impl Language {
    fn files(self) -> &'static [File] {
        const CONTRACT: File = ("wit/service.wit", WIT);
        match self {
            Self::Rust => &[
                ("README.md", include_str!("new/rust/README.md")),
                ("Cargo.toml", include_str!("new/rust/Cargo.toml.txt")),
                ("src/lib.rs", include_str!("new/rust/lib.rs.txt")),
                (".cargo/config.toml", include_str!("new/rust/config.toml.txt")),
                (".gitignore", "/target\n"),
                CONTRACT,
            ],
            // A plain program needs no contract: it has its standard input and output.
            Self::C => &[("README.md", include_str!("new/c/README.md")), ("main.c", include_str!("new/c/main.c"))],
            Self::Zig => {
                &[("README.md", include_str!("new/zig/README.md")), ("main.zig", include_str!("new/zig/main.zig"))]
            }
            Self::Go => &[
                ("README.md", include_str!("new/go/README.md")),
                ("go.mod", include_str!("new/go/go.mod.txt")),
                ("main.go", include_str!("new/go/main.go")),
            ],
            Self::Python => &[
                ("README.md", include_str!("new/python/README.md")),
                ("{{module}}.py", include_str!("new/python/service.py")),
                CONTRACT,
            ],
            Self::Javascript => &[
                ("README.md", include_str!("new/javascript/README.md")),
                ("package.json", include_str!("new/javascript/package.json.txt")),
                ("{{module}}.js", include_str!("new/javascript/service.js")),
                CONTRACT,
            ],
        }
    }
}

/// Writes a project into a new folder of the service's name.
pub(crate) fn new(args: &NewArgs) -> Result<ExitCode, Failed> {
    let name = args.name.as_str();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(is_plain) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        let message =
            format!("{name:?} cannot be the name of a project; write a-z, 0-9 and '-', beginning with a letter");
        return Err(Failed { message, exit: 2 });
    }
    let module = name.replace('-', "_");
    let fill = |text: &str| text.replace("{{name}}", name).replace("{{module}}", &module);
    let files = args.lang.files().iter().map(|(path, content)| (fill(path), fill(content)));
    write(Path::new(name), files)
        .map_err(|error| Failed { message: format!("cannot write {name}/: {}", why(&error)), exit: 1 })?;
    print(&vec![format!("{name}/ is written; {name}/README.md has the commands that build and deploy it\n").into()])?;
    Ok(ExitCode::SUCCESS)
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "it exists; choose another name, or remove it".into(),
        _ => error.to_string(),
    }
}

fn write(folder: &Path, files: impl Iterator<Item = (String, String)>) -> io::Result<()> {
    // Fails if the folder exists, so that nothing is overwritten.
    fs::create_dir(folder)?;
    for (path, content) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}
