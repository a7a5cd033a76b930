//! Names, prices, lists and messages of servers that are all well.

use super::*;
use crate::support::Request;

#[test]
fn tools_are_sold_under_their_full_names() {
    let prices = json!({"toolPricing": {"a:instant": {"creditsPerCall": 5}, "b:instant": {"creditsPerCall": 7}}});
    let paygate = setup(&[scripted("a"), scripted("b")], &prices).start();
    paygate.wait_for_output("2 servers");
    let key = rich_key(&paygate);
    for (tool, left) in [("a:instant", 995), ("b:instant", 988), ("b:echo_raw", 987)] {
        let answer = paygate.call(&key, tool, &json!({"nonce": "n"})).json();
        assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains('n'), "{answer}");
        assert_eq!(paygate.credits(&key), left, "{tool}");
    }
    let listed = paygate.rpc("", "tools/list", &json!({})).json();
    let listed = listed["result"]["tools"].as_array().unwrap();
    let bought = listed.iter().find(|tool| tool["name"] == "b:instant").unwrap();
    assert_eq!(bought["_pricing"]["creditsPerCall"], 7);
    assert_eq!(bought["description"], "Answers at once with the nonce", "as its server wrote it");

    let (limited, _) = paygate.create_key(&json!({"credits": 9, "allowedTools": ["a:instant"]}));
    assert_eq!(paygate.call(&limited, "b:instant", &json!({})).json()["error"]["code"], -32402);
    assert!(paygate.call(&limited, "a:instant", &json!({})).json()["result"].is_object());

    let ran: Vec<_> = paygate.setup().child_log().into_iter().map(|(tool, _)| tool).collect();
    assert_eq!(ran, ["instant", "instant", "echo_raw", "instant"], "by their own names");
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_batch_may_be_for_several_servers() {
    let paygate = setup(&[scripted("a"), scripted("b")], &json!({})).start();
    let key = rich_key(&paygate);
    let calls = json!({"calls": [{"name": "a:instant", "arguments": {"nonce": "1"}},
        {"name": "b:fail"}, {"name": "b:instant", "arguments": {"nonce": "2"}}]});
    let answer = paygate.rpc(&key, "tools/call_batch", &calls).json();
    let charged: Vec<_> = answer["result"]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["tool"].clone(), result["creditsCharged"].clone()))
        .collect();
    let expected = [("a:instant", 1), ("b:fail", 0), ("b:instant", 1)];
    assert_eq!(charged, expected.map(|(tool, credits)| (tool.into(), credits.into())));
    assert_eq!(paygate.credits(&key), 998);
}

#[test]
fn a_name_that_is_nobodys_is_refused_before_anything_is_charged() {
    for unlisted in ["refuse", "allow"] {
        let more = json!({"unlistedTools": unlisted, "refundOnFailure": false});
        let paygate = setup(&[scripted("a"), scripted("b")], &more).start();
        let key = rich_key(&paygate);
        let message = |answer: Value| {
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            answer["error"]["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            message(paygate.call(&key, "instant", &json!({})).json()),
            "Invalid tool name: \"instant\" — must be prefixed (e.g., \"server:tool\"). \
             Available prefixes: a, b"
        );
        assert_eq!(
            message(paygate.call(&key, "c:instant", &json!({})).json()),
            "Unknown server prefix: \"c\". Available: a, b"
        );
        let batch = json!({"calls": [{"name": "a:instant"}, {"name": "c:x"}]});
        assert_eq!(
            message(paygate.rpc(&key, "tools/call_batch", &batch).json()),
            "Unknown server prefix in batch[1]: \"c\". Available: a, b"
        );
        assert_eq!(paygate.credits(&key), 1000);
        assert!(paygate.setup().child_log().is_empty());
    }
}

#[test]
fn progress_of_every_server_reaches_its_client() {
    let paygate = setup(&[scripted("a"), scripted("b")], &json!({})).start();
    let key = rich_key(&paygate);
    for tool in ["a:progress", "b:progress"] {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": tool,
            "arguments": {"count": 3, "nonce": tool}, "_meta": {"progressToken": "mine"}}});
        let request = Request::new("POST", "/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("X-API-Key", &key)
            .json(&body);
        let events = paygate.send(&request).events();
        let (answer, progress) = events.split_last().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], tool);
        let steps: Vec<_> = progress.iter().map(|event| event["params"].to_string()).collect();
        let step = |n| json!({"progressToken": "mine", "progress": n, "total": 3}).to_string();
        assert_eq!(steps, [1, 2, 3].map(step));
    }
}

#[test]
fn every_other_list_is_of_all_too() {
    let paygate = setup(&[telling("a", &["paged"]), telling("b", &[])], &json!({})).start();
    let key = rich_key(&paygate);
    let first = paygate.rpc("", "initialize", &json!({"protocolVersion": "2025-11-25"})).json();
    assert_eq!(first["result"]["serverInfo"]["name"], "PayGate MCP Server");
    assert_eq!(first["result"]["instructions"], "a: I am a.\n\nb: I am b.");
    assert_eq!(tools(&paygate).len(), 14, "the first page");
    let get =
        |method: &str, params: Value| paygate.rpc(&key, method, &params).json()["result"].clone();
    let prompts = get("prompts/list", json!({}));
    assert_eq!(prompts["prompts"], json!([{"name": "a:greet"}, {"name": "b:greet"}]));
    assert_eq!(get("prompts/get", json!({"name": "b:greet"}))["server"], "b");
    for (uri, server) in [("x://b", "b"), ("t-a://a", "a")] {
        assert_eq!(get("resources/read", json!({"uri": uri}))["contents"][0]["text"], server);
    }
}

#[test]
fn a_separator_that_every_vendor_takes() {
    let servers = [scripted("a"), scripted("b")];
    let paygate = setup(&servers, &json!({"toolSeparator": "__"})).start();
    let key = rich_key(&paygate);
    assert!(has_tool(&paygate, "b__instant") && !has_tool(&paygate, "b:instant"));
    assert!(paygate.call(&key, "b__instant", &json!({})).json()["result"].is_object());
    // Of the names that their servers gave them, one is out of the rules.
    paygate.wait_for_output("model vendors refuse tools with such names");
    assert!(paygate.output().contains("count=2"), "{}", paygate.output());
    assert!(!paygate.output().contains("[toolSeparator]"), "{}", paygate.output());

    let paygate = setup(&servers, &json!({})).start();
    assert!(paygate.output().contains("WARN   [toolSeparator]"), "{}", paygate.output());
}

#[test]
fn one_of_them_may_be_remote_and_gets_no_header_of_the_others() {
    // A Paygate is an MCP server over HTTP, and its key proves that the header arrived.
    let elsewhere = Setup::new().start();
    let (resale, _) = elsewhere.create_key(&json!({"credits": 10}));
    let remote = json!({"prefix": "far", "remoteUrl": elsewhere.mcp_url(),
        "upstreamHeaders": {"X-API-Key": "${RESALE_KEY}"}});
    let without_key = json!({"prefix": "open", "remoteUrl": elsewhere.mcp_url()});
    let servers = [scripted("near"), remote, without_key];
    let paygate = setup(&servers, &json!({})).env("RESALE_KEY", &resale).start();
    let key = rich_key(&paygate);
    for tool in ["near:instant", "far:instant"] {
        assert!(paygate.call(&key, tool, &json!({})).json()["result"].is_object(), "{tool}");
    }
    assert_eq!((paygate.credits(&key), elsewhere.credits(&resale)), (998, 9));
    let refused = paygate.call(&key, "open:instant", &json!({})).json();
    assert_eq!(refused["error"]["code"], -32402, "{refused}");
    assert_eq!((paygate.credits(&key), elsewhere.credits(&resale)), (998, 9));
    paygate.stop().expect_success();
}

/// Opens a session of a key: its id, or why there is none.
fn open(paygate: &Paygate, key: &str) -> Result<String, String> {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let opened = paygate.send(&in_session(key, "").json(&hello));
    opened.header("Mcp-Session-Id").map(str::to_owned).ok_or_else(|| opened.error_reason())
}

fn in_session(key: &str, session: &str) -> Request {
    let request = Request::new("POST", "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("X-API-Key", key);
    if session.is_empty() { request } else { request.header("Mcp-Session-Id", session) }
}

#[test]
fn a_session_takes_as_many_places_as_it_has_processes() {
    let servers = [scripted("a"), scripted("b")];
    for (places, sessions) in [(3, 1), (4, 2)] {
        let paygate = setup(&servers, &json!({"maxChildren": places})).start();
        let keys = [rich_key(&paygate), rich_key(&paygate), rich_key(&paygate)];
        for key in &keys[..sessions] {
            open(&paygate, key).unwrap();
        }
        assert_eq!(open(&paygate, &keys[sessions]), Err("sessions_full".to_owned()), "{places}");
    }
}

#[test]
fn a_task_carries_its_servers_prefix() {
    let servers = [scripted("a"), scripted("b")];
    let paygate = setup(&servers, &json!({})).env("SCRIPTED_TASKS", "1").start();
    let key = rich_key(&paygate);
    let session = open(&paygate, &key).unwrap();
    let ask = |method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        paygate.send(&in_session(&key, &session).json(&body)).json()
    };
    let later = |tool: &str, nonce: &str| {
        let made = ask(
            "tools/call",
            json!({"name": tool, "arguments": {"nonce": nonce}, "task": {"ttl": 60_000}}),
        );
        made["result"]["task"]["taskId"].clone()
    };
    let ids = [later("a:later", "of a"), later("b:later", "of b")];
    for (id, prefix) in ids.iter().zip(["a:", "b:"]) {
        let id = id.as_str().unwrap();
        assert!(id.starts_with(prefix) && id.ends_with(".task-0"), "{id}");
    }
    assert_eq!(paygate.credits(&key), 998, "reserved");
    assert_eq!(ask("tasks/get", json!({"taskId": ids[0]}))["result"]["status"], "completed");
    for (id, text) in ids.iter().zip(["of a", "of b"]) {
        let result = ask("tasks/result", json!({"taskId": id}));
        assert_eq!(result["result"]["content"][0]["text"], text, "{result}");
    }
    assert_eq!(paygate.credits(&key), 998);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
