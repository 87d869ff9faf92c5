//! Why the folder `trusted`, or a file of it, is not accepted.

use super::KeyError;
use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};
use wasmnode_core::text;
use wasmnode_files::FileError;

/// Why the folder `trusted`, or a file of it, is not accepted. The message is one line that begins with the path.
#[derive(Debug)]
pub(super) enum Rejection {
    /// The folder cannot be listed.
    Unlisted(PathBuf, io::Error),
    /// The file cannot be read.
    Unread(PathBuf, FileError),
    /// The users who may change it cannot be determined.
    Unexamined(PathBuf, io::Error),
    /// Every user may change it; with the reason and the remedy.
    Open(PathBuf, String),
    /// The file has mistakes.
    Mistakes(KeyError),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted(path, error) => write!(f, "{}: cannot be listed: {error}", text::shown(path)),
            Self::Unread(path, error) => write!(f, "{}: cannot be read: {error}", text::shown(path)),
            Self::Unexamined(path, error) => write!(f, "{}: cannot be examined: {error}", text::shown(path)),
            Self::Open(path, why) => write!(f, "{}: is not accepted, because {why}", text::shown(path)),
            Self::Mistakes(error) => f.write_str(&error.to_string().replace('\n', "; ")),
        }
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unlisted(_, error) | Self::Unexamined(_, error) => Some(error),
            Self::Unread(_, error) => Some(error),
            Self::Mistakes(error) => Some(error),
            Self::Open(..) => None,
        }
    }
}
