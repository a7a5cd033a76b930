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
