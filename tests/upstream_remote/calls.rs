//! What becomes of a call: what a server may answer, what it must not, and what goes with it.

use super::*;

#[tokio::test]
async fn every_shape_of_answer_is_an_answer() {
    let (link, server) = start(Manners::default()).await;
    assert!(link.status().is_ready() && link.tools().contains("echo"));
    assert_eq!(result(&link, "echo", json!({"a": [1, "é"]})).await, json!({"a": [1, "é"]}));
    assert_eq!(result(&link, "formatted", json!({})).await, json!({"text": "é\r\n"}));
    assert_eq!(result(&link, "array", json!({})).await, json!({}));
    assert_eq!(result(&link, "polled", json!({})).await, json!({"resumed": true}));
    let pretty = call(&link, "pretty", json!({})).await.unwrap();
    assert_eq!(
        pretty.result_text(),
        Some("{    \"a\": 1  }"),
        "one line, for whoever writes lines"
    );
    link.stop(CEILING).await;
    assert!(server.handler.sessions.lock().unwrap().is_empty(), "the session was ended");
}

#[tokio::test]
async fn a_request_carries_what_the_transport_and_the_operator_want_and_no_more() {
    let (link, server) = start(Manners::default()).await;
    let headers = result(&link, "headers", json!({})).await;
    let headers: Vec<_> =
        headers["headers"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let agent = format!("user-agent: paygate/{}", env!("CARGO_PKG_VERSION"));
    let host = format!("host: {}", server.address);
    let mut expected = vec![
        "accept: application/json, text/event-stream",
        "accept-encoding: identity",
        "authorization: Bearer operators-own",
        "content-type: application/json",
        "mcp-protocol-version: 2025-11-25",
        "mcp-session-id: session-1",
        &agent,
        &host,
    ];
    let mut seen: Vec<_> =
        headers.into_iter().filter(|line| !line.starts_with("content-length")).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let opening = received(&server, |request| request.rpc() == "initialize");
    assert_eq!(opening[0].header("mcp-session-id"), None);
    assert_eq!(opening[0].header("mcp-protocol-version"), None);
    let order: Vec<_> = received(&server, |request| request.method == "POST")
        .iter()
        .map(|it| it.rpc().to_owned())
        .collect();
    assert_eq!(order[..3], ["initialize", "notifications/initialized", "tools/list"]);
    link.stop(CEILING).await;
    let farewell = received(&server, |request| request.method == "DELETE");
    assert_eq!(farewell[0].header("mcp-session-id"), Some("session-1"));
    assert_eq!(farewell[0].header("authorization"), Some("Bearer operators-own"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_run_beside_each_other_and_each_gets_its_own_answer() {
    let (link, server) = start(Manners::default()).await;
    let never = send(&link, "never", &json!({}), CEILING);
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let pending = send(&link, "slow", &json!({"ms": 200 - n, "n": n}), CEILING);
            tokio::spawn(async move { (n, pending.answer().await) })
        })
        .collect();
    for call in calls {
        let (n, answer) = call.await.unwrap();
        let answer: Value = serde_json::from_str(answer.unwrap().result_text().unwrap()).unwrap();
        assert_eq!(answer["n"], n);
    }
    assert_eq!(link.in_flight(), 1);
    drop(never);
    until("the abandoned call's connection is closed", || {
        server.handler.hung_up.lock().unwrap().len() == 1
    })
    .await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn what_is_no_answer_fails_its_own_call_alone() {
    let (link, _server) = start(Manners::default()).await;
    let status = |status: u16, headers: &str, body: &str| json!({"status": status, "headers": headers, "body": body});
    let json_type = "Content-Type: application/json\r\n";
    let waiting = send(&link, "slow", &json!({"ms": 500}), CEILING);
    for (tool, arguments, failure) in [
        ("cut", json!({}), Failure::Exited),
        ("cut_json", json!({}), Failure::Exited),
        ("hang_up", json!({}), Failure::Exited),
        ("not_http", json!({}), Failure::Malformed),
        ("long_head", json!({}), Failure::Malformed),
        ("wrong_id", json!({"id": 1}), Failure::Malformed),
        ("wrong_id", json!({"id": 1, "streams": true}), Failure::Exited),
        ("status", status(202, "", ""), Failure::Malformed),
        ("status", status(200, "Content-Type: text/html\r\n", "<p>"), Failure::Malformed),
        ("status", status(200, json_type, "{\"jsonrpc\":"), Failure::Malformed),
        ("status", status(200, json_type, "[]"), Failure::Malformed),
        (
            "status",
            status(200, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "{}"),
            Failure::Malformed,
        ),
        ("status", status(307, "Location: http://127.0.0.1:9/x\r\n", ""), Failure::Malformed),
        ("status", status(400, "", "no"), Failure::Malformed),
        ("status", status(401, "", "no"), Failure::Exited),
        ("status", status(429, json_type, r#"{"error":"slow down"}"#), Failure::Exited),
        (
            "status",
            status(
                500,
                json_type,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"x"}}"#,
            ),
            Failure::Exited,
        ),
        ("status", status(503, "", ""), Failure::Exited),
    ] {
        let outcome = call(&link, tool, arguments.clone()).await;
        assert_eq!(outcome.unwrap_err(), failure, "{tool} {arguments}");
    }
    waiting.answer().await.unwrap();
    assert!(link.status().is_ready(), "{:?}", link.status());
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_json_rpc_answer_counts_whatever_its_status() {
    let (link, _server) = start(Manners::default()).await;
    for status in [400, 403, 404, 500] {
        let body = r#"{"jsonrpc":"2.0","id":$id,"error":{"code":-32601,"message":"no such tool"}}"#;
        let arguments = json!({"status": status, "headers": "Content-Type: application/json\r\n", "body": body});
        let answer = call(&link, "status", arguments).await.unwrap();
        assert_eq!(
            answer.error_text(),
            Some(r#"{"code":-32601,"message":"no such tool"}"#),
            "{status}"
        );
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn an_answer_over_the_bound_fails_its_own_call_alone() {
    let server = server(Manners::default()).await;
    let mut options = options(&server);
    options.answer_bytes_max = 100_000;
    let link = Link::start(options).await.unwrap();
    for shape in ["body", "chunks", "stream"] {
        for bytes in [100_000, 3_000_000] {
            let outcome = call(&link, "big", json!({"bytes": bytes, "as": shape})).await;
            assert_eq!(outcome.unwrap_err(), Failure::TooLarge, "{bytes} {shape}");
        }
        let whole = call(&link, "big", json!({"bytes": 99_000, "as": shape})).await.unwrap();
        assert!(whole.line().len() > 99_000);
    }
    link.stop(CEILING).await;
}

#[tokio::test]
async fn an_abandoned_call_is_cancelled_and_its_connection_closed() {
    let (link, server) = start(Manners::default()).await;
    for streams in [false, true] {
        let pending = send(&link, "never", &json!({"streams": streams}), CEILING);
        let id = pending.id();
        until("the call has arrived", || {
            !received(&server, |request| request.body["id"] == id).is_empty()
        })
        .await;
        assert!(link.cancel(id, "the user said no"));
        assert_eq!(pending.answer().await.unwrap_err(), Failure::Cancelled);
        let cancelled = json!({"requestId": id, "reason": "the user said no"});
        until("the server is told", || {
            !received(&server, |request| {
                request.rpc() == "notifications/cancelled" && request.body["params"] == cancelled
            })
            .is_empty()
        })
        .await;
        until("the connection is closed", || {
            server.handler.hung_up.lock().unwrap().contains(&id.to_string())
        })
        .await;
    }
    let timed_out = send(&link, "never", &json!({}), Duration::from_millis(20));
    let id = timed_out.id();
    assert_eq!(timed_out.answer().await.unwrap_err(), Failure::Timeout);
    until("the connection is closed", || {
        server.handler.hung_up.lock().unwrap().contains(&id.to_string())
    })
    .await;
    link.stop(CEILING).await;
}

#[tokio::test]
async fn a_modern_server_sees_headers_and_no_notification_of_a_cancellation() {
    let server = server(Manners { modern: true, ..Manners::default() }).await;
    let mut options = options(&server);
    options.hello = Hello::Discover;
    let link = Link::start(options).await.unwrap();
    assert!(link.first_result().unwrap().contains("supportedVersions"));
    let slot = link.reserve().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": slot.id(), "method": "tools/call", "params": {
        "name": "headers", "arguments": {"region": "eu"},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
    let answer = slot.send(line.to_string().into_bytes(), CEILING).answer().await.unwrap();
    for header in [
        "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/call",
        "mcp-name: headers",
        "mcp-param-region: eu",
    ] {
        assert!(answer.line().contains(header), "{header}");
    }
    assert!(!answer.line().contains("mcp-session-id"), "{}", answer.line());

    let pending = send(&link, "never", &json!({"streams": true}), CEILING);
    let id = pending.id();
    until("the call has arrived", || {
        !received(&server, |request| request.body["id"] == id).is_empty()
    })
    .await;
    drop(pending);
    until("the connection is closed", || {
        server.handler.hung_up.lock().unwrap().contains(&id.to_string())
    })
    .await;
    link.stop(CEILING).await;
    let seen = received(&server, |request| {
        request.rpc() == "notifications/cancelled" || request.method != "POST"
    });
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let (link, server) = start(Manners::default()).await;
    result(&link, "ask", json!({})).await;
    let expected = json!({"jsonrpc": "2.0", "id": "p-1", "result": {}});
    until("the answer", || !received(&server, |request| request.body == expected).is_empty()).await;
    link.stop(CEILING).await;
}
