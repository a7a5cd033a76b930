//! A new configuration while calls go on: by `POST /config/reload` and by SIGHUP.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Paygate, Response, Setup, eventually};

/// Puts this in the place of the configuration file.
fn write(paygate: &Paygate, config: &Value) {
    // In one step, as editors do: Paygate may be reading.
    let path = paygate.setup().dir().file("paygate.json");
    let beside = path.with_extension("new");
    fs::write(&beside, config.to_string()).unwrap();
    fs::rename(beside, path).unwrap();
}

fn reload(paygate: &Paygate) -> Response {
    paygate.admin("POST", "/config/reload", &Value::Null)
}

/// What a call of the tool costs now.
fn price(paygate: &Paygate, key: &str, tool: &str) -> i64 {
    let before = paygate.credits(key);
    let called = paygate.call(key, tool, &json!({"nonce": "n"}));
    assert_eq!(called.tool_text(), "n", "{}", called.text());
    before - paygate.credits(key)
}

#[test]
fn a_new_file_takes_hold_whole_or_not_at_all() {
    let config =
        json!({"defaultCreditsPerCall": 2, "globalRateLimitPerMin": 0, "childEnv": {"A": "1"}});
    let paygate = Setup::new().config(config).start();
    let (key, _) = paygate.create_key(&json!({"credits": 1000}));
    assert_eq!(price(&paygate, &key, "instant"), 2);

    // One mistake, and nothing of the rest holds.
    write(&paygate, &json!({"defaultCreditsPerCall": 9, "globalRateLimitPerMin": 0, "port": "x"}));
    let refused = reload(&paygate);
    assert_eq!(refused.status, 400, "{}", refused.text());
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    for words in ["the one before goes on", "[port] Invalid port", "paygate.json:1:"] {
        assert!(error.contains(words), "{words} is missing in {error}");
    }
    assert_eq!(price(&paygate, &key, "instant"), 2);

    // What cannot change is named and stays.
    let new = json!({"defaultCreditsPerCall": 5, "globalRateLimitPerMin": 0, "durability": "call",
        "childEnv": {"A": "2"}, "toolPricing": {"echo_raw": {"creditsPerCall": 1}},
        "allowedHosts": [paygate.address, "other.example"]});
    write(&paygate, &new);
    let taken = reload(&paygate);
    assert_eq!(taken.status, 200, "{}", taken.text());
    let told = taken.json();
    assert_eq!(told["changed"], json!(["allowedHosts", "defaultCreditsPerCall", "toolPricing"]));
    assert_eq!(told["needsRestart"], json!(["childEnv", "durability"]));
    paygate.wait_for_output("these keep their values until Paygate is started again");
    assert_eq!(price(&paygate, &key, "instant"), 5);
    let shown = paygate.admin_get("/config").json();
    assert_eq!(
        (&shown["defaultCreditsPerCall"], &shown["durability"]),
        (&json!(5), &json!("answer"))
    );
    let status = paygate.admin_get("/status").json();
    assert_eq!(status["config"]["defaultCreditsPerCall"], 5);
    let foreign = support::Request::new("GET", "/health").header("Host", "foreign.example");
    assert_eq!(paygate.send(&foreign).status, 403);
    let audit = paygate.admin_get("/audit?types=config.reloaded").json();
    assert_eq!(audit["total"], 1, "{audit}");
    let again = reload(&paygate).json();
    assert_eq!(again["changed"], json!([]), "{again}");
    assert_eq!(again["needsRestart"], json!(["childEnv", "durability"]), "{again}");
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_hangup_reads_the_file_anew() {
    let paygate = Setup::new().config(json!({"defaultCreditsPerCall": 2})).start();
    let (key, _) = paygate.create_key(&json!({"credits": 1000}));
    write(&paygate, &json!({"defaultCreditsPerCall": 3, "shadowMod": true}));
    paygate.signal(Signal::HUP);
    paygate.wait_for_output("Did you mean \"shadowMode\"?");
    assert_eq!(price(&paygate, &key, "instant"), 2);
    write(&paygate, &json!({"defaultCreditsPerCall": 3}));
    paygate.signal(Signal::HUP);
    paygate.wait_for_output("the configuration was read anew");
    eventually("the new price", || price(&paygate, &key, "instant") == 3);
    eventually("its entry in the audit log", || {
        let audit = paygate.admin_get("/audit?types=config.reloaded&actor=system").json();
        audit["events"][0]["metadata"]["changed"] == json!(["defaultCreditsPerCall"])
    });
    paygate.stop().expect_success();
}

/// Two configurations in which two prices change together, one up and one down: a batch of both tools
/// that is judged by half of each costs what it costs under neither.
#[test]
fn calls_under_a_reload_fail_never_and_are_judged_by_one_configuration() {
    const INSTANT: [i64; 2] = [2, 7];
    const SLEEP: [i64; 2] = [11, 5];
    let batch_costs = |index: usize| 2 * INSTANT[index] + SLEEP[index];
    let file = |index: usize| {
        let (instant, sleep) = (INSTANT[index], SLEEP[index]);
        json!({"defaultCreditsPerCall": 1000, "globalRateLimitPerMin": 0, "refundOnFailure": index == 0,
            "toolPricing": {"instant": {"creditsPerCall": instant}, "sleep": {"creditsPerCall": sleep}}})
    };
    let paygate = Setup::new().config(file(0)).without_child_log().start();
    let (over, reloads, spent) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let keys: Vec<_> =
        (0..3).map(|_| paygate.create_key(&json!({"credits": 10_000_000})).0).collect();
    thread::scope(|scope| {
        for key in &keys {
            let (paygate, over, spent) = (&paygate, &over, &spent);
            scope.spawn(move || {
                let mut left = paygate.credits(key);
                let batch = json!({"calls": [
                    {"name": "instant", "arguments": {"nonce": "n"}},
                    {"name": "sleep", "arguments": {"ms": 1, "nonce": "n"}},
                    {"name": "instant", "arguments": {"nonce": "n"}}]});
                while !over.load(Ordering::SeqCst) {
                    let answer = paygate.rpc(key, "tools/call_batch", &batch);
                    assert_eq!((answer.status, answer.error_code()), (200, 0), "{}", answer.text());
                    let now: i64 = answer.header("x-credits-remaining").unwrap().parse().unwrap();
                    let cost = left - now;
                    assert!((0..2).any(|index| cost == batch_costs(index)), "{left} {now}");
                    spent.fetch_add(usize::try_from(left - now).unwrap(), Ordering::SeqCst);
                    left = now;
                }
            });
        }
        scope.spawn(|| {
            for index in [1, 0].into_iter().cycle().take(60) {
                write(&paygate, &file(index));
                let taken = reload(&paygate);
                assert_eq!(taken.status, 200, "{}", taken.text());
                assert_eq!(taken.json()["changed"], json!(["refundOnFailure", "toolPricing"]));
                reloads.fetch_add(1, Ordering::SeqCst);
            }
            over.store(true, Ordering::SeqCst);
        });
    });
    assert_eq!(reloads.load(Ordering::SeqCst), 60);
    let owed = paygate.admin_get("/status").json()["usage"]["totalCreditsSpent"].as_u64();
    assert_eq!(owed, u64::try_from(spent.load(Ordering::SeqCst)).ok());
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
