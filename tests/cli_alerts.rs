//! `paygate alerts` against a running Paygate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::json;
use support::{Setup, row};

#[test]
fn rules_are_set_and_what_they_say_is_read() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let set = paygate.said(&["alerts", "set", "credits_low=10", "spending_threshold=80.5:3600"]);
    assert_eq!(row(&set, "credits_low")[1], "10");
    assert_eq!(row(&set, "spending_threshold")[1..], ["80.5", "3600"]);
    let (key, id) = paygate.create_key(&json!({"name": "Ada", "credits": 11}));
    assert_eq!(paygate.answered(&["alerts", "list"])["count"], 0);
    paygate.call(&key, "instant", &json!({"nonce": "n"}));
    let seen = paygate.said(&["alerts", "list"]);
    let alert = seen.lines().find(|line| line.contains(&id)).unwrap();
    assert!(alert.contains("credits_low") && alert.contains("Ada"), "{seen}");
    assert_eq!(row(&seen, "RULE"), ["RULE", "THRESHOLD", "COOLDOWN S"]);
    assert!(paygate.said(&["alerts", "list"]).starts_with("Nothing.\n"), "it was seen");
    assert_eq!(paygate.said(&["alerts", "set", "--none"]), "Nothing.\n");
    for (args, word) in [
        (&["alerts", "set"][..], "RULE"),
        (&["alerts", "set", "credits_low"], "TYPE=THRESHOLD"),
        (&["alerts", "set", "credits_low=much"], "TYPE=THRESHOLD"),
        (&["alerts", "set", "credit_low=1"], "Invalid alert type: credit_low"),
    ] {
        let ended = paygate.command(args);
        assert!(ended.code() == Some(1) && ended.stderr.contains(word), "{args:?} {ended:#?}");
    }
}
