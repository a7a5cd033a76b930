//! The table of running requests, and a store that has no room for more.

use serde_json::{Value, json};

use super::super::tests::{Bench, CREDITS, PRICE, answer, bench, options};
use super::*;

fn once(id: &str, request: &str) -> Once {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Once { id: digest(id), request: digest(request), note: String::new() }
}

fn first(repeats: &Repeats) -> First {
    match repeats.enter(once("k", "r")) {
        Place::First(first) => first,
        Place::After(_) | Place::Other => panic!("something else runs"),
    }
}

fn after(repeats: &Repeats) -> watch::Receiver<Option<Told>> {
    match repeats.enter(once("k", "r")) {
        Place::After(told) => told,
        Place::First(_) | Place::Other => panic!("nothing runs"),
    }
}

fn ended(outcome: Failure) -> Told {
    Told::Ended(Arc::new(Outcomes { outcomes: vec![Err(outcome)], charged: vec![0] }), None)
}

#[tokio::test]
async fn those_that_wait_are_told_or_go_on() {
    let repeats = Repeats::default();
    // (what the first one says, whether those that wait are told)
    let cases = [
        (None, false),
        (Some(ended(Failure::Cancelled)), false),
        (Some(ended(Failure::Timeout)), true),
        (Some(Told::Withheld(fault::ours(), None)), true),
    ];
    for (said, told) in cases {
        let running = first(&repeats);
        let mut waiting = after(&repeats);
        assert!(matches!(repeats.enter(once("k", "other")), Place::Other));
        assert!(matches!(repeats.enter(once("j", "r")), Place::First(_)), "another name");
        if let Some(said) = &said {
            running.tell(said);
        }
        drop(running);
        assert_eq!(waiting.wait_for(Option::is_some).await.is_ok(), told, "{said:?}");
        drop(first(&repeats));
        assert!(repeats.running.is_empty());
    }
}

impl Bench {
    async fn repeatable(&self, name: &str) -> Value {
        let meta = json!({IDEMPOTENCY_META: name});
        let params = json!({"name": "echo", "arguments": {"x": 1}, "_meta": meta});
        let message =
            json!({"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params});
        answer(self.send(&message).await).0
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_names_before_the_hold() {
    let bench = bench(options()).await;
    let first = bench.repeatable("old").await;
    assert_eq!(first["result"], json!({"x": 1}));
    bench.store.pretend_kept_full(true);
    let refused = bench.repeatable("new").await;
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    assert_eq!(refused["error"]["data"]["reason"], "idempotency_store_full");
    assert!(refused["error"]["data"]["retryAfterMs"].is_i64());
    assert_eq!(bench.repeatable("old").await, first, "nothing is evicted");
    let (unnamed, shown) = bench.call("echo", json!({})).await;
    assert_eq!(unnamed["result"], json!({}), "calls without a name go on");
    let left = CREDITS - 2 * PRICE;
    assert_eq!((bench.available().await, shown.rate().unwrap().remaining), (left, 48));
    bench.store.pretend_kept_full(false);
    assert_eq!(bench.repeatable("new").await["result"], json!({"x": 1}));
    assert_eq!(bench.available().await, left - PRICE);
}
