//! The commands of operators against a running Paygate: tables, `--json`, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::net::TcpListener;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Ended, Paygate, Setup};

/// Runs a command of an operator, with the environment that says where Paygate is.
fn run(paygate: &Paygate, args: &[&str]) -> Ended {
    let setup = paygate.setup().with_same_files();
    setup.env("PAYGATE_URL", paygate.base_url()).env("PAYGATE_ADMIN_KEY", ADMIN_KEY).run(args)
}

/// What it prints for people.
#[track_caller]
fn said(paygate: &Paygate, args: &[&str]) -> String {
    let ended = run(paygate, args);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{args:?} {ended:#?}");
    ended.stdout
}

/// What it prints for programs.
#[track_caller]
fn answered(paygate: &Paygate, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&said(paygate, &args)).unwrap()
}

/// The cells of the line that begins with this word.
#[track_caller]
fn row(text: &str, first: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(first));
    let line = line.unwrap_or_else(|| panic!("no {first} in {text}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_life_of_a_key() {
    let paygate = Setup::new().without_child_log().start();
    let new = [
        "keys",
        "create",
        "--name",
        "Ada L.",
        "--credits",
        "10",
        "--namespace",
        "acme",
        "--tag",
        "plan=pro",
        "--deny",
        "hang,crash",
    ];
    let made = said(&paygate, &new);
    let (key, id) = (row(&made, "key")[1].clone(), row(&made, "id")[1].clone());
    assert_eq!(row(&made, "deniedTools")[1], "hang, crash");
    assert_eq!(row(&made, "tags")[1], "plan=pro");
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");

    let list = said(&paygate, &["keys", "list"]);
    assert_eq!(row(&list, "ID")[..4], ["ID", "NAME", "NAMESPACE", "CREDITS"]);
    assert_eq!(row(&list, &id)[..6], [&id, "Ada L.", "acme", "9", "0", "1"]);
    assert_eq!(said(&paygate, &["keys", "list", "--namespace", "zoo"]), "Nothing.\n");
    assert_eq!(answered(&paygate, &["keys", "list"])[0]["id"], json!(id));

    // A retry of the shell books once.
    let topup = ["keys", "topup", &id, "90", "--idempotency-key", "month-1"];
    assert_eq!(answered(&paygate, &topup)["credits"], 99);
    assert_eq!(answered(&paygate, &topup)["credits"], 99);
    assert_eq!(row(&said(&paygate, &["keys", "show", &id]), "credits")[1], "99");

    said(&paygate, &["keys", "suspend", &id]);
    assert_eq!(answered(&paygate, &["keys", "show", &id])["suspended"], true);
    said(&paygate, &["keys", "resume", &id]);
    let rotated = answered(&paygate, &["keys", "rotate", &id, "--grace-seconds", "60"]);
    assert_eq!(paygate.credits(rotated["newKey"].as_str().unwrap()), 99);
    said(&paygate, &["keys", "revoke", &id]);
    assert_eq!(answered(&paygate, &["keys", "show", &id])["active"], false);
}

#[test]
fn tenants_teams_audit_and_status() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (key, id) = paygate.create_key(&json!({"credits": 5, "namespace": "acme"}));
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    let namespaces = said(&paygate, &["namespaces", "list"]);
    assert_eq!(row(&namespaces, "acme")[..], ["acme", "1", "1", "4", "1", "no"]);
    said(&paygate, &["namespaces", "suspend", "acme"]);
    assert_eq!(answered(&paygate, &["namespaces", "list"])["namespaces"][0]["suspended"], true);
    said(&paygate, &["namespaces", "resume", "acme"]);

    let team = ["teams", "create", "--name", "Research", "--budget", "7", "--namespace", "acme"];
    let team = row(&said(&paygate, &team), "id")[1].clone();
    said(&paygate, &["teams", "assign", &team, &id]);
    let teams = said(&paygate, &["teams", "list"]);
    assert_eq!(row(&teams, &team)[1..], ["Research", "acme", "7", "0", "0", &id]);
    said(&paygate, &["teams", "remove", &team, &id]);
    said(&paygate, &["teams", "delete", &team]);

    let audit = said(&paygate, &["audit", "--types", "team.created,team.deleted", "--limit", "5"]);
    assert_eq!(audit.lines().count(), 3, "{audit}");
    assert!(audit.contains("team.created") && audit.starts_with("TIME "), "{audit}");
    let status = said(&paygate, &["status", "--namespace", "acme"]);
    assert_eq!(row(&status, "totalCalls")[1], "1");
    assert_eq!(row(&status, "totalCreditsSpent")[1], "1");
    let reloaded = said(&paygate, &["config", "reload"]);
    assert_eq!(row(&reloaded, "message")[1], "Configuration reloaded");
}

#[test]
fn what_goes_wrong_is_said() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{nobody}");
    let cases: [(&[&str], &[&str]); 7] = [
        (&["keys", "show", "key_0123456789abcdef"], &["not found", "404"]),
        (&["keys", "topup", "key_0123456789abcdef", "-5"], &["-5"]),
        (&["keys", "create", "--name", "x", "--tag", "y"], &["--tag \"y\"", "name=value"]),
        (&["keys", "create", "--name", "x", "--namespace", "a_b"], &["a_b", "400"]),
        (&["keys", "list", "--admin-key", "wrong-key-of-somebody"], &["Invalid admin key", "401"]),
        (&["status", "--url", &nowhere], &["does not answer", &nowhere, "PAYGATE_URL"]),
        (&["keys", "list", "--url", "not a url"], &["not a url", "--url"]),
    ];
    for (args, words) in cases {
        let ended = run(&paygate, args);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{args:?} {ended:#?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{word:?} is missing in {}", ended.stderr);
        }
    }
    let ended = paygate.setup().run(&["keys", "list", "--url", &paygate.base_url()]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("PAYGATE_ADMIN_KEY"), "{ended:#?}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = Setup::new().run(&["completions", shell]);
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        for word in ["paygate", "wrap", "topup", "rotate", "validate", "dry-run"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(Setup::new().run(&["completions", "csh"]).code(), Some(1));
}
