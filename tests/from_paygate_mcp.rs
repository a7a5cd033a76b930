//! The page for people who come from paygate-mcp: every command in it is run, in its order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Paygate, Setup, scripted_child};

const PAGE: &str = include_str!("../docs/from-paygate-mcp.md");

/// What stands in the blocks of a language, each with its lines.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    // The constant is the page's own text, so its pieces live as long.
    PAGE.match_indices(&opening)
        .filter_map(|(at, _)| PAGE[at + opening.len()..].split("```").next())
        .collect()
}

fn commands() -> Vec<&'static str> {
    blocks("sh").into_iter().flat_map(str::lines).collect()
}

/// A directory with the configuration of the page before a server that is here, and two keys.
fn moving_in(setup: &Setup) -> Value {
    let [config] = blocks("json")[..] else { panic!("one configuration is shown") };
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["serverCommand"] = json!(scripted_child());
    config["serverArgs"] = json!([]);
    config["port"] = json!(0);
    fs::write(setup.dir().file("old.json"), config.to_string()).unwrap();
    let record = |key: &str, credits: f64| {
        json!([key, {"key": key, "name": "customer", "credits": credits, "totalSpent": 3, "totalCalls": 2,
            "createdAt": "2025-01-01T00:00:00.000Z", "lastUsedAt": null, "active": true, "spendingLimit": 0,
            "allowedTools": [], "deniedTools": [], "expiresAt": null, "tags": {}, "ipAllowlist": [],
            "namespace": "default"}])
    };
    let state = json!([
        record("pg_000000000000000000000000000000000000000000000001", 100.0),
        record("pg_000000000000000000000000000000000000000000000002", 50.5),
    ]);
    fs::write(setup.dir().file("state.json"), format!("{state:#}")).unwrap();
    config
}

/// Runs a line as a shell in that directory does.
fn shell(directory: &Path, line: &str, variables: &[(String, String)]) -> Output {
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(directory).env("PATH", path);
    let output = command.envs(variables.iter().cloned()).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    output
}

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    let setup = Setup::new();
    let config = moving_in(&setup);
    let directory = setup.dir().path();
    symlink(env!("CARGO_BIN_EXE_paygate"), directory.join("paygate")).unwrap();
    let (mut running, mut variables) = (None::<Paygate>, Vec::new());
    let mut said = Vec::new();
    for line in commands() {
        if let Some(variable) = line.strip_prefix("export ") {
            let (name, value) = variable.split_once('=').unwrap();
            assert_eq!(config["adminKey"], value, "it is the admin key of the page");
            variables.push((name.to_owned(), value.to_owned()));
        } else if line == "paygate wrap --config old.json" {
            let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
            command.args(["wrap", "--config", "old.json"]).current_dir(directory);
            let paygate = Paygate::start(setup.clone(), command);
            paygate.wait_for_output("state.json is left alone: paygate.db is in use");
            variables.push(("PAYGATE_URL".to_owned(), paygate.base_url()));
            running = Some(paygate);
        } else {
            assert!(line.starts_with("paygate "), "this test does not know: {line}");
            let output = shell(directory, line, &variables);
            said.push((line, String::from_utf8(output.stdout).unwrap()));
        }
    }
    for (command, words) in [
        ("paygate validate --config old.json", "[refundOnFailure] Calls that the server answers"),
        ("paygate wrap --config old.json --dry-run", "instant"),
        ("paygate import state.json --dry-run", "2 records: 2 would be imported"),
        ("paygate import state.json --db rehearsal.db", "rounded off, 0.5 in all"),
        ("paygate ledger verify --db rehearsal.db", "150 credits granted"),
        ("paygate import state.json --config old.json", "2 imported into paygate.db"),
        ("paygate status", "totalCalls"),
        ("paygate namespaces list", "150"),
        ("paygate keys list", "customer"),
        ("paygate ledger verify --db paygate.db", "the books agree"),
    ] {
        let found = said.iter().find(|(line, _)| *line == command);
        let (_, printed) = found.unwrap_or_else(|| panic!("the page does not show: {command}"));
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let balances = fs::read_to_string(directory.join("balances.json")).unwrap();
    let balances: Value = serde_json::from_str(&balances).unwrap();
    let mut credits: Vec<i64> =
        balances.as_array().unwrap().iter().map(|key| key["credits"].as_i64().unwrap()).collect();
    credits.sort_unstable();
    assert_eq!(credits, [50, 100]);
    running.expect("the page starts Paygate").stop().expect_success();
}
