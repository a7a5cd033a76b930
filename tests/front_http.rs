//! What the HTTP front refuses, allows and says, before any message is looked at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a helper that fails a test panics, and these clients block"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Paygate, Request, Response, Setup, eventually, rpc_request};

fn start() -> Paygate {
    Setup::new().ephemeral().start()
}

fn list() -> Request {
    rpc_request("", "tools/list", &json!({}))
}

#[test]
fn methods_of_every_path_of_the_front() {
    let paygate = start();
    for (method, path, status, allow) in [
        ("GET", "/mcp", 406, None),
        ("DELETE", "/mcp", 400, None),
        ("PUT", "/mcp", 405, Some("GET, POST, DELETE")),
        ("GET", "/health", 200, None),
        ("HEAD", "/health", 200, None),
        ("POST", "/health", 405, Some("GET, HEAD")),
        ("GET", "/", 200, None),
        ("HEAD", "/", 200, None),
        ("DELETE", "/", 405, Some("GET, HEAD")),
        ("OPTIONS", "/mcp", 204, None),
        ("OPTIONS", "/keys", 204, None),
        ("OPTIONS", "/no/such/path", 204, None),
        ("GET", "/mcp/", 404, None),
        ("GET", "/MCP", 404, None),
    ] {
        let response = paygate.send(&Request::new(method, path));
        assert_eq!(response.status, status, "{method} {path}: {response:?}");
        assert_eq!(response.header("allow"), allow, "{method} {path}");
        if method == "HEAD" {
            assert!(response.body.is_empty() && response.header("content-length") != Some("0"));
        }
    }
}

#[test]
fn media_types_and_versions() {
    let paygate = start();
    for (name, value, status) in [
        ("Content-Type", "text/plain", 415),
        ("Accept", "text/html", 406),
        ("MCP-Protocol-Version", "2025-06-18", 200),
        ("MCP-Protocol-Version", "2026-07-28", 400),
        ("MCP-Protocol-Version", "yesterday", 400),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        let request = Request::new("POST", "/mcp").header(name, value).body(body);
        let response = paygate.send(&request);
        assert_eq!(response.status, status, "{name}: {value}: {response:?}");
        if status != 200 {
            assert_eq!(response.error_code(), -32600, "{name}: {value}");
            assert_eq!(response.json().get("id"), Some(&Value::Null), "{name}: {value}");
        }
    }
}

#[test]
fn an_event_stream_only_for_those_who_take_nothing_else() {
    let paygate = start();
    let with = |accept: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        paygate.send(&Request::new("POST", "/mcp").header("Accept", accept).json(&body))
    };
    let both = with("text/event-stream, application/json");
    assert_eq!(both.header("content-type"), Some("application/json"));
    let stream = with("text/event-stream");
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"));
    let text = stream.text();
    let data = text.strip_prefix("event: message\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    assert!(!data.contains('\n'));
    assert_eq!(stream.json(), both.json());
}

#[test]
fn foreign_hosts_and_origins_are_refused_on_every_path() {
    let paygate = start();
    for path in ["/mcp", "/health", "/", "/keys", "/balance"] {
        for (name, value) in [("Host", "evil.example"), ("Origin", "https://evil.example")] {
            let response = paygate.send(&Request::new("GET", path).header(name, value));
            assert_eq!(response.status, 403, "{path} {name}: {response:?}");
            assert!(response.json()["error"].as_str().unwrap().contains(name));
            assert_eq!(response.header("access-control-allow-origin"), None);
        }
    }
    let port = paygate.address.rsplit(':').next().unwrap();
    let host = format!("localhost:{port}");
    assert_eq!(paygate.send(&Request::new("GET", "/health").header("Host", &host)).status, 200);
}

#[test]
fn health_is_told_under_any_name_where_everybody_may_ask() {
    let config = json!({"host": "0.0.0.0", "allowedHosts": ["tools.example"]});
    let paygate = Setup::new().ephemeral().config(config).start();
    let ask = |path: &str| paygate.send(&Request::new("GET", path).header("Host", "10.1.2.3:3402"));
    assert_eq!(ask("/health").status, 200, "a probe names a machine as it knows it");
    for path in ["/", "/mcp", "/status"] {
        assert_eq!(ask(path).status, 403, "{path}");
    }
}

#[test]
fn configured_hosts_and_origins_are_answered() {
    let config = json!({
        "allowedHosts": ["tools.example"],
        "allowedOrigins": ["https://app.example"],
    });
    let paygate = Setup::new().ephemeral().config(config).start();
    let ask = |path: &str, host: &str, origin: &str| {
        let request = Request::new("OPTIONS", path).header("Host", host).header("Origin", origin);
        paygate.send(&request)
    };
    let origin = "https://app.example";
    let response = ask("/mcp", "tools.example:8443", origin);
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some(origin));
    assert_eq!(response.header("vary"), Some("Origin"));
    for (name, member) in [
        ("access-control-allow-headers", "MCP-Protocol-Version"),
        ("access-control-allow-headers", "X-API-Key"),
        ("access-control-allow-headers", "Last-Event-ID"),
        ("access-control-expose-headers", "Mcp-Session-Id"),
        ("access-control-expose-headers", "X-Credits-Remaining"),
    ] {
        assert!(response.header(name).unwrap().contains(member), "{name} {member}");
    }
    for (path, methods) in [
        ("/mcp", "GET, POST, DELETE"),
        ("/balance", "GET"),
        ("/health", "GET, HEAD"),
        ("/", "GET, HEAD"),
    ] {
        let allowed = ask(path, "tools.example", origin);
        assert_eq!(allowed.header("access-control-allow-methods"), Some(methods), "{path}");
        for method in methods.split(", ") {
            let answer = Request::new(method, path).header("Host", "tools.example");
            assert_ne!(paygate.send(&answer).status, 405, "{method} {path}");
        }
    }
    let admin = ask("/keys", "tools.example", origin);
    assert_eq!((admin.status, admin.header("access-control-allow-origin")), (204, None));
    assert_eq!(ask("/mcp", "other.example", origin).status, 403);
    assert_eq!(ask("/mcp", "tools.example", "https://other.example").status, 403);
}

#[test]
fn a_body_over_the_bound_is_answered_and_not_reset() {
    let paygate = start();
    let too_large = |response: &Response| {
        assert_eq!(response.status, 413);
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(response.json().get("id"), Some(&Value::Null));
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("maxBodyBytes") && message.contains("1048576"), "{message}");
    };
    // A client that reads nothing until it has sent all.
    let body = vec![b' '; 24 << 20];
    too_large(&paygate.send(&Request::new("POST", "/mcp").body(body)));
    // In chunks, without a length.
    let mut chunks = Vec::new();
    for _ in 0..40 {
        chunks.extend_from_slice(format!("{:x}\r\n", 64 << 10).as_bytes());
        chunks.resize(chunks.len() + (64 << 10), b' ');
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let request = Request::new("POST", "/mcp").header("Transfer-Encoding", "chunked").body(chunks);
    too_large(&paygate.send(&request));
    assert_eq!(paygate.send(&list()).status, 200);
}

#[test]
fn a_repeated_credential_is_invalid() {
    let paygate = start();
    let key = paygate.create_key(&json!({"credits": 10})).0;
    let call = || rpc_request("", "tools/call", &json!({"name": "instant"}));
    for (first, second) in [(&*key, &*key), (&key, ""), ("", &key), (&key, "pg_other")] {
        let twice = call().header("X-API-Key", first).header("X-API-Key", second);
        let refused = paygate.send(&twice);
        assert_eq!(refused.error_reason(), "invalid_api_key", "{}", refused.text());
    }
    assert_eq!(paygate.credits(&key), 10);
}

#[test]
fn a_connection_serves_many_requests() {
    let paygate = start();
    let mut stream = TcpStream::connect(&paygate.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for _ in 0..3 {
        stream.write_all(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = Vec::new();
        let mut byte = [0_u8];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn health_tells_of_the_server() {
    let paygate = start();
    let health = paygate.get("/health").json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["upstream"]["status"], "ready");
    assert_eq!(health["upstream"]["server"], "scripted-child");
    assert_eq!(health["store"], "ok");
    let about = paygate.get("/").json();
    assert_eq!(about["shadowMode"], false);
    assert!(about["endpoints"]["mcp"].is_string());
    let url = format!("{}/health", paygate.base_url());
    let asked = paygate.setup().run(&["health", "--url", &url]).expect_success();
    assert!(asked.stdout.contains("\"healthy\""));
    let setup = paygate.setup().clone().env("PAYGATE_URL", format!("{}/", paygate.base_url()));
    let asked = setup.run(&["health"]).expect_success();
    assert!(asked.stdout.contains("\"healthy\""));
}

#[test]
fn health_never_repeats_what_the_server_says() {
    let setup = Setup::new().ephemeral();
    // Good once; from then on it only tells its secret and ends.
    let (child, once) = (support::scripted_child(), setup.dir().file("once"));
    let (child, once) = (child.display(), once.display());
    let script =
        format!(r#"if mkdir "{once}"; then exec "{child}"; fi; echo token-hunter2 >&2; exit 3"#);
    let paygate = setup.server(format!("sh -c '{script}'")).start();
    let key = paygate.create_key(&json!({"credits": 10})).0;
    paygate.call(&key, "crash", &json!({}));
    let health = || paygate.get("/health").text();
    eventually("a restart that failed", || health().contains("before it was ready"));
    assert!(health().contains("exit status: 3"), "{}", health());
    assert!(!health().contains("hunter2"), "{}", health());
    paygate.wait_for_output("token-hunter2");
}

#[test]
fn the_first_signal_drains_and_the_listener_says_so() {
    let mut paygate = start();
    let key = paygate.create_key(&json!({"credits": 10})).0;
    let call = rpc_request(
        &key,
        "tools/call",
        &json!({"name": "sleep", "arguments": {"ms": 1500, "nonce": "n1"}}),
    );
    let stream = call.open(&paygate.address).unwrap();
    eventually("the call in flight", || paygate.get("/health").json()["inflight"] == 1);
    paygate.signal(Signal::TERM);
    eventually("the drain", || paygate.get("/health").json()["status"] == "draining");
    assert_eq!(paygate.get("/health").status, 503);
    let refused = paygate.send(&list());
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json(), json!({"error": "Server is shutting down"}));
    let answer = Response::read(stream).unwrap();
    assert_eq!(answer.tool_text(), "n1");
    assert_eq!(paygate.wait().code(), Some(0));
}

/// A call whose head was taken and whose body, `rest`, is still to come when the drain begins.
fn body_arriving_at_the_drain(paygate: &Paygate, arguments: &Value) -> (TcpStream, Vec<u8>) {
    let key = paygate.create_key(&json!({"credits": 10})).0;
    let call = rpc_request(&key, "tools/call", arguments).header("Expect", "100-continue");
    let bytes = call.to_bytes(&paygate.address);
    let body_at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut stream = TcpStream::connect(&paygate.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&bytes[..body_at]).unwrap();
    // Said once the body is being read.
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut said = vec![0; go_on.len()];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said, go_on);
    paygate.signal(Signal::TERM);
    paygate.wait_for_output("stopping");
    (stream, bytes[body_at..].to_vec())
}

#[test]
fn a_drain_waits_for_a_call_whose_body_is_arriving() {
    let mut paygate = start();
    // Longer than connections may take to end once the drain is over.
    let call = json!({"name": "sleep", "arguments": {"ms": 6000, "nonce": "late"}});
    let (mut stream, rest) = body_arriving_at_the_drain(&paygate, &call);
    stream.write_all(&rest).unwrap();
    assert_eq!(Response::read(stream).unwrap().tool_text(), "late");
    assert_eq!(paygate.wait().code(), Some(0));
}

#[test]
fn a_drain_answers_a_call_whose_body_does_not_arrive() {
    let mut paygate = start();
    let (stream, _) = body_arriving_at_the_drain(&paygate, &json!({"name": "instant"}));
    let refused = Response::read(stream).unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json(), json!({"error": "Server is shutting down"}));
    assert_eq!(paygate.wait().code(), Some(0));
    assert!(paygate.setup().child_log().is_empty());
}

#[test]
fn the_second_signal_forces() {
    let mut paygate = start();
    let key = paygate.create_key(&json!({"credits": 10})).0;
    let call = rpc_request(&key, "tools/call", &json!({"name": "hang", "arguments": {}}));
    let _stream = call.open(&paygate.address).unwrap();
    eventually("the call in flight", || paygate.get("/health").json()["inflight"] == 1);
    paygate.signal(Signal::INT);
    eventually("the drain", || paygate.get("/health").json()["status"] == "draining");
    paygate.signal(Signal::INT);
    let ended = paygate.wait();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("stopped by force"), "{ended:?}");
}
