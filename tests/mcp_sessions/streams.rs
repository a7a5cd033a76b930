//! What is told on which stream, and in which order.

use std::io::Read;

use serde_json::{Value, json};

use crate::client::{BOTH, Events, Session, rpc, with};
use crate::support::{Request, Setup, eventually};
use crate::{rich_key, start};

fn log(ms: &Value, count: u32) -> Value {
    json!({"method": "notifications/message", "params": {"level": "info", "data": 1.50}, "ms": ms,
        "count": count, "nonce": "n"})
}

const LOGGED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1.5,"level":"info"}}"#;

#[test]
fn an_answer_that_comes_first_is_json_and_what_is_told_before_it_makes_a_stream() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let plain = session.call("instant", &json!({"nonce": "n"}));
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert_eq!(plain.header("x-credits-remaining"), Some("999"));
    let mut events = session.stream(&json!("a"), "emit", &log(&Value::Null, 3), &Value::Null);
    assert!(events.headers.iter().any(|(name, _)| name == "x-paygate-call-id"));
    let place = events.next().unwrap();
    assert_eq!((place.data.as_str(), place.retry.as_deref()), ("", Some("1000")));
    let stream = place.id.unwrap().split('-').next().unwrap().to_owned();
    for number in 1..=3 {
        let told = events.message();
        assert_eq!(told.data, LOGGED);
        assert_eq!(told.id, Some(format!("{stream}-{number}")));
    }
    let answer = events.rest();
    assert_eq!((answer.len(), &answer[0]["id"]), (1, &json!("a")));
    assert_eq!(paygate.credits(&session.key), 998);
}

#[test]
fn older_clients_get_no_event_without_a_message() {
    let paygate = start(json!({}));
    let session = Session::open_as(&paygate, &rich_key(&paygate), "2025-06-18");
    let mut events = session.stream(&json!(1), "emit", &log(&Value::Null, 1), &Value::Null);
    assert_eq!(events.next().unwrap().data, LOGGED);
    let mut standing = session.listen();
    session.tool("emit", &log(&json!(30), 1));
    assert_eq!(standing.next().unwrap().data, LOGGED);
}

#[test]
fn what_belongs_to_no_request_is_told_on_the_standing_stream() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let (session, other) = (Session::open(&paygate, &key), Session::open(&paygate, &key));
    // It waits until somebody comes for it, and what comes while nothing is in flight belongs to nothing.
    session.tool("emit", &log(&json!(30), 1));
    let updated = json!({"method": "notifications/resources/updated", "params": {"uri": "a:b"}});
    let plain = session.call("emit", &updated);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    let mut stream = session.listen();
    let methods = [stream.message(), stream.message()].map(|event| event.json()["method"].clone());
    let mut methods = methods.map(|method| method.as_str().unwrap().to_owned());
    methods.sort();
    assert_eq!(methods, ["notifications/message", "notifications/resources/updated"]);
    let changed = json!({"method": "notifications/prompts/list_changed"});
    session.tool("emit", &changed);
    assert_eq!(stream.message().json()["method"], "notifications/prompts/list_changed");
    // Another session of the same key hears its own server alone.
    let mut others = other.listen();
    other.tool("emit", &json!({"method": "notifications/mine", "ms": 30}));
    assert_eq!(others.message().json()["method"], "notifications/mine");
}

#[test]
fn progress_goes_to_the_request_that_asked_for_it_and_extends_its_time() {
    let paygate = start(json!({"requestTimeoutMs": 600}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let steps = |events: Vec<Value>| -> Vec<Value> {
        events.iter().map(|event| event["params"]["progress"].clone()).collect()
    };
    std::thread::scope(|scope| {
        for token in [json!("a"), json!(2)] {
            let session = &session;
            scope.spawn(move || {
                let arguments = json!({"count": 5, "ms": 250, "nonce": "n"});
                let mut events = session.stream(&token, "progress", &arguments, &token).rest();
                let answer = events.pop().unwrap();
                assert_eq!(
                    (&answer["id"], &answer["result"]["content"][0]["text"]),
                    (&token, &json!("n"))
                );
                assert!(events.iter().all(|event| event["params"]["progressToken"] == token));
                assert_eq!(steps(events), (1..=5).map(Value::from).collect::<Vec<_>>());
            });
        }
    });
    let silent = session.call("progress", &json!({"count": 5, "ms": 250}));
    assert_eq!(silent.error_reason(), "timeout", "nobody asked for progress, so none was heard");
}

#[test]
fn no_progress_extends_a_call_beyond_the_hard_ceiling() {
    let paygate = start(json!({"requestTimeoutMs": 600, "maxRequestTimeoutMs": 1200}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let arguments = json!({"count": 100, "ms": 100, "nonce": "n"});
    let mut told = session.stream(&json!(1), "progress", &arguments, &json!("t")).rest();
    let end = told.pop().unwrap();
    assert_eq!(end["error"]["data"]["reason"], "timeout", "{end}");
    assert!((6..100).contains(&told.len()), "{} steps were told", told.len());
    assert_eq!(paygate.credits(&session.key), 1000);
}

#[test]
fn a_stream_on_which_nothing_is_told_shows_that_it_is_alive() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut stream = session.listening(None).open(&paygate.address).unwrap();
    let mut seen = Vec::new();
    while memchr::memmem::find(&seen, b": keep-alive\n\n").is_none() {
        let mut piece = [0; 512];
        let length = stream.read(&mut piece).expect("it is not silent");
        assert_ne!(length, 0, "it goes on: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
}

#[test]
fn progress_finds_a_client_that_takes_no_events_on_the_standing_stream() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut stream = session.listen();
    let params = json!({"name": "progress", "arguments": {"count": 1, "nonce": "n"},
        "_meta": {"progressToken": "t"}});
    let request = Request::new("POST", "/mcp").header("Accept", "application/json");
    let request = request.header("Content-Type", "application/json");
    let request = with(request, &session.key, &session.id);
    let answer = paygate.send(&request.body(rpc(&json!(1), "tools/call", &params)));
    assert_eq!(
        (answer.header("content-type"), &*answer.tool_text()),
        (Some("application/json"), "n")
    );
    assert_eq!(stream.message().json()["params"]["progressToken"], "t");
}

#[test]
fn a_newer_listener_takes_the_place_of_an_older_one() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let mut first = session.listen();
    let mut second = session.listen();
    assert!(first.rest().is_empty(), "the first has ended");
    session.tool("emit", &json!({"method": "notifications/x", "ms": 30}));
    assert_eq!(second.message().json()["method"], "notifications/x");
    let html = with(Request::new("GET", "/mcp"), &session.key, &session.id);
    for accept in ["application/json", "*/*", "text/html"] {
        assert_eq!(paygate.send(&html.clone().header("Accept", accept)).status, 406, "{accept}");
    }
    assert_eq!(paygate.send(&html.header("Accept", BOTH).header("Last-Event-ID", "x")).status, 400);
}

#[test]
fn a_restart_of_a_sessions_server_is_told_to_it() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let (session, other) = (Session::open(&paygate, &key), Session::open(&paygate, &key));
    let mut stream = session.listen();
    assert_eq!(session.call("crash", &json!({})).error_reason(), "upstream_exited");
    let told = [stream.message(), stream.message()].map(|event| event.json()["method"].clone());
    assert_eq!(
        told,
        [json!("notifications/tools/list_changed"), json!("notifications/resources/list_changed")]
    );
    assert!(
        session.tool("client", &json!({})).contains("test-client"),
        "it knows its client again"
    );
    assert_eq!(other.tool("instant", &json!({"nonce": "n"})), "n");
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    let paygate = start(json!({}));
    let session = Session::open(&paygate, &rich_key(&paygate));
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", paygate.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let _unread = session.listening(None).open(&paygate.address).unwrap();
    let flood = json!({"method": "notifications/resources/updated", "params": {"text": "x".repeat(10_000)}, "count": 2000});
    session.tool("emit", &flood);
    let before = resident();
    for _ in 0..10 {
        session.tool("emit", &flood);
    }
    let grown_kb = resident().saturating_sub(before);
    assert!(grown_kb < 40_000, "{grown_kb} KB more after 200 MB that nobody read");
    assert_eq!(session.tool("instant", &json!({"nonce": "n"})), "n");
}

#[test]
fn open_streams_do_not_delay_the_end_of_paygate() {
    let paygate = Setup::new().ephemeral().start();
    let key = rich_key(&paygate);
    let sessions = [(); 3].map(|()| Session::open(&paygate, &key));
    let mut streams = sessions.each_ref().map(Session::listen);
    let began = std::time::Instant::now();
    paygate.signal(rustix::process::Signal::TERM);
    for stream in &mut streams {
        assert!(stream.rest().is_empty());
    }
    eventually("it has ended", || {
        paygate.output().is_empty() || crate::children(&paygate).is_empty()
    });
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    drop(sessions);
    let mut paygate = paygate;
    paygate.wait().expect_success();
}

#[test]
fn a_stream_of_several_requests_is_about_none_of_their_calls() {
    let paygate = start(json!({}));
    let session = Session::open_as(&paygate, &rich_key(&paygate), "2025-03-26");
    let call = |id: i64| {
        let meta = json!({"progressToken": id});
        let params =
            json!({"name": "progress", "arguments": {"count": 2, "ms": 100}, "_meta": meta});
        rpc(&json!(id), "tools/call", &params)
    };
    let one = Events::open(&paygate, &session.request(&call(1)));
    let several = format!("[{},{}]", call(2), call(3));
    let several = Events::open(&paygate, &session.request(&several));
    let names_a_call =
        |events: &Events| events.headers.iter().any(|(name, _)| name == "x-paygate-call-id");
    assert_eq!((names_a_call(&one), names_a_call(&several)), (true, false));
}
