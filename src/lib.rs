//! Paygate: a paywall in front of any MCP server.
//!
//! The parts, in reading order. Each may use those before it, never a sibling or one after it
//! (`tests/tidy.rs` checks that); `docs/ARCHITECTURE.md` says what each must never do.

pub mod model;
pub mod protocol;

pub mod ledger;

pub mod gate;

pub mod store;
pub mod upstream;

pub mod events;

pub mod admin;
pub mod proxy;

pub mod front;

pub mod config;

pub mod app;

pub mod cli;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
