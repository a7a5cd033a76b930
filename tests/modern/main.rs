//! The era of 2026-07-28 over HTTP: which server speaks it, what a request must say, and what of a
//! server's answers a client gets. What it costs is in `outcome_table`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "../support/mod.rs"]
mod support;

mod eras;
mod headers;
mod listen;
mod shared;
mod shares;

use serde_json::json;
use support::{Paygate, Setup};

/// Before a server that speaks both eras.
fn dual() -> Setup {
    Setup::new().env("SCRIPTED_ERA", "dual").args(["--price", "3"])
}

fn key(paygate: &Paygate) -> String {
    paygate.create_key(&json!({"name": "customer", "credits": 100})).0
}
