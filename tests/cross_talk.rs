//! Sixteen clients at once with the same ids and the same progress tokens, who wait for random
//! times and leave at random: every answer carries its caller's nonce, no call runs twice, and the
//! books are exact at the end.
//!
//! What each client does follows from a fixed seed and its number; what of it happens at the same
//! time does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    clippy::unusual_byte_groupings,
    reason = "a helper that fails a test panics"
)]

mod support;

use std::collections::HashMap;
use std::thread;

use serde_json::{Value, json};

use support::{Paygate, Request, Response, Setup, eventually};

const CLIENTS: usize = 16;
/// Keys; clients share them, so that equal ids meet within a key too.
const KEYS: usize = 8;
const ROUNDS: usize = 40;
const CREDITS: i64 = 100_000;
const PRICE: i64 = 3;
const SEED: u64 = 0x5eed_ca11;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    /// Calls answered with a result, which are charged.
    paid: i64,
    /// Nonces of calls that it did not wait for; they are charged if they ran.
    left: Vec<String>,
    /// Nonces of all calls that it sent.
    sent: Vec<String>,
}

/// A tool, its arguments, and whether a result of it is charged.
fn next_call(random: &mut Random, nonce: &str) -> (&'static str, Value, bool) {
    match random.below(10) {
        0..=4 => ("sleep", json!({"ms": random.below(40), "nonce": nonce}), true),
        5..=6 => ("instant", json!({"nonce": nonce}), true),
        7 => ("progress", json!({"count": 3, "nonce": nonce}), true),
        8 => ("fail", json!({"nonce": nonce}), false),
        _ => ("ask", json!({"method": "roots/list", "nonce": nonce}), true),
    }
}

fn request(key: &str, method: &str, mut params: Value) -> Request {
    params["_meta"] = json!({"progressToken": "token"});
    // All clients use id 1, so every call in flight has it.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Request::new("POST", "/mcp").header("X-API-Key", key).json(&body)
}

/// One client: call after call, each under a nonce that nobody else has.
fn client(paygate: &Paygate, key: &str, number: usize) -> Seen {
    let mut random = Random(SEED + u64::try_from(number).unwrap());
    let mut seen = Seen::default();
    for round in 0..ROUNDS {
        let nonce = format!("client-{number}-round-{round}");
        let (tool, arguments, pays) = next_call(&mut random, &nonce);
        match random.below(8) {
            0 => {
                let call = json!({"name": tool, "arguments": arguments});
                let request = request(key, "tools/call", call);
                leave(paygate, &request, random.below(3));
                seen.left.extend(pays.then(|| nonce.clone()));
                seen.sent.push(nonce);
            }
            1 => {
                let second = format!("{nonce}-second");
                let calls = json!({"calls": [
                    {"name": tool, "arguments": arguments},
                    {"name": "instant", "arguments": {"nonce": second}},
                ]});
                check_batch(
                    &paygate.send(&request(key, "tools/call_batch", calls)),
                    [&nonce, &second],
                );
                seen.paid += 1 + i64::from(pays);
                seen.sent.extend([nonce, second]);
            }
            _ => {
                let call = json!({"name": tool, "arguments": arguments});
                let response = paygate.send(&request(key, "tools/call", call));
                assert_eq!(response.tool_text(), nonce, "the answer of somebody else");
                assert_eq!(response.json()["id"], 1);
                seen.paid += i64::from(pays);
                seen.sent.push(nonce);
            }
        }
    }
    seen
}

fn check_batch(response: &Response, nonces: [&String; 2]) {
    let json = response.json();
    for (index, nonce) in nonces.into_iter().enumerate() {
        let text = &json["result"]["results"][index]["result"]["content"][0]["text"];
        assert_eq!(text, nonce, "the answer of somebody else in {json}");
    }
}

/// Sends a request, or a part of it, and goes away without reading.
fn leave(paygate: &Paygate, request: &Request, how: u64) {
    use std::io::Write;
    if how > 0 {
        drop(request.open(&paygate.address).expect("it can be sent"));
        return;
    }
    let bytes = request.to_bytes(&paygate.address);
    let mut stream = std::net::TcpStream::connect(&paygate.address).expect("it listens");
    stream.write_all(&bytes[..bytes.len() - 1]).expect("it can be sent");
}

fn runs_by_nonce(setup: &Setup) -> HashMap<String, usize> {
    let mut runs = HashMap::new();
    for (_, nonce) in setup.child_log() {
        *runs.entry(nonce).or_default() += 1;
    }
    runs
}

#[test]
fn nobody_gets_what_is_somebody_elses() {
    let config = json!({"defaultCreditsPerCall": PRICE, "globalRateLimitPerMin": 0});
    let paygate = Setup::new().config(config).start();
    let keys = [(); KEYS].map(|()| paygate.create_key(&json!({"credits": CREDITS})).0);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let start = |number: usize| {
            let (paygate, key) = (&paygate, &keys[number % KEYS]);
            scope.spawn(move || client(paygate, key, number))
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        clients.into_iter().map(|client| client.join().expect("no client fails")).collect()
    });
    // Calls whose client has left run to their end.
    eventually("no call is in flight", || paygate.get("/health").json()["inflight"] == 0);
    let setup = paygate.setup().clone();
    let runs = runs_by_nonce(&setup);
    assert!(runs.values().all(|count| *count == 1), "a call ran twice: {runs:?}");
    let sent: usize = seen.iter().map(|seen| seen.sent.len()).sum();
    assert!(runs.len() <= sent && runs.len() > sent * 3 / 4, "{} of {sent} ran", runs.len());
    paygate.stop().expect_success();
    setup.verify().expect_success();

    let paygate = setup.start();
    for (index, key) in keys.iter().enumerate() {
        let mine = || seen.iter().skip(index).step_by(KEYS);
        let waited: i64 = mine().map(|seen| seen.paid).sum();
        let left = mine().flat_map(|seen| &seen.left).filter(|nonce| runs.contains_key(*nonce));
        let paid = waited + i64::try_from(left.count()).unwrap();
        let balance = paygate.balance(key);
        let [credits, total_spent, calls] =
            ["credits", "totalSpent", "totalCalls"].map(|name| &balance[name]);
        assert_eq!((credits, total_spent), (&json!(CREDITS - paid * PRICE), &json!(paid * PRICE)));
        assert_eq!(calls, &json!(paid));
    }
}
