//! Methods, media types and sizes: what HTTP itself refuses, and in which form answers come.

use serde_json::{Value, json};

use super::support::Request;
use super::{call_text, post, raw_request, rich_key, runs, start};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[test]
fn what_is_no_method_of_the_transport_is_refused() {
    let paygate = start(json!({}));
    for method in ["PUT", "PATCH", "HEAD"] {
        let response = paygate.send(&Request::new(method, "/mcp"));
        let expected = (405, Some("GET, POST, DELETE"));
        assert_eq!((response.status, response.header("Allow")), expected, "{method}");
    }
    assert_eq!(paygate.send(&Request::new("OPTIONS", "/mcp")).status, 204);
    assert_eq!(paygate.send(&Request::new("POST", "/mcp/").body(PING)).status, 404);
}

#[test]
fn the_answer_is_json_or_one_event() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let cases = [
        (None, "application/json"),
        (Some("*/*"), "application/json"),
        (Some("application/json"), "application/json"),
        (Some("application/json, text/event-stream"), "application/json"),
        (Some("text/event-stream"), "text/event-stream"),
        (Some("text/event-stream;q=0.5, text/html"), "text/event-stream"),
    ];
    for (accept, content_type) in cases {
        let mut request = Request::new("POST", "/mcp").header("X-API-Key", &key);
        request = request.body(call_text("1", "instant", r#"{"nonce":"n\n\n"}"#));
        if let Some(accept) = accept {
            request = request.header("Accept", accept);
        }
        let response = paygate.send(&request);
        assert_eq!(response.status, 200, "{accept:?}: {}", response.text());
        let found = response.header("Content-Type").expect("a type");
        assert!(found.starts_with(content_type), "{accept:?}: {found}");
        assert_eq!(response.tool_text(), "n\n\n", "{accept:?}");
        assert!(response.header("X-Credits-Remaining").is_some(), "{accept:?}");
        if content_type == "text/event-stream" {
            let text = response.text();
            assert!(
                text.starts_with("event: message\ndata: {") && text.ends_with("}\n\n"),
                "{text}"
            );
            assert_eq!(response.events().len(), 1);
            let caching = response.header("Cache-Control").expect("no caching of streams");
            assert!(caching.contains("no-cache"), "{caching}");
        }
    }
}

#[test]
fn errors_and_denials_are_events_too() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let stream = |key: &str, body: &str| {
        let request = Request::new("POST", "/mcp").header("Accept", "text/event-stream");
        let request = request.header("X-API-Key", key).header("Content-Type", "application/json");
        paygate.send(&request.body(body))
    };
    let call = |tool: &str| call_text("\"id\"", tool, "{}");
    let cases = [
        (stream("pg_unknown", &call("instant")), -32402),
        (stream(&key, &call("no such tool")), -32602),
        (stream(&key, &call("error")), -32000),
        (stream(&key, &call("crash")), -32603),
    ];
    for (response, code) in cases {
        assert_eq!((response.status, response.events().len()), (200, 1), "{}", response.text());
        assert_eq!((response.error_code(), &response.json()["id"]), (code, &json!("id")));
    }
    let accepted = stream("", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!((accepted.status, accepted.text().as_str()), (202, ""));
}

#[test]
fn media_types_that_are_refused() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let call = call_text("1", "instant", "{}");
    let cases = [
        ("Content-Type", "text/plain", 415),
        ("Content-Type", "application/x-www-form-urlencoded", 415),
        ("Content-Type", "multipart/form-data; boundary=x", 415),
        ("Accept", "text/html", 406),
        ("Accept", "application/json;q=0", 406),
    ];
    for (name, value, status) in cases {
        let request = Request::new("POST", "/mcp").header("X-API-Key", &key).header(name, value);
        let response = paygate.send(&request.body(call.clone()));
        assert_eq!(response.status, status, "{name}: {value}");
        assert_eq!(response.error_code(), -32600, "{name}: {value}");
    }
    assert_eq!(runs(&paygate), 0);
    let charset =
        Request::new("POST", "/mcp").header("Content-Type", "application/json; charset=utf-8");
    assert_eq!(paygate.send(&charset.body(PING)).json()["result"], json!({}));
}

#[test]
fn protocol_versions() {
    let paygate = start(json!({}));
    let legacy = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
    for (version, status) in legacy.map(|version| (version, 200)).into_iter().chain([("1.0", 400)])
    {
        let request = raw_request("", PING).header("MCP-Protocol-Version", version);
        assert_eq!(paygate.send(&request).status, status, "{version}");
    }
}

#[test]
fn a_body_over_the_bound_is_refused_with_an_answer() {
    let paygate = start(json!({"maxBodyBytes": 4096}));
    let key = rich_key(&paygate);
    let body = |size: usize| {
        let empty = call_text("1", "instant", r#"{"nonce":""}"#);
        call_text("1", "instant", &format!(r#"{{"nonce":"{}"}}"#, "x".repeat(size - empty.len())))
    };
    assert_eq!(post(&paygate, &key, body(4096)).status, 200);
    for size in [4097, 1_000_000] {
        let response = post(&paygate, &key, body(size));
        assert_eq!((response.status, response.error_code()), (413, -32600), "{size}");
        let chunk = body(size);
        let chunked = format!("{:x}\r\n{chunk}\r\n0\r\n\r\n", chunk.len());
        let request = raw_request(&key, chunked).header("Transfer-Encoding", "chunked");
        assert_eq!(paygate.send(&request).status, 413, "{size}");
    }
    assert_eq!(paygate.credits(&key), 999);
    assert_eq!(runs(&paygate), 1);
}

#[test]
fn a_head_over_the_bound_is_refused() {
    let paygate = start(json!({}));
    let request = raw_request("", PING).header("X-Long", &"x".repeat(200_000));
    // The rest of the head may be cut off before the answer is read; nothing else is acceptable.
    if let Ok(response) = request.send(&paygate.address) {
        assert_eq!(response.status, 431, "{}", response.text());
    }
    assert_eq!(post(&paygate, "", PING).status, 200);
}

#[test]
fn refusals_of_http_are_json_rpc_errors_without_a_guess_at_the_id() {
    let paygate = start(json!({}));
    let response = paygate.send(&raw_request("", PING).header("MCP-Protocol-Version", "x"));
    let answer: Value = response.json();
    assert_eq!(answer["jsonrpc"], "2.0");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|message| message.contains("2025-11-25"))
    );
    assert_eq!(answer.get("id"), Some(&Value::Null), "{answer}");
}

#[test]
fn a_client_that_has_sent_all_and_closed_that_side_gets_its_answer() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let arguments = json!({"ms": 50, "nonce": "still here"});
    let params = json!({"name": "sleep", "arguments": arguments});
    for _ in 0..3 {
        let request = super::support::rpc_request(&key, "tools/call", &params);
        let stream = request.open(&paygate.address).expect("it connects");
        stream.shutdown(std::net::Shutdown::Write).expect("half of it closes");
        let response = super::support::Response::read(stream).expect("an answer");
        assert_eq!(response.tool_text(), "still here");
    }
}
