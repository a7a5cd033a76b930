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

const PRICE: &str = "3";
const CREDITS: i64 = 100_000;

/// Clients that run at the same time.
const WORKERS: usize = 3;

#[test]
fn every_step_of_every_client_passes_with_every_server() {
    let pairs = clients::ALL.iter().flat_map(|client| {
        let children = plans::CHILDREN.iter().map(move |server| ("child", *client, *server));
        let remote = plans::REMOTE.iter().map(move |server| ("remote", *client, *server));
        children.chain(remote).filter(|(way, client, server)| client.is_for(way, server.name))
    });
    let pairs: Vec<(&str, Client, Server)> = pairs.collect();
    let lost: Mutex<Vec<(&str, Lost)>> = Mutex::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((way, client, server)) =
                    pairs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let failed = run(*client, *server).into_iter().map(|failed| (*way, failed));
                    lost.lock().expect("no run panicked").extend(failed);
                }
            });
        }
    });
    let lost = lost.into_inner().expect("no run panicked");
    let of_way = |wanted| {
        let these = lost.iter().filter(|(way, _)| *way == wanted);
        (wanted, these.map(|(_, lost)| lost.clone()).collect())
    };
    let losses: [(&str, Vec<Lost>); 2] = ["child", "remote"].map(of_way);
    Expected::read("tests/official_clients/expected.txt").compare(&losses);
}

/// Runs the plan, and gives the steps that did not pass.
fn run(client: Client, server: Server) -> Vec<Lost> {
    let files = support::TempDir::new();
    let setup = Setup::new().args(["--price", PRICE]);
    let remote = server.start();
    let paygate: Paygate = match &remote {
        Some((_, url)) => setup.without_server().args(["--remote-url", url]).start(),
        None => setup.server(server.command(files.path())).start(),
    };
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
