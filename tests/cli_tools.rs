//! `paygate tools`: the list that a customer sees, and calls through the real path, with what they
//! cost and an exit code for each way to end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::TcpListener;

use serde_json::{Value, json};
use support::{Ended, Paygate, Setup, row};

fn call(paygate: &Paygate, key: &str, args: &[&str]) -> Ended {
    let args: Vec<&str> = ["tools", "call"].iter().chain(args).copied().collect();
    paygate.command_with(&args, &[("PAYGATE_API_KEY", key)])
}

#[test]
fn tools_are_listed_as_a_customer_sees_them() {
    let prices =
        json!({"instant": {"creditsPerCall": 5, "creditsPerKbInput": 0.25, "rateLimitPerMin": 9}});
    let paygate = Setup::new().ephemeral().config(json!({"toolPricing": prices})).start();
    // Nobody needs a key to see them; a key shows what it may call.
    let all = paygate.command_with(&["tools"], &[]).expect_success().stdout;
    assert_eq!(
        row(&all, "instant"),
        ["instant", "5", "0.25", "9", "Answers at once with the nonce"]
    );
    assert_eq!(row(&all, "fail")[1..4], ["1", "-", "60"]);
    let (key, _) = paygate.create_key(&json!({"allowedTools": ["instant"]}));
    let own = paygate.command_with(&["tools", "list", "--json"], &[("PAYGATE_API_KEY", &key)]);
    let own: Value = serde_json::from_str(&own.expect_success().stdout).unwrap();
    let names: Vec<&Value> =
        own["tools"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["instant"]);
}

#[test]
fn a_call_says_what_it_cost_and_how_it_ended() {
    let config =
        json!({"toolPricing": {"instant": {"creditsPerCall": 3}}, "requestTimeoutMs": 700});
    let paygate = Setup::new().ephemeral().config(config).start();
    let (key, _) = paygate.create_key(&json!({"credits": 10, "deniedTools": ["big"]}));
    let args = r#"{"nonce": "hello"}"#;
    let done = call(&paygate, &key, &["instant", "--args", args]);
    assert_eq!((done.code(), done.stderr.as_str()), (Some(0), ""), "{done:#?}");
    assert!(done.stdout.starts_with("hello\n\ncharged 3, 7 left (call_"), "{done:#?}");
    // The same request again, by its name: run and paid once.
    let once = ["instant", "--args", args, "--idempotency-key", "order-1"];
    let first = call(&paygate, &key, &once).expect_success().stdout;
    assert!(first.contains("charged 3, 4 left"), "{first}");
    let again = call(&paygate, &key, &once).expect_success().stdout;
    assert!(again.starts_with("hello\n\nnothing charged anew, 4 left"), "{again}");

    // (arguments, exit code, words on stderr)
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["fail"], 3, &["charged 0, 4 left (call_"]),
        (&["error"], 3, &["charged 0, 4 left (call_"]),
        (&["hang"], 3, &["charged 0, 4 left (call_"]),
        (&["big"], 2, &["tool_denied", "refused, nothing charged, 4 left"]),
        (&["no_such_tool"], 2, &["Unknown tool", "refused, nothing charged"]),
        (&["instant", "--args", "[1]"], 1, &["--args must be a JSON object"]),
    ];
    for (args, code, words) in cases {
        let ended = call(&paygate, &key, args);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(code), ""), "{args:?} {ended:#?}");
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{args:?}: {word:?} is missing in {}",
                ended.stderr
            );
        }
    }
    assert_eq!(paygate.credits(&key), 4);
    let told = |args: &[&str], code: i32| -> Value {
        let ended = call(&paygate, &key, args);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(code), ""), "{ended:#?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let told_well = told(&["instant", "--json"], 0);
    assert_eq!((&told_well["outcome"], &told_well["charged"]), (&json!("result"), &json!(3)));
    let refused = told(&["instant", "--json"], 2);
    assert_eq!((&refused["outcome"], &refused["callId"]), (&json!("refused"), &Value::Null));
    assert_eq!(
        refused["answer"]["error"]["data"]["reason"],
        "insufficient_credits: need 3, have 1"
    );
    assert_eq!(told(&["fail", "--json"], 3)["outcome"], "failed");
    let id = told_well["callId"].as_str().unwrap();
    assert_eq!(paygate.answered(&["explain", id])["charged"], 3);

    // Nobody there, no key, a wrong key: only the last was refused by Paygate.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{nobody}");
    let ended = call(&paygate, &key, &["instant", "--url", &nowhere]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("does not answer"), "{ended:#?}");
    let ended = paygate.command_with(&["tools", "call", "instant"], &[]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("PAYGATE_API_KEY"), "{ended:#?}");
    let ended = call(&paygate, "pg_wrong", &["instant"]);
    assert!(ended.code() == Some(2) && ended.stderr.contains("invalid_api_key"), "{ended:#?}");
}

#[test]
fn a_handshake_can_be_refused_too() {
    let paygate = Setup::new().ephemeral().config(json!({"requireKey": "all"})).start();
    let ended = call(&paygate, "pg_wrong", &["instant"]);
    assert!(ended.code() == Some(2) && ended.stderr.contains("invalid_api_key"), "{ended:#?}");
    let ended = paygate.command_with(&["tools"], &[]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("missing_api_key"), "{ended:#?}");
}

/// Whatever era the server behind speaks, and however denials are put.
#[test]
fn servers_of_every_era_are_spoken_to() {
    for (era, style) in [("legacy", "result"), ("dual", "http"), ("modern", "auto")] {
        let setup = Setup::new().ephemeral().config(json!({"denialStyle": style}));
        let paygate = setup.env("SCRIPTED_ERA", era).start();
        let (key, _) = paygate.create_key(&json!({"credits": 1}));
        let listed = paygate.command_with(&["tools"], &[]).expect_success().stdout;
        assert_eq!(row(&listed, "instant")[1], "1", "{era}");
        let done = call(&paygate, &key, &["instant", "--args", r#"{"nonce": "hello"}"#]);
        assert_eq!((done.code(), done.stderr.as_str()), (Some(0), ""), "{era} {done:#?}");
        assert!(done.stdout.starts_with("hello\n\ncharged 1, 0 left (call_"), "{era} {done:#?}");
        let refused = call(&paygate, &key, &["instant"]);
        assert_eq!(refused.code(), Some(2), "{era} {refused:#?}");
        assert!(refused.stderr.contains("refused, nothing charged, 0 left"), "{era} {refused:#?}");
    }
}
