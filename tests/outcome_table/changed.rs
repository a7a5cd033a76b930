//! The key changes while its call is in flight: the call runs to its outcome, which decides.

use std::thread;

use serde_json::{Value, json};

use super::support::{Paygate, Setup, eventually};
use super::{CREDITS, PRICE, config, has_run, stop_and_verify, used_key};

/// What the operator does, beside `key` in the body.
const CHANGES: [(&str, &str); 6] = [
    ("/keys/revoke", "{}"),
    ("/keys/rotate", "{}"),
    ("/keys/expiry", r#"{"expiresAt":"2020-01-01T00:00:00Z"}"#),
    ("/keys/acl", r#"{"deniedTools":["sleep"]}"#),
    ("/keys/ip", r#"{"ips":["192.0.2.1"]}"#),
    ("/limits", r#"{"spendingLimit":1}"#),
];

/// The one key of this Paygate, as its operator sees it.
fn numbers(paygate: &Paygate) -> [Value; 3] {
    let keys = paygate.admin_get("/keys").json();
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    ["credits", "totalSpent", "totalCalls"].map(|name| keys[0][name].clone())
}

fn after(calls: i64) -> [Value; 3] {
    [json!(CREDITS - calls * PRICE), json!(calls * PRICE), json!(calls)]
}

/// One sleeping call, during which `path` is posted; whether it was a result.
fn change_during(paygate: &Paygate, key: &str, arguments: &Value, path: &str, body: &str) -> bool {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| paygate.call(key, "sleep", arguments).json());
        eventually("the call has begun", || has_run(paygate.setup(), "n"));
        // The hold counts from the start.
        assert_eq!(numbers(paygate), after(2), "{path}");
        let mut body: Value = serde_json::from_str(body).unwrap();
        body["key"] = json!(key);
        let changed = paygate.admin_post(path, &body);
        assert_eq!(changed.status, 200, "{path}: {}", changed.text());
        let answer = waiting.join().expect("an answer");
        assert!(answer["error"]["code"] != -32402, "{path}: {answer}");
        answer["result"].is_object()
    })
}

#[test]
fn a_call_in_flight_is_charged_whatever_becomes_of_its_key() {
    for (path, body) in CHANGES {
        let paygate = Setup::new().config(config()).start();
        let key = used_key(&paygate);
        let arguments = json!({"ms": 400, "nonce": "n"});
        assert!(change_during(&paygate, &key, &arguments, path, body), "{path}");
        assert_eq!(numbers(&paygate), after(2), "{path}");
        // The next call meets the change.
        let next = paygate.call(&key, "sleep", &json!({"ms": 0}));
        assert_eq!(next.error_code(), -32402, "{path}: {}", next.text());
        assert_eq!(numbers(&paygate), after(2), "{path}");
        stop_and_verify(paygate);
    }
}

#[test]
fn a_call_in_flight_is_given_back_whatever_becomes_of_its_key() {
    for (path, body) in CHANGES {
        let mut config = config();
        config["toolPricing"]["sleep"] = json!({"requestTimeoutMs": 400});
        let paygate = Setup::new().config(config).start();
        let key = used_key(&paygate);
        let arguments = json!({"ms": 60_000, "nonce": "n"});
        assert!(!change_during(&paygate, &key, &arguments, path, body), "{path}");
        assert_eq!(numbers(&paygate), after(1), "{path}");
        stop_and_verify(paygate);
    }
}
