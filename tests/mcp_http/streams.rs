//! What is told before an answer, to clients that take event streams.

use serde_json::{Value, json};

use crate::support::Request;
use crate::{raw_request, rich_key, start};

fn progress_call(id: &Value, token: &Value, count: u32) -> Request {
    raw_request(
        "",
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "progress",
            "arguments": {"count": count, "nonce": "n"}, "_meta": {"progressToken": token}}})
        .to_string(),
    )
}

#[test]
fn progress_comes_in_order_before_the_answer_with_the_clients_own_token() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for token in [json!("mine"), json!(7), json!(1e30)] {
        let call = progress_call(&json!(5), &token, 20);
        let response = paygate.send(
            &call.header("Accept", "application/json, text/event-stream").header("X-API-Key", &key),
        );
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        assert!(response.header("x-paygate-call-id").is_some());
        assert_eq!(response.header("x-credits-remaining"), None, "it is not known yet");
        let events = response.events();
        let (answer, progress) = events.split_last().unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&json!(5), &json!("n"))
        );
        let steps: Vec<_> =
            progress.iter().map(|event| event["params"]["progress"].clone()).collect();
        assert_eq!(steps, (1..=20).map(|step| json!(step)).collect::<Vec<_>>());
        assert!(progress.iter().all(|event| event["params"]["progressToken"] == token));
    }
    assert_eq!(paygate.credits(&key), 997);
}

#[test]
fn who_takes_no_events_or_is_told_nothing_gets_json() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (accept, count) in [
        ("application/json", 3),
        ("*/*", 3),
        ("application/json, text/event-stream;q=0", 3),
        ("application/json, text/event-stream", 0),
    ] {
        let call = progress_call(&json!("a"), &json!("t"), count);
        let response = paygate.send(&call.header("Accept", accept).header("X-API-Key", &key));
        assert_eq!(response.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(response.tool_text(), "n");
        assert!(response.header("x-credits-remaining").is_some());
    }
}

#[test]
fn a_denial_needs_no_stream() {
    let paygate = start(json!({}));
    let call = progress_call(&json!(1), &json!("t"), 3);
    let response = paygate.send(&call.header("Accept", "application/json, text/event-stream"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.error_code(), -32402);
}
