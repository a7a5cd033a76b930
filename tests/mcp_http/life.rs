//! The child's environment and its end, and the end of Paygate: drain, and force.

use std::collections::HashSet;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Paygate, Request, Response, Setup, eventually, rpc_request};
use super::{rich_key, start};

fn health(paygate: &Paygate) -> (u16, Value) {
    let response = paygate.get("/health");
    (response.status, response.json())
}

fn sleep_request(key: &str, ms: u64, nonce: &str) -> Request {
    rpc_request(
        key,
        "tools/call",
        &json!({"name": "sleep", "arguments": {"ms": ms, "nonce": nonce}}),
    )
}

/// Sends the requests at the same time, waits until the child has begun all of them, does
/// `meanwhile`; the answers.
fn during(paygate: &Paygate, requests: &[Request], meanwhile: impl FnOnce()) -> Vec<Response> {
    thread::scope(|scope| {
        let waiting: Vec<_> =
            requests.iter().map(|request| scope.spawn(|| paygate.send(request))).collect();
        let all_begun = || paygate.setup().child_log().len() == requests.len();
        eventually("the child has begun all calls", all_begun);
        meanwhile();
        waiting.into_iter().map(|waiting| waiting.join().expect("an answer")).collect()
    })
}

#[test]
fn the_child_sees_no_variable_of_paygate() {
    let setup = Setup::new()
        .ephemeral()
        .config(json!({
            "childEnv": {"FROM_CONFIG": "${FOR_BOTH}", "ON_PURPOSE": "${ON_PURPOSE}"},
            "metricsToken": "${TOKEN_OF_METRICS}-${ON_PURPOSE}",
            "webhookUrl": "https://example.com/${PATH_OF_HOOK}",
            "webhookSecret": "${SECRET_OF_HOOK}",
        }))
        .env("TOKEN_OF_METRICS", "token-0123456789abcdef")
        .env("PATH_OF_HOOK", "hook")
        .env("SECRET_OF_HOOK", "secret-0123456789abcdef")
        .env("ON_PURPOSE", "1")
        .env("FOR_BOTH", "1")
        .env("PAYGATE_ADMIN_KEY", "secret-of-the-operator")
        .env("PAYGATE_OTHER", "1")
        .env("ORDINARY", "1");
    let paygate = setup.start();
    let names = paygate.call(&rich_key(&paygate), "env", &json!({})).tool_text();
    let names: HashSet<&str> = names.lines().collect();
    assert!(
        !names.iter().any(|name| name.to_ascii_uppercase().starts_with("PAYGATE")),
        "{names:?}"
    );
    for name in ["TOKEN_OF_METRICS", "PATH_OF_HOOK", "SECRET_OF_HOOK"] {
        assert!(!names.contains(name), "{name} is a secret of Paygate: {names:?}");
    }
    for name in ["PATH", "ORDINARY", "FROM_CONFIG", "FOR_BOTH", "ON_PURPOSE"] {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
}

#[test]
fn a_crash_answers_everybody_for_free_and_a_new_child_serves() {
    let paygate = start(json!({}));
    let keys = [(); 4].map(|()| rich_key(&paygate));
    let (_, before) = health(&paygate);
    assert_eq!(
        (&before["status"], &before["upstream"]["status"]),
        (&json!("healthy"), &json!("ready"))
    );
    let sleeps: Vec<_> = keys.iter().map(|key| sleep_request(key, 60_000, "n")).collect();
    let crasher = rich_key(&paygate);
    let answers = during(&paygate, &sleeps, || {
        let own_answer = paygate.call(&crasher, "crash", &json!({}));
        assert_eq!((own_answer.status, own_answer.error_code()), (200, -32603));
        assert_eq!(own_answer.error_reason(), "upstream_exited");
    });
    for (answer, key) in answers.iter().zip(&keys) {
        assert_eq!((answer.error_code(), &*answer.error_reason()), (-32603, "upstream_exited"));
        assert_eq!(paygate.credits(key), 1000);
    }
    eventually("the child is back", || health(&paygate).0 == 200);
    assert_eq!(paygate.call(&crasher, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    assert_eq!(paygate.credits(&crasher), 999);
}

#[test]
fn health_tells_of_a_child_that_does_not_come_back() {
    let setup = Setup::new().ephemeral();
    // It starts once: the second time its program is gone.
    let program = setup.dir().file("once");
    std::fs::copy(super::support::scripted_child(), &program).unwrap();
    let paygate = setup.server(program.display().to_string()).start();
    let key = rich_key(&paygate);
    std::fs::remove_file(&program).unwrap();
    assert_eq!(paygate.call(&key, "crash", &json!({})).error_reason(), "upstream_exited");
    eventually("health says so", || health(&paygate).0 == 503);
    let (_, told) = health(&paygate);
    assert_eq!(told["status"], "unavailable", "{told}");
    assert_eq!(told["upstream"]["status"], "restarting", "{told}");
    let refused = paygate.call(&key, "instant", &json!({}));
    assert_eq!(refused.error_reason(), "upstream_unavailable", "{}", refused.text());
    assert!(refused.json()["error"]["data"]["retryAfterMs"].is_u64(), "{}", refused.text());
    let batch = paygate.rpc(&key, "tools/call_batch", &json!({"calls": [{"name": "instant"}]}));
    assert_eq!(batch.error_reason(), "upstream_unavailable", "{}", batch.text());
    // Free methods that need no child go on, and nothing was charged.
    assert_eq!(paygate.rpc("", "ping", &json!({})).json()["result"], json!({}));
    assert_eq!(paygate.balance(&key)["totalCalls"], 0);
}

#[test]
fn a_drain_finishes_the_calls_in_flight() {
    let paygate = Setup::new().start();
    let setup = paygate.setup().clone();
    let key = rich_key(&paygate);
    let answers = during(&paygate, &[sleep_request(&key, 1_500, "n")], || {
        paygate.signal(Signal::TERM);
        eventually("health says so", || health(&paygate).1["status"] == "draining");
        assert_eq!(health(&paygate).0, 503);
        let refused = paygate.rpc(&key, "ping", &json!({}));
        assert_eq!(refused.status, 503);
        assert_eq!(refused.json(), json!({"error": "Server is shutting down"}));
    });
    assert_eq!(answers[0].tool_text(), "n");
    assert_eq!(answers[0].header("X-Credits-Remaining"), Some("999"));
    let mut paygate = paygate;
    paygate.wait().expect_success();
    setup.verify().expect_success();
    let paygate = setup.start();
    assert_eq!(paygate.credits(&key), 999);
}

#[test]
fn an_interrupt_ends_an_idle_paygate_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut paygate = start(json!({}));
        paygate.signal(signal);
        paygate.wait().expect_success();
    }
}

#[test]
fn a_second_signal_forces_the_end() {
    let paygate = Setup::new().start();
    let setup = paygate.setup().clone();
    let key = rich_key(&paygate);
    let connection = sleep_request(&key, 60_000, "n").open(&paygate.address).unwrap();
    eventually("the call has begun", || !setup.child_log().is_empty());
    paygate.signal(Signal::TERM);
    eventually("it drains", || health(&paygate).1["status"] == "draining");
    paygate.signal(Signal::INT);
    let mut paygate = paygate;
    let ended = paygate.wait();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    drop(connection);
    setup.verify().expect_success();
    let paygate = setup.start();
    assert_eq!(paygate.credits(&key), 1000);
}

#[test]
fn a_stopped_paygate_leaves_its_books_in_one_file() {
    let paygate = Setup::new().start();
    let setup = paygate.setup().clone();
    let key = rich_key(&paygate);
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    // A reader is open from here on.
    assert_eq!(paygate.admin_get("/status").status, 200);
    paygate.stop().expect_success();
    let copy = Setup::new();
    std::fs::copy(setup.database(), copy.database()).unwrap();
    copy.verify().expect_success();
    assert_eq!(copy.start().credits(&key), 999);
}
