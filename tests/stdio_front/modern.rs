//! The era without handshakes over the client's pipes: no headers to agree with, cancelled by a
//! notification.

use super::*;
use crate::support::{modern_body, npm, python};

fn dual() -> Setup {
    setup().env("SCRIPTED_ERA", "dual")
}

impl Client {
    /// A request of the modern era.
    fn modern(&mut self, id: &Value, method: &str, params: &Value) {
        let mut body = modern_body(method, params);
        body["id"] = id.clone();
        self.say(&body);
    }

    fn modern_call(&mut self, id: &str, tool: &str, arguments: &Value) {
        self.modern(&json!(id), "tools/call", &json!({"name": tool, "arguments": arguments}));
    }
}

#[test]
fn a_client_needs_no_handshake_and_no_header() {
    let setup = dual();
    let mut client = Client::start(&setup);
    client.modern(&json!("d"), "server/discover", &json!({}));
    let discovered = client.next();
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
    client.modern(&json!("l"), "tools/list", &json!({}));
    assert_eq!(
        client.next()["result"]["tools"][0]["_meta"]["dev.paygate/pricing"]["creditsPerCall"],
        1
    );
    client.modern_call("c", "instant", &json!({"nonce": "n"}));
    let answer = client.next();
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&"c".into(), &"n".into())
    );

    let params = json!({"name": "progress", "arguments": {"count": 3, "nonce": "n"},
        "_meta": {"progressToken": "mine"}});
    client.modern(&json!("p"), "tools/call", &params);
    for step in 1..=3 {
        let told = client.next();
        assert_eq!(told["params"], json!({"progressToken": "mine", "progress": step, "total": 3}));
    }
    assert_eq!(client.next()["id"], "p");
    let gone = client.leave();
    assert_eq!((gone.code, gone.rest), (Some(0), vec![]), "{}", gone.stderr);
    assert_eq!(credits_left(&setup), 998);
}

#[test]
fn a_cancelled_call_is_free_and_has_no_answer() {
    let setup = dual();
    let mut client = Client::start(&setup);
    client.modern_call("slow", "sleep", &json!({"ms": 60_000}));
    client.modern_call("quick", "instant", &json!({}));
    assert_eq!(client.next()["id"], "quick");
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "slow"}}));
    eventually("the server to hear of it", || {
        setup.child_log().iter().any(|(what, _)| what == "cancelled")
    });
    let gone = client.leave();
    assert_eq!((gone.code, gone.rest), (Some(0), vec![]), "{}", gone.stderr);
    assert_eq!(credits_left(&setup), 999);
}

#[test]
fn two_requests_of_one_id_are_cancelled_together() {
    let setup = dual();
    let mut client = Client::start(&setup);
    for _ in 0..2 {
        client.modern_call("slow", "sleep", &json!({"ms": 60_000}));
    }
    client.modern_call("quick", "instant", &json!({}));
    assert_eq!(client.next()["id"], "quick");
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "slow"}}));
    eventually("the server to hear of both", || {
        setup.child_log().iter().filter(|(what, _)| what == "cancelled").count() == 2
    });
    let gone = client.leave();
    assert_eq!((gone.code, gone.rest), (Some(0), vec![]), "{}", gone.stderr);
    assert_eq!(credits_left(&setup), 999);
}

#[test]
fn a_name_may_be_written_with_escapes() {
    let mut client = Client::start(&dual());
    let body = modern_body("server/discover", &json!({})).to_string();
    client.write(format!("{}\n", body.replace('/', "\\/")).as_bytes());
    let discovered = client.next();
    assert!(discovered["result"]["supportedVersions"].is_array(), "{discovered}");
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn a_stream_of_changes_ends_with_the_client() {
    let mut client = Client::start(&dual());
    let filter = json!({"notifications": {"toolsListChanged": true}});
    client.modern(&json!(7), "subscriptions/listen", &filter);
    let acknowledged = client.next();
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    client.modern_call("c", "change", &json!({}));
    let mut told = [client.next(), client.next()];
    told.sort_by_key(|message| message.get("id").is_some());
    assert_eq!(told[0]["method"], "notifications/tools/list_changed");
    assert_eq!(told[0]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
    let gone = client.leave();
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
}

#[test]
fn before_a_server_that_begins_with_a_handshake_the_probe_is_refused_under_its_id() {
    let mut client = Client::start(&setup());
    client.modern(&json!("probe"), "server/discover", &json!({}));
    let refused = client.next();
    assert_eq!(refused["id"], "probe", "{refused}");
    assert!(refused["error"]["code"].is_i64(), "{refused}");
    // The same connection then begins as it always did.
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    assert!(client.ask("i", "initialize", &params)["result"].is_object());
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn several_servers_of_this_era_are_one_and_of_both_eras_wait_for_a_handshake() {
    let time = json!({"prefix": "time", "serverCommand": python(), "serverArgs": ["-m", "mcp_server_time"]});
    let mut other = time.clone();
    other["prefix"] = json!("clock");
    let several = |servers: &[&Value]| setup().without_server().config(json!({"servers": servers}));
    let mut client = Client::start(&several(&[&time, &other]));
    client.modern_call("c", "clock:get_current_time", &json!({"timezone": "UTC"}));
    let answer = client.next();
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("UTC"), "{answer}");
    assert_eq!(client.leave().code, Some(0));

    let memory = npm("@modelcontextprotocol/server-memory/dist/index.js");
    let memory = json!({"prefix": "memory", "serverCommand": "node", "serverArgs": [memory]});
    let mut client = Client::begun(&several(&[&time, &memory]), "2025-11-25");
    let listed = client.ask("l", "tools/list", &json!({})).to_string();
    assert!(
        listed.contains("time:get_current_time") && listed.contains("memory:read_graph"),
        "{listed}"
    );
    client.modern(&json!("probe"), "server/discover", &json!({}));
    let refused = client.next();
    assert!(refused["id"] == "probe" && refused["error"]["code"].is_i64(), "{refused}");
    assert_eq!(client.leave().code, Some(0));
}

#[test]
fn the_only_client_hears_what_the_server_logs_and_one_among_others_does_not() {
    for (setup, is_alone) in [(dual(), true), (dual().args(["--port", "0"]), false)] {
        let mut client = Client::start(&setup);
        let meta = json!({"io.modelcontextprotocol/logLevel": "debug"});
        client.modern(&json!("c"), "tools/call", &json!({"name": "log", "_meta": meta}));
        let first = client.next();
        if is_alone {
            assert_eq!(first["method"], "notifications/message", "{first}");
            assert_eq!(client.next()["id"], "c");
        } else {
            assert_eq!(first["id"], "c", "{first}");
        }
        assert_eq!(client.leave().code, Some(0));
    }
}
