//! Which clients find which server, and what the others are told.

use serde_json::{Value, json};

use super::support::{Paygate, Request, Setup, eventually, modern_request};
use super::{dual, key};

fn initialize(paygate: &Paygate) -> super::support::Response {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    paygate.rpc("", "initialize", &params)
}

#[test]
fn a_server_of_both_eras_serves_both_in_processes_of_their_own() {
    let paygate = dual().start();
    let key = key(&paygate);
    let health = paygate.get("/health").json();
    assert_eq!(health.get("modernUpstream"), None, "nobody needed it yet: {health}");

    let discovered = paygate.modern("", "server/discover", &json!({}));
    assert_eq!(discovered.status, 200, "{}", discovered.text());
    let result = &discovered.json()["result"];
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(
        (&result["resultType"], &result["cacheScope"]),
        (&json!("complete"), &json!("public"))
    );
    assert_eq!(discovered.header("Mcp-Session-Id"), None);
    assert_eq!(paygate.get("/health").json()["modernUpstream"]["status"], "ready");

    assert_eq!(paygate.modern_call(&key, "instant", &json!({"nonce": "m"})).tool_text(), "m");
    assert_eq!(initialize(&paygate).json()["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "l"})).tool_text(), "l");
    assert_eq!(paygate.credits(&key), 94);
    paygate.stop().expect_success();
}

#[test]
fn many_who_come_first_share_one_start() {
    let paygate = dual().start();
    let key = key(&paygate);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| paygate.modern_call(&key, "env", &json!({})).status))
            .collect();
        assert!(calls.into_iter().all(|call| call.join().expect("an answer") == 200));
    });
    let children = std::process::Command::new("ps")
        .args(["--ppid", &paygate.pid().to_string(), "-o", "pid="])
        .output()
        .expect("ps runs");
    let children = String::from_utf8_lossy(&children.stdout).lines().count();
    assert_eq!(children, 2, "one process per era");
    paygate.stop().expect_success();
}

#[test]
fn a_legacy_server_makes_modern_clients_fall_back() {
    let paygate = Setup::new().start();
    let key = key(&paygate);
    for (method, params) in
        [("server/discover", json!({})), ("tools/call", json!({"name": "instant"}))]
    {
        for _ in 0..2 {
            let refused = paygate.modern(&key, method, &params);
            // No code of the modern era: that would say that it is spoken here.
            assert_eq!((refused.status, refused.error_code()), (400, -32600), "{}", refused.text());
            assert_eq!(refused.json()["id"], Value::Null);
        }
    }
    assert_eq!(paygate.credits(&key), 100);
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "l"})).tool_text(), "l");
    paygate.stop().expect_success();
}

#[test]
fn a_modern_server_tells_legacy_clients_what_it_speaks() {
    let paygate = Setup::new().env("SCRIPTED_ERA", "modern").args(["--price", "3"]).start();
    let key = key(&paygate);
    let refused = initialize(&paygate);
    assert_eq!((refused.status, refused.error_code()), (400, -32022), "{}", refused.text());
    let data = &refused.json()["error"]["data"];
    assert_eq!(data, &json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}));
    let call = paygate.call(&key, "instant", &json!({"nonce": "l"}));
    assert_eq!(call.status, 400, "{}", call.text());
    assert_eq!(paygate.credits(&key), 100);
    assert_eq!(paygate.modern_call(&key, "instant", &json!({"nonce": "m"})).tool_text(), "m");
    assert_eq!(paygate.credits(&key), 97);
    paygate.stop().expect_success();
}

#[test]
fn another_version_is_told_which_are_spoken() {
    let paygate = dual().start();
    let request = modern_request("", "server/discover", &json!({}));
    let text = String::from_utf8(request.to_bytes(&paygate.address)).expect("text");
    let body = text.split("\r\n\r\n").nth(1).expect("a body").replace("2026-07-28", "1900-01-01");
    let refused = paygate.send(
        &Request::new("POST", "/mcp")
            .header("MCP-Protocol-Version", "1900-01-01")
            .header("Mcp-Method", "server/discover")
            .header("Content-Type", "application/json")
            .body(body),
    );
    assert_eq!((refused.status, refused.error_code()), (400, -32022), "{}", refused.text());
    let data = &refused.json()["error"]["data"];
    assert_eq!(
        (&data["supported"][0], &data["requested"]),
        (&json!("2026-07-28"), &json!("1900-01-01"))
    );
    paygate.stop().expect_success();
}

#[test]
fn methods_that_are_gone_never_reach_the_process() {
    let paygate = dual().start();
    let key = key(&paygate);
    for method in
        ["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/list", "no/such"]
    {
        let refused = paygate.modern(&key, method, &json!({}));
        assert_eq!(
            (refused.status, refused.error_code()),
            (404, -32601),
            "{method}: {}",
            refused.text()
        );
    }
    paygate.stop().expect_success();
}

#[test]
fn a_process_that_ends_comes_back() {
    let paygate = dual().start();
    let key = key(&paygate);
    let crashed = paygate.modern_call(&key, "crash", &json!({}));
    assert_eq!(crashed.error_reason(), "upstream_exited", "{}", crashed.text());
    eventually("the process is back", || {
        paygate.get("/health").json()["modernUpstream"]["status"] == "ready"
    });
    assert_eq!(paygate.modern_call(&key, "instant", &json!({"nonce": "m"})).tool_text(), "m");
    assert_eq!(paygate.credits(&key), 97);
    paygate.stop().expect_success();
}
