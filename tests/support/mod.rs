//! What the black-box tests share: the real binary on a free port, a plain HTTP client, places for
//! files, and waiting without guessing how long.
//!
//! Include it with `mod support;`. Start Paygate with [`Setup`], then talk to it through [`Paygate`].
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::format_push_string,
    clippy::disallowed_methods,
    reason = "each test binary uses its share of these; a helper that fails a test panics"
)]

mod cli;
mod connection;
mod document;
mod events;
mod expected;
mod http;
mod modern;
mod openapi;
mod paths;
mod paygate;
mod process;
mod redis;
mod setup;
pub mod tls;
mod tools;
mod wire;

pub use cli::row;
pub use connection::Connection;
pub use document::{blocks, commands};
pub use events::{Answer, Event};
pub use expected::{Check, Expected, Lost, Tried};
pub use http::{Request, Response};
pub use modern::{MODERN, TASKS, modern_body, modern_meta, modern_request};
pub use openapi::{Operation, operations};
pub use paths::{TempDir, scripted_child, target_dir};
pub use paygate::{Paygate, rpc_request};
pub use process::{Ended, run_within};
pub use redis::{RedisServer, free_port};
pub use setup::Setup;
pub use tools::{Background, in_repository, node, npm, python, tool};
pub use wire::{Fault, Wire};

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The admin key of every Paygate under test.
pub const ADMIN_KEY: &str = "test-admin-key-0123456789";

/// How long anything in a test may take before the test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; panics with `what` if it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Paygate before the scripted child, with this configuration and nothing on disk.
pub fn start(config: Value) -> Paygate {
    Setup::new().ephemeral().config(config).start()
}

/// A key with enough credits.
pub fn rich_key(paygate: &Paygate) -> String {
    paygate.create_key(&json!({"credits": 1000})).0
}
