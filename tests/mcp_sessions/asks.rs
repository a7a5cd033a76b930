//! What a server asks its client: who is asked, under which id, and what becomes of the answer.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Session, post};
use crate::support::eventually;
use crate::{rich_key, start};

fn sampling(ask_id: &Value) -> Value {
    json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1.50},
        "ask_id": ask_id, "wait": true})
}

#[test]
fn an_answer_goes_back_under_the_servers_own_id_byte_for_byte() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    for ask_id in [json!("q-\u{e9}"), json!(7), json!(-1.5)] {
        let mut events = session.stream(&json!(9), "ask", &sampling(&ask_id), &Value::Null);
        let asked = events.message().json();
        assert_eq!(asked["method"], "sampling/createMessage");
        assert_eq!(asked["params"], json!({"messages": [], "maxTokens": 1.5}));
        let id = &asked["id"];
        assert!(id.is_u64() && *id != ask_id, "{asked}");
        let answer = format!(
            "{{\"result\":{{\"n\":1.50,\n\"\\u0061\":[ ]}}, \"id\" : {id} ,\"jsonrpc\":\"2.0\",\"x\":1}}"
        );
        let taken = session.send(&answer);
        assert_eq!((taken.status, taken.text().as_str()), (202, ""));
        let expected = format!(
            r#"{{"result":{{"n":1.50,"\u0061":[ ]}}, "id" : {ask_id} ,"jsonrpc":"2.0","x":1}}"#
        );
        let answered = events.rest();
        assert_eq!(answered[0]["result"]["content"][0]["text"], expected);
        // Once is enough.
        assert_eq!(session.send(&answer).status, 202);
    }
    assert_eq!(
        session.tool("heard", &json!({})).lines().count(),
        4,
        "initialized, and three answers"
    );
}

#[test]
fn a_client_that_thinks_about_a_question_does_not_lose_its_call() {
    let paygate = start(json!({"requestTimeoutMs": 2500}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut events = session.stream(&json!(9), "ask", &sampling(&json!("q")), &Value::Null);
    let id = events.message().json()["id"].clone();
    let began = Instant::now();
    eventually("it has thought", || began.elapsed() > Duration::from_secs(4));
    session.send(&json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string());
    assert!(events.rest()[0]["result"].is_object());
    assert_eq!(paygate.credits(&session.key), 999);
}

#[test]
fn a_drain_lets_answers_in_and_nothing_else() {
    let mut paygate = start(json!({}));
    let (answered, rest) = {
        let session = Session::open(&paygate, &rich_key(&paygate));
        let mut events = session.stream(&json!(9), "ask", &sampling(&json!("q")), &Value::Null);
        let id = events.message().json()["id"].clone();
        paygate.signal(Signal::TERM);
        eventually("the drain", || paygate.get("/health").json()["status"] == "draining");
        assert_eq!(session.rpc("ping", &json!({})).status, 503);
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"a": 1}}).to_string();
        // Without its session it answers nobody.
        assert_eq!(paygate.send(&post(&session.key, "", &answer)).status, 503);
        (session.send(&answer).status, events.rest())
    };
    assert_eq!(answered, 202);
    assert!(rest[0]["result"]["content"][0]["text"].as_str().unwrap().contains(r#""a":1"#));
    let ended = paygate.wait();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

#[test]
fn answers_of_others_and_to_nothing_are_dropped() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let (session, other) = (Session::open(&paygate, &key), Session::open(&paygate, &key));
    let mut events = session.stream(&json!(9), "ask", &sampling(&json!("q")), &Value::Null);
    let id = events.message().json()["id"].clone();
    let answer = |text: &str| json!({"jsonrpc": "2.0", "id": id, "result": text}).to_string();
    assert_eq!(other.send(&answer("other session")).status, 202);
    assert_eq!(paygate.send(&post(&key, "", &answer("no session"))).status, 202);
    let foreign = paygate.send(&post("", &session.id, &answer("no key")));
    assert_eq!(foreign.status, 404);
    for unknown in [json!(99), json!("1"), json!("q")] {
        let body = json!({"jsonrpc": "2.0", "id": unknown, "result": {}}).to_string();
        assert_eq!(session.send(&body).status, 202);
    }
    let refusal = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "no"}});
    session.send(&refusal.to_string());
    let answered = events.rest();
    let text = answered[0]["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(r#""id":"q""#) && text.contains(r#""code":-1"#), "{text}");
    assert!(!other.tool("heard", &json!({})).contains("other session"));
}

#[test]
fn without_a_request_in_flight_the_standing_stream_is_asked() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let asks = |method: &str, ask_id: &str| json!({"method": method, "ask_id": ask_id, "ms": 30, "params": {"_meta": {"progressToken": "theirs"}}});
    // It waits for the client to come.
    session.tool("emit", &asks("elicitation/create", "one"));
    let mut stream = session.listen();
    let one = stream.message().json();
    assert_eq!(one["method"], "elicitation/create");
    session.tool("emit", &asks("unheard/of", "two"));
    let two = stream.message().json();
    assert_eq!(
        (&two["method"], &two["params"]["_meta"]["progressToken"]),
        (&json!("unheard/of"), &json!("theirs"))
    );
    assert_ne!(one["id"], two["id"]);
    session.notify("notifications/progress", &json!({"progressToken": "theirs", "progress": 1}));
    session.send(&json!({"jsonrpc": "2.0", "id": two["id"], "result": {"a": 2}}).to_string());
    session.send(&json!({"jsonrpc": "2.0", "id": one["id"], "result": {"a": 1}}).to_string());
    let heard = session.tool("heard", &json!({}));
    let heard: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(heard[1]["params"], json!({"progressToken": "theirs", "progress": 1}));
    assert_eq!((&heard[2]["id"], &heard[2]["result"]), (&json!("two"), &json!({"a": 2})));
    assert_eq!((&heard[3]["id"], &heard[3]["result"]), (&json!("one"), &json!({"a": 1})));
    // A ping of the server is answered for the client.
    session.tool("emit", &json!({"method": "ping", "ask_id": "p", "ms": 30}));
    eventually("the ping is answered", || {
        session.tool("heard", &json!({})).contains(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#)
    });
}

#[test]
fn a_question_that_is_withdrawn_is_withdrawn_under_the_id_that_the_client_knows() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut stream = session.listen();
    session.tool("emit", &json!({"method": "roots/list", "ask_id": "q", "ms": 30}));
    let id = stream.message().json()["id"].clone();
    let cancelled = |id: &str| json!({"method": "notifications/cancelled", "params": {"requestId": id, "reason": "r"}, "ms": 30});
    session.tool("emit", &cancelled("unknown"));
    session.tool("emit", &cancelled("q"));
    let told = stream.message().json();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"], json!({"requestId": id, "reason": "r"}));
    session.send(&json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string());
    assert!(!session.tool("heard", &json!({})).contains("result"), "it comes too late");
}

#[test]
fn a_server_whose_client_is_gone_is_told_so() {
    let paygate = start(
        json!({"maxRequestTimeoutMs": 1500, "requestTimeoutMs": 1500, "globalRateLimitPerMin": 0}),
    );
    let session = Session::open(&paygate, &rich_key(&paygate));
    session.tool("emit", &json!({"method": "roots/list", "ask_id": "q", "ms": 30}));
    let mut heard = String::new();
    eventually("it is answered", || {
        heard = session.tool("heard", &json!({}));
        heard.contains(r#""id":"q","error":{"code":-32603"#)
    });
    // What is asked beyond all measure is refused at once.
    session
        .tool("emit", &json!({"method": "roots/list", "ask_id": "many", "ms": 30, "count": 100}));
    eventually("the rest is refused", || {
        session.tool("heard", &json!({})).matches(r#""id":"many","error":{"code":-32601"#).count()
            == 36
    });
}

#[test]
fn a_session_that_ends_leaves_no_question_open() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut events = session.stream(&json!(9), "ask", &sampling(&json!("q")), &Value::Null);
    events.message();
    assert_eq!(session.end().status, 200);
    let answered = events.rest();
    let text = answered[0]["result"]["content"][0]["text"].to_string();
    assert!(text.contains("the client has ended its session"), "{answered:?}");
}
