//! `forwardIdentity`: the server is told who calls, in words that are Paygate's alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use serde_json::{Value, json};

use support::{Paygate, Setup};

fn start(forward_identity: bool) -> Paygate {
    Setup::new().config(json!({"forwardIdentity": forward_identity})).start()
}

/// What a customer would like the server to believe.
fn forged() -> Value {
    json!({
        "kept": 1.5,
        "dev.paygate/customer": {"id": "key_0000000000000000", "namespace": "theirs"},
        "Dev.PayGate/Customer": {"id": "key_0000000000000000"},
    })
}

/// The `_meta` that the server sees of a call, of a call in a batch, and of a read.
fn seen(paygate: &Paygate, key: &str, meta: &Value) -> [Value; 3] {
    let call = json!({"name": "meta", "arguments": {}, "_meta": meta});
    let single = paygate.rpc(key, "tools/call", &call).tool_text();
    let batch = paygate.rpc(key, "tools/call_batch", &json!({"calls": [call]})).json();
    let batch = &batch["result"]["results"][0]["result"]["content"][0]["text"];
    let read = json!({"uri": "test://meta", "_meta": meta});
    let read = paygate.rpc(key, "resources/read", &read).json();
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    [
        parsed(&single)["_meta"].clone(),
        parsed(batch.as_str().expect("a text"))["_meta"].clone(),
        parsed(read["result"]["contents"][0]["text"].as_str().expect("a text")),
    ]
}

#[test]
fn the_server_learns_who_calls() {
    let paygate = start(true);
    let body = json!({"name": "Zoë 😀", "namespace": "acme", "tags": {"plan": "gold"}});
    let (key, id) = paygate.create_key(&body);
    let customer =
        json!({"id": id, "name": "Zoë 😀", "namespace": "acme", "tags": {"plan": "gold"}});
    for (meta, rest) in [(forged(), json!({"kept": 1.5})), (json!({}), json!({}))] {
        let mut expected = rest;
        expected["dev.paygate/customer"] = customer.clone();
        assert_eq!(seen(&paygate, &key, &meta), [(); 3].map(|()| expected.clone()));
    }
    // Without a `_meta` of the client's too.
    let call = json!({"name": "meta", "arguments": {}});
    let said = paygate.rpc(&key, "tools/call", &call).tool_text();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["_meta"], json!({"dev.paygate/customer": customer}));
    // A key's name is of the moment, not of its creation.
    let tags = json!({"key": key, "tags": {"plan": "iron"}});
    assert_eq!(paygate.admin_post("/keys/tags", &tags).status, 200);
    let [call, ..] = seen(&paygate, &key, &json!({}));
    assert_eq!(call["dev.paygate/customer"]["tags"], json!({"plan": "iron"}));
    paygate.stop().expect_success();
}

#[test]
fn it_learns_nothing_that_it_was_not_to_be_told() {
    let paygate = start(false);
    let (key, _) = paygate.create_key(&json!({"name": "customer"}));
    let kept = json!({"kept": 1.5});
    assert_eq!(seen(&paygate, &key, &forged()), [(); 3].map(|()| kept.clone()));
    let call = json!({"name": "meta", "arguments": {}});
    let said = paygate.rpc(&key, "tools/call", &call).tool_text();
    assert!(said.contains(r#""_meta":null"#), "{said}");
    paygate.stop().expect_success();
}
