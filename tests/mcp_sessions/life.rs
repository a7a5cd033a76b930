//! From `initialize` to the end: what a session is made of, whose it is, and what ends it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Session, hello, initialize, post, rpc, with};
use crate::support::{ADMIN_KEY, Request, Setup, eventually};
use crate::{children, rich_key, start};

#[test]
fn a_session_with_a_key_has_a_server_that_knows_its_client() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    assert_eq!(children(&paygate).len(), 1);
    let body = concat!(
        r#"{"jsonrpc":"2.0","id":1.50,"method":"initialize","params":{"x":1.0,"protocolVersion":"2025-06-18","#,
        "\n",
        r#" "capabilities":{"sampling":{}},"clientInfo":{"name":"t\u00e9st","version":"1"}}}"#
    );
    let response = paygate.send(&post(&key, "", body));
    let text = response.text();
    // The server's own words under the client's id, with all that it can do.
    assert_eq!(
        text,
        concat!(
            r#"{"jsonrpc":"2.0","id":1.50,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"#,
            r#""logging":{},"resources":{"subscribe":true,"listChanged":true},"prompts":{}},"#,
            r#""serverInfo":{"name":"scripted-child","version":"1"}}}"#
        )
    );
    let id = response.header("Mcp-Session-Id").expect("a session").to_owned();
    assert!(id.len() == 41 && id.starts_with("mcp_sess_"), "{id}");
    let session = Session { paygate: &paygate, key, id, result: Value::Null };
    assert_eq!(children(&paygate).len(), 2);
    assert_eq!(
        session.tool("client", &json!({})),
        concat!(
            r#"{"x":1.0,"protocolVersion":"2025-06-18","capabilities":{"sampling":{}},"#,
            r#""clientInfo":{"name":"t\u00e9st","version":"1"}}"#
        )
    );
    session.notify("notifications/initialized", &json!({}));
    session.notify("notifications/roots/list_changed", &json!({"a": 1.5}));
    let heard = session.tool("heard", &json!({}));
    let heard: Vec<&str> = heard.lines().collect();
    assert_eq!(heard.len(), 2, "it is initialized once: {heard:?}");
    assert!(heard[0].contains("notifications/initialized"), "{heard:?}");
    assert!(heard[1].contains("roots/list_changed") && heard[1].contains("1.5"), "{heard:?}");
    for method in ["logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(session.rpc(method, &json!({})).json()["result"], json!({}), "{method}");
    }
    assert_eq!(paygate.credits(&session.key), 998, "calls in a session cost what they cost");
}

#[test]
fn a_notification_tells_no_server_who_its_customer_is() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let params = json!({"_meta": {"dev.paygate/customer": "forged", "x": 1}});
    session.notify("notifications/roots/list_changed", &params);
    let heard = session.tool("heard", &json!({}));
    assert!(heard.contains(r#""_meta":{"x":1}"#) && !heard.contains("forged"), "{heard}");
}

#[test]
fn a_session_belongs_to_its_key() {
    let paygate = start(json!({}));
    let (mine, yours) = (rich_key(&paygate), rich_key(&paygate));
    let session = Session::open(&paygate, &mine);
    let nobodys = Session::open(&paygate, "");
    let body = rpc(&json!(1), "tools/list", &json!({}));
    let unknown = format!("mcp_sess_{}", "0".repeat(32));
    for (key, id) in [
        (&yours[..], &session.id[..]),
        ("", &session.id),
        ("no-such-key", &session.id),
        (&mine, &nobodys.id),
        (&mine, &unknown),
        (&mine, "nonsense"),
        ("", ""),
    ] {
        let posted = paygate.send(&post(key, id, &body));
        let got = Request::new("GET", "/mcp").header("Accept", "text/event-stream");
        let got = paygate.send(&with(got, key, id));
        let deleted = paygate.send(&with(Request::new("DELETE", "/mcp"), key, id));
        if id.is_empty() {
            assert_eq!((posted.status, got.status, deleted.status), (200, 400, 400));
            continue;
        }
        assert_eq!((posted.status, got.status, deleted.status), (404, 404, 404), "{key} {id}");
        assert_eq!(posted.json()["error"]["code"], -32600, "{}", posted.text());
        assert_eq!(deleted.json(), json!({"error": "Session not found"}));
    }
    assert_eq!((session.status(), nobodys.status()), (200, 200));
    let twice = session.request(&body).header("Mcp-Session-Id", &session.id);
    assert_eq!(paygate.send(&twice).status, 404);
    let again = session.rpc("initialize", &hello("2025-11-25"));
    assert_eq!(again.error_code(), -32600, "{}", again.text());
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_server() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let session = Session::open(&paygate, &key);
    let mut stream = session.listen();
    let ended = session.end();
    assert_eq!((ended.status, ended.json()), (200, json!({"message": "Session terminated"})));
    assert_eq!(stream.rest(), Vec::<Value>::new(), "its stream ends");
    assert_eq!((session.status(), session.end().status), (404, 404));
    eventually("the server has ended", || children(&paygate).len() == 1);
}

#[test]
fn a_call_in_flight_outlives_its_session() {
    let paygate = Setup::new().start();
    let key = rich_key(&paygate);
    let session = Session::open(&paygate, &key);
    let before = paygate.setup().child_log().len();
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| session.call("sleep", &json!({"ms": 1500, "nonce": "n"})));
        eventually("the call runs", || paygate.setup().child_log().len() > before);
        assert_eq!(session.end().status, 200);
        assert_eq!(session.status(), 404);
        call.join().unwrap()
    });
    assert_eq!(answer.tool_text(), "n");
    assert_eq!(paygate.credits(&key), 999);
    eventually("the server has ended", || children(&paygate).len() == 1);
}

#[test]
fn the_version_agreed_on_is_the_one_that_is_spoken() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (agreed, other) in [("2025-11-25", "2025-06-18"), ("2025-03-26", "2025-11-25")] {
        let session = Session::open_as(&paygate, &key, agreed);
        assert_eq!(session.result["protocolVersion"], agreed);
        let body = rpc(&json!(1), "ping", &json!({}));
        for (version, status) in [(agreed, 200), (other, 400), ("1999-01-01", 400)] {
            let versioned =
                |request: Request| paygate.send(&request.header("MCP-Protocol-Version", version));
            assert_eq!(versioned(session.request(&body)).status, status, "{agreed} {version}");
            let ended = Request::new("DELETE", "/mcp");
            if status != 200 {
                assert_eq!(versioned(session.listening(None)).status, status, "{version}");
                assert_eq!(versioned(with(ended, &key, &session.id)).status, status, "{version}");
            }
        }
        assert_eq!(session.end().status, 200);
    }
}

#[test]
fn what_is_idle_ends_and_what_is_in_use_does_not() {
    let paygate = start(json!({"sessionIdleSeconds": 1}));
    let key = rich_key(&paygate);
    let [idle, listens, calls] = [(); 3].map(|()| Session::open(&paygate, &key));
    let nobodys = Session::open(&paygate, "");
    let stream = listens.listen();
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| calls.call("sleep", &json!({"ms": 3500, "nonce": "n"})));
        // To ask would be to use it; its server tells.
        eventually("one server has ended", || children(&paygate).len() == 3);
        call.join().unwrap()
    });
    assert_eq!(answer.tool_text(), "n");
    assert_eq!((listens.status(), calls.status()), (200, 200));
    assert_eq!((idle.status(), nobodys.status()), (404, 404));
    drop(stream);
    assert_eq!(listens.end().status, 200);
    eventually("all have ended", || children(&paygate).len() == 1);
}

#[test]
fn a_key_that_ends_takes_its_sessions_with_it() {
    let paygate = Setup::new().start();
    let (key, other) = (rich_key(&paygate), rich_key(&paygate));
    let (session, kept) = (Session::open(&paygate, &key), Session::open(&paygate, &other));
    let mut stream = session.listen();
    let before = paygate.setup().child_log().len();
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| session.call("sleep", &json!({"ms": 2500, "nonce": "n"})));
        eventually("the call runs", || paygate.setup().child_log().len() > before);
        assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": key})).status, 200);
        assert_eq!(stream.rest(), Vec::<Value>::new());
        assert_eq!(session.status(), 404);
        call.join().unwrap()
    });
    assert_eq!(answer.tool_text(), "n", "what was begun is finished");
    eventually("its server has ended", || children(&paygate).len() == 2);
    assert_eq!(kept.status(), 200);
    let refused = paygate.send(&initialize(&key, "2025-11-25"));
    let id = refused.header("Mcp-Session-Id").expect("a session of nobody");
    let call = rpc(&json!(1), "tools/call", &json!({"name": "instant"}));
    assert_eq!(paygate.send(&post(&key, id, &call)).error_reason(), "invalid_api_key");
}

#[test]
fn when_all_places_are_taken_the_idlest_gives_way() {
    let paygate = start(json!({"maxChildren": 2}));
    let (key, other) = (rich_key(&paygate), rich_key(&paygate));
    let first = Session::open(&paygate, &key);
    let _stream = first.listen();
    let second = Session::open(&paygate, &other);
    let full = paygate.send(&initialize(&other, "2025-11-25"));
    assert_eq!((full.status, &*full.error_reason()), (200, "sessions_full"), "{}", full.text());
    assert!(full.json()["error"]["data"]["retryAfterMs"].is_u64(), "{}", full.text());
    assert!(full.header("Mcp-Session-Id").is_none());
    let mut third = None;
    eventually("the second has been idle for long enough", || {
        let opened = paygate.send(&initialize(&other, "2025-11-25"));
        third = opened.header("Mcp-Session-Id").map(str::to_owned);
        third.is_some()
    });
    assert_eq!((first.status(), second.status()), (200, 404));
    assert_eq!(children(&paygate).len(), 3);
}

#[test]
fn one_key_has_half_of_the_places_at_most() {
    let paygate = start(json!({"maxChildren": 4}));
    let (key, other) = (paygate.create_key(&json!({"credits": 0})).0, rich_key(&paygate));
    let held = [(); 2].map(|()| Session::open(&paygate, &key));
    let _streams = held.each_ref().map(Session::listen);
    let third = paygate.send(&initialize(&key, "2025-11-25"));
    assert_eq!(third.error_reason(), "sessions_full", "{}", third.text());
    let others = [(); 2].map(|()| Session::open(&paygate, &other));
    assert_eq!((children(&paygate).len(), others[1].status()), (5, 200));
    // Who has ended one has room for another at once.
    assert_eq!(held[0].end().status, 200);
    assert_eq!(Session::open(&paygate, &key).status(), 200);
}

#[test]
fn the_servers_own_refusal_reaches_its_client() {
    let setup = Setup::new().ephemeral();
    let script = setup.dir().file("refuses.py");
    // It refuses a client by name, and dies for another.
    let text = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        name = message["params"]["clientInfo"]["name"]
        if name == "dies":
            sys.exit(3)
        if name == "refused":
            print('{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"not you","data":{"n":1.50}}}' % message["id"], flush=True)
        else:
            print('{"jsonrpc":"2.0","id":%d,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"r","version":"1"}}}' % message["id"], flush=True)
"#;
    std::fs::write(&script, text).unwrap();
    let paygate = setup.server(format!("python3 {}", script.display())).start();
    let key = rich_key(&paygate);
    let hello = |name: &str| {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}});
        paygate.send(&post(&key, "", &rpc(&json!("x"), "initialize", &params)))
    };
    let refused = hello("refused");
    assert_eq!(
        refused.text(),
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32602,"message":"not you","data":{"n":1.50}}}"#
    );
    let dead = hello("dies");
    assert_eq!(dead.error_reason(), "upstream_unavailable", "{}", dead.text());
    assert!(hello("fine").header("Mcp-Session-Id").is_some());
    eventually("only two servers run", || children(&paygate).len() == 2);
    assert_eq!(paygate.get("/health").status, 200);
    assert_eq!(
        paygate.send(&Request::new("GET", "/status").header("X-Admin-Key", ADMIN_KEY)).status,
        200
    );
}

#[test]
fn sessions_that_end_slowly_do_not_make_others_give_way() {
    let paygate = start(json!({"maxChildren": 4}));
    let (key, other) = (rich_key(&paygate), rich_key(&paygate));
    let kept = Session::open(&paygate, &other);
    // Ended, but their servers are still at work, in all places that one key may have.
    for _ in 0..2 {
        let session = Session::open(&paygate, &key);
        let progress = json!({"count": 600, "ms": 100});
        let mut events = session.stream(&json!(1), "progress", &progress, &json!("t"));
        events.message();
        assert_eq!(session.end().status, 200);
    }
    let began = Instant::now();
    eventually("the other's session has been idle for long enough to give way", || {
        let full = paygate.send(&initialize(&key, "2025-11-25"));
        assert_eq!(full.error_reason(), "sessions_full", "{}", full.text());
        began.elapsed() > Duration::from_secs(12)
    });
    assert_eq!(kept.status(), 200);
}
