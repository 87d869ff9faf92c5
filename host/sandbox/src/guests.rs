//! Kinds of guests: a component's exports decide how a request reaches it, and what its reply is.

pub(crate) mod command;
pub(crate) mod http;
pub(crate) mod interfaces;
pub(crate) mod kind;
pub(crate) mod service;
