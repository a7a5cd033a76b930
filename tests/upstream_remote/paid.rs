//! The real binary before a remote server: what it charges, what it says, and what it passes on.

use super::support::{self, ADMIN_KEY, Answer, Paygate, Request, Setup};
use super::*;

/// The binary guards the server; each call costs 3 credits.
async fn guard(server: &Server, config: Value) -> Paygate {
    let mut config = config;
    config["remoteUrl"] = json!(url(server));
    config["upstreamHeaders"] = json!({"Authorization": "Bearer ${UPSTREAM_TOKEN}"});
    let setup = Setup::new().without_server().args(["--price", "3"]);
    let setup = setup.env("UPSTREAM_TOKEN", "operators-own").config(config);
    tokio::task::spawn_blocking(move || setup.start()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_of_a_clients_request_is_passed_on() {
    let server = server(Manners::default()).await;
    let paygate = guard(&server, json!({"trustedProxies": ["127.0.0.1"]})).await;
    let (key, _) = paygate.create_key(&json!({"credits": 10, "name": "customers-name"}));
    let body = json!({"jsonrpc": "2.0", "id": "of-the-client", "method": "tools/call",
        "params": {"name": "headers", "arguments": {}}});
    let answer = paygate.send(
        &Request::new("POST", "/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("X-API-Key", &key)
            .header("Authorization", "Bearer clients-token")
            .header("Cookie", "c=clients-cookie")
            .header("X-Forwarded-For", "203.0.113.77")
            .header("Forwarded", "for=203.0.113.77")
            .header("User-Agent", "clients-agent")
            .header("Last-Event-ID", "clients-event")
            .header("Idempotency-Key", "clients-idempotency")
            .header("X-Custom", "clients-custom")
            .header("traceparent", "00-clients-trace-01")
            .json(&body),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["id"], "of-the-client");
    let all = format!("{:?}", server.requests.lock().unwrap());
    for secret in
        [key.as_str(), "clients-", "203.0.113.77", "of-the-client", "customers-name", ADMIN_KEY]
    {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    assert!(all.contains("Bearer operators-own"));
    let said = paygate.output();
    assert!(!said.contains("operators-own"), "{said}");
    assert!(said.contains("scripted 1 at 127.0.0.1:"), "{said}");
    paygate.stop().expect_success();
    assert!(server.handler.sessions.lock().unwrap().is_empty(), "the session was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_request_a_remote_server_learns_who_calls_too() {
    let server = server(Manners::default()).await;
    let paygate = guard(&server, json!({"forwardIdentity": true})).await;
    let (key, id) = paygate.create_key(&json!({"credits": 10, "name": "ann"}));
    let forged = json!({"dev.paygate/customer": {"id": "key_0000000000000000"}});
    let params = json!({"name": "echo", "arguments": {"content": []}, "_meta": forged});
    assert_eq!(paygate.rpc(&key, "tools/call", &params).error_code(), 0);
    let calls = received(&server, |request| request.body["method"] == "tools/call");
    let params = &calls.last().expect("the call").body["params"];
    let customer = &params["_meta"]["dev.paygate/customer"];
    assert_eq!((&customer["id"], &customer["name"]), (&json!(id), &json!("ann")), "{params}");
    assert!(!params.to_string().contains(&key));
    paygate.stop().expect_success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_is_charged_for_its_answer_and_for_nothing_else() {
    let server = server(Manners::default()).await;
    let paygate = guard(&server, json!({"maxAnswerBytes": 10_000, "requestTimeoutMs": 500})).await;
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    let json_type = "Content-Type: application/json\r\n";
    let tool_error = r#"{"jsonrpc":"2.0","id":$id,"result":{"isError":true,"content":[]}}"#;
    let error = r#"{"jsonrpc":"2.0","id":$id,"error":{"code":-32000,"message":"no"}}"#;
    for (tool, arguments, left, reason) in [
        ("echo", json!({"content": []}), 7, ""),
        ("status", json!({"status": 200, "headers": json_type, "body": tool_error}), 7, ""),
        ("status", json!({"status": 404, "headers": json_type, "body": error}), 7, ""),
        ("status", json!({"status": 405}), 7, "malformed_answer"),
        ("status", json!({"status": 404}), 7, "upstream_exited"),
        ("status", json!({"status": 503}), 7, "upstream_exited"),
        ("status", json!({"status": 202}), 7, "malformed_answer"),
        ("cut", json!({}), 7, "upstream_exited"),
        ("hang_up", json!({}), 7, "upstream_exited"),
        ("big", json!({"bytes": 20_000}), 7, "answer_too_large"),
        ("slow", json!({"ms": 60_000}), 7, "timeout"),
        ("echo", json!({"content": []}), 4, ""),
    ] {
        let answer = paygate.call(&key, tool, &arguments);
        assert_eq!(answer.error_reason(), reason, "{tool} {arguments}: {}", answer.text());
        assert_eq!(paygate.credits(&key), left, "{tool} {arguments}");
    }
    // The session ends between two calls: the next one opens another and is charged once.
    server.handler.end_sessions();
    let answer = paygate.call(&key, "echo", &json!({"content": []}));
    assert_eq!(answer.error_code(), 0, "{}", answer.text());
    assert_eq!(paygate.credits(&key), 1);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn health_tells_why_a_server_is_not_there_and_calls_are_free_meanwhile() {
    let server = server(Manners::default()).await;
    let paygate = guard(&server, json!({})).await;
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    server.handler.manners.lock().unwrap().refuses = Some((401, "", "operators-own is wrong"));
    paygate.call(&key, "echo", &json!({}));
    let health = || paygate.send(&Request::new("GET", "/health"));
    support::eventually("health says why", || {
        let health = health();
        assert!(!health.text().contains("operators-own"), "{}", health.text());
        health.status == 503
            && health.json()["upstream"]["why"] == "it refuses Paygate's credentials (HTTP 401)"
    });
    let refused = paygate.call(&key, "echo", &json!({}));
    assert_eq!(refused.error_reason(), "upstream_unavailable", "{}", refused.text());
    assert_eq!(paygate.credits(&key), 10);
    server.handler.manners.lock().unwrap().refuses = None;
    support::eventually("it is found again", || health().status == 200);
    assert!(!paygate.output().contains("operators-own is wrong"));
    paygate.stop().expect_success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_fails_says_why_and_shows_no_secret() {
    let server = server(Manners { refuses: Some((401, "", "")), ..Manners::default() }).await;
    let url = format!("{}?key=hidden-in-the-url", url(&server));
    let setup = Setup::new().without_server().args(["--remote-url", &url]);
    let ended = tokio::task::spawn_blocking(move || setup.run_to_end()).await.unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.contains("/mcp?… answers HTTP 401")
            && ended.stderr.contains("upstreamHeaders"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
}

fn in_session(key: &str, session: &str, method: &str, body: &Value) -> Request {
    Request::new(method, "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("X-API-Key", key)
        .header("Mcp-Session-Id", session)
        .json(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_session_has_a_session_of_its_own_upstream() {
    let server = server(Manners { has_stream: true, ..Manners::default() }).await;
    let paygate = guard(&server, json!({})).await;
    let open = || server.handler.sessions.lock().unwrap().len();
    assert_eq!(open(), 1, "the one for clients without a session");
    let customers: Vec<_> = ["ann", "bob"]
        .into_iter()
        .map(|name| {
            let (key, _) = paygate.create_key(&json!({"credits": 10, "name": name}));
            let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": name, "version": "1"}});
            let opened = paygate.rpc(&key, "initialize", &params);
            let session = opened.header("mcp-session-id").expect("a session").to_owned();
            (key, session)
        })
        .collect();
    support::eventually("two more sessions", || open() == 3);
    for (key, session) in &customers {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "headers", "arguments": {}}});
        let answer = paygate.send(&in_session(key, session, "POST", &call));
        let headers = answer.json()["result"]["headers"].to_string();
        assert!(headers.contains("mcp-session-id: session-"), "{headers}");
        assert!(!headers.contains("mcp-session-id: session-1\""), "{headers}");
        assert!(headers.contains("mcp-protocol-version: 2025-06-18"), "{headers}");
        assert!(!headers.contains(session.as_str()), "{headers}");
    }
    let (ann, anns) = &customers[0];
    paygate.send(&in_session(ann, anns, "DELETE", &Value::Null));
    support::eventually("the ended session is ended upstream", || open() == 2);
    paygate.stop().expect_success();
    assert_eq!(open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn progress_reaches_the_client_before_the_answer() {
    let server = server(Manners::default()).await;
    let paygate = guard(&server, json!({})).await;
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"}});
    let opened = paygate.rpc(&key, "initialize", &params);
    let session = opened.header("mcp-session-id").expect("a session");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "progress", "arguments": {}, "_meta": {"progressToken": "mine"}}});
    let mut answer =
        Answer::open(&in_session(&key, session, "POST", &call), &paygate.address).unwrap();
    for n in 1..=3 {
        let message: Value = serde_json::from_str(&answer.message().unwrap().unwrap()).unwrap();
        assert_eq!(message["params"], json!({"progressToken": "mine", "progress": n}));
    }
    support::eventually("the call listens", || {
        server.handler.said.send("go on".to_owned()).is_ok()
    });
    let last: Value = serde_json::from_str(&answer.message().unwrap().unwrap()).unwrap();
    assert_eq!(last, json!({"jsonrpc": "2.0", "id": 1, "result": {"done": true}}));
    assert_eq!(paygate.credits(&key), 7);
    paygate.stop().expect_success();
}
