//! Outcomes that arrive at the same moment: whichever wins, what is charged is what was answered.

use std::thread;

use serde_json::{Value, json};

use super::support::{Paygate, Request, Response, Setup, rpc_request};
use super::{PRICE, config_with, stop_and_verify};

const ROUNDS: u64 = 60;
const CREDITS: i64 = 1_000_000;

fn start() -> (Paygate, String) {
    let quick = json!({"requestTimeoutMs": 20});
    let config = config_with(&json!({
        "globalRateLimitPerMin": 0,
        "globalQuota": {},
        "toolPricing": {"sleep": quick},
    }));
    let paygate = Setup::new().config(config).start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    (paygate, key)
}

fn call(key: &str, tool: &str, arguments: &Value) -> Request {
    rpc_request(key, "tools/call", &json!({"name": tool, "arguments": arguments}))
}

/// What the answer says was paid: a result, or an error that promises that nothing was.
fn paid(response: &Response) -> i64 {
    let json = response.json();
    if json.get("result").is_some() {
        return PRICE;
    }
    assert_eq!(json["error"]["code"], -32603, "{json}");
    assert!(
        json["error"]["message"].as_str().is_some_and(|text| text.contains("nothing was charged"))
    );
    0
}

/// Checks that the key has paid for what was answered, and that both happened.
fn check(paygate: Paygate, key: &str, answers: &[i64]) {
    let owed: i64 = answers.iter().sum();
    assert_eq!(paygate.credits(key), CREDITS - owed);
    let setup = paygate.setup().clone();
    stop_and_verify(paygate);
    let paygate = setup.start();
    let balance = paygate.balance(key);
    assert_eq!(
        [&balance["credits"], &balance["totalSpent"]],
        [&json!(CREDITS - owed), &json!(owed)]
    );
}

#[test]
fn an_answer_and_its_timeout() {
    let (paygate, key) = start();
    let answers: Vec<i64> = (0..ROUNDS)
        .map(|round| paid(&paygate.send(&call(&key, "sleep", &json!({"ms": 15 + round % 8})))))
        .collect();
    check(paygate, &key, &answers);
}

#[test]
fn an_answer_and_its_cancellation() {
    let (paygate, key) = start();
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let cancel = Request::new("POST", "/mcp").header("X-API-Key", &key).json(&cancel);
    let answers: Vec<i64> = (0..ROUNDS)
        .map(|round| {
            thread::scope(|scope| {
                let arguments = json!({"ms": round % 4, "ignore_cancel": true});
                let request = call(&key, "sleep", &arguments);
                let (paygate, cancel) = (&paygate, &cancel);
                let waiting = scope.spawn(move || paid(&paygate.send(&request)));
                let cancelling = scope.spawn(move || paygate.send(cancel).status);
                assert_eq!(cancelling.join().expect("an answer"), 202);
                waiting.join().expect("an answer")
            })
        })
        .collect();
    check(paygate, &key, &answers);
}

#[test]
fn an_answer_and_the_end_of_the_child() {
    let (paygate, key) = start();
    let mut answers = Vec::new();
    for round in 0..6 {
        super::support::eventually("a child is there", || paygate.get("/health").status == 200);
        let requests: Vec<Request> = (0..8)
            .map(|place| match place {
                5 => call(&key, "crash", &json!({})),
                0 | 2 | 4 => call(&key, "instant", &json!({})),
                _ => call(&key, "sleep", &json!({"ms": (place + round) % 3})),
            })
            .collect();
        thread::scope(|scope| {
            let paygate = &paygate;
            let waiting: Vec<_> = requests
                .iter()
                .map(|request| scope.spawn(|| paid(&paygate.send(request))))
                .collect();
            answers.extend(waiting.into_iter().map(|waiting| waiting.join().expect("an answer")));
        });
    }
    check(paygate, &key, &answers);
}
