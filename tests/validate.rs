//! `paygate validate` and `paygate wrap --dry-run`: what they print, and their exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::net::TcpListener;

use serde_json::json;

use support::{Ended, Setup};

/// Runs `paygate validate` on a file with this content.
fn validate(content: &str) -> Ended {
    let setup = Setup::new();
    fs::write(setup.dir().file("paygate.json"), content).unwrap();
    setup.run(&["validate", "--config", "paygate.json"])
}

#[test]
fn a_good_file() {
    let ended = validate(r#"{"serverCommand": "x", "refundOnFailure": false}"#);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.stdout.starts_with("✓ Config is valid.\n"), "{}", ended.stdout);
    // Nothing was started: there is no such program.
    let ended = validate(r#"{"serverCommand": "no-such-program", "shadowMode": true}"#);
    assert_eq!(ended.code(), Some(0), "warnings are allowed: {ended:#?}");
    assert!(ended.stdout.starts_with("⚠ 1 warning(s):\n  WARN   [shadowMode]"), "{ended:#?}");
}

#[test]
fn every_problem_at_once() {
    let ended = validate(
        "{\n  \"port\": 99999,\n  \"toolPricng\": {},\n  \"creditsPerKbInput\": null,\n  \
         \"defaultCreditsPerCall\": 0.5,\n  \"servers\": [{\"prefix\": \"a:b\"}, null]\n}",
    );
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(1), ""), "{ended:#?}");
    for words in [
        "✗ 5 error(s):",
        "  ERROR  [port] Invalid port 99999. Must be 0–65535.\n         at paygate.json:2:11",
        "Did you mean \"toolPricing\"?\n         at paygate.json:3:3",
        "[creditsPerKbInput] Unknown key",
        "so that 0.5 becomes 5",
        "[servers[1]] Invalid servers[1]: null",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is missing in {}", ended.stdout);
    }
}

#[test]
fn files_that_cannot_be_read() {
    for (args, stderr) in [
        (&["validate"][..], "Error: --config <path> is required for validate command.\n\n"),
        (&["validate", "--config", "none.json"], "Error loading config file: none.json: "),
    ] {
        let ended = Setup::new().run(args);
        assert_eq!(ended.code(), Some(1));
        assert!(ended.stderr.starts_with(stderr.trim_end()), "{ended:#?}");
        assert_eq!(ended.stdout.contains("Usage"), args.len() == 1, "{ended:#?}");
    }
    let ended = validate("{ nope");
    assert!(ended.code() == Some(1) && ended.stderr.contains("paygate.json:1:3"), "{ended:#?}");
}

#[test]
fn what_a_move_changes_for_customers() {
    let notes = |content: &str| {
        let ended = validate(content);
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        let notes = ended.stdout.lines().filter_map(|line| line.strip_prefix("  NOTE   ["));
        let fields = notes.filter_map(|line| line.split(']').next().map(str::to_owned));
        fields.collect::<Vec<_>>()
    };
    assert_eq!(notes(r#"{"serverCommand":"x"}"#), ["refundOnFailure", "globalRateLimitPerMin"]);
    let named = r#"{"serverCommand":"x","refundOnFailure":true,"globalRateLimitPerMin":0,
        "defaultCreditsPerCall":0,"shadowMode":true,"importKeys":{"a-key-of-a-customer-1":5}}"#;
    let expected = ["defaultCreditsPerCall", "globalRateLimitPerMin", "shadowMode", "importKeys"];
    assert_eq!(notes(named), expected);
}

#[test]
fn a_dry_run_shows_what_would_be_sold() {
    // The port is taken, the books are in use, and a client has the server already.
    let setup = Setup::new();
    let paygate = setup.start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let config = json!({"toolPricing": {"instant": {"creditsPerCall": 7, "rateLimitPerMin": 3}}});
    let dry = setup.clone().config(config).args(["--port", &port, "--dry-run"]);
    let ended = dry.run_to_end();
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = ended.stdout.lines().map(words).collect();
    assert!(ended.stdout.starts_with("  ── DRY RUN ─"), "{}", ended.stdout);
    assert!(lines.contains(&words("Tool Credits/Call Rate Limit")), "{}", ended.stdout);
    assert!(lines.contains(&words("instant 7 3/min")), "{}", ended.stdout);
    assert!(lines.iter().filter(|line| line.ends_with(&words("1 60/min"))).count() > 3);
    assert!(ended.stdout.ends_with("  Dry run complete — shutting down.\n"), "{}", ended.stdout);
    let named = format!("Discovered {} tool(s):", lines.len() - 9);
    assert!(ended.stdout.contains(&named), "{named}: {}", ended.stdout);
    paygate.stop().expect_success();
}

#[test]
fn a_dry_run_that_finds_nothing_fails() {
    let setup = Setup::new().server("sh -c 'echo no licence key >&2; exit 7'").args(["--dry-run"]);
    let ended = setup.run_to_end();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(ended.stdout.contains("  Could not discover tools: "), "{ended:#?}");
    assert!(ended.stderr.contains("no licence key"), "{ended:#?}");
    assert!(!setup.database().exists());
}

#[test]
fn a_dry_run_opens_what_a_start_would() {
    let config = json!({"tls": {"cert": "nowhere.pem", "key": "nowhere.key"}});
    let ended = Setup::new().config(config).args(["--dry-run"]).run_to_end();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("nowhere.pem cannot be read"), "{ended:#?}");
}

#[test]
fn the_schema_is_printed() {
    let ended = Setup::new().run(&["config", "schema"]);
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/config.schema.json");
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    assert_eq!(ended.stdout, fs::read_to_string(committed).unwrap());
}
