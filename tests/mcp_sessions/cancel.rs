//! What a cancellation reaches: a request of one's own session, and nothing else.

use std::thread;

use serde_json::{Value, json};

use crate::client::{Session, post, rpc};
use crate::rich_key;
use crate::support::{Paygate, Setup, eventually};

fn sleep(id: &Value, nonce: &str) -> String {
    rpc(id, "tools/call", &json!({"name": "sleep", "arguments": {"ms": 2000, "nonce": nonce}}))
}

fn cancels(paygate: &Paygate) -> usize {
    let log = paygate.setup().child_log();
    log.iter().filter(|(what, _)| what == "cancelled").count()
}

fn cancel(id: &Value) -> String {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}})
        .to_string()
}

#[test]
fn sessions_of_one_key_with_the_same_ids_cancel_their_own_requests() {
    let paygate = Setup::new().start();
    let key = rich_key(&paygate);
    let (one, two) = (Session::open(&paygate, &key), Session::open(&paygate, &key));
    let id = json!(1);
    let begun = |count: usize| {
        let runs =
            || paygate.setup().child_log().iter().filter(|(what, _)| what == "sleep").count();
        eventually("the calls run", || runs() == count);
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| one.send(&sleep(&id, "one")));
        let second = scope.spawn(|| two.send(&sleep(&id, "two")));
        let sessionless = scope.spawn(|| paygate.send(&post(&key, "", &sleep(&id, "none"))));
        begun(3);
        assert_eq!(two.send(&cancel(&json!("1"))).status, 202);
        assert_eq!(one.send(&cancel(&id)).status, 202);
        let cancelled = first.join().unwrap();
        assert_eq!(cancelled.error_reason(), "cancelled", "{}", cancelled.text());
        assert_eq!(second.join().unwrap().tool_text(), "two");
        assert_eq!(sessionless.join().unwrap().tool_text(), "none");
    });
    assert_eq!((cancels(&paygate), paygate.credits(&key)), (1, 998));
    thread::scope(|scope| {
        let first = scope.spawn(|| one.send(&sleep(&id, "again")));
        begun(4);
        // Without the session the same id names nothing.
        assert_eq!(paygate.send(&post(&key, "", &cancel(&id))).status, 202);
        assert_eq!(two.send(&cancel(&id)).status, 202);
        assert_eq!(one.send(&cancel(&json!("hello"))).status, 202);
        assert_eq!(first.join().unwrap().tool_text(), "again");
    });
    assert_eq!((cancels(&paygate), paygate.credits(&key)), (1, 997));
}

#[test]
fn a_cancelled_stream_ends_with_the_outcome() {
    let paygate = Setup::new().start();
    let session = Session::open(&paygate, &rich_key(&paygate));
    let arguments = json!({"count": 100, "ms": 100});
    let mut events = session.stream(&json!("id"), "progress", &arguments, &json!("t"));
    events.message();
    assert_eq!(session.send(&cancel(&json!("id"))).status, 202);
    let last = events.rest().pop().unwrap();
    assert_eq!(
        (&last["id"], &last["error"]["data"]["reason"]),
        (&json!("id"), &json!("cancelled"))
    );
    assert_eq!(paygate.credits(&session.key), 1000);
    eventually("the server was told", || cancels(&paygate) == 1);
}
