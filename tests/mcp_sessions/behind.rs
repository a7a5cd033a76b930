//! What stands behind Paygate is not seen in a session: the same before a server at a URL and before
//! several under one address.

use serde_json::{Value, json};

use crate::client::Session;
use crate::support::{Paygate, Setup, scripted_child};
use crate::{rich_key, start};

/// Does the same before each, with the prefix that its tools have there.
fn before_each(check: impl Fn(&Paygate, &str)) {
    let elsewhere = start(json!({}));
    let headers = json!({"X-API-Key": rich_key(&elsewhere)});
    let remote = json!({"remoteUrl": elsewhere.mcp_url(), "upstreamHeaders": headers});
    let several = ["one", "two"].map(
        |prefix| json!({"prefix": prefix, "serverCommand": scripted_child(), "serverArgs": []}),
    );
    for (config, prefix) in [(remote, ""), (json!({"servers": several}), "one:")] {
        let paygate = Setup::new().ephemeral().without_server().config(config).start();
        check(&paygate, prefix);
        paygate.stop().expect_success();
    }
}

#[test]
fn a_session_begins_belongs_to_its_key_and_ends() {
    before_each(|paygate, prefix| {
        let session = Session::open(paygate, &rich_key(paygate));
        assert_eq!(session.tool(&format!("{prefix}instant"), &json!({"nonce": "n"})), "n");
        let foreign = Session {
            key: rich_key(paygate),
            result: Value::Null,
            id: session.id.clone(),
            paygate,
        };
        let unknown = Session {
            key: session.key.clone(),
            result: Value::Null,
            id: "mcp_sess_".to_owned() + &"0".repeat(32),
            paygate,
        };
        assert_eq!((session.status(), foreign.status(), unknown.status()), (200, 404, 404));
        assert_eq!((foreign.end().status, session.status()), (404, 200));
        assert_eq!((session.end().status, session.status()), (200, 404));
    });
}

#[test]
fn a_broken_stream_and_the_standing_one_are_read_on() {
    before_each(|paygate, prefix| {
        let session = Session::open(paygate, &rich_key(paygate));
        let arguments = json!({"count": 4, "ms": 200, "nonce": "n"});
        let tool = format!("{prefix}progress");
        let mut events = session.stream(&json!("call"), &tool, &arguments, &json!("t"));
        let first = events.message();
        drop(events);
        let told = session.listen_after(first.id.as_deref().unwrap()).rest();
        let steps: Vec<_> = told.iter().map(|told| told["params"]["progress"].as_i64()).collect();
        assert_eq!(steps, [Some(2), Some(3), Some(4), None]);
        assert_eq!((&told[3]["id"], paygate.credits(&session.key)), (&json!("call"), 999));

        let tell = |number: i64| {
            let arguments = json!({"method": "notifications/x", "params": {"n": number}, "ms": 30});
            session.tool(&format!("{prefix}emit"), &arguments);
        };
        let mut stream = session.listen();
        tell(1);
        let first = stream.message();
        drop(stream);
        tell(2);
        let next = session.listen_after(first.id.as_deref().unwrap()).message();
        assert_eq!(
            [first.json()["params"]["n"].clone(), next.json()["params"]["n"].clone()],
            [1, 2]
        );
    });
}
