//! Which methods are free, which need a key, and how the handshake is answered.

use serde_json::{Value, json};

use super::support::Paygate;
use super::{post, rich_key, runs, start};

/// Free without a key, with the member that the child's result has.
const FREE: [(&str, &str); 5] = [
    ("ping", ""),
    ("tools/list", "tools"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
    ("prompts/list", "prompts"),
];

/// They need a key and cost nothing.
const KEYED: [(&str, &str); 8] = [
    ("resources/read", "contents"),
    ("prompts/get", "messages"),
    ("completion/complete", ""),
    // These belong to a connection, which customers share until there are sessions.
    ("logging/setLevel", ""),
    ("resources/subscribe", ""),
    ("resources/unsubscribe", ""),
    ("tasks/get", ""),
    ("no/such/method", ""),
];

fn initialize(paygate: &Paygate, key: &str, version: &str) -> Value {
    let params = json!({
        "protocolVersion": version, "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    paygate.rpc(key, "initialize", &params).json()
}

#[test]
fn initialize_negotiates_and_tells_of_the_child() {
    let paygate = start(json!({}));
    let versions = [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("", "2025-11-25"),
    ];
    for (asked, agreed) in versions {
        let answer = initialize(&paygate, "", asked);
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{asked}: {answer}");
        assert!(answer["result"]["capabilities"]["tools"].is_object(), "{answer}");
        assert!(answer["result"]["serverInfo"]["name"].is_string(), "{answer}");
    }
}

#[test]
fn free_methods_need_no_key_and_cost_nothing() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (method, member) in FREE {
        for credential in ["", "pg_unknown", &key] {
            let response = paygate.rpc(credential, method, &json!({}));
            let answer = response.json();
            assert!(answer["result"].is_object(), "{method}: {answer}");
            assert!(member.is_empty() || answer["result"][member].is_array(), "{method}: {answer}");
            assert!(response.header("X-PayGate-Call-Id").is_none(), "{method}");
            let sees_numbers = credential == key;
            assert_eq!(response.header("X-Credits-Remaining").is_some(), sees_numbers, "{method}");
            assert_eq!(response.header("X-RateLimit-Limit").is_some(), sees_numbers, "{method}");
        }
    }
    assert_eq!(paygate.credits(&key), 1000);
}

#[test]
fn other_methods_need_a_key_and_cost_nothing() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (method, member) in KEYED {
        for (credential, reason) in [("", "missing_api_key"), ("pg_unknown", "invalid_api_key")] {
            let response = paygate.rpc(credential, method, &json!({}));
            let error = &response.json()["error"];
            assert_eq!(error["code"], -32402, "{method}: {error}");
            assert_eq!(error["message"], format!("Payment required: {reason}"));
            assert_eq!(error["data"]["reason"], reason);
            assert_eq!(error["data"]["remainingCredits"], 0);
        }
        let answer = paygate.rpc(&key, method, &json!({})).json();
        if member.is_empty() {
            assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
        } else {
            assert!(answer["result"][member].is_array(), "{method}: {answer}");
        }
    }
    let balance = paygate.balance(&key);
    assert_eq!([&balance["credits"], &balance["totalCalls"]], [&json!(1000), &json!(0)]);
}

#[test]
fn require_key_all_closes_the_free_methods_too() {
    let paygate = start(json!({"requireKey": "all"}));
    let key = rich_key(&paygate);
    for (method, _) in FREE.into_iter().chain([("initialize", "")]) {
        let denied = paygate.rpc("", method, &json!({}));
        assert_eq!(denied.error_code(), -32402, "{method}: {}", denied.text());
        assert_eq!(denied.error_reason(), "missing_api_key");
        let answer = paygate.rpc(&key, method, &json!({})).json();
        assert!(answer["result"].is_object(), "{method}: {answer}");
    }
}

#[test]
fn only_initialize_opens_a_session() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (method, opens) in [("initialize", true), ("ping", false), ("tools/list", false)] {
        let response = paygate.rpc(&key, method, &json!({"protocolVersion": "2025-06-18"}));
        assert_eq!(response.header("Mcp-Session-Id").is_some(), opens, "{method}");
    }
}

#[test]
fn notifications_and_responses_are_taken_without_a_body() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let bodies = [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/unheard_of","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":"no"}}"#,
        // A call without an id is never executed, and never charged.
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"instant","arguments":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call_batch","params":{"calls":[{"name":"instant"}]}}"#,
    ];
    for body in bodies {
        for credential in ["", &key] {
            let response = post(&paygate, credential, body);
            assert_eq!((response.status, response.text().as_str()), (202, ""), "{body}");
        }
    }
    // A call that is answered has passed the child after all of those.
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    assert_eq!(runs(&paygate), 1);
    assert_eq!(paygate.credits(&key), 999);
}
