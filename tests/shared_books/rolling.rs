//! Instances are replaced one by one while customers call, as in an upgrade. `PAYGATE_PREVIOUS` names the
//! binary of the release before; without it both are this one, and what is shown is the replacing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::crowd::Random;
use super::fleet::{Fleet, number, setup};
use crate::support::{Connection, RedisServer, Request, Response, Setup, eventually, rpc_request};

const SEED: u64 = 20_261_121;
const CLIENTS: usize = 6;
const CREDITS: i64 = 100_000;

fn config() -> Value {
    json!({"globalRateLimitPerMin": 0})
}

fn asked(key: &str, name: &str, ms: u64) -> Request {
    let meta = json!({"dev.paygate/idempotencyKey": name});
    let arguments = json!({"ms": ms, "nonce": name});
    rpc_request(key, "tools/call", &json!({"name": "sleep", "arguments": arguments, "_meta": meta}))
}

/// Sent to one instance after another until one answers.
fn until_answered(addresses: &Mutex<Vec<String>>, first: usize, request: &Request) -> Response {
    let (mut answer, mut tried) = (None, 0);
    eventually("some instance answers", || {
        let address = {
            let addresses = addresses.lock().unwrap();
            addresses[(first + tried) % addresses.len()].clone()
        };
        tried += 1;
        let sent = Connection::open(&address).and_then(|mut open| open.send(request));
        answer = sent.ok().filter(|answer| answer.status != 503);
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn instances_are_replaced_one_by_one_and_every_call_is_answered_and_paid_once() {
    let redis = RedisServer::start();
    let this = env!("CARGO_BIN_EXE_paygate");
    let previous = std::env::var("PAYGATE_PREVIOUS").unwrap_or_else(|_| this.to_owned());
    let old = [(); 3].map(|()| setup(&redis, &config()).binary(&previous));
    let mut fleet = Fleet::of(redis, old.iter().map(Setup::start).collect());
    let addresses: Vec<String> = fleet.iter().map(|one| one.address.clone()).collect();
    let addresses = Mutex::new(addresses);
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    let (answered, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let calls_go_on = || {
        let before = answered.load(Ordering::Relaxed);
        eventually("calls go on", || answered.load(Ordering::Relaxed) > before + 60);
    };
    let calls: i64 = thread::scope(|scope| {
        let client = |client: usize| {
            let mut random = Random(SEED + client as u64);
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("{client}-{count}");
                let request = asked(&key, &name, random.below(30));
                let answer = until_answered(&addresses, client, &request);
                assert_eq!(answer.tool_text(), name, "{}", answer.text());
                count += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            count
        };
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        for (index, old) in old.iter().enumerate() {
            calls_go_on();
            let ended = fleet.take(index).stop();
            assert!(ended.status.success(), "{}", ended.stderr);
            let new = old.clone().binary(this).start();
            addresses.lock().unwrap()[index].clone_from(&new.address);
            fleet.put(index, new);
        }
        calls_go_on();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    fleet.wait_until_nothing_is_held();
    let balance = fleet.balance(&key);
    assert_eq!(number(&balance, "credits"), CREDITS - calls);
    assert_eq!((number(&balance, "totalSpent"), fleet.charged(&id)), (calls, calls));
}

#[test]
fn books_of_a_format_that_is_not_known_are_left_alone() {
    let redis = RedisServer::start();
    let paygate = setup(&redis, &config()).start();
    paygate.create_key(&json!({"credits": 5}));
    paygate.stop();
    let told = redis.cli(&["SET", "pg:format", "2"]);
    assert_eq!(told, "OK");
    let refused = setup(&redis, &config()).run_to_end();
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("format 2"), "{}", refused.stderr);
    let url = redis.url();
    for command in [
        vec!["ledger", "verify", "--redis", &url],
        vec!["migrate", "--from", &url, "--to", "moved.db"],
    ] {
        let refused = Setup::new().run(&command);
        assert!(!refused.status.success(), "{command:?}");
        assert!(refused.stderr.contains("format 2"), "{command:?}: {}", refused.stderr);
    }
    redis.cli(&["SET", "pg:format", "1"]);
    setup(&redis, &config()).start().stop();
}
