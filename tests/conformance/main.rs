//! The official conformance suite, run against a fixture directly and through Paygate: no check that
//! passes directly may be lost on the way, whether calls are free or paid.
//!
//! What is lost for now is listed, with its reason, in `expected-VERSION.txt`; see
//! `tests/support/expected.rs`.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a helper that fails a test panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod relay;
mod suite;

use std::process::Command;
use std::thread;

use serde_json::json;

use relay::Relay;
use suite::Results;
use support::{Background, Expected, Lost, Paygate, Setup, in_repository, python};

/// How Paygate stands in the way.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    price: &'static str,
    upstream: Upstream,
}

/// Where the fixture is, seen from Paygate.
#[derive(Clone, Copy)]
enum Upstream {
    Child,
    Remote,
}

const WAYS: &[Way] = &[
    Way { name: "child-free", price: "0", upstream: Upstream::Child },
    Way { name: "child-priced", price: "3", upstream: Upstream::Child },
    Way { name: "remote-free", price: "0", upstream: Upstream::Remote },
    Way { name: "remote-priced", price: "3", upstream: Upstream::Remote },
];

/// Enough for every call of a run.
const CREDITS: u32 = 1_000_000;

#[test]
fn nothing_that_2025_11_25_requires_is_lost() {
    check("2025-11-25", 84);
}

#[test]
fn nothing_that_2026_07_28_requires_is_lost() {
    check("2026-07-28", 196);
}

/// Runs the suite directly and every way, and compares. `passes` is what the fixture passes directly.
fn check(version: &str, passes: usize) {
    let server = fixture(&["--http", "0"]);
    let direct = suite::run(&server.word("http://"), version);
    assert!(direct.has_required, "the fixture itself fails:\n{}", direct.said);
    assert_eq!(direct.passed(), passes, "the fixture itself:\n{}", direct.said);
    let mut losses: Vec<(&str, Vec<Lost>)> = Vec::new();
    for pair in WAYS.chunks(2) {
        thread::scope(|scope| {
            let runs: Vec<_> =
                pair.iter().map(|way| scope.spawn(|| through_paygate(*way, version))).collect();
            for (way, run) in pair.iter().zip(runs) {
                let through = run.join().expect("a run ends");
                losses.push((way.name, suite::lost(&direct, &through)));
            }
        });
    }
    Expected::read(&format!("tests/conformance/expected-{version}.txt"))
        .compare(&losses, &direct.tried());
}

fn fixture(arguments: &[&str]) -> Background {
    let mut command = Command::new(python());
    command.arg(in_repository("tests/fixtures/conformance/server.py")).args(arguments);
    Background::start(command, "listening on")
}

fn through_paygate(way: Way, version: &str) -> Results {
    let (paygate, _fixture) = before_the_fixture(way);
    let (key, _) = paygate.create_key(&json!({"name": "conformance", "credits": CREDITS}));
    let relay = Relay::start(&paygate.address, &key);
    let results = suite::run(&relay.mcp_url(), version);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
    results
}

/// Paygate, and the fixture: for children a loaded one, of which every child is a copy.
fn before_the_fixture(way: Way) -> (Paygate, Background) {
    let setup = Setup::new().args(["--price", way.price]);
    match way.upstream {
        Upstream::Child => {
            let socket = setup.dir().file("fixture");
            let socket = socket.to_str().expect("a plain path");
            let loaded = fixture(&["--forks", socket]);
            let script = in_repository("tests/fixtures/conformance/forked.py");
            let command =
                format!("'{}' -I -S '{}' '{socket}'", python().display(), script.display());
            (setup.server(command).start(), loaded)
        }
        Upstream::Remote => {
            let remote = fixture(&["--http", "0"]);
            let setup = setup.without_server().args(["--remote-url", &remote.word("http://")]);
            (setup.start(), remote)
        }
    }
}
