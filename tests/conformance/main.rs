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
}

const WAYS: &[Way] =
    &[Way { name: "child-free", price: "0" }, Way { name: "child-priced", price: "3" }];

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
    let server = fixture_over_http();
    let direct = suite::run(&server.word("http://"), version);
    assert!(direct.has_required, "the fixture itself fails:\n{}", direct.said);
    assert_eq!(direct.passed(), passes, "the fixture itself:\n{}", direct.said);
    let losses: Vec<(&str, Vec<Lost>)> = thread::scope(|scope| {
        let runs: Vec<_> = WAYS
            .iter()
            .map(|way| (way.name, scope.spawn(move || through_paygate(*way, version))))
            .collect();
        let ended = runs.into_iter().map(|(name, run)| (name, run.join().expect("a run ends")));
        ended.map(|(name, through)| (name, suite::lost(&direct, &through))).collect()
    });
    Expected::read(&format!("tests/conformance/expected-{version}.txt")).compare(&losses);
}

fn fixture_over_http() -> Background {
    let mut command = Command::new(python());
    command.arg(in_repository("tests/fixtures/conformance/server.py")).args(["--http", "0"]);
    Background::start(command, "listening on")
}

fn through_paygate(way: Way, version: &str) -> Results {
    let paygate = before_the_fixture(way);
    let (key, _) = paygate.create_key(&json!({"name": "conformance", "credits": CREDITS}));
    let relay = Relay::start(&paygate.address, &key);
    let results = suite::run(&relay.mcp_url(), version);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
    results
}

fn before_the_fixture(way: Way) -> Paygate {
    let script = in_repository("tests/fixtures/conformance/server.py");
    let command = format!("'{}' '{}'", python().display(), script.display());
    Setup::new().server(command).args(["--price", way.price]).start()
}
