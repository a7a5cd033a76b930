//! kill -9 under load, again and again, on one database: every acknowledged top-up is there, every
//! answered call was charged exactly once, every unanswered one at most once, nothing is held, rates
//! and quotas go on, and the journal proves it all.
//!
//! The kill comes after a number of answers, not after a time: each round is cut off at another
//! point of its work, on a quick machine as on a slow one.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails a test panics; random numbers are small"
)]

#[path = "kill9/client.rs"]
mod client;
#[path = "kill9/journal.rs"]
mod journal;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use client::{Client, Deed, Kind, Progress, Random};
use journal::Journal;
use serde_json::{Value, json};
use support::{Paygate, Setup, eventually};

const SEED: u64 = 20_261_120;
const KEYS: usize = 3;
const CLIENTS: usize = 6;
const RATE_LIMIT: i64 = 1_000_000;
const FIRST_CREDITS: i64 = 500_000;

/// Everything that the clients know.
#[derive(Default)]
struct Known {
    keys: Vec<(String, String)>,
    deeds: Vec<Deed>,
}

#[test]
fn books_survive_kill_9_under_load() {
    run(&setup("answer"), 30);
}

/// Holds are on disk before their tools start, so every kill leaves some to recovery.
#[test]
fn books_survive_kill_9_with_holds_on_disk() {
    run(&setup("call"), 10);
}

fn run(setup: &Setup, rounds: u64) {
    let mut known = Known::default();
    for round in 0..rounds {
        let paygate = setup.start();
        if known.keys.is_empty() {
            let key = |_| paygate.create_key(&json!({"credits": FIRST_CREDITS}));
            known.keys = (0..KEYS).map(key).collect();
        }
        repeat_what_was_not_answered(&paygate, &mut known);
        check(setup, &paygate, &known, round);
        let answers = 1 + Random(SEED + round).below(300) as usize;
        known.deeds.extend(load_and_kill(paygate, &known.keys, round, answers));
    }
    let paygate = setup.start();
    repeat_what_was_not_answered(&paygate, &mut known);
    check(setup, &paygate, &known, rounds);
    paygate.stop().expect_success();
    setup.verify().expect_success();
    // Kills that hit nothing would prove nothing.
    let cut_off = known.deeds.iter().filter(|deed| !deed.is_answered).count();
    assert!(cut_off as u64 >= rounds, "{cut_off} of {} were cut off", known.deeds.len());
    assert!(Journal::read(&setup.database()).recovered > 0, "no start had anything to release");
}

fn setup(durability: &str) -> Setup {
    let limit = RATE_LIMIT.to_string();
    Setup::new().without_child_log().config(json!({"durability": durability})).args([
        "--price",
        "1",
        "--rate-limit",
        &limit,
        "--tool-price",
        "instant:2,sleep:3,fail:5",
    ])
}

/// All clients at work until so many answers have come, then the kill; what they did.
fn load_and_kill(
    paygate: Paygate,
    keys: &[(String, String)],
    round: u64,
    answers: usize,
) -> Vec<Deed> {
    let (count, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (key, id) = keys[number % KEYS].clone();
                let mut client = Client {
                    address: paygate.address.clone(),
                    key_index: number % KEYS,
                    key,
                    id,
                    name: format!("{round}-{number}"),
                    random: Random(SEED + round * 1_000 + number as u64),
                    deeds: Vec::new(),
                };
                let progress = Progress { answers: &count, stop: &stop };
                scope.spawn(move || {
                    client.work(progress);
                    client.deeds
                })
            })
            .collect();
        eventually("answers before the kill", || count.load(Ordering::Relaxed) >= answers);
        paygate.kill9();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// A top-up with an Idempotency-Key that got no answer is sent again, as a payment service would.
fn repeat_what_was_not_answered(paygate: &Paygate, known: &mut Known) {
    for deed in &mut known.deeds {
        if let Kind::TopUp { once: Some(_), .. } = &deed.kind
            && !deed.is_answered
        {
            let (_, id) = &known.keys[deed.key_index];
            let response = paygate.send(&client::top_up(id, &deed.kind));
            assert_eq!(response.status, 200, "{}", response.text());
            deed.is_answered = true;
        }
    }
}

/// What the file and the server say against what the clients know.
fn check(setup: &Setup, paygate: &Paygate, known: &Known, round: u64) {
    let verified = setup.verify().expect_success();
    assert!(verified.stdout.contains("0 holds open"), "round {round}: {verified:?}");
    let journal = Journal::read(&setup.database());
    for (index, (key, id)) in known.keys.iter().enumerate() {
        let what = format!("round {round}, key {index}");
        let mine: Vec<&Deed> = known.deeds.iter().filter(|deed| deed.key_index == index).collect();
        journal.check_top_ups(id, FIRST_CREDITS, &mine, &what);
        journal.check_calls(id, &mine, &what);
        check_balance(paygate, key, id, &journal, &what);
        check_rate(paygate, key, &mine, &what);
    }
}

fn check_balance(paygate: &Paygate, key: &str, id: &str, journal: &Journal, what: &str) {
    let balance = paygate.balance(key);
    let number = |name: &str| balance[name].as_i64().unwrap_or_else(|| panic!("{what}: {balance}"));
    let (granted, charged, calls) = journal.sums(id);
    assert_eq!(number("credits"), granted - charged, "{what}: {balance}");
    assert_eq!(number("totalSpent"), charged, "{what}: {balance}");
    assert_eq!(number("totalCalls"), calls, "{what}: {balance}");
    let quota = &balance["quotaUsage"];
    // The month may begin while the test runs, once in a while.
    if journal.is_of_one_day() {
        assert_eq!(quota["dailyCalls"], Value::from(calls), "{what}: {balance}");
        assert_eq!(quota["monthlyCredits"], Value::from(charged), "{what}: {balance}");
    }
}

/// The rate window holds every answered call of the last minute, and none that was never sent.
fn check_rate(paygate: &Paygate, key: &str, deeds: &[&Deed], what: &str) {
    let response = paygate.rpc(key, "tools/list", &json!({}));
    let remaining = response.header("x-ratelimit-remaining").and_then(|text| text.parse().ok());
    let remaining: i64 = remaining.unwrap_or_else(|| panic!("{what}: {:?}", response.headers));
    let used = RATE_LIMIT - remaining;
    let calls = |deed: &&&Deed| i64::try_from(deed.kind.calls()).unwrap();
    let age = |deed: &&&Deed| deed.began.elapsed().as_millis();
    let sure = deeds.iter().filter(|deed| deed.charged() > 0 && age(deed) < 60_000);
    let possible = deeds.iter().filter(|deed| deed.ended.elapsed().as_millis() <= 62_000);
    let (sure, possible): (i64, i64) =
        (sure.map(|d| calls(&d)).sum(), possible.map(|d| calls(&d)).sum());
    assert!((sure..=possible).contains(&used), "{what}: {sure} <= {used} <= {possible}");
}
