//! `paygate import`: state files as paygate-mcp writes them, with all that such a file can hold. Every
//! credit is accounted for, also over a second import and over a kill in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "../support/mod.rs"]
mod support;

mod state;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use state::{Record, State, thousandths};
use support::{Paygate, Setup, eventually};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Imports a state file into the database of a setup; the exit code and the report.
fn import(setup: &Setup, state: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let database = setup.database();
    let base = ["import", text(state), "--db", text(&database), "--json"];
    let ended = setup.run(&[&base[..], more].concat());
    let report = serde_json::from_str(&ended.stdout);
    (ended.code(), report.unwrap_or_else(|error| panic!("{error}: {ended:#?}")))
}

fn keys(paygate: &Paygate) -> Vec<Value> {
    paygate.admin_get("/keys").json().as_array().unwrap().clone()
}

fn sum(keys: &[Value], member: &str) -> i128 {
    keys.iter().map(|key| i128::from(key[member].as_i64().unwrap())).sum()
}

fn amount(report: &Value, member: &str) -> i128 {
    thousandths(report["total"][member].as_str().unwrap())
}

/// The accounts of a report add up, each by itself and all together.
fn adds_up(report: &Value) {
    let parts = ["creditsImported", "creditsRoundedOff", "creditsAlreadyThere", "creditsLeftOut"];
    let all = parts.iter().map(|part| amount(report, part)).sum::<i128>();
    assert_eq!(amount(report, "creditsInFile"), all, "{}", report["total"]);
    let spaces = report["namespaces"].as_object().unwrap();
    for part in parts {
        let of = |space: &Value| thousandths(space[part].as_str().unwrap());
        let unnamed = report["leftOut"].as_array().unwrap().iter().filter(|it| it["key"].is_null());
        assert_eq!(unnamed.filter(|it| !it["credits"].is_null()).count(), 0);
        assert_eq!(spaces.values().map(of).sum::<i128>(), amount(report, part), "{part}");
    }
}

#[test]
fn a_thousand_keys_come_over_with_every_credit_accounted_for() {
    let setup = Setup::new().args(["--rate-limit", "0"]);
    let state = State::generated(1_000);
    let path = setup.dir().file("state.json");
    state.write(&path);
    let (code, dry) = import(&setup, &path, &["--dry-run"]);
    assert_eq!((code, &dry["dryRun"]), (Some(1), &json!(true)), "some are left out");
    assert!(!setup.database().exists(), "a dry run writes nothing");

    let (code, report) = import(&setup, &path, &[]);
    assert_eq!(code, Some(1));
    for same in ["total", "namespaces", "leftOut", "notes", "customers"] {
        assert_eq!(dry[same], report[same], "{same}");
    }
    adds_up(&report);
    let comes = || state.records.iter().filter(|record| record.comes());
    let of_all = |part: fn(&Record) -> i128| comes().map(part).sum::<i128>();
    assert_eq!(report["total"]["records"], 1_000);
    assert_eq!(report["total"]["imported"], comes().count());
    let readable = state.records.iter().filter_map(|record| record.thousandths).sum::<i128>();
    assert_eq!(amount(&report, "creditsInFile"), readable);
    assert_eq!(amount(&report, "creditsImported"), of_all(Record::whole) * 1000);
    let rests = of_all(|record| record.thousandths.unwrap().rem_euclid(1000));
    assert!(rests > 0 && amount(&report, "creditsRoundedOff") == rests);
    let unknown = state.records.iter().filter(|record| record.credits_unknown()).count();
    assert!(unknown > 0 && report["creditsUnknown"] == unknown);
    // Each that is left out is named where it stands.
    let left_out = report["leftOut"].as_array().unwrap();
    let expected: Vec<usize> = state.places(|record| !record.comes());
    let named: Vec<_> = left_out
        .iter()
        .map(|it| usize::try_from(it["record"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(named, expected);
    let lines = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    for it in left_out {
        let line = usize::try_from(it["line"].as_u64().unwrap()).unwrap();
        assert_eq!(lines[line - 1].trim(), "[", "{it}");
    }
    setup.verify().expect_success();

    let paygate = setup.start();
    let there = keys(&paygate);
    assert_eq!(there.len(), comes().count());
    assert_eq!(sum(&there, "credits"), of_all(Record::whole));
    for record in comes() {
        record.check(there.iter().find(|key| key["name"] == record.name).unwrap());
    }
    let audit = paygate.admin_get("/audit?types=keys.imported").json();
    assert_eq!(audit["total"], 1, "{audit}");
    assert_eq!(audit["events"][0]["metadata"]["keys"], comes().count());

    eventually("the books are compared while they are in use", || {
        let page = paygate.admin_get("/metrics").text();
        page.lines().any(|line| line == "paygate_ledger_drift_credits 0")
    });

    // A customer goes on where it was.
    let customer = comes().find(|record| record.can_call()).unwrap();
    let before = paygate.balance(&customer.key);
    let called = paygate.call(&customer.key, "instant", &json!({"nonce": "n"}));
    assert_eq!(called.tool_text(), "n");
    let after = paygate.balance(&customer.key);
    assert_eq!(after["credits"], before["credits"].as_i64().unwrap() - 1);
    assert_eq!(after["totalSpent"], before["totalSpent"].as_i64().unwrap() + 1);
    let busy = import(&setup, &path, &["--dry-run"]).1;
    assert_eq!(busy["total"]["imported"], 0, "one may look while Paygate runs");
    let database = setup.database();
    let refused = setup.run(&["import", text(&path), "--db", text(&database)]);
    assert!(refused.stderr.contains("in use by another Paygate"), "{refused:?}");
    let there = keys(&paygate);
    paygate.stop().expect_success();

    // A second import changes nothing, whatever was spent meanwhile.
    let (_, second) = import(&setup, &path, &[]);
    adds_up(&second);
    assert_eq!(second["total"]["imported"], 0);
    assert_eq!(second["total"]["alreadyThere"], comes().count());
    assert_eq!(second["notes"], json!([]));
    let paygate = setup.start();
    assert_eq!(keys(&paygate), there);
    assert_eq!(paygate.admin_get("/audit?types=keys.imported").json()["total"], 1);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

/// Killed once its database has come this far. All keys are there or none, and the next import ends at
/// the same books.
#[test]
fn a_kill_in_the_middle_leaves_all_or_nothing() {
    let plain = Setup::new();
    let path = plain.dir().file("state.json");
    State::plain(4_000).write(&path);
    let (code, whole) = import(&plain, &path, &[]);
    assert_eq!(code, Some(0), "{whole}");
    let expected = plain.verify().expect_success().stdout;
    let mut killed = 0;
    for bytes in [0, 1, 100_000, 300_000, 600_000] {
        let setup = Setup::new();
        let (database, log) = (setup.database(), setup.database().with_extension("db-wal"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
        command.args(["import", text(&path), "--db", text(&database)]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = Child(child);
        let size = || fs::metadata(&log).map_or(0, |log| log.len());
        let has_come = || database.exists() && size() >= bytes;
        // It is over in a moment: looked at without a pause.
        let mut has_ended = false;
        while !has_ended && !has_come() {
            has_ended = child.0.try_wait().unwrap().is_some();
        }
        if child.0.try_wait().unwrap().is_none() {
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            killed += 1;
        }
        let (_, seen) = import(&setup, &path, &["--dry-run"]);
        let there = seen["total"]["alreadyThere"].as_u64().unwrap();
        assert!(there == 0 || there == 4_000, "{there} of 4000 keys are there");
        let (code, report) = import(&setup, &path, &[]);
        assert_eq!(code, Some(0), "{report}");
        adds_up(&report);
        assert_eq!(report["total"]["imported"], 4_000 - there);
        assert_eq!(setup.verify().expect_success().stdout, expected);
    }
    assert!(killed >= 2, "it ended before the kill too often");
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It has mostly ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn files_that_cannot_be_imported_are_named_with_their_place() {
    let setup = Setup::new();
    let path = setup.dir().file("state.json");
    let database = setup.database();
    let run = || setup.run(&["import", text(&path), "--db", text(&database)]);
    let missing = run();
    assert_eq!(missing.code(), Some(1));
    assert!(missing.stderr.contains("state.json cannot be read (No such file"), "{missing:?}");
    // Nobody writes into it, and nothing waits for that.
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let pipe = run();
    assert!(pipe.stderr.contains("it is not a regular file"), "{pipe:?}");
    fs::remove_file(&path).unwrap();
    for (content, words) in [
        ("[\n  [\"k\", {\"key\": \"k\",,}]\n]", "state.json:2:21 is not a state file"),
        ("{\"clients\": [], \"tokens\": []}", "OAuth clients"),
        ("{}", "no list of keys"),
    ] {
        fs::write(&path, content).unwrap();
        let ended = run();
        assert_eq!(ended.code(), Some(1));
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains("nothing was imported"), "{}", ended.stderr);
    }
    File::create(&path).unwrap().set_len(300 << 20).unwrap();
    assert!(run().stderr.contains("larger than 256 MiB"));
    assert!(!database.exists());
    fs::write(&path, "[]").unwrap();
    run().expect_success();
    fs::write(&database, "something else, long enough to be no database of any kind").unwrap();
    assert!(run().stderr.contains("is not a Paygate database"));
}

#[test]
fn the_report_is_for_people_too() {
    let setup = Setup::new().config(json!({"db": "books.db", "shadowMode": true}));
    let path = setup.dir().file("state.json");
    let state = State::of(vec![
        Record::new("pg_000000000000000000000001", "10.25"),
        Record::new("pg_000000000000000000000002", "null"),
        Record::new("pg_000000000000000000000003", "4").with(r#""active": false"#),
    ]);
    state.write(&path);
    // The database is that of the configuration.
    setup.command();
    let config = setup.dir().file("paygate.json");
    fs::write(
        &config,
        r#"{"serverCommand": "x", "db": "books.db", "refundOnFailure": false, "shadowMode": true}"#,
    )
    .unwrap();
    let ended = setup.run(&["import", text(&path), "--config", text(&config)]);
    assert_eq!(ended.code(), Some(1));
    assert!(setup.dir().file("books.db").exists());
    for words in [
        "3 records: 2 imported into books.db, 0 there already, 1 left out",
        "record 2, line 13, pg_0000...0002: credits is null",
        "1 key: a fraction of a credit is rounded off, 0.25 in all",
        "1 key: revoked, with 4 credits",
        "What costs customers differently:",
        "[shadowMode] Nothing is charged",
        "A call without an answer",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("[refundOnFailure]"), "{}", ended.stdout);
    assert!(ended.stderr.contains("not all keys came over: 1 left out"), "{}", ended.stderr);
    // Mended, the rest comes.
    State::of(vec![
        Record::new("pg_000000000000000000000001", "99"),
        Record::new("pg_000000000000000000000002", "7"),
    ])
    .write(&path);
    let ended = setup.run(&["import", text(&path), "--config", text(&config)]).expect_success();
    assert!(ended.stdout.contains("2 records: 1 imported into books.db, 1 there already"));
    setup.run(&["ledger", "verify", "--db", "books.db"]).expect_success();
}

/// `--state-file` of paygate-mcp: brought over once.
#[test]
fn a_start_brings_a_state_file_over_once() {
    let setup = Setup::new();
    let path = setup.dir().file("state.json");
    let setup = setup.args(["--state-file", text(&path)]);
    let key = "pg_00000000000000000000000a";
    State::of(vec![Record::new(key, "10.5"), Record::new("pg_00000000000000000000000b", "2")])
        .write(&path);
    let paygate = setup.start();
    paygate
        .wait_for_output("2 keys with 12 credits were brought over; from now on it is left alone");
    paygate.wait_for_output("a fraction of a credit is rounded off, 0.5 in all");
    paygate.call(key, "instant", &json!({"nonce": "n"}));
    assert_eq!(paygate.credits(key), 9);
    paygate.stop().expect_success();

    State::of(vec![Record::new(key, "10"), Record::new("pg_00000000000000000000000c", "5")])
        .write(&path);
    let before = fs::read(&path).unwrap();
    let paygate = setup.start();
    paygate.wait_for_output("state.json is left alone");
    assert_eq!(paygate.credits(key), 9);
    assert_eq!(keys(&paygate).len(), 2);
    assert_eq!(fs::read(&path).unwrap(), before);
    paygate.stop().expect_success();
    setup.verify().expect_success();

    // The key of the configuration; a file that is not there, and one that cannot come over whole.
    let setup = Setup::new();
    let path = setup.dir().file("old.json");
    let setup = setup.config(json!({"stateFile": text(&path)}));
    State::of(vec![Record::new(key, "10"), Record::new("pg_00000000000000000000000b", "null")])
        .write(&path);
    let ended = setup.run_to_end();
    assert_eq!(ended.code(), Some(1));
    for words in ["record 2 on line 13: credits is null", "nothing was imported", "paygate import"]
    {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    State::of(vec![Record::new(key, "10")]).write(&path);
    let paygate = setup.start();
    assert_eq!(paygate.credits(key), 10);
    paygate.stop().expect_success();
    let elsewhere = Setup::new().args(["--state-file", "not-there.json"]);
    let paygate = elsewhere.start();
    paygate.wait_for_output("not-there.json is not there; nothing was brought over");
    paygate.stop().expect_success();
    let forgetful = Setup::new().ephemeral().args(["--state-file", text(&path)]).run_to_end();
    assert!(forgetful.stderr.contains("would give these keys what they have spent again"));
}
