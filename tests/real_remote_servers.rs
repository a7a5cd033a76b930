//! Other people's servers behind Paygate, reached over HTTP: npm's everything server and a server of
//! the official Python SDK, each over Streamable HTTP and over HTTP+SSE.
//!
//! `scripts/test tools` installs them. A test whose tools are missing fails and says so; it never
//! passes by not looking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    reason = "a helper that fails a test panics"
)]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use paygate::upstream::{Hello, Kind, Link, LinkOptions, RemoteOptions, RemoteSetup};
use serde_json::{Value, json};
use support::{
    Background, PATIENCE, Paygate, Request, Setup, eventually, in_repository, node, npm, python,
};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn everything(transport: &str, port: u16) -> Background {
    let mut command = Command::new(node());
    command.arg(npm("@modelcontextprotocol/server-everything/dist/index.js"));
    command.arg(transport).env("PORT", port.to_string());
    Background::start(command, &port.to_string())
}

fn of_python(transport: &str, port: u16) -> Background {
    let mut command = Command::new(python());
    command.arg(in_repository("tests/tools/http_server.py")).args([transport, &port.to_string()]);
    Background::start(command, "running on")
}

fn guard(port: u16, path: &str) -> (Paygate, String) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let setup = Setup::new().without_server().args(["--remote-url", &url, "--price", "3"]);
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    (paygate, key)
}

fn assert_books_are_clean(paygate: Paygate) {
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn the_everything_server_is_sold_over_either_transport() {
    for (transport, path) in [("streamableHttp", "/mcp"), ("sse", "/sse")] {
        let port = free_port();
        let _server = everything(transport, port);
        let (paygate, key) = guard(port, path);
        let echoed = paygate.call(&key, "echo", &json!({"message": "bought"}));
        assert_eq!(echoed.tool_text(), "Echo: bought", "{transport}");
        assert_eq!(paygate.credits(&key), 7, "{transport}");
        let wrong = paygate.call(&key, "echo", &json!({"message": 7}));
        assert_eq!(wrong.json()["result"]["isError"], true, "{}", wrong.text());
        assert_eq!(paygate.credits(&key), 7, "{transport}");
        let long = json!({"duration": 1, "steps": 3});
        let long = paygate.call(&key, "trigger-long-running-operation", &long);
        assert!(long.tool_text().contains("completed"), "{}", long.text());
        assert_eq!(paygate.credits(&key), 4, "{transport}");
        assert_books_are_clean(paygate);
    }
}

#[test]
fn the_everything_server_may_go_and_come_back() {
    let port = free_port();
    let server = everything("streamableHttp", port);
    let (paygate, key) = guard(port, "/mcp");
    drop(server);
    let health = || paygate.send(&Request::new("GET", "/health"));
    eventually("health sees that it is gone, without a call", || health().status == 503);
    eventually("and why", || health().json()["upstream"]["why"] == "it cannot be reached");
    let _server = everything("streamableHttp", port);
    eventually("health sees that it is back", || health().status == 200);
    let echoed = paygate.call(&key, "echo", &json!({"message": "again"}));
    assert_eq!(echoed.tool_text(), "Echo: again");
    assert_eq!(paygate.credits(&key), 7);
    assert_books_are_clean(paygate);
}

#[test]
fn a_server_of_the_python_sdk_is_sold_over_either_transport() {
    for (transport, path) in [("streamable-http", "/mcp"), ("sse", "/sse")] {
        let port = free_port();
        let _server = of_python(transport, port);
        let (paygate, key) = guard(port, path);
        let shouted = paygate.call(&key, "shout", &json!({"text": "gr\u{fc}\u{df}e"}));
        assert_eq!(shouted.tool_text(), "GR\u{dc}SSE", "{transport}");
        assert_eq!(paygate.credits(&key), 7, "{transport}");
        assert_books_are_clean(paygate);
    }
}

#[tokio::test]
async fn a_server_of_the_python_sdk_takes_modern_requests() {
    let port = free_port();
    let _server = of_python("streamable-http", port);
    let url = format!("http://127.0.0.1:{port}/mcp");
    let remote = RemoteOptions::new(&RemoteSetup { url, ..RemoteSetup::default() }).unwrap();
    let mut options = LinkOptions::new("python", Kind::Remote(Arc::new(remote)));
    options.hello = Hello::Discover;
    let link = Link::start(options).await.unwrap();
    assert!(link.first_result().unwrap().contains("2026-07-28"));
    assert!(link.tools().contains("shout"));
    let slot = link.reserve().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": slot.id(), "method": "tools/call", "params": {
        "name": "shout", "arguments": {"text": "modern"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}}});
    let answer = slot.send(line.to_string().into_bytes(), PATIENCE).answer().await.unwrap();
    let result: Value = serde_json::from_str(answer.result_text().expect("a result")).unwrap();
    assert_eq!(result["content"][0]["text"], "MODERN", "{result}");
    assert_eq!(result["resultType"], "complete", "{result}");
    link.stop(PATIENCE).await;
}
