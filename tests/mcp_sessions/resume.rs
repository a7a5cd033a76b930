//! A client that lost its connection comes back for what it missed.

use std::io::Read;

use serde_json::{Value, json};

use crate::client::{Session, rpc};
use crate::support::eventually;
use crate::{rich_key, start};

/// A call that tells of 6 steps of progress, 200 ms apart.
fn slow_call(session: &Session<'_>) -> crate::client::Events {
    let arguments = json!({"count": 6, "ms": 200, "nonce": "n"});
    session.stream(&json!("call"), "progress", &arguments, &json!("t"))
}

fn steps(events: &[Value]) -> Vec<i64> {
    events.iter().filter_map(|event| event["params"]["progress"].as_i64()).collect()
}

#[test]
fn a_broken_stream_is_read_on_with_its_answer_and_nobody_elses() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut events = slow_call(&session);
    let first = events.message();
    assert_eq!(first.json()["params"]["progress"], 1);
    drop(events);
    session.tool("emit", &json!({"method": "notifications/resources/updated"}));
    let mut again = session.listen_after(first.id.as_deref().unwrap());
    let told = again.rest();
    assert_eq!(steps(&told), [2, 3, 4, 5, 6]);
    let answer = told.last().unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!("call"), &json!("n"))
    );
    assert_eq!(told.len(), 6);
    assert_eq!(paygate.credits(&session.key), 998, "one call and another, each once");
    // The same once more: it is still kept.
    let told = session.listen_after(first.id.as_deref().unwrap()).rest();
    assert_eq!(steps(&told), [2, 3, 4, 5, 6]);
    assert_eq!(session.listen().message().json()["method"], "notifications/resources/updated");
}

#[test]
fn nobody_reads_on_in_the_stream_of_another_session() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let (session, other) = (Session::open(&paygate, &key), Session::open(&paygate, &key));
    let mut events = slow_call(&session);
    let id = events.message().id.unwrap();
    let foreign = paygate.send(&other.listening(Some(&id)));
    assert_eq!((foreign.status, foreign.error_code()), (400, -32600), "{}", foreign.text());
    assert_eq!(steps(&events.rest()), [2, 3, 4, 5, 6]);
}

#[test]
fn the_standing_stream_goes_on_where_it_broke() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let tell = |number: i64| {
        session
            .tool("emit", &json!({"method": "notifications/x", "params": {"n": number}, "ms": 30}));
    };
    let number = |event: &crate::client::Event| event.json()["params"]["n"].as_i64().unwrap();
    let mut stream = session.listen();
    let place = stream.next().unwrap().id.unwrap();
    tell(1);
    tell(2);
    let first = stream.message();
    assert_eq!((number(&first), number(&stream.message())), (1, 2));
    drop(stream);
    tell(3);
    let mut again = session.listen_after(first.id.as_deref().unwrap());
    assert_eq!([again.message(), again.message()].map(|event| number(&event)), [2, 3]);
    let mut from_start = session.listen_after(&place);
    let all = [from_start.message(), from_start.message(), from_start.message()];
    assert_eq!(all.map(|event| number(&event)), [1, 2, 3]);
}

#[test]
fn a_client_that_left_before_the_first_word_costs_nobody_anything() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let params = json!({"name": "sleep", "arguments": {"ms": 300, "nonce": "n"}});
    let mut left =
        session.request(&rpc(&json!(1), "tools/call", &params)).open(&paygate.address).unwrap();
    left.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    left.read_to_string(&mut text).unwrap();
    assert!(text.ends_with(r#"{"content":[{"type":"text","text":"n"}]}}"#), "{text}");
    drop(session.request(&rpc(&json!(2), "tools/call", &params)).open(&paygate.address).unwrap());
    eventually("the call is paid all the same", || paygate.credits(&session.key) == 998);
}
