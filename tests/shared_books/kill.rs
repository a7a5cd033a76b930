//! An instance dies, with kill -9, while it sells. What it had in hand is given back when its time is
//! over; nothing is sold or lost twice, also if the customer asks another instance again; and on its own
//! files it comes back knowing all that happened, once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::crowd::{Random, all_at_once};
use super::fleet::{self, Fleet, batch, number, was_sold};
use super::journal::Journal;
use crate::support::{Connection, Paygate, Request, Setup, eventually, rpc_request};

const SEED: u64 = 20_261_122;
const CLIENTS: usize = 12;
const PRICE: i64 = 3;

/// Holds live this long beyond the longest call, and are looked for every second.
const HOLDS_END: Duration = Duration::from_mins(1);

fn config() -> Value {
    json!({
        "globalRateLimitPerMin": 0,
        "defaultCreditsPerCall": PRICE,
        "requestTimeoutMs": 1_000,
        "maxRequestTimeoutMs": 1_000,
    })
}

fn named(key: &str, name: &str, tool: &str, ms: u64) -> Request {
    let meta = json!({"dev.paygate/idempotencyKey": name});
    let arguments = json!({"ms": ms, "nonce": name});
    rpc_request(key, "tools/call", &json!({"name": tool, "arguments": arguments, "_meta": meta}))
}

/// What is asked for under one name, the same whenever it is asked again.
fn asked(key: &str, name: &str) -> Request {
    let ms = Random(SEED + name.bytes().map(u64::from).sum::<u64>()).below(40);
    named(key, name, "sleep", ms)
}

/// Clients that each ask for one name after another until the instance is gone; every name with the
/// answer, if there was one.
fn work(
    paygate: Paygate,
    key: &str,
    round: usize,
    answers: usize,
) -> Vec<(String, Option<String>)> {
    let (count, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let address = paygate.address.clone();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (address, count, stop) = (&address, &count, &stop);
                scope.spawn(move || {
                    let (mut asked_for, mut turn) = (Vec::new(), 0);
                    let Ok(mut connection) = Connection::open(address) else { return asked_for };
                    while !stop.load(Ordering::Relaxed) {
                        turn += 1;
                        let name = format!("{round}-{client}-{turn}");
                        let answer = connection.send(&asked(key, &name)).ok();
                        let answer = answer.map(|answer| answer.text());
                        let is_answered = answer.is_some();
                        asked_for.push((name, answer));
                        if !is_answered {
                            break;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    asked_for
                })
            })
            .collect();
        eventually("answers before the kill", || count.load(Ordering::Relaxed) >= answers);
        paygate.kill9();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_killed_instance_keeps_nothing_and_its_calls_are_charged_once() {
    const CREDITS: i64 = 30_000;
    const HUNG: i64 = 20;
    let mut fleet = Fleet::start(3, &config());
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    // Calls that are sure to be in hand at the kill: a batch is one hold.
    let hung = batch(&key, &vec!["hang"; usize::try_from(HUNG).unwrap()]);
    let hung = hung.open(&fleet[0].address).unwrap();
    eventually("it is held", || fleet[1].credits(&key) == CREDITS - HUNG * PRICE);
    let killed = fleet.take(0);
    let asked_for = work(killed, &key, 0, 150);
    drop(hung);
    let cut_off = asked_for.iter().filter(|(_, answer)| answer.is_none()).count();
    assert!(cut_off > 0, "the kill hit nothing");

    // Everybody asks again, another instance; whoever had an answer gets it again.
    let again = all_at_once(CLIENTS, |client| {
        let paygate = &fleet[client % 2];
        let mut connection = Connection::open(&paygate.address).unwrap();
        let mine = asked_for.iter().skip(client).step_by(CLIENTS);
        mine.map(|(name, _)| connection.send(&asked(&key, name)).unwrap()).collect::<Vec<_>>()
    });
    for (client, answers) in again.iter().enumerate() {
        let mine = asked_for.iter().skip(client).step_by(CLIENTS);
        for ((name, before), answer) in mine.zip(answers) {
            assert_eq!(answer.tool_text(), *name);
            if let Some(before) = before {
                assert_eq!(answer.text(), *before, "answered before, answered the same");
            }
        }
    }
    let charged = i64::try_from(asked_for.len()).unwrap() * PRICE;
    let balance = fleet.balance(&key);
    assert!(
        number(&balance, "credits") <= CREDITS - charged - HUNG * PRICE,
        "still held: {balance}"
    );
    within(HOLDS_END, "what it had in hand is given back", || {
        fleet[0].credits(&key) == CREDITS - charged
    });
    assert_eq!(number(&fleet.balance(&key), "totalSpent"), charged);
    assert_eq!(fleet.charged(&id), charged);
    let journal = Journal::read(&fleet.redis, &id);
    assert_eq!((journal.granted, journal.charged, journal.open), (CREDITS, charged, 0));
    assert!(journal.ends.values().any(|end| end == "expire"), "nothing ran out");
}

fn within(ceiling: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < ceiling, "{what}: not within {ceiling:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Its file is a copy: killed again and again while it copies, it has every call once.
#[test]
fn a_killed_instance_comes_back_with_all_usage_once() {
    const CREDITS: i64 = 100_000;
    const ROUNDS: usize = 6;
    let mut fleet = Fleet::start(2, &config());
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    for round in 0..ROUNDS {
        let victim = fleet.take(0);
        let setup: Setup = victim.setup().clone();
        let (other, stop) = (&fleet[0], AtomicBool::new(false));
        let victim_address = victim.address.clone();
        thread::scope(|scope| {
            // The other one sells too, and both are asked for reports, so that both copy.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(was_sold(&other.call(&key, "instant", &json!({}))));
                }
            });
            scope.spawn(|| {
                let report = Request::new("GET", "/usage?limit=1")
                    .header("X-Admin-Key", crate::support::ADMIN_KEY);
                while report.send(&victim_address).is_ok() {}
            });
            work(victim, &key, round, 40 + 30 * round);
            stop.store(true, Ordering::Relaxed);
        });
        fleet.put(0, setup.start());
        // What was open at the kill is not charged, and nobody can know what was before it is asked.
        let sold = number(&fleet.balance(&key), "totalSpent");
        assert!(fleet.charged(&id) <= sold, "round {round}");
        let events = fleet.iter().map(|paygate| events(paygate, &id)).collect::<Vec<_>>();
        assert_eq!(events[0], events[1], "round {round}: the same calls on both");
    }
    within(HOLDS_END, "what was in hand is given back", || {
        let balance = fleet[0].balance(&key);
        number(&balance, "credits") + fleet::charged(&fleet[0], &id) == CREDITS
    });
    let charged = fleet.charged(&id);
    assert_eq!(number(&fleet.balance(&key), "totalSpent"), charged);
    let journal = Journal::read(&fleet.redis, &id);
    assert_eq!((journal.charged, journal.open), (charged, 0));
    let paid = journal.ends.values().filter(|end| *end == "capture").count();
    let listed = events(&fleet[0], &id);
    assert_eq!(listed.iter().filter(|(_, charged)| *charged > 0).count(), paid);
}

/// Calls of a key as usage lists them, with what they were charged.
fn events(paygate: &Paygate, id: &str) -> Vec<(String, i64)> {
    let usage = paygate.admin_get(&format!("/usage?key={id}")).json();
    let events = usage["events"].as_array().unwrap_or_else(|| panic!("no events in {usage}"));
    let mut listed: Vec<_> = events
        .iter()
        .map(|event| (event["callId"].to_string(), number(event, "creditsCharged")))
        .collect();
    listed.sort_unstable();
    let count = listed.len();
    listed.dedup();
    assert_eq!(listed.len(), count, "a call is listed twice");
    listed
}
