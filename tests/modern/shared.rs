//! One process for all modern clients: what each of them gets of it.

use serde_json::json;

use super::support::{Request, eventually, modern_request};
use super::{dual, key};

#[test]
fn lists_have_prices_and_are_for_one_key_alone() {
    let paygate = dual().start();
    let (limited, _) =
        paygate.create_key(&json!({"name": "c", "credits": 9, "deniedTools": ["env"]}));
    let names = |key: &str| -> Vec<String> {
        let list = paygate.modern(key, "tools/list", &json!({})).json();
        let result = &list["result"];
        assert_eq!((&result["cacheScope"], &result["ttlMs"]), (&json!("private"), &json!(60_000)));
        let tools = result["tools"].as_array().expect("a list");
        for tool in tools {
            assert_eq!(tool["_meta"]["dev.paygate/pricing"]["creditsPerCall"], 3);
            assert_eq!(tool.get("_pricing"), None);
        }
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    };
    let (all, some) = (names(""), names(&limited));
    assert!(all.contains(&"env".to_owned()) && all.contains(&"later".to_owned()));
    assert_eq!(all.len(), some.len() + 1);
    paygate.stop().expect_success();
}

#[test]
fn denials_have_no_code_of_the_protocols_own() {
    let paygate = dual().start();
    let (poor, _) = paygate.create_key(&json!({"name": "poor", "credits": 1}));
    let denied = paygate.modern_call(&poor, "instant", &json!({}));
    let json = denied.json();
    assert_eq!((denied.status, &json["result"]["isError"]), (200, &json!(true)), "{json}");
    assert_eq!(json["result"]["resultType"], "complete");
    let told = &json["result"]["_meta"]["dev.paygate/denial"];
    assert_eq!(told["reason"], "insufficient_credits: need 3, have 1");
    let read = paygate.modern("", "resources/read", &json!({"uri": "test://fixed"}));
    assert_eq!((read.status, read.error_code()), (200, -31402), "{}", read.text());
    assert_eq!(read.json()["error"]["data"]["reason"], "missing_api_key");
    paygate.stop().expect_success();
}

#[test]
fn progress_comes_with_the_clients_token_and_logs_go_to_nobody() {
    let paygate = dual().start();
    let key = key(&paygate);
    let params = json!({"name": "progress", "arguments": {"count": 3, "nonce": "n"}, "_meta": {"progressToken": "p\"1"}});
    let answer = paygate.modern(&key, "tools/call", &params);
    let events = answer.events();
    let progress: Vec<_> =
        events.iter().filter(|it| it["method"] == "notifications/progress").collect();
    assert_eq!(progress.len(), 3, "{}", answer.text());
    assert!(progress.iter().all(|it| it["params"]["progressToken"] == "p\"1"));
    assert_eq!(answer.tool_text(), "n");
    let params = json!({"name": "log", "_meta": {"progressToken": 5, "io.modelcontextprotocol/logLevel": "debug"}});
    let answer = paygate.modern(&key, "tools/call", &params);
    assert_eq!(
        (answer.tool_text().as_str(), answer.text().contains("notifications/message")),
        ("logged", false)
    );
    paygate.stop().expect_success();
}

#[test]
fn answers_pass_byte_for_byte() {
    let paygate = dual().start();
    let key = key(&paygate);
    let odd = paygate.modern_call(&key, "odd", &json!({}));
    assert_eq!(odd.text(), r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"odd","n":1.50}}"#);
    // A kind of result that only its extension knows is a result.
    assert_eq!(paygate.credits(&key), 97);
    paygate.stop().expect_success();
}

#[test]
fn free_requests_in_rounds_are_their_customers_own() {
    let paygate = dual().start();
    let (mine, other) = (key(&paygate), key(&paygate));
    let first = paygate.modern(&mine, "prompts/get", &json!({"name": "ask"})).json();
    let state = first["result"]["requestState"].clone();
    assert_ne!(state, "had 1", "the server's own state is sealed");
    let retry = json!({"name": "ask", "inputResponses": {"more": {}}, "requestState": state});
    let refused = paygate.modern(&other, "prompts/get", &retry);
    assert_eq!((refused.status, refused.error_code()), (400, -32602), "{}", refused.text());
    let changed = json!({"name": "ask", "arguments": {}, "requestState": state});
    assert_eq!(paygate.modern(&mine, "prompts/get", &changed).error_code(), -32602);
    let seen = paygate.modern(&mine, "prompts/get", &retry).tool_text();
    assert!(seen.contains(r#""requestState":"had 1""#), "{seen}");
    assert_eq!(paygate.credits(&mine), 100);
    paygate.stop().expect_success();
}

#[test]
fn a_client_that_leaves_a_free_request_cancels_it() {
    let paygate = dual().start();
    let key = key(&paygate);
    let params = json!({"name": "ask", "arguments": {}});
    assert_eq!(paygate.modern(&key, "prompts/get", &params).status, 200);
    let request =
        modern_request(&key, "tools/call", &json!({"name": "hang", "arguments": {"nonce": "h"}}));
    let open = request.open(&paygate.address).expect("it can be sent");
    eventually("the call has begun", || {
        paygate.setup().child_log().iter().any(|(tool, _)| tool == "hang")
    });
    drop(open);
    eventually("the child is told", || {
        paygate.setup().child_log().iter().any(|(what, _)| what == "cancelled")
    });
    paygate.stop().expect_success();
}

#[test]
fn a_cancellation_of_the_other_era_reaches_no_request_of_anybody() {
    let paygate = dual().start();
    let (mine, other) = (key(&paygate), key(&paygate));
    let sleep = json!({"ms": 2_000, "nonce": "n"});
    let begun = |count: usize| {
        eventually("the calls have begun", || {
            let log = paygate.setup().child_log();
            log.iter().filter(|(tool, _)| tool == "sleep").count() == count
        });
    };
    std::thread::scope(|scope| {
        // Both processes are given ids that count from the start: some of these are alike.
        let others: Vec<_> =
            (0..8).map(|_| scope.spawn(|| paygate.call(&other, "sleep", &sleep))).collect();
        begun(8);
        let own = scope.spawn(|| paygate.modern_call(&mine, "sleep", &sleep));
        begun(9);
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        let cancel = Request::new("POST", "/mcp").header("X-API-Key", &mine).json(&cancel);
        assert_eq!(paygate.send(&cancel).status, 202);
        for call in others {
            let answer = call.join().expect("an answer");
            assert_eq!(answer.tool_text(), "n", "{}", answer.text());
        }
        let answer = own.join().expect("an answer");
        assert_eq!(answer.tool_text(), "n", "{}", answer.text());
    });
    paygate.stop().expect_success();
}
