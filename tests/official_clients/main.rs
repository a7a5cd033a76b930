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
mod rmcp;

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use clients::{Client, Reached, StepResult};
use plans::Server;
use support::{Expected, Lost, Setup, TempDir, Tried, eventually, scripted_child};

const PRICE: &str = "3";
const CREDITS: i64 = 100_000;
/// What a client pays with that starts Paygate itself.
const STDIO_KEY: &str = "pg_official_client_0123456789abcdef";

/// How clients and servers are brought together: the server over HTTP, and then by a client that
/// starts Paygate itself.
const WAYS: [&str; 6] = ["child", "remote", "several", "stdio", "stdio_remote", "stdio_several"];

/// Clients that run at the same time.
const WORKERS: usize = 3;

#[test]
fn every_step_of_every_client_passes_with_every_server() {
    let pairs = clients::ALL.iter().flat_map(|client| {
        let children = plans::CHILDREN.iter().map(move |server| ("child", *client, *server));
        let remote = plans::REMOTE.iter().map(move |server| ("remote", *client, *server));
        children.chain(remote).filter(|(way, client, server)| client.is_for(way, server.name))
    });
    let combined = plans::COMBINED.iter();
    let combined = combined.map(|(way, client, server)| (*way, Client::named(client), *server));
    let pairs: Vec<(&str, Client, Server)> = pairs.chain(combined).collect();
    let lost: Mutex<Vec<(&str, Lost)>> = Mutex::default();
    let tried: Mutex<Tried> = Mutex::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((way, client, server)) =
                    pairs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let (steps, failed) = run(way, *client, *server);
                    let failed = failed.into_iter().map(|failed| (*way, failed));
                    lost.lock().expect("no run panicked").extend(failed);
                    let place = format!("{way}-{}", server.era(*client));
                    tried.lock().expect("no run panicked").entry(place).or_default().extend(steps);
                }
            });
        }
    });
    let lost = lost.into_inner().expect("no run panicked");
    let tried = tried.into_inner().expect("no run panicked");
    let of_way = |wanted| {
        let these = lost.iter().filter(|(way, _)| *way == wanted);
        (wanted, these.map(|(_, lost)| lost.clone()).collect())
    };
    let losses = WAYS.map(of_way);
    Expected::read("tests/official_clients/expected.txt").compare(&losses, &tried);
}

/// Runs the plan, and gives its steps and those that did not pass.
fn run(way: &str, client: Client, server: Server) -> (Vec<String>, Vec<Lost>) {
    let files = TempDir::new();
    let remote = server.start();
    let setup = Setup::new().args(["--price", PRICE]);
    let setup = server.behind(setup, remote.as_ref().map(|(_, url)| url.as_str()), files.path());
    let steps = server.steps(client, files.path());
    let (results, left) = if way.starts_with("stdio") {
        over_stdio(setup, client, &steps, files.path())
    } else {
        over_http(&setup, client, &steps)
    };
    let scenario = format!("{}/{}", client.name, server.name);
    assert_eq!(results.len(), steps.as_array().expect("a list").len(), "{scenario}: {results:?}");
    assert!(left < CREDITS, "{way} {scenario}: no call was paid: {results:?}");
    let tried = results.iter().map(|result| result.step.clone()).collect();
    let failed = results.into_iter().filter(|result| !result.passed);
    let lost =
        |result: StepResult| Lost { check: (scenario.clone(), result.step), how: result.why };
    (tried, failed.map(lost).collect())
}

/// What came of each step, and the credits that are left.
fn over_http(setup: &Setup, client: Client, steps: &Value) -> (Vec<StepResult>, i64) {
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"name": "official client", "credits": CREDITS}));
    let reached = Reached::Url { url: paygate.mcp_url(), key: key.clone() };
    let results = client.run(&reached, steps);
    let left = paygate.credits(&key);
    paygate.stop().expect_success();
    setup.verify().expect_success();
    (results, left)
}

/// The same by a client that starts Paygate and ends it.
fn over_stdio(setup: Setup, client: Client, steps: &Value, files: &Path) -> (Vec<StepResult>, i64) {
    let import = format!("{STDIO_KEY}:{CREDITS}");
    let setup = setup.without_port().args(["--stdio", "--import-key", &import]);
    let reached = Reached::command(&setup.command(), STDIO_KEY, files);
    let results = client.run(&reached, steps);
    // A client may go before the Paygate that it started has ended.
    let books = File::open(setup.database()).unwrap();
    eventually("the client's Paygate has ended", || books.try_lock().is_ok());
    drop(books);
    setup.verify().expect_success();
    let any_server = format!("'{}'", scripted_child().display());
    let left = setup.with_same_files().server(any_server).start().credits(STDIO_KEY);
    (results, left)
}
