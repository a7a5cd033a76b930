//! Official clients through Paygate in front of official servers. What each client does with each
//! server is a plan of steps (`plans.rs`); a step that does not pass is listed, with its reason, in
//! `expected.txt`.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails a test panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod plans;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use clients::Client;
use plans::Server;
use support::{Expected, Lost, Paygate, Setup};

/// The way through Paygate: the server is its child.
const WAY: &str = "child";

const PRICE: &str = "3";
const CREDITS: i64 = 100_000;

/// Clients that run at the same time.
const WORKERS: usize = 3;

#[test]
fn every_step_of_every_client_passes_with_every_server() {
    let pairs: Vec<(Client, Server)> = clients::ALL
        .iter()
        .flat_map(|client| plans::ALL.iter().map(move |server| (*client, *server)))
        .collect();
    let lost: Mutex<Vec<Lost>> = Mutex::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((client, server)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let failed = run(*client, *server);
                    lost.lock().expect("no run panicked").extend(failed);
                }
            });
        }
    });
    let lost = lost.into_inner().expect("no run panicked");
    Expected::read("tests/official_clients/expected.txt").compare(&[(WAY, lost)]);
}

/// Runs the plan, and gives the steps that did not pass.
fn run(client: Client, server: Server) -> Vec<Lost> {
    let files = support::TempDir::new();
    let command = server.command(files.path());
    let paygate: Paygate = Setup::new().server(command).args(["--price", PRICE]).start();
    let (key, _) = paygate.create_key(&json!({"name": "official client", "credits": CREDITS}));
    let steps = server.steps(client, files.path());
    let results = client.run(&paygate.mcp_url(), &key, &steps);
    let scenario = format!("{}/{}", client.name, server.name);
    assert_eq!(results.len(), steps.as_array().expect("a list").len(), "{scenario}: {results:?}");
    assert!(paygate.credits(&key) < CREDITS, "{scenario}: no call was paid: {results:?}");
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
    let failed = results.into_iter().filter(|result| !result.passed);
    failed.map(|result| Lost { check: (scenario.clone(), result.step), how: result.why }).collect()
}
