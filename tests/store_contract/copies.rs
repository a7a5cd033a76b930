//! What instances copy of the journals: every row once, and it is said what is missing.

use std::sync::Arc;
use std::time::Duration;

use paygate::model::usage::{Refused, UsageEvent, UsageFilter};
use paygate::store::Store;
use paygate::store::redis::{RedisClock, RedisOpenError, RedisOptions, RedisReach, RedisStore};

use super::support::RedisServer;
use super::{PAID, call, instance, made, now};

async fn listed(store: &RedisStore, namespace: Option<&str>) -> Vec<UsageEvent> {
    store.roll_up_usage(Vec::new()).await.unwrap();
    let filter = UsageFilter { namespace: namespace.map(str::to_owned), ..UsageFilter::default() };
    store.usage_events(filter, None, 1_000).await.unwrap().events
}

fn refused() -> Vec<Refused> {
    let (key, namespace, tool) = (String::new(), String::new(), "a".to_owned());
    vec![Refused { at: now(), key, namespace, tool, reason: "invalid_api_key", count: 3 }]
}

#[tokio::test]
async fn rows_that_left_redis_before_they_were_copied_are_said_to_be_missing() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Passed).await;
    let key = made(&one, 1, 100).await;
    for id in 1..=6 {
        call(&one, &key, id, &["a"], &[PAID]).await;
    }
    assert_eq!(listed(&one, None).await.len(), 6);
    // Keys, credits and four calls leave it.
    assert_eq!(server.cli(&["XTRIM", "pg:{default}:journal", "MAXLEN", "=", "2"]), "6");
    call(&one, &key, 7, &["a"], &[PAID]).await;
    assert_eq!(listed(&one, None).await.len(), 7, "it had copied them");
    assert_eq!(one.complete_since(None).await.unwrap(), None);

    let other = instance(&server, RedisClock::Passed).await;
    assert_eq!(other.complete_since(None).await.unwrap(), None, "nothing was looked at yet");
    let events = listed(&other, Some("default")).await;
    assert_eq!(
        events.len(),
        3,
        "what is there is shown to its tenant, though its key's row is not"
    );
    assert_eq!(events[0].key_name, "customer 1");
    for namespace in [None, Some("default")] {
        assert_eq!(other.complete_since(namespace).await.unwrap(), Some(now()));
    }
    assert_eq!(other.complete_since(Some("acme")).await.unwrap(), None);
    assert_ne!(one.cursor_mark(), other.cursor_mark());
}

#[tokio::test]
async fn refusals_that_left_redis_are_said_to_be_missing_too() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Passed).await;
    let other = instance(&server, RedisClock::Passed).await;
    for store in [&one, &other] {
        one.roll_up_usage(refused()).await.unwrap();
        listed(store, None).await;
    }
    assert_eq!(other.complete_since(None).await.unwrap(), None);
    assert_eq!(listed(&other, None).await.len(), 2);
    one.note_refused(refused()).await.unwrap();
    server.cli(&["XTRIM", "pg:{_}:refused", "MAXLEN", "=", "1"]);
    assert_eq!(listed(&other, None).await.len(), 3);
    assert_eq!(other.complete_since(None).await.unwrap(), Some(now()));
    let new = instance(&server, RedisClock::Passed).await;
    assert_eq!(listed(&new, None).await.len(), 1);
    assert_eq!(new.complete_since(None).await.unwrap(), Some(now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_counted_once_though_many_ask_at_once_and_some_go_away() {
    let server = RedisServer::start();
    let store = Arc::new(instance(&server, RedisClock::Passed).await);
    let key = made(&*store, 1, 1_000).await;
    for id in 1..=100 {
        call(&*store, &key, id, &["a"], &[PAID]).await;
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.usage(None).await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(u64::from(id) * 20)).await;
        asked.iter().skip(1).for_each(tokio::task::JoinHandle::abort);
        asked.into_iter().next().unwrap().await.unwrap().unwrap();
    }
    let sums = store.usage(None).await.unwrap();
    assert_eq!(sums.iter().map(|row| (row.calls, row.credits)).collect::<Vec<_>>(), [(100, 200)]);
    assert_eq!(store.ended_calls(None).await.unwrap(), 100);
}

#[tokio::test]
async fn a_copy_belongs_to_one_instance() {
    let server = RedisServer::start();
    let copy = server.dir().join("one.db");
    let open = async || {
        let (url, clock) = (server.url().into(), RedisClock::Passed);
        let (reach, copy) = (RedisReach::default(), Some(copy.clone()));
        RedisStore::open(&RedisOptions { url, reach, clock, copy }).await
    };
    let store = open().await.unwrap();
    let mark = store.cursor_mark().map(str::to_owned);
    let Err(RedisOpenError::Copy(why)) = open().await else { panic!("two have one file") };
    assert!(why.to_string().contains("one.db is in use"), "{why}");
    store.close().await.unwrap();
    drop(store);
    assert_eq!(open().await.unwrap().cursor_mark().map(str::to_owned), mark);
}
