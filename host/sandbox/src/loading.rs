//! Loading of plugins from the files of a folder, on separate threads, so that compiling delays no request.

pub(crate) mod compile;
pub(crate) mod compile_queue;
pub(crate) mod content;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod loader;
pub(crate) mod names;
pub(crate) mod provenance;
pub(crate) mod resume;
pub(crate) mod scanner;
pub(crate) mod source;
pub(crate) mod task;
pub(crate) mod versions;
pub(crate) mod watch;
