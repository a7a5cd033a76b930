//! A request with an idempotency key runs on one instance at a time.

use std::sync::Arc;
use std::time::Duration;

use paygate::model::key::Key;
use paygate::model::secret::Digest;
use paygate::store::redis::{RedisClock, RedisStore};
use paygate::store::{Keep, Once, Show, Store, StoreError, clock, settlement};
use tokio::time::{Instant, sleep, timeout};

use super::support::{RedisServer, eventually};
use super::{PAID, charge, instance, made};

fn once() -> Once {
    Once { id: Digest::of(b"id"), request: Digest::of(b"request"), note: String::new() }
}

async fn is_new(store: &RedisStore, key: &Key) -> bool {
    store.recall(&key.id, &once(), clock::now()).await.unwrap().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_elsewhere_waits_for_the_answer() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = Arc::new(instance(&server, RedisClock::Server).await);
    let key = made(&one, 1, 100).await;
    assert!(is_new(&one, &key).await);
    assert!(is_new(&one, &key).await, "on the same instance its proxy knows");
    let repeats = || {
        let (other, key) = (Arc::clone(&other), Arc::clone(&key));
        tokio::spawn(async move { other.recall(&key.id, &once(), clock::now()).await.unwrap() })
    };
    let waiting = repeats();
    sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "it runs elsewhere");
    let (charge, at) = (charge(&key, 1, &["a"]), clock::now());
    one.hold(&charge, at, at.plus(Duration::from_mins(1))).await.unwrap();
    let mut end = settlement(&charge, &[PAID], Show::BALANCE);
    let ttl = Duration::from_hours(1);
    end.keep = Some(Keep { once: once(), answer: Some(b"said".to_vec()), ttl });
    one.settle(end, at).await.unwrap();
    let kept = waiting.await.unwrap().expect("what was kept");
    assert_eq!((kept.call, kept.answer.as_deref()), (charge.call, Some(&b"said"[..])));
    one.run_ended(&once());
    assert!(repeats().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_without_an_answer_runs_elsewhere_and_so_does_what_died() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    let third = instance(&server, RedisClock::Server).await;
    let key = made(&one, 1, 100).await;
    assert!(is_new(&one, &key).await);
    one.run_ended(&once());
    assert!(timeout(Duration::from_secs(5), is_new(&other, &key)).await.unwrap());
    // It stops in peace.
    other.close().await.unwrap();
    assert!(timeout(Duration::from_secs(5), is_new(&one, &key)).await.unwrap());
    // As long as the instance lives, nobody else runs it.
    let longer_than_a_lease = Duration::from_secs(12);
    assert!(timeout(longer_than_a_lease, is_new(&third, &key)).await.is_err());
    let died = Instant::now();
    drop(one);
    assert!(is_new(&third, &key).await);
    assert!(died.elapsed() < Duration::from_secs(20));
}

/// An instance that hears nothing of Redis for too long loses its mark, and another one may run the same
/// request: one of them is paid, and what it was told is what repetitions are told.
#[tokio::test(flavor = "multi_thread")]
async fn what_ran_twice_is_paid_once() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    let key = made(&one, 1, 100).await;
    let mark = || server.cli(&["--scan", "--pattern", "*run:*"]);
    assert!(is_new(&one, &key).await);
    let lapsed = mark();
    server.cli(&["DEL", &lapsed]);
    eventually("it is made again", || mark() == lapsed);
    server.cli(&["DEL", &lapsed]);
    assert!(is_new(&other, &key).await);
    let at = clock::now();
    let (first, second) = (charge(&key, 1, &["a"]), charge(&key, 2, &["a"]));
    let ttl = Duration::from_hours(1);
    let end = |charge, answer: &[u8]| {
        let mut end = settlement(charge, &[PAID], Show::BALANCE);
        end.keep = Some(Keep { once: once(), answer: Some(answer.to_vec()), ttl });
        end
    };
    one.hold(&first, at, at.plus(Duration::from_mins(1))).await.unwrap();
    other.hold(&second, at, at.plus(Duration::from_mins(1))).await.unwrap();
    other.settle(end(&second, b"second"), at).await.unwrap();
    let refused = one.settle(end(&first, b"first"), at).await;
    assert!(matches!(refused, Err(StoreError::NotOpen)), "it is not delivered");
    let begun = Instant::now();
    while one.account(&key.id).await.unwrap().held() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is given back");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one.account(&key.id).await.unwrap().available(), 98);
    let kept = one.recall(&key.id, &once(), clock::now()).await.unwrap().unwrap();
    assert_eq!((kept.call, kept.answer.as_deref()), (second.call, Some(&b"second"[..])));
}
