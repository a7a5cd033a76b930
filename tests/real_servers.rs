//! Other people's servers behind Paygate, called by other people's clients: npm's filesystem server
//! and PyPI's time server, through curl and through the official Python client.
//!
//! `scripts/test tools` installs them. A test whose tools are missing fails and says so; it never
//! passes by not looking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Paygate, Setup, TempDir, npm, python};

/// The filesystem server before a directory with one file in it.
fn filesystem() -> (Paygate, TempDir) {
    let script = npm("@modelcontextprotocol/server-filesystem/dist/index.js");
    let files = TempDir::new();
    fs::write(files.file("note.txt"), "bought and paid for\n").expect("a file can be written");
    let command = format!("node '{}' '{}'", script.display(), files.path().display());
    (Setup::new().server(command).args(["--price", "3"]).start(), files)
}

fn time() -> Paygate {
    let command = format!("'{}' -m mcp_server_time", python().display());
    Setup::new().server(command).args(["--price", "3"]).start()
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What curl gets for one JSON-RPC request.
fn curl(paygate: &Paygate, key: &str, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": "curl-1", "method": method, "params": params});
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"])
        .args(["--header", "Content-Type: application/json"])
        .args(["--header", &format!("X-API-Key: {key}")])
        .args(["--data", &body.to_string(), &paygate.mcp_url()])
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["id"], "curl-1", "{answer}");
    answer
}

/// What the official Python client sees of one call; see `tests/tools/client.py`.
fn python_client(paygate: &Paygate, key: &str, mode: &str, call: (&str, &Value)) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/client.py");
    let (tool_name, arguments) = call;
    let output = Command::new(python())
        .args([script, &paygate.mcp_url(), key, mode, tool_name, &arguments.to_string()])
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "client: {output:#?}\nPaygate said: {}", paygate.output());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text_of(&output)))
}

fn names(tools: &Value) -> Vec<&str> {
    tools.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn assert_books_are_clean(paygate: Paygate) {
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn curl_buys_a_file_from_the_filesystem_server() {
    let (paygate, files) = filesystem();
    let (key, _) = paygate.create_key(&json!({"name": "curl", "credits": 10}));

    let listed = curl(&paygate, "", "tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools").clone();
    let read = tools.iter().find(|tool| tool["name"] == "read_text_file").expect("it is listed");
    assert_eq!(read["_pricing"]["creditsPerCall"], 3, "{read}");

    let arguments = json!({"path": files.file("note.txt")});
    let params = json!({"name": "read_text_file", "arguments": arguments});
    let answer = curl(&paygate, &key, "tools/call", &params);
    assert_eq!(answer["result"]["content"][0]["text"], "bought and paid for\n", "{answer}");
    assert_eq!(paygate.credits(&key), 7);

    let unpaid = curl(&paygate, "", "tools/call", &params);
    assert_eq!(unpaid["error"]["code"], -32402, "{unpaid}");
    assert_books_are_clean(paygate);
}

#[test]
fn a_refusal_of_the_filesystem_server_costs_nothing() {
    let (paygate, _files) = filesystem();
    let (key, _) = paygate.create_key(&json!({"name": "curl", "credits": 10}));
    let params = json!({"name": "read_text_file", "arguments": {"path": "/etc/passwd"}});
    let answer = curl(&paygate, &key, "tools/call", &params);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(paygate.credits(&key), 10);
    assert_books_are_clean(paygate);
}

#[test]
fn the_python_client_writes_a_file_through_the_filesystem_server() {
    let (paygate, files) = filesystem();
    let (key, _) = paygate.create_key(&json!({"name": "python", "credits": 10}));
    let arguments = json!({"path": files.file("new.txt"), "content": "gr\u{fc}\u{df}e"});
    let seen = python_client(&paygate, &key, "legacy", ("write_file", &arguments));
    assert_eq!(seen["is_error"], false, "{seen}");
    assert!(names(&seen["tools"]).contains(&"write_file"), "{seen}");
    let written = fs::read_to_string(files.file("new.txt")).expect("the file is there");
    assert_eq!(written, "gr\u{fc}\u{df}e");
    assert_eq!(paygate.credits(&key), 7);
    assert_books_are_clean(paygate);
}

#[test]
fn curl_buys_the_time() {
    let paygate = time();
    let (key, _) = paygate.create_key(&json!({"name": "curl", "credits": 10}));
    let params = json!({"name": "get_current_time", "arguments": {"timezone": "UTC"}});
    let answer = curl(&paygate, &key, "tools/call", &params);
    let text = answer["result"]["content"][0]["text"].as_str().expect("a text");
    assert!(text.contains("\"timezone\": \"UTC\""), "{answer}");
    assert_eq!(paygate.credits(&key), 7);
    assert_books_are_clean(paygate);
}

#[test]
fn the_python_client_buys_the_time_in_either_mode() {
    let paygate = time();
    let (key, _) = paygate.create_key(&json!({"name": "python", "credits": 10}));
    let arguments = json!({
        "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo",
    });
    for (mode, left) in [("legacy", 7), ("auto", 4)] {
        let seen = python_client(&paygate, &key, mode, ("convert_time", &arguments));
        assert_eq!(seen["is_error"], false, "{mode}: {seen}");
        assert!(seen["texts"][0].as_str().expect("a text").contains("T21:00:00"), "{seen}");
        assert_eq!(paygate.credits(&key), left, "{mode}");
    }
    assert_books_are_clean(paygate);
}

#[test]
fn the_python_client_is_told_what_is_missing_when_it_cannot_pay() {
    let paygate = time();
    let (key, _) = paygate.create_key(&json!({"name": "poor", "credits": 2}));
    let arguments = json!({"timezone": "UTC"});
    let seen = python_client(&paygate, &key, "legacy", ("get_current_time", &arguments));
    assert_eq!(seen["error"]["code"], -32402, "{seen}");
    let message = seen["error"]["message"].as_str().expect("a message");
    assert!(message.contains("insufficient_credits: need 3, have 2"), "{seen}");
    assert_eq!(paygate.credits(&key), 2);
    assert_books_are_clean(paygate);
}
