//! An array of messages as body: each entry is gated on its own, in the one version that has it.

use serde_json::{Value, json};

use super::{call_text, post, raw_request, rich_key, runs, start};

fn array(entries: &[String]) -> String {
    format!("[{}]", entries.join(","))
}

#[test]
fn each_entry_is_paid_for() {
    let paygate = start(json!({"defaultCreditsPerCall": 5}));
    let (key, _) = paygate.create_key(&json!({"credits": 12}));
    let entry =
        |id: &str, nonce: &str| call_text(id, "instant", &format!(r#"{{"nonce":"{nonce}"}}"#));
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#.to_owned();
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let body = array(&[
        entry("1", "a"),
        ping,
        notification,
        entry("2", "b"),
        "5".to_owned(),
        entry("3", "c"),
    ]);
    for version in [None, Some("2025-03-26")] {
        let mut request = raw_request(&key, body.clone());
        if let Some(version) = version {
            request = request.header("MCP-Protocol-Version", version);
        }
        let response = paygate.send(&request);
        let answers = response.json();
        let answers = answers.as_array().unwrap_or_else(|| panic!("{}", response.text()));
        // The notification has no answer; what is no message has one without an id.
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
        assert_eq!(ids, [json!(1), json!("p"), json!(2), Value::Null, json!(3)]);
        let paid = answers.iter().filter(|answer| answer["result"]["content"].is_array()).count();
        let denied = answers.iter().filter(|answer| answer["error"]["code"] == -32402).count();
        let expected = if version.is_none() { (2, 1) } else { (0, 3) };
        assert_eq!((paid, denied), expected, "{answers:?}");
        assert_eq!(answers[3]["error"]["code"], -32600);
    }
    assert_eq!(paygate.credits(&key), 2);
    assert_eq!(runs(&paygate), 2);
}

#[test]
fn without_a_key_nothing_in_an_array_runs() {
    let paygate = start(json!({}));
    let call = call_text("1", "instant", "{}");
    let response = post(&paygate, "", array(&[call.clone(), call]));
    for answer in response.json().as_array().expect("an array") {
        assert_eq!(answer["error"]["data"]["reason"], "missing_api_key", "{answer}");
    }
    assert_eq!(runs(&paygate), 0);
}

#[test]
fn an_array_of_notifications_has_no_answer() {
    let paygate = start(json!({}));
    let response =
        post(&paygate, "", r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#);
    assert_eq!((response.status, response.text().as_str()), (202, ""));
}

#[test]
fn arrays_that_are_refused() {
    let paygate = start(json!({"maxBatchCalls": 3}));
    let key = rich_key(&paygate);
    let call = || call_text("1", "instant", "{}");
    let cases = [
        ("2025-06-18", array(&[call()])),
        ("2025-11-25", array(&[call()])),
        ("2024-11-05", array(&[call()])),
        ("2025-03-26", array(&[])),
        ("2025-03-26", array(&[call(), call(), call(), call()])),
    ];
    for (version, body) in cases {
        let request = raw_request(&key, body.clone()).header("MCP-Protocol-Version", version);
        let response = paygate.send(&request);
        let error = response.json();
        assert_eq!(error["error"]["code"], -32600, "{version} {body}: {error}");
        assert_eq!(error.get("id"), Some(&Value::Null));
    }
    assert_eq!(runs(&paygate), 0);
    assert_eq!(paygate.credits(&key), 1000);
}
