//! How Paygate starts, what it says then, and what it says when it cannot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a helper that fails a test panics, and these clients block"
)]

mod support;

use serde_json::json;
use support::{Ended, Setup};

/// One message on stderr, nothing on stdout, exit code 1.
fn refused(ended: &Ended, said: &[&str]) {
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(!ended.stdout.contains("listening"), "{ended:?}");
    for text in said {
        assert!(ended.stderr.contains(text), "no {text:?} in {ended:?}");
    }
}

#[test]
fn the_banner_says_what_an_operator_wants_to_know() {
    let setup = Setup::new().ephemeral().args([
        "--price",
        "2",
        "--tool-price",
        "instant:7",
        "--rate-limit",
        "30",
    ]);
    let ended = setup.start().stop().expect_success();
    for text in
        ["2 credits a call, instant 7", "30 calls a minute per key", "in memory", "as configured"]
    {
        assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains(support::ADMIN_KEY));
}

#[test]
fn a_taken_port_is_said() {
    let paygate = Setup::new().ephemeral().start();
    let port = paygate.address.rsplit(':').next().unwrap().to_owned();
    let ended = Setup::new().ephemeral().args(["--port", &port]).run_to_end();
    refused(&ended, &[&paygate.address, "is taken", "--port"]);
}

#[test]
fn a_server_that_does_not_start_is_said() {
    let missing = Setup::new().ephemeral().server("no-such-command-of-mine --x");
    refused(&missing.run_to_end(), &["no-such-command-of-mine", "was not found"]);
    let ends = Setup::new().ephemeral().server("sh -c 'echo no license >&2; exit 4'");
    refused(&ends.run_to_end(), &["exit status: 4", "no license"]);
}

#[test]
fn a_command_that_cannot_be_split_is_not_repeated() {
    let setup = Setup::new().ephemeral().server("serve --token 'hunter2");
    let ended = setup.run_to_end();
    refused(&ended, &["Invalid serverCommand", "quote", "--server"]);
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn mistakes_in_arguments_and_config_are_said() {
    refused(&Setup::new().ephemeral().args(["--prise", "2"]).run_to_end(), &["--prise"]);
    let config = Setup::new().ephemeral().config(json!({"defaultCreditPerCall": 1}));
    refused(&config.run_to_end(), &["defaultCreditPerCall", "defaultCreditsPerCall"]);
}

#[test]
fn the_log_is_as_loud_as_paygate_log_says() {
    let said = |level: &str| {
        let setup = Setup::new().ephemeral().env("PAYGATE_LOG", level);
        setup.start().stop().expect_success().stderr
    };
    assert!(said("").contains("INFO") && !said("").contains("DEBUG"));
    assert!(said("debug").contains("DEBUG"));
    assert_eq!(said("error"), "");
    let only = said("warn,upstream=debug");
    assert!(only.contains("DEBUG upstream") && !only.contains(" app"), "{only}");
    let mistyped = Setup::new().ephemeral().env("PAYGATE_LOG", "inof");
    refused(&mistyped.run_to_end(), &["PAYGATE_LOG", "info, debug"]);
}

#[test]
fn health_of_nobody_is_1() {
    let ended = Setup::new().run(&["health", "--url", "http://127.0.0.1:9/health"]);
    refused(&ended, &["http://127.0.0.1:9/health", "--url"]);
}

#[test]
fn an_imported_key_is_created_once_and_never_again() {
    let raw = "legacy-imported-key-0001";
    let setup = Setup::new().args(["--import-key", &format!("{raw}:50")]);
    let paygate = setup.start();
    assert_eq!(paygate.credits(raw), 50);
    paygate.admin_post("/topup", &json!({"key": raw, "credits": 5}));
    paygate.stop().expect_success();

    let paygate = setup.start();
    assert_eq!(paygate.credits(raw), 55);
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": raw}));
    let new = rotated.json()["newKey"].as_str().unwrap().to_owned();
    paygate.stop().expect_success();

    // Its old credential opens nothing now, and must not come back with fresh credits.
    let paygate = setup.start();
    assert_eq!(paygate.credits(&new), 55);
    let keys = paygate.admin_get("/keys").json();
    assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_locked_database_is_said() {
    let setup = Setup::new();
    let paygate = setup.start();
    refused(&setup.run_to_end(), &["paygate.db", "--db", "--ephemeral"]);
    paygate.stop().expect_success();
}

#[test]
fn the_line_of_the_demo_works() {
    let demo = Setup::new().ephemeral().without_server().args(["--demo"]).start();
    let output = demo.output();
    let key = output.split("100 credits: ").nth(1).unwrap().lines().next().unwrap();
    let answer = demo.call(key, "add", &json!({"a": 2, "b": 3}));
    assert_eq!(answer.tool_text(), "5");
    assert_eq!(answer.header("x-credits-remaining"), Some("99"));
    assert!(output.lines().any(|line| line.starts_with("curl ") && line.contains(key)));
}
