//! The real binary from outside: what users do, what peers may do to it, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../guests/mod.rs"]
mod guests;
#[path = "../zmtp.rs"]
mod zmtp;

mod command_line;
mod commands;
mod compiling;
mod connections;
mod corpus;
mod deploy;
mod dropping;
mod failed_runs;
mod first_run;
mod flood;
mod folder;
mod folders;
mod foreign;
mod foreign_text;
mod hostile_plugins;
mod http;
mod languages;
mod life;
mod load;
mod majordomo;
mod messages;
mod node;
mod pages;
mod partitions;
mod patience;
mod pressure;
mod provenance;
mod proxy;
mod python;
mod reconnect;
mod reload;
mod restart;
mod serving;
mod signals;
mod tools;
mod traffic;
mod trust;
mod zone;
mod zone_chaos;
mod zone_failures;
mod zone_links;
mod zone_names;
mod zone_pair;
mod zone_times;
mod zones;
