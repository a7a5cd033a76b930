//! `paygate webhooks` against a running Paygate and a receiver that fails.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics; the receiver is shared with another test"
)]

#[path = "webhooks/receiver.rs"]
mod receiver;
mod support;

use receiver::{Receiver, Reply};
use serde_json::json;
use support::{Setup, eventually, row};

#[test]
fn a_receiver_that_fails_is_seen_and_sent_to_again() {
    let receiver = Receiver::start();
    let config = json!({
        "webhookUrl": receiver.url(), "webhookAllowPrivate": true, "webhookMaxRetries": 0,
    });
    let paygate = Setup::new().without_child_log().config(config).start();
    assert_eq!(row(&paygate.said(&["webhooks", "test"]), "delivered")[1], "yes");
    receiver.always(Reply::Status(500));
    let failed = paygate.command(&["webhooks", "test"]);
    assert_eq!((failed.code(), row(&failed.stdout, "status")[1].as_str()), (Some(1), "500"));
    assert!(failed.stderr.contains("did not take"), "{failed:#?}");
    paygate.create_key(&json!({"name": "Ada"}));
    eventually("a dead letter", || {
        paygate.answered(&["webhooks", "stats"])["deadLetterCount"].as_i64() >= Some(1)
    });
    let letters = paygate.said(&["webhooks", "dead-letters"]);
    let letter = letters.lines().nth(1).unwrap();
    let id = letter.split_whitespace().next().unwrap();
    assert!(letter.contains("500"), "{letters}");
    receiver.always(Reply::Status(200));
    let replayed = paygate.said(&["webhooks", "replay", id]);
    assert_eq!(row(&replayed, "replaying")[1], "1");
    eventually("it is taken", || {
        paygate.answered(&["webhooks", "dead-letters"])["count"] == json!(0)
    });
    assert_eq!(row(&paygate.said(&["webhooks", "clear"]), "cleared")[1], "0");
}
