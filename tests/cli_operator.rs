//! The commands of operators against a running Paygate: tables, `--json`, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::net::TcpListener;

use serde_json::json;
use support::{ADMIN_KEY, Setup, row};

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
    let made = paygate.said(&new);
    let (key, id) = (row(&made, "key")[1].clone(), row(&made, "id")[1].clone());
    assert_eq!(row(&made, "deniedTools")[1], "hang, crash");
    assert_eq!(row(&made, "tags")[1], "plan=pro");
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");

    let list = paygate.said(&["keys", "list"]);
    assert_eq!(row(&list, "ID")[..4], ["ID", "NAME", "NAMESPACE", "CREDITS"]);
    assert_eq!(row(&list, &id)[..6], [&id, "Ada L.", "acme", "9", "0", "1"]);
    assert_eq!(paygate.said(&["keys", "list", "--namespace", "zoo"]), "Nothing.\n");
    assert_eq!(paygate.answered(&["keys", "list"])[0]["id"], json!(id));

    // A retry of the shell books once.
    let topup = ["keys", "topup", &id, "90", "--idempotency-key", "month-1"];
    assert_eq!(paygate.answered(&topup)["credits"], 99);
    let again = paygate.command(&topup);
    assert_eq!((again.code(), &*row(&again.stdout, "credits")[1]), (Some(0), "99"), "{again:#?}");
    assert_eq!(again.stderr, "This was done before: nothing more was done now.\n");
    assert_eq!(row(&paygate.said(&["keys", "show", &id]), "credits")[1], "99");

    paygate.said(&["keys", "suspend", &id]);
    assert_eq!(paygate.answered(&["keys", "show", &id])["suspended"], true);
    paygate.said(&["keys", "resume", &id]);
    let rotated = paygate.answered(&["keys", "rotate", &id, "--grace-seconds", "60"]);
    assert_eq!(paygate.credits(rotated["newKey"].as_str().unwrap()), 99);
    paygate.said(&["keys", "revoke", &id]);
    assert_eq!(paygate.answered(&["keys", "show", &id])["active"], false);
}

#[test]
fn everything_of_a_key_can_be_changed() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (key, id) =
        paygate.create_key(&json!({"name": "Ada", "credits": 5, "tags": {"plan": "pro"}}));
    let set = |args: &[&str]| {
        let args: Vec<&str> = ["keys", "set", &id].iter().chain(args).copied().collect();
        paygate.answered(&args)
    };
    let all = [
        "--name",
        "Ada L.",
        "--allow",
        "instant,fail",
        "--deny",
        "crash",
        "--ip",
        "127.0.0.1,10.0.0.0/8",
        "--tag",
        "tier=2",
        "--untag",
        "plan",
        "--spending-limit",
        "9",
        "--expires-in",
        "3600",
        "--daily-calls",
        "7",
    ];
    let changed = set(&all);
    for (member, value) in [
        ("name", json!("Ada L.")),
        ("allowedTools", json!(["instant", "fail"])),
        ("deniedTools", json!(["crash"])),
        ("ipAllowlist", json!(["127.0.0.1", "10.0.0.0/8"])),
        ("tags", json!({"tier": "2"})),
        ("spendingLimit", json!(9)),
    ] {
        assert_eq!(changed[member], value, "{member}");
    }
    assert_eq!(changed["quota"]["dailyCallLimit"], 7, "{changed}");
    assert!(changed["expiresAt"].is_string(), "{changed}");
    let found = paygate.said(&["keys", "search", "--tag", "tier=2"]);
    assert_eq!(row(&found, &id)[1], "Ada L.");
    let cleared = set(&["--clear", "allow,deny,ip,tags,spending-limit,expiry,quota"]);
    for member in ["allowedTools", "deniedTools", "ipAllowlist"] {
        assert_eq!(cleared[member], json!([]), "{member}");
    }
    assert_eq!((&cleared["expiresAt"], &cleared["quota"]), (&json!(null), &json!(null)));
    assert_eq!((&cleared["spendingLimit"], &cleared["name"]), (&json!(0), &json!("Ada L.")));
    for (args, said) in [
        (&["keys", "set", &id][..], "Nothing to change"),
        (&["keys", "set", &id, "--tag", "a=b", "--clear", "tags"], "--clear"),
    ] {
        let ended = paygate.command(args);
        assert!(ended.code() == Some(1) && ended.stderr.contains(said), "{ended:#?}");
    }
    // A correction, once although it is repeated; and down as well as up.
    let adjust =
        ["keys", "adjust", &id, "-3", "--reason", "booked twice", "--idempotency-key", "t1"];
    assert_eq!(paygate.answered(&adjust)["credits"], 2);
    assert!(paygate.command(&adjust).stderr.contains("done before"));
    assert_eq!(paygate.credits(&key), 2);
    paygate.said(&["keys", "delete", &id]);
    assert_eq!(paygate.command(&["keys", "show", &id]).code(), Some(1));
}

#[test]
fn other_operators_are_let_in_by_tokens() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (_, theirs) = paygate.create_key(&json!({"namespace": "acme"}));
    let (_, other) = paygate.create_key(&json!({"namespace": "zoo"}));
    let made = paygate.answered(&[
        "tokens",
        "create",
        "--name",
        "Desk",
        "--role",
        "admin",
        "--namespace",
        "acme",
    ]);
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!(row(&paygate.said(&["tokens", "list"]), id)[1..4], ["Desk", "admin", "acme"]);
    // Kept in a file, as a service would.
    let file = paygate.setup().dir().file("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let desk = |args: &[&str]| {
        paygate.command_with(args, &[("PAYGATE_ADMIN_KEY_FILE", file.to_str().unwrap())])
    };
    let seen = desk(&["keys", "list"]).expect_success().stdout;
    assert!(seen.contains(&theirs) && !seen.contains(&other), "{seen}");
    assert_eq!(desk(&["keys", "show", &other]).code(), Some(1));
    paygate.said(&["tokens", "revoke", id]);
    assert!(desk(&["keys", "list"]).stderr.contains("401"));
    let missing = paygate.command_with(&["status"], &[("PAYGATE_ADMIN_KEY_FILE", "/none")]);
    assert!(missing.stderr.contains("PAYGATE_ADMIN_KEY_FILE: "), "{missing:#?}");
}

#[test]
fn tenants_teams_audit_and_status() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (key, id) = paygate.create_key(&json!({"credits": 5, "namespace": "acme"}));
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    let namespaces = paygate.said(&["namespaces", "list"]);
    assert_eq!(row(&namespaces, "acme")[..], ["acme", "1", "1", "4", "1", "no"]);
    paygate.said(&["namespaces", "suspend", "acme"]);
    assert_eq!(paygate.answered(&["namespaces", "list"])["namespaces"][0]["suspended"], true);
    paygate.said(&["namespaces", "resume", "acme"]);

    let team = ["teams", "create", "--name", "Research", "--budget", "7", "--namespace", "acme"];
    let team = row(&paygate.said(&team), "id")[1].clone();
    paygate.said(&["teams", "assign", &team, &id]);
    let teams = paygate.said(&["teams", "list"]);
    assert_eq!(row(&teams, &team)[1..], ["Research", "acme", "7", "0", "0", &id]);
    paygate.said(&["teams", "set", &team, "--budget", "8", "--daily-calls", "3"]);
    let used = paygate.said(&["teams", "usage", &team]);
    assert_eq!(row(&used, "totalBudget")[1], "8");
    assert_eq!(row(&used, &id)[2..], ["4", "1", "1"]);
    paygate.said(&["teams", "remove", &team, &id]);
    let tools = ["namespaces", "tools", "acme", "--allow", "instant", "--deny", "hang"];
    assert_eq!(paygate.answered(&tools)["allowedTools"], json!(["instant"]));
    let cleared = paygate.answered(&["namespaces", "tools", "acme", "--clear"]);
    assert_eq!((&cleared["allowedTools"], &cleared["deniedTools"]), (&json!([]), &json!([])));
    paygate.said(&["teams", "delete", &team]);

    let audit = paygate.said(&["audit", "--types", "team.created,team.deleted", "--limit", "5"]);
    assert_eq!(audit.lines().count(), 3, "{audit}");
    assert!(audit.contains("team.created") && audit.starts_with("TIME "), "{audit}");
    let status = paygate.said(&["status", "--namespace", "acme"]);
    assert_eq!(row(&status, "totalCalls")[1], "1");
    assert_eq!(row(&status, "totalCreditsSpent")[1], "1");
    let reloaded = paygate.said(&["config", "reload"]);
    assert_eq!(row(&reloaded, "message")[1], "Configuration reloaded");
    let config = paygate.said(&["config", "show"]);
    assert!(config.contains("defaultCreditsPerCall") && !config.contains(ADMIN_KEY), "{config}");
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
        let ended = paygate.command(args);
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
        for word in [
            "paygate",
            "wrap",
            "topup",
            "rotate",
            "validate",
            "dry-run",
            "usage",
            "analytics",
            "alerts",
            "dead-letters",
            "explain",
            "refund",
            "tools",
            "tokens",
            "init",
            "idempotency-key",
            "adjust",
            "search",
            "spending-limit",
            "untag",
        ] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(Setup::new().run(&["completions", "csh"]).code(), Some(1));
}
