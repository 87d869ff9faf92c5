//! Kinds of guests: what a component exports decides how a request reaches it, and what its reply is.

pub(crate) mod command;
pub(crate) mod http;
pub(crate) mod interfaces;
pub(crate) mod kind;
pub(crate) mod service;
