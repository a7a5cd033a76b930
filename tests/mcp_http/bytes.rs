//! What a client wrote reaches the child as it was written, and its id comes back so.

use std::io::Write;

use serde_json::json;

use super::support::{Request, Response};
use super::{call_text, post, raw_request, rich_key, start};

#[test]
fn arguments_pass_byte_for_byte() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let arguments = [
        "{}",
        r#"{"n":12345678901234567890}"#,
        r#"{"n":1.0,"m":1e400,"o":-0,"p":0.10,"q":1E+2}"#,
        r#"{"z":1,"a":2,"m":3,"a":4}"#,
        r#"{"s":"\u00e9\u20ac\ud83d\ude00 é€😀 \/ \\ \" \u0000"}"#,
        r#"{"unpaired":"\ud800"}"#,
        r#"{ "a" : [ 1 ,2 , { } ] , "b" : null }"#,
        r#"{"":"","jsonrpc":"1.0","id":5,"method":"x"}"#,
    ];
    for arguments in arguments {
        let response = post(&paygate, &key, call_text("1", "echo_raw", arguments));
        assert_eq!(response.tool_text(), arguments);
    }
}

#[test]
fn a_pretty_printed_body_stays_one_message() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let arguments = "{\n  \"a\": [\r\n    1.0,\n    2\n  ],\n\t\"b\": \"c\"\n}";
    let body = call_text("1", "echo_raw", arguments).replace(",\"method\"", ",\n\t\"method\"");
    let echoed = post(&paygate, &key, body).tool_text();
    // Line ends between tokens cannot go over stdio; everything else stays.
    let without_lines = |text: &str| text.replace(['\n', '\r'], "");
    assert_eq!(without_lines(&echoed), without_lines(arguments));
    assert_eq!(post(&paygate, &key, call_text("2", "instant", "{}")).json()["id"], 2);
}

#[test]
fn a_body_may_be_cut_inside_a_character() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let body = call_text("1", "echo_raw", r#"{"s":"€"}"#);
    let head = raw_request(&key, body.clone()).to_bytes(&paygate.address);
    let euro = head.windows(3).position(|bytes| bytes == "€".as_bytes()).expect("it is there");
    for cut in [euro + 1, euro + 2] {
        // The first part leaves with the head; the write of the second is a packet of its own.
        let (first, second) = head.split_at(cut);
        let mut stream = std::net::TcpStream::connect(&paygate.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(super::support::PATIENCE)).unwrap();
        stream.write_all(first).unwrap();
        // Another request is answered in between: the first part has been read by then, or waits.
        assert_eq!(paygate.rpc("", "ping", &json!({})).status, 200);
        stream.write_all(second).unwrap();
        assert_eq!(Response::read(stream).unwrap().tool_text(), r#"{"s":"€"}"#);
    }
}

#[test]
fn a_body_may_come_in_chunks() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let body = call_text("1", "echo_raw", r#"{"s":"€"}"#);
    let chunks: Vec<u8> = body
        .as_bytes()
        .chunks(5)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let request = Request::new("POST", "/mcp").header("X-API-Key", &key).body(chunks);
    let response = paygate.send(&request.header("Transfer-Encoding", "chunked"));
    assert_eq!(response.tool_text(), r#"{"s":"€"}"#);
}

/// Ids in every spelling that JSON-RPC allows.
const IDS: [&str; 14] = [
    "0",
    "-1",
    "1.5",
    "1.0",
    "1e3",
    "-0",
    "123456789012345678901234567890",
    "9007199254740993",
    r#""""#,
    r#""1""#,
    r#""a\u0000b""#,
    r#""\/\"\\ \u20ac""#,
    r#""€😀""#,
    r#""\ud800""#,
];

#[test]
fn ids_come_back_as_they_were_written() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for id in IDS {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let unknown = call_text(id, "no such tool", "{}");
        let error = call_text(id, "error", "{}");
        let batch = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call_batch","params":{{"calls":[{{"name":"instant"}}]}}}}"#
        );
        let list = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
        let bodies = [call_text(id, "instant", "{}"), ping, unknown, error, batch, list];
        for credential in [&key, ""] {
            for body in &bodies {
                let text = post(&paygate, credential, body.as_str()).text();
                assert!(text.contains(&format!(r#""id":{id},"#)), "{body}: {text}");
            }
        }
    }
}

#[test]
fn the_child_never_sees_a_clients_id_or_token() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let body = r#"{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"meta","arguments":{},"_meta":{"k":1.0,"progressToken":"my-token","z":[]}}}"#;
    let response = post(&paygate, &key, body);
    let seen = response.tool_text();
    assert!(!seen.contains("mine") && !seen.contains("my-token"), "{seen}");
    assert!(seen.contains(r#""k":1.0"#) && seen.contains(r#""z":[]"#), "{seen}");
    assert_eq!(response.json()["id"], "mine");
}
