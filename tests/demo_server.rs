//! The demo server, spoken to as a client would, line by line.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why")]

use paygate::cli::demo_server::serve;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What the server writes for this input.
fn spoken(input: &[u8]) -> String {
    let mut output = Vec::new();
    serve(input, &mut output).expect("slices and vectors do not fail");
    String::from_utf8(output).expect("JSON is UTF-8")
}

/// The answer to one request.
#[track_caller]
fn asked(method: &str, params: &Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = spoken(request.to_string().as_bytes());
    serde_json::from_str(&answer).unwrap_or_else(|fault| panic!("{fault}: {answer}"))
}

/// The text of a tool's result and whether it is an error. Arguments are given as text, so that
/// numbers arrive as written.
#[track_caller]
fn called(tool: &str, arguments: &str) -> (String, bool) {
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    );
    let answer: Value = serde_json::from_str(&spoken(request.as_bytes())).expect("JSON");
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("no text in {answer}"));
    (text.to_owned(), result["isError"] == true)
}

#[test]
fn versions() {
    for (asked_for, expected) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("", "2025-11-25"),
    ] {
        let answer = asked("initialize", &json!({ "protocolVersion": asked_for }));
        assert_eq!(answer["result"]["protocolVersion"], expected);
        assert_eq!(answer["result"]["serverInfo"]["name"], "paygate-demo-server");
    }
    let answer = asked("initialize", &json!(["2024-11-05"]));
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
}

#[test]
fn tools_say_what_they_are() {
    let answer = asked("tools/list", &json!({}));
    let tools = answer["result"]["tools"].as_array().expect("a list");
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["echo", "add", "word_count", "now"].map(Some));
    for tool in tools {
        assert!(tool["title"].is_string() && tool["description"].is_string(), "{tool}");
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        for name in tool["inputSchema"]["required"].as_array().expect("a list") {
            let name = name.as_str().expect("a name");
            assert!(tool["inputSchema"]["properties"][name].is_object(), "{tool}");
        }
    }
}

#[test]
fn tools_do_what_they_say() {
    let most = i128::MAX.to_string();
    let sum_too_large = format!(r#"{{"a":{most},"b":1}}"#);
    let term_too_large = format!(r#"{{"a":{most}0,"b":1}}"#);
    for (tool, arguments, expected, is_error) in [
        ("echo", r#"{"text":"é\n\u0000"}"#, "é\n\0", false),
        ("echo", r#"{"text":5}"#, "The argument \"text\" must be a text.", true),
        ("echo", r#"["x"]"#, "The argument \"text\" must be a text.", true),
        ("add", r#"{"a":2,"b":-5}"#, "-3", false),
        (
            "add",
            r#"{"a":123456789012345678901234567890,"b":1}"#,
            "123456789012345678901234567891",
            false,
        ),
        ("add", &sum_too_large, "The sum is too large.", true),
        ("add", &term_too_large, "The argument \"a\" is too large.", true),
        ("add", r#"{"a":1,"b":1.0}"#, "The argument \"b\" must be a whole number.", true),
        ("add", r#"{"a":"1","b":1}"#, "The argument \"a\" must be a whole number.", true),
        ("add", r#"{"a":1}"#, "The arguments \"a\" and \"b\" are needed, once each.", true),
        (
            "word_count",
            r#"{"text":"one two\nthree é"}"#,
            r#"{"characters":15,"lines":2,"words":4}"#,
            false,
        ),
        ("word_count", r#"{"text":""}"#, r#"{"characters":0,"lines":0,"words":0}"#, false),
    ] {
        let expected = (expected.to_owned(), is_error);
        assert_eq!(called(tool, arguments), expected, "{tool} {arguments}");
    }
    let (now, is_error) = called("now", "{}");
    assert!(!is_error);
    let now: jiff::Timestamp = now.parse().expect("RFC 3339");
    assert!(jiff::Timestamp::now().duration_since(now).as_secs() < 60);
}

#[test]
fn lines() {
    let ping = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#) + "\n";
    let refusal = |code: i32, message: &str| {
        let error = json!({ "code": code, "message": message });
        format!(r#"{{"jsonrpc":"2.0","id":null,"error":{error}}}"#) + "\n"
    };
    let long = " ".repeat(5 << 20) + "\n" + r#"{"id":1,"method":"ping"}"#;
    for (input, expected) in [
        ("", String::new()),
        ("\n \r\n", String::new()),
        (r#"{"id":"a","method":"ping"}"#, ping("\"a\"")),
        (r#"{"id":1.50,"method":"ping"}"#, ping("1.50")),
        (
            r#"{"id":123456789012345678901234567890,"method":"ping"}"#,
            ping("123456789012345678901234567890"),
        ),
        (
            "{\"id\":1,\"method\":\"ping\"}\r\n{\"id\":2,\"method\":\"ping\"}",
            ping("1") + &ping("2"),
        ),
        (r#"{"method":"notifications/initialized"}"#, String::new()),
        (r#"{"method":"tools/call","params":{"name":"echo"}}"#, String::new()),
        (r#"{"id":1,"result":{}}"#, String::new()),
        (r#"{"id":null,"method":"ping"}"#, refusal(-32600, "an id is a text or a number")),
        (r#"{"id":{},"method":"ping"}"#, refusal(-32600, "an id is a text or a number")),
        ("{", refusal(-32700, "the line is not JSON")),
        ("5", refusal(-32600, "this is not a message")),
        ("[]", refusal(-32600, "this is not a message")),
        (r#"[1,"ping"]"#, {
            let one = refusal(-32600, "this is not a message");
            format!("[{},{}]\n", one.trim_end(), one.trim_end())
        }),
        (r#"[{"id":1,"method":"ping"},{"method":"x"}]"#, format!("[{}]\n", ping("1").trim_end())),
        (r#"[{"method":"x"}]"#, String::new()),
        (&long, refusal(-32600, "the line is too long") + &ping("1")),
    ] {
        assert_eq!(spoken(input.as_bytes()), expected, "{input:.80}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(spoken(deep.as_bytes()).contains("-32600"));
    assert_eq!(spoken(b"\"\xff\""), refusal(-32700, "the line is not JSON"));
}

#[test]
fn refusals() {
    for (method, params, code, message) in [
        ("resources/list", json!({}), -32601, "unknown method: resources/list"),
        ("tools/call", json!({ "name": "Echo" }), -32602, "unknown tool: Echo"),
        ("tools/call", json!({ "name": 5 }), -32602, "params need the name of a tool"),
        ("tools/call", json!(null), -32602, "params need the name of a tool"),
    ] {
        let answer = asked(method, &params);
        assert_eq!(answer["error"]["code"], code, "{method} {params}");
        assert_eq!(answer["error"]["message"], message);
    }
}

proptest! {
    #[test]
    fn any_input_is_answered_with_json(
        lines in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[\\{\\}\\[\\]:,\"a0-9.e\\\\ -]{0,60}".prop_map(String::into_bytes),
            ("(-?[0-9]{1,45}|\"a\"|null|\\[\\])", "(-?[0-9]{1,45}|\"a\"|null|\\{\\})").prop_map(|(a, b)| {
                format!(r#"{{"id":{a},"method":"tools/call","params":{{"name":"add","arguments":{{"a":{a},"b":{b}}}}}}}"#)
                    .into_bytes()
            }),
        ], 0..6),
    ) {
        for line in spoken(&lines.join(&b'\n')).lines() {
            prop_assert!(serde_json::from_str::<Value>(line).is_ok(), "{}", line);
        }
    }
}
