//! What is no message, and what could be read in two ways, is refused before anything runs.

use serde_json::{Value, json};

use super::{post, rich_key, runs, start};

fn refused(cases: &[(&str, Value)], code: i64) {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    for (body, id) in cases {
        let response = post(&paygate, &key, *body);
        let answer = response.json();
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
        assert_eq!(answer.get("id"), Some(id), "{body}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0", "{body}");
        assert!(matches!(response.status, 200 | 400), "{body}: {}", response.status);
    }
    assert_eq!(runs(&paygate), 0);
    assert_eq!(paygate.credits(&key), 1000);
}

#[test]
fn what_is_not_json() {
    let cases = [
        "",
        "{",
        "}",
        "hello",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#,
        "[",
        "[1,",
        "{'a':1}",
        "\u{feff}{}",
    ];
    refused(&cases.map(|body| (body, Value::Null)), -32700);
}

#[test]
fn bytes_that_are_not_utf8() {
    let paygate = start(json!({}));
    let response =
        post(&paygate, "", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec());
    assert_eq!(response.error_code(), -32700, "{}", response.text());
}

#[test]
fn what_is_json_but_no_message() {
    let cases = [
        ("null", Value::Null),
        ("5", Value::Null),
        (r#""text""#, Value::Null),
        ("true", Value::Null),
        ("{}", Value::Null),
        (r#"{"id":7,"method":"ping"}"#, json!(7)),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, json!(7)),
        (r#"{"jsonrpc":2.0,"id":7,"method":"ping"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","id":7}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":5}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":5}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"Tools/call","params":{"name":"instant"}}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call\u0000"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tool\u017f/call_batch"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":" tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#, json!(7)),
    ];
    refused(&cases, -32600);
}

#[test]
fn members_that_are_written_twice_or_in_a_second_way() {
    let top = [
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","method\u0000":"tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","\u0000method":"tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","m\u0065thod":"tools/call"}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","PARAMS":{}}"#, json!(7)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","param\u017f":{}}"#, json!(7)),
    ];
    refused(&top, -32600);
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
    };
    let batch = |item: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call_batch","params":{{"calls":[{item}]}}}}"#
        )
    };
    let inside = [
        call(r#"{"name":"meta","name":"instant"}"#),
        call(r#"{"name":"meta","Name":"instant"}"#),
        call(r#"{"name":"meta","name\u0000x":"instant"}"#),
        call(r#"{"name":"meta","NAME":"instant","arguments":{}}"#),
        call(r#"{"name":"instant","arguments":{},"Arguments":{}}"#),
        call(r#"{"name":"instant","arguments":{},"arguments":{}}"#),
        call(r#"{"name":"instant","_meta":{},"_META":{}}"#),
        call(r#"{"name":"instant","_meta":{"progressToken":1,"progressToken":2}}"#),
        call(r#"{"name":"instant","_meta":{"progressToken":1,"ProgressToken":2}}"#),
        call(r#"{"name":"instant","_meta":{"progressToken":1,"progressTo\u212aen":2}}"#),
        batch(r#"{"name":"meta","name":"instant"}"#),
        batch(r#"{"name":"meta","nAme":"instant"}"#),
        batch(r#"{"name":"meta","\u0000name":"instant"}"#),
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call_batch","params":{"calls":[],"Calls":[{"name":"instant"}]}}"#.to_owned(),
    ];
    let inside: Vec<_> = inside.iter().map(|body| (body.as_str(), json!(7))).collect();
    refused(&inside, -32602);
}

#[test]
fn calls_without_a_name_are_free() {
    let params = [
        "",
        r#","params":{}"#,
        r#","params":[]"#,
        r#","params":{"name":5}"#,
        r#","params":{"name":""}"#,
        r#","params":{"name":null}"#,
    ];
    let bodies =
        params.map(|params| format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call"{params}}}"#));
    let cases: Vec<_> = bodies.iter().map(|body| (body.as_str(), json!(7))).collect();
    refused(&cases, -32602);
}

#[test]
fn what_has_no_meaning_may_be_written_twice() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let body = r#"{"jsonrpc":"2.0","x":1,"X":2,"x":3,"id":7,"method":"tools/call","params":{"name":"echo_raw","arguments":{"name":1,"Name":2,"name":3},"y":1,"y":2}}"#;
    let response = post(&paygate, &key, body);
    assert_eq!(response.tool_text(), r#"{"name":1,"Name":2,"name":3}"#);
}
