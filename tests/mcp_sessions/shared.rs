//! Sessions that have no server to themselves.

use serde_json::{Value, json};

use crate::client::{Session, initialize, rpc};
use crate::support::{Setup, eventually};
use crate::{children, rich_key, start};

#[test]
fn a_flood_of_strangers_starts_no_child_and_makes_few_sessions() {
    let paygate = start(json!({"maxChildren": 4}));
    let opened = (0..200)
        .map(|_| paygate.send(&initialize("", "2025-06-18")))
        .filter(|answer| answer.json()["result"]["serverInfo"]["name"] == "scripted-child")
        .filter(|answer| answer.header("Mcp-Session-Id").is_some())
        .count();
    assert_eq!(opened, 16);
    for key in ["no-such-key", "pg_000000000000000000000000000000000000000000000000"] {
        assert_eq!(paygate.send(&initialize(key, "2025-06-18")).status, 200);
    }
    assert_eq!(children(&paygate).len(), 1);
    // Customers are not kept out.
    let session = Session::open(&paygate, &rich_key(&paygate));
    assert_eq!((children(&paygate).len(), session.status()), (2, 200));
}

#[test]
fn a_strangers_session_has_free_methods_only_and_is_not_offered_more() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, "");
    assert_eq!(
        session.result["capabilities"],
        json!({"tools": {"listChanged": true}, "resources": {"listChanged": true}, "prompts": {}})
    );
    assert!(session.rpc("tools/list", &json!({})).json()["result"]["tools"].is_array());
    assert_eq!(session.call("instant", &json!({})).error_reason(), "missing_api_key");
    assert_eq!(session.rpc("logging/setLevel", &json!({})).error_reason(), "missing_api_key");
    assert_eq!(session.end().status, 200);
    assert_eq!(session.status(), 404);
}

#[test]
fn shared_isolation_keeps_one_server_for_all() {
    let paygate = start(json!({"isolation": "shared"}));
    let keys = [rich_key(&paygate), rich_key(&paygate)];
    let sessions = keys.each_ref().map(|key| Session::open(&paygate, key));
    assert_eq!(children(&paygate).len(), 1);
    let mut streams = sessions.each_ref().map(Session::listen);
    for session in &sessions {
        assert_eq!(session.rpc("resources/subscribe", &json!({"uri": "a:b"})).error_code(), -32601);
        // A log message and a question have no owner here.
        let log =
            json!({"method": "notifications/message", "params": {"level": "info", "data": "x"}});
        session.tool("emit", &log);
        let asked = session.call("ask", &json!({"method": "sampling/createMessage", "wait": true}));
        assert!(asked.tool_text().contains("-32601"), "{}", asked.text());
        // Its own ping needs none.
        session.tool("emit", &json!({"method": "ping", "ask_id": "p", "ms": 30}));
        eventually("the ping is answered", || {
            session.tool("heard", &json!({})).contains(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#)
        });
    }
    // Everybody is told that a list has changed, those without a session nothing.
    let changed =
        json!({"method": "notifications/tools/list_changed", "params": {"by": 1.50}, "count": 3});
    sessions[0].tool("emit", &changed);
    for stream in &mut streams {
        let told = stream.message();
        let text =
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"by":1.5}}"#;
        assert_eq!(told.data, text);
    }
    // Progress finds its own client on its own stream.
    let events =
        sessions[1].stream(&json!(7), "progress", &json!({"count": 2}), &json!("mine")).rest();
    let tokens: Vec<_> = events.iter().map(|event| &event["params"]["progressToken"]).collect();
    assert_eq!(tokens, [&json!("mine"), &json!("mine"), &Value::Null]);
}

#[test]
fn a_restart_of_the_shared_server_is_told_to_those_who_share_it() {
    let paygate = Setup::new().ephemeral().start();
    let key = rich_key(&paygate);
    let session = Session::open(&paygate, "");
    let mut stream = session.listen();
    let crash = rpc(&json!(1), "tools/call", &json!({"name": "crash"}));
    let crashed = paygate.send(&crate::client::post(&key, "", &crash));
    assert_eq!(crashed.error_reason(), "upstream_exited");
    let told = [stream.message(), stream.message()].map(|event| event.json()["method"].clone());
    assert_eq!(
        told,
        [json!("notifications/tools/list_changed"), json!("notifications/resources/list_changed")]
    );
}
