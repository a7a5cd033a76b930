//! What is read, what is refused, and that what goes on is what came in.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::protocol::to_server;

fn request(text: &str) -> Request<'_> {
    match read(text.as_bytes()) {
        Ok(Incoming::Single(Message::Request(request))) => request,
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> (i32, String) {
    let invalid = read(text.as_bytes()).unwrap_err();
    (invalid.code.code(), invalid.id)
}

#[test]
fn ids_are_kept_as_written() {
    for id in
        ["1", "-1", "1.5", "1e3", "-0", "123456789012345678901234567890", r#""a\u0041 b""#, r#""""#]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(request(&text).id, id);
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_id_if_it_is_known() {
    let cases = [
        ("", -32700, "null"),
        ("{", -32700, "null"),
        ("nonsense", -32700, "null"),
        ("[1,", -32700, "null"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", -32700, "null"),
        ("1", -32600, "null"),
        ("null", -32600, "null"),
        (r#"{"id":1,"method":"ping"}"#, -32600, "1"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, "1"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":"x"}"#, -32600, "\"x\""),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":"x"}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","result":{}}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":1,"ID":2,"method":"a"}"#, -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","param\u017f":{}}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params\u0000":{}}"#, -32600, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","Name":"y"}}"#, -32602, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"uri":1,"uri":2}}"#, -32602, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"tas\u212aId":1}}"#, -32602, "1"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progresstoken":1}}}"#,
            -32602,
            "1",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call_batch","params":{"calls":[],"Calls":[]}}"#,
            -32602,
            "1",
        ),
    ];
    for (text, code, id) in cases {
        assert_eq!(refused(text), (code, id.to_owned()), "{text}");
    }
    assert_eq!(read(b"\xff").unwrap_err().code, ErrorCode::ParseError);
}

#[test]
fn notifications_responses_and_arrays_are_told_apart() {
    let kind = |text: &str| match read(text.as_bytes()).unwrap() {
        Incoming::Single(Message::Request(_)) => "request",
        Incoming::Single(Message::Notification { .. }) => "notification",
        Incoming::Single(Message::Response { .. }) => "response",
        Incoming::Batch(_) => "batch",
    };
    assert_eq!(
        kind(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":1,"NAME":2}}"#),
        "notification"
    );
    assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), "response");
    assert_eq!(kind(r#"{"jsonrpc":"2.0","id":"a","error":{}}"#), "response");
    assert_eq!(kind(" \n[1, {}, []]"), "batch");
    assert_eq!(kind("[]"), "batch");
}

#[test]
fn a_request_goes_on_as_it_came_under_our_id() {
    let text = concat!(
        "{\"jsonrpc\": \"2.0\",\n\"x\":[1.0,\r\n2],\"id\":\"mine\",\"params\":{\n\"arguments\":{\"a\":1e400,\"a\":2},",
        "\"n\\u0061me\":\"t\\/\\u00e9\",\"_meta\":{\"k\":1,\"progressToken\":\"p\"},\"other\":[ ]},\"method\":\"tools\\/call\"}"
    );
    let line = to_server::request(&request(text), 77, None);
    let expected = concat!(
        "{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"tools/call\",\"params\":{\"arguments\":{\"a\":1e400,\"a\":2},",
        "\"name\":\"t/é\",\"_meta\":{\"k\":1,\"progressToken\":77},\"other\":[ ]},\"x\":[1.0,2]}"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn no_progress_is_asked_for_that_the_client_did_not_ask_for() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":null}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
    ] {
        let line = String::from_utf8(to_server::request(&request(text), 5, None)).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&line.replace("\"id\":5", "\"id\":1")).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_/\\\\\"]{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(Incoming::Batch(entries)) = read(&bytes) {
            for entry in entries {
                drop(Message::read(entry));
            }
        }
    }

    #[test]
    fn any_text_like_json_is_read_without_a_panic(text in "[\\[\\]{}\",:a-z0-9\\\\ \n.-]{0,64}") {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{text}}}"#);
        if let Ok(Incoming::Single(Message::Request(request))) = read(body.as_bytes()) {
            let line = to_server::request(&request, 9, None);
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&line).is_ok());
        }
    }

    #[test]
    fn params_go_on_as_equal_json(
        arguments in json(), name in ".{0,12}", meta in prop::option::of(json()), token in any::<bool>(), pretty in any::<bool>(),
    ) {
        let mut params = serde_json::json!({"name": name, "arguments": arguments, "zz": meta});
        if token {
            params["_meta"] = serde_json::json!({"progressToken": "mine", "a/b": arguments});
        }
        let message = serde_json::json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params});
        let body = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
        let body = body.unwrap();
        let line = to_server::request(&request(&body), 4711, None);
        prop_assert!(!line.contains(&b'\n'));
        let mut sent: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&sent["id"], 4711);
        if token {
            prop_assert_eq!(&sent["params"]["_meta"]["progressToken"], 4711);
            sent["params"]["_meta"]["progressToken"] = "mine".into();
        }
        prop_assert_eq!(&sent["params"], &message["params"]);
    }
}
