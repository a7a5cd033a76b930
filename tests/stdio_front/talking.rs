//! Requests, answers, and what is told beside them.

use super::*;
use crate::support::{ADMIN_KEY, Request, scripted_child};

#[test]
fn a_client_buys_over_its_pipes() {
    let setup = setup().args(["--price", "3"]);
    let mut client = Client::begun(&setup, "2025-11-25");
    let listed = client.ask("list", "tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert_eq!(tools[0]["_pricing"]["creditsPerCall"], 3);
    assert_eq!(client.ask("p", "ping", &json!({}))["result"], json!({}));
    let arguments = r#"{"z":1.50e0, "é":[12345678901234567890123]}"#;
    client.write(
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":7.0,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo_raw\",\"arguments\":{arguments}}}}}\r\n"
        )
        .as_bytes(),
    );
    let answer = client.next();
    assert_eq!(answer["result"]["content"][0]["text"], arguments, "every byte");
    assert_eq!(answer["id"].to_string(), "7.0");
    let unknown = client.ask("u", "tools/call", &json!({"name": "no_such_tool"}));
    assert_eq!(unknown["error"]["code"], -32602);

    let gone = client.leave();
    assert_eq!((gone.code, gone.rest), (Some(0), vec![]), "{}", gone.stderr);
    assert!(gone.stderr.contains("serving one client on stdin and stdout"), "{}", gone.stderr);
    assert!(!gone.stderr.contains(KEY) && !gone.stderr.contains("listening"), "{}", gone.stderr);
    assert_eq!(credits_left(&setup), 997);
}

#[test]
fn progress_and_questions_come_before_the_answer_and_in_order() {
    let mut client = Client::begun(&setup(), "2025-11-25");
    client.say(
        &json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "progress",
        "arguments": {"count": 20, "nonce": "n"}, "_meta": {"progressToken": "mine"}}}),
    );
    for step in 1..=20 {
        let told = client.next();
        let params = json!({"progressToken": "mine", "progress": step, "total": 20});
        assert_eq!((&told["method"], &told["params"]), (&"notifications/progress".into(), &params));
    }
    assert_eq!(client.next()["id"], "a");

    client.call("b", "ask", &json!({"method": "roots/list", "wait": true}));
    let question = client.next();
    assert_eq!(question["method"], "roots/list", "{question}");
    client.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}));
    let answer = client.next();
    assert_eq!(answer["id"], "b");
    let reply = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(reply.contains(r#""result":{"roots":[]}"#), "{reply}");
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn calls_overtake_each_other_and_a_cancelled_one_is_free() {
    let setup = setup();
    let mut client = Client::begun(&setup, "2025-11-25");
    client.call("slow", "sleep", &json!({"ms": 60_000}));
    client.call("quick", "instant", &json!({"nonce": "q"}));
    assert_eq!(client.next()["id"], "quick");
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "slow", "reason": "enough"}}));
    eventually("the server to hear of it", || {
        setup.child_log().iter().any(|(what, _)| what == "cancelled")
    });
    assert_eq!(client.leave().code, Some(0));
    assert_eq!(credits_left(&setup), 999);
}

#[test]
fn without_a_key_only_what_is_free() {
    let setup = Setup::new().without_port().args(["--stdio"]);
    let mut client = Client::begun(&setup, "2025-11-25");
    assert!(client.ask("l", "tools/list", &json!({}))["result"]["tools"].is_array());
    let answer = client.ask("c", "tools/call", &json!({"name": "instant"}));
    assert_eq!(answer["error"]["code"], -32402, "{answer}");
    assert_eq!(answer["error"]["data"]["reason"], "missing_api_key");
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn the_key_may_be_an_argument_and_never_reaches_the_server() {
    let import = format!("{KEY}:5");
    let setup =
        Setup::new().without_port().args(["--stdio", "--api-key", KEY, "--import-key", &import]);
    let mut client =
        Client::begun(&setup.clone().env("PAYGATE_API_KEY", "pg_another"), "2025-06-18");
    let answer = client.ask("e", "tools/call", &json!({"name": "env"}));
    let names = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(names.contains("PATH") && !names.contains("PAYGATE"), "{names}");
    client.leave();
    assert_eq!(credits_left(&setup), 4);
}

#[test]
fn the_demo_is_tried_with_its_own_key() {
    let setup =
        Setup::new().without_server().without_port().ephemeral().args(["--stdio", "--demo"]);
    let mut client = Client::begun(&setup, "2025-11-25");
    let arguments = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
    let answer = client.ask("a", "tools/call", &arguments);
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains('5'), "{answer}");
    client.leave();
}

#[test]
fn clients_over_http_are_served_too_if_a_port_is_named() {
    let mut client = Client::begun(&setup().args(["--port", "0"]), "2025-11-25");
    client.call("hold", "sleep", &json!({"ms": 200}));
    assert_eq!(client.next()["id"], "hold");
    let gone = client.leave();
    assert!(gone.stderr.contains("listening on http://127.0.0.1:"), "{}", gone.stderr);
    assert!(gone.stderr.contains(", serving one client on stdin and stdout"), "{}", gone.stderr);
    assert_eq!(gone.code, Some(0));
}

#[test]
fn several_servers_may_ask_the_same_client() {
    let program = scripted_child();
    let entry =
        |prefix: &str| json!({"prefix": prefix, "serverCommand": program, "serverArgs": []});
    let setup = setup().without_server().config(json!({"servers": [entry("a"), entry("b")]}));
    let mut client = Client::begun(&setup, "2025-11-25");
    for tool in ["a:ask", "b:ask"] {
        client.call(tool, tool, &json!({"method": "roots/list", "wait": true}));
    }
    let questions = [client.next(), client.next()];
    assert_ne!(questions[0]["id"], questions[1]["id"]);
    for (question, roots) in questions.iter().zip([json!([]), json!([{"uri": "file:///x"}])]) {
        client.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": roots}}));
    }
    let mut answers = [client.next(), client.next()];
    answers.sort_by_key(|answer| answer["id"].to_string());
    assert_eq!(answers.each_ref().map(|answer| &answer["id"]), ["a:ask", "b:ask"]);
    let with_root =
        answers.iter().filter(|answer| answer.to_string().contains("file:///x")).count();
    assert_eq!(with_root, 1, "{answers:?}");
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn a_revoked_key_opens_nothing_any_more() {
    let setup = setup().args(["--port", "0"]);
    let mut client = Client::begun(&setup, "2025-11-25");
    assert!(client.ask("1", "tools/call", &json!({"name": "instant"}))["result"].is_object());
    // The client's own Paygate serves the operator too.
    let revoke = Request::new("POST", "/keys/revoke").header("X-Admin-Key", ADMIN_KEY);
    let answer = revoke.json(&json!({"key": KEY})).send(&client.address()).unwrap();
    assert_eq!(answer.status, 200);
    let refused = client.ask("2", "tools/call", &json!({"name": "instant"}));
    assert_eq!(refused["error"]["code"], -32402, "{refused}");
    client.leave();
}
