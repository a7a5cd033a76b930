//! A repetition that comes while the first one runs.

use std::thread;

use serde_json::{Value, json};

use super::support::{Paygate, Request, Response, eventually};
use super::{after, call_id, named_call, new_key, runs, standing, start, stop_and_verify};

/// Long enough for a few requests to be handled meanwhile.
const WHILE_MS: u64 = 1_000;
/// Long enough to be cancelled, far shorter than the patience of a test.
const LONG_MS: u64 = 20_000;

fn sleep(key: &str, id: &Value, ms: u64) -> Request {
    named_call(key, "k", id, "sleep", &json!({"ms": ms, "nonce": "n"}))
}

/// Sends `first`, waits until the child has begun it, then does `meanwhile`; both answers.
fn during<T>(paygate: &Paygate, first: &Request, meanwhile: impl FnOnce() -> T) -> (Response, T) {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| paygate.send(first));
        eventually("the first call has begun", || runs(paygate.setup(), "n") > 0);
        let meanwhile = meanwhile();
        (waiting.join().expect("an answer"), meanwhile)
    })
}

#[test]
fn requests_of_the_same_moment_are_one_call() {
    let paygate = start();
    let key = new_key(&paygate);
    let answers: Vec<Response> = thread::scope(|scope| {
        let send = |id: i64| {
            let request = sleep(&key, &json!(id), WHILE_MS);
            scope.spawn(|| paygate.send(&{ request }))
        };
        let waiting: Vec<_> = (0..8).map(send).collect();
        waiting.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    for (id, answer) in (0_i64..).zip(&answers) {
        assert_eq!((answer.tool_text().as_str(), &answer.json()["id"]), ("n", &json!(id)));
        assert_eq!(call_id(answer), call_id(&answers[0]));
    }
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn another_request_does_not_join() {
    let paygate = start();
    let key = new_key(&paygate);
    let (first, other) = during(&paygate, &sleep(&key, &json!(1), WHILE_MS), || {
        paygate.send(&sleep(&key, &json!(2), WHILE_MS + 1))
    });
    assert_eq!(first.tool_text(), "n");
    assert_eq!(other.error_reason(), "idempotency_key_reused");
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_client_that_lost_its_connection_collects_what_it_paid_for() {
    let paygate = start();
    let key = new_key(&paygate);
    for nonce_is_known in [true, false] {
        let connection = sleep(&key, &json!(1), WHILE_MS).open(&paygate.address).unwrap();
        if nonce_is_known {
            eventually("the call has begun", || runs(paygate.setup(), "n") > 0);
        }
        drop(connection);
        assert_eq!(paygate.send(&sleep(&key, &json!(2), WHILE_MS)).tool_text(), "n");
    }
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn those_that_wait_for_a_failure_get_it_too() {
    let paygate = start();
    let key = new_key(&paygate);
    let hang = || named_call(&key, "k", &json!(1), "hang", &json!({"nonce": "n"}));
    let (first, joined) = during(&paygate, &hang(), || paygate.send(&hang()));
    for answer in [&first, &joined] {
        assert_eq!(answer.error_reason(), "timeout");
        assert_eq!(call_id(answer), call_id(&first));
    }
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 0));
    assert_eq!(paygate.send(&hang()).error_reason(), "timeout");
    assert_eq!(runs(paygate.setup(), "n"), 2, "and then it is a new call");
    stop_and_verify(paygate);
}

#[test]
fn one_that_is_cancelled_leaves_the_call_to_those_that_wait() {
    let paygate = start();
    let key = new_key(&paygate);
    let cancel = |id: i64| {
        let body = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let request = Request::new("POST", "/mcp").header("X-API-Key", &key).json(&body);
        assert_eq!(paygate.send(&request).status, 202);
    };
    let first = sleep(&key, &json!(1), LONG_MS);
    let (cancelled, (joined, also_cancelled)) = during(&paygate, &first, || {
        thread::scope(|scope| {
            let join = |id: i64| {
                let request = sleep(&key, &json!(id), LONG_MS);
                scope.spawn(|| paygate.send(&{ request }))
            };
            let (second, third) = (join(2), join(3));
            eventually("all three are under way", || {
                paygate.get("/health").json()["inflight"] == 3
            });
            cancel(2);
            cancel(1);
            eventually("the third runs", || runs(paygate.setup(), "n") == 2);
            cancel(3);
            (third.join().expect("an answer"), second.join().expect("an answer"))
        })
    });
    for answer in [&cancelled, &joined, &also_cancelled] {
        assert_eq!(answer.error_reason(), "cancelled", "{}", answer.text());
    }
    assert_eq!(standing(&paygate, &key), after(2, 0));
    stop_and_verify(paygate);
}

#[test]
fn a_repetition_that_is_cancelled_is_told_at_once() {
    let paygate = start();
    let key = new_key(&paygate);
    let cancel = |id: i64| {
        let body = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let request = Request::new("POST", "/mcp").header("X-API-Key", &key).json(&body);
        assert_eq!(paygate.send(&request).status, 202);
    };
    let first = sleep(&key, &json!(1), LONG_MS);
    let (first, joined) = during(&paygate, &first, || {
        thread::scope(|scope| {
            let joining = scope.spawn(|| paygate.send(&sleep(&key, &json!(2), LONG_MS)));
            eventually("the repetition is told", || {
                cancel(2);
                joining.is_finished()
            });
            assert_eq!(paygate.get("/health").json()["inflight"], 1, "the first one goes on");
            cancel(1);
            joining.join().expect("an answer")
        })
    });
    assert_eq!(joined.error_reason(), "cancelled", "{}", joined.text());
    assert_eq!(first.error_reason(), "cancelled", "{}", first.text());
    assert_eq!(standing(&paygate, &key), after(1, 0));
    stop_and_verify(paygate);
}
