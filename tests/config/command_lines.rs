//! Commands, flags, help and exit codes.

use paygate::config::{parse, reference_page};

use crate::loaded;

#[test]
fn every_refund_switch() {
    for (words, expected) in [
        (&["--refund-on-failure"][..], true),
        (&["--refund-on-failure", "true"], true),
        (&["--refund-on-failure=false"], false),
        (&["--refund-on-failure", "false", "--demo"], false),
        (&["--refund-on-failure", "--demo"], true),
    ] {
        let file = r#"{"serverCommand":"x","refundOnFailure":false}"#;
        assert_eq!(loaded(file, words).refund_on_failure, expected, "{words:?}");
    }
}

#[test]
fn command_lines() {
    for (words, exit_code, stdout, stderr) in [
        (&[][..], 0, "A paywall", ""),
        (&["help"], 0, "A paywall", ""),
        (&["--help"], 0, "A paywall", ""),
        (&["-h"], 0, "A paywall", ""),
        (&["version"], 0, concat!("paygate v", env!("CARGO_PKG_VERSION"), "\n"), ""),
        (&["--version"], 0, "paygate v", ""),
        (&["-v"], 0, "paygate v", ""),
        (&["wrap", "--help"], 0, "Guard an MCP server", ""),
        (
            &["warp"],
            1,
            "A paywall",
            "Unknown command: warp\n\n  tip: a similar command exists: wrap",
        ),
        (&["serve"], 1, "A paywall", "Unknown command: serve\n\n"),
        (&["--port", "1"], 1, "A paywall", "Unknown command: --port\n\n"),
        (
            &["wrap", "--prise", "4"],
            1,
            "",
            "error: unexpected argument '--prise' found\n\n  tip: a similar argument exists: '--price'",
        ),
        (&["wrap", "--demo", "stray"], 1, "", "error: unexpected argument 'stray' found"),
        (&["wrap", "--admin-key"], 1, "", "error: a value is required for '--admin-key <KEY>'"),
        (&["wrap", "--name", "--demo"], 1, "", "error: a value is required for '--name <NAME>'"),
        (&["wrap", "--shadow=foo"], 1, "", "error: unexpected value 'foo' for '--shadow'"),
        (&["wrap", "--refund-on-failure=maybe"], 1, "", "error: invalid value 'maybe'"),
        (
            &["wrap", "--db", "a", "--ephemeral"],
            1,
            "",
            "error: the argument '--db <PATH>' cannot be used with '--ephemeral'",
        ),
        (&["ledger"], 1, "", "Check the books"),
        (&["ledger", "nope"], 1, "", "error: unrecognized subcommand 'nope'"),
        (&["health", "--url"], 1, "", "error: a value is required for '--url <URL>'"),
    ] {
        let printout = parse(["paygate"].iter().chain(words)).expect_err("nothing to run");
        assert_eq!(printout.exit_code, exit_code, "{words:?}");
        for (text, start) in [(&printout.stdout, stdout), (&printout.stderr, stderr)] {
            assert!(text.starts_with(start), "{words:?}: {text}");
            assert_eq!(text.is_empty(), start.is_empty(), "{words:?}: {text}");
        }
    }
}

#[test]
fn commands() {
    for (words, expected) in [
        (&["demo-server"][..], "DemoServer"),
        (&["health"], "Health(HealthFlags { url: None, ca: None, name: None })"),
        (&["health", "--url=u"], r#"Health(HealthFlags { url: Some("u"), ca: None, name: None })"#),
        (
            &["ledger", "verify"],
            "LedgerVerify(VerifyFlags { db: None, redis: None, redis_ca: None, sentinel: SentinelFlags { sentinel_user: None, sentinel_password: None } })",
        ),
        (
            &["migrate", "--from", "a", "--to", "redis://:secret@h"],
            "Migrate(MigrateFlags { from: SecretBox<str>([REDACTED]), to: SecretBox<str>([REDACTED]), redis_ca: None, sentinel: SentinelFlags { sentinel_user: None, sentinel_password: None }, db: [] })",
        ),
        (
            &["ledger", "verify", "--db", "x"],
            r#"LedgerVerify(VerifyFlags { db: Some("x"), redis: None, redis_ca: None, sentinel: SentinelFlags { sentinel_user: None, sentinel_password: None } })"#,
        ),
    ] {
        let command = parse(["paygate"].iter().chain(words)).expect("a command");
        assert_eq!(format!("{command:?}"), expected);
    }
}

#[test]
fn help_and_reference_agree() {
    let help = parse(["paygate", "wrap", "--help"]).expect_err("help").stdout;
    let page = reference_page();
    for flag in page.split('`').filter(|word| word.starts_with("--")) {
        assert!(help.split_whitespace().any(|word| word == flag), "{flag} is not in\n{help}");
    }
    for default in [
        "[default: 1]",
        "[default: 60]",
        "[default: true]",
        "[default: 127.0.0.1]",
        "[default: 3402]",
        "[default: PayGate MCP Server]",
        "[default: paygate.db]",
    ] {
        assert!(help.contains(default), "{default}");
        let value = default.trim_start_matches("[default: ").trim_end_matches(']');
        assert!(page.contains(&format!("| `{value}` |")), "{value}");
    }
    assert!(!help.contains("--stripe-secret"));
    assert!(help.lines().all(|line| line.chars().count() <= 120));
}
