//! Who may enter a session: its key alone is not enough where the key is not enough for a call.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::client::{Event, Events, Session, initialize, post, rpc, with};
use crate::start;
use crate::support::{Paygate, Request};

const HOME: &str = "10.0.0.1";
const ELSEWHERE: &str = "192.0.2.7";

fn from(request: Request, address: &str) -> Request {
    request.header("X-Forwarded-For", address)
}

/// A session whose key is for one address, and that has a stream and an answer to come back to.
fn at_home(paygate: &Paygate) -> Session<'_> {
    let (key, _) = paygate.create_key(&json!({"credits": 1000, "ipAllowlist": [HOME]}));
    let opened = paygate.send(&from(initialize(&key, "2025-11-25"), HOME));
    let id = opened.header("Mcp-Session-Id").expect("a session").to_owned();
    Session { paygate, key, id, result: Value::Null }
}

/// Has the server tell what is about no call.
fn emit(session: &Session<'_>, address: &str, what: &str) {
    let message = json!({"method": "notifications/resources/updated", "params": {"uri": what}});
    let call = rpc(&json!(1), "tools/call", &json!({"name": "emit", "arguments": message}));
    let answer = session.paygate.send(&from(session.request(&call), address));
    assert!(answer.json()["result"].is_object(), "{}", answer.text());
}

/// The status of an answer that may be a stream without an end.
fn status(paygate: &Paygate, request: &Request) -> String {
    let mut line = String::new();
    let stream = request.open(&paygate.address).expect("it can be sent");
    BufReader::new(stream).read_line(&mut line).expect("it is answered");
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn uri(event: &Event) -> Value {
    event.json()["params"]["uri"].clone()
}

#[test]
fn a_session_is_not_there_for_who_shows_its_key_from_elsewhere() {
    let paygate = start(json!({"trustedProxies": ["127.0.0.1"]}));
    let session = at_home(&paygate);
    let arguments = json!({"name": "progress", "arguments": {"count": 1, "nonce": "paid"},
        "_meta": {"progressToken": "t"}});
    let paid = from(session.request(&rpc(&json!(1), "tools/call", &arguments)), HOME);
    let seen = Events::open(&paygate, &paid).message().id.expect("a place to come back to");
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}).to_string();
    let requests = [
        session.listening(None),
        session.listening(Some(&seen)),
        session.request(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string()),
        session.request(&note),
        session.request(&rpc(&json!(1), "ping", &json!({}))),
        with(Request::new("DELETE", "/mcp"), &session.key, &session.id),
    ];
    for request in requests {
        assert_eq!(status(&paygate, &from(request.clone(), ELSEWHERE)), "404", "{request:?}");
    }
    // Its owner has lost nothing, and the server has heard nothing.
    let heard = rpc(&json!(2), "tools/call", &json!({"name": "heard"}));
    let heard = paygate.send(&from(session.request(&heard), HOME)).tool_text();
    assert!(!heard.contains("roots/list_changed"), "{heard}");
    let mut rest = Events::open(&paygate, &from(session.listening(Some(&seen)), HOME));
    assert_eq!(rest.message().json()["result"]["content"][0]["text"], "paid");
    // Whoever opens another from elsewhere learns why nothing can be bought there.
    let opened = paygate.send(&from(initialize(&session.key, "2025-11-25"), ELSEWHERE));
    let id = opened.header("Mcp-Session-Id").expect("a session of nobody");
    let call = rpc(&json!(1), "tools/call", &json!({"name": "instant"}));
    let refused = paygate.send(&from(post(&session.key, id, &call), ELSEWHERE));
    assert_eq!(refused.error_reason(), "ip_not_allowed", "{}", refused.text());
}

#[test]
fn a_suspended_tenant_is_out_of_its_sessions_at_once() {
    let paygate = start(json!({}));
    let (key, _) = paygate.create_key(&json!({"credits": 10, "namespace": "acme"}));
    let sessions = [(); 2].map(|()| Session::open(&paygate, &key));
    let suspended = json!({"namespace": "acme", "suspended": true});
    assert_eq!(paygate.admin_post("/namespaces", &suspended).status, 200);
    assert_eq!(status(&paygate, &sessions[0].listening(None)), "404");
    assert_eq!(sessions[1].end().status, 404);
}

#[test]
fn a_stream_ends_when_what_it_was_opened_with_opens_it_no_more() {
    let paygate = start(json!({"trustedProxies": ["127.0.0.1"]}));
    let mut session = at_home(&paygate);
    let mut stream = Events::open(&paygate, &from(session.listening(None), HOME));
    let moved = json!({"key": session.key, "ips": [ELSEWHERE]});
    assert_eq!(paygate.admin_post("/keys/ip", &moved).status, 200);
    assert_eq!(stream.rest(), Vec::<Value>::new(), "its address is not allowed any more");

    // Both credentials are good during the grace, and the stream stays.
    let mut stream = Events::open(&paygate, &from(session.listening(None), ELSEWHERE));
    let rotate = |session: &mut Session<'_>, grace: u32| {
        let body = json!({"key": session.key, "graceSeconds": grace});
        let rotated = paygate.admin_post("/keys/rotate", &body).json();
        session.key = rotated["newKey"].as_str().expect("a new key").to_owned();
    };
    rotate(&mut session, 4);
    emit(&session, ELSEWHERE, "a:grace");
    assert_eq!(uri(&stream.message()), "a:grace");
    assert_eq!(stream.rest(), Vec::<Value>::new(), "the grace is over");

    let mut stream = Events::open(&paygate, &from(session.listening(None), ELSEWHERE));
    rotate(&mut session, 0);
    assert_eq!(stream.rest(), Vec::<Value>::new(), "the credential was replaced");
    // The session goes on under the new one, and what is told next is for its stream alone.
    emit(&session, ELSEWHERE, "a:after");
    let mut stream = Events::open(&paygate, &from(session.listening(None), ELSEWHERE));
    assert_eq!(uri(&stream.message()), "a:after");
}
