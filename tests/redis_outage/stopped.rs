//! A Redis that stops, dies, comes back, is told to wait, or may not be written to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paygate::store::Store;

use super::support::RedisServer;
use super::{Instance, PRICE, is_refused, is_refused_at_once, open, soon};

/// Many callers at once; how many were sold to, and that nobody waited long.
async fn crowd(instance: &Arc<Instance>, key: &Arc<paygate::model::key::Key>, size: usize) -> i64 {
    let calls: Vec<_> = (0..size)
        .map(|_| {
            let (instance, key) = (Arc::clone(instance), Arc::clone(key));
            tokio::spawn(async move {
                let before = Instant::now();
                let sold = instance.sell(&key).await;
                (sold, before.elapsed())
            })
        })
        .collect();
    let mut sold = 0;
    for call in calls {
        let (result, took) = call.await.unwrap();
        assert!(took < Duration::from_secs(5), "nobody waits for ever: {took:?}");
        assert!(result.is_ok() || is_refused(&result), "{result:?}");
        sold += i64::from(result.is_ok());
    }
    sold
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_refuses_at_once_and_what_was_under_way_is_released() {
    let server = RedisServer::start();
    let instance = Arc::new(open(&server.url()).await);
    let key = instance.key(1, "default", 1_000).await;
    assert_eq!(crowd(&instance, &key, 50).await, 50);
    server.freeze();
    assert_eq!(crowd(&instance, &key, 200).await, 0);
    is_refused_at_once(&instance, &key).await;
    // It does now what it was asked before, and nobody wants any more.
    server.thaw();
    instance.sells_again(&key).await;
    instance.expect_exact(&[server.port()], &key, 1_000 - 51 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_a_log_comes_back_with_everything() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let instance = Arc::new(open(&server.url()).await);
    assert!(instance.standing().to_string().contains("loses nothing"), "{}", instance.standing());
    let key = instance.key(1, "default", 1_000).await;
    let open_call = instance.charge(&key);
    instance.held(&open_call).await.unwrap();
    assert_eq!(crowd(&instance, &key, 20).await, 20);
    server.kill();
    is_refused_at_once(&instance, &key).await;
    server.restart();
    instance.sells_again(&key).await;
    // What was held before is ended behind it.
    instance.paid(&open_call).await.unwrap();
    instance.expect_exact(&[server.port()], &key, 1_000 - 22 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_with_less_sells_nothing_and_is_named() {
    let mut server = RedisServer::start();
    let instance = open(&server.url()).await;
    let key = instance.key(1, "default", 1_000).await;
    instance.sell(&key).await.unwrap();
    server.kill();
    is_refused_at_once(&instance, &key).await;
    server.restart();
    soon("it is named", async || {
        let refused = is_refused(&instance.sell(&key).await);
        assert!(refused, "nothing is sold from it");
        let health = instance.health().unwrap_err().to_string();
        health.contains("come back with less")
    })
    .await;
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_is_left_alone_until_it_goes_on() {
    let server = RedisServer::start();
    let instance = Arc::new(open(&server.url()).await);
    let key = instance.key(1, "default", 1_000).await;
    // It answers that it is there, and takes no writes.
    server.cli(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    assert_eq!(crowd(&instance, &key, 100).await, 0);
    soon("it is refused at once", async || {
        let before = Instant::now();
        let refused = is_refused(&instance.sell(&key).await);
        refused && before.elapsed() < Duration::from_millis(50)
    })
    .await;
    server.cli(&["CLIENT", "UNPAUSE"]);
    instance.sells_again(&key).await;
    instance.expect_exact(&[server.port()], &key, 1_000 - PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_became_a_replica_is_not_written_to() {
    let server = RedisServer::start();
    let instance = open(&server.url()).await;
    let key = instance.key(1, "default", 1_000).await;
    let master = RedisServer::start();
    // Of a master that it cannot reach, so that it keeps what it has.
    let port = super::support::free_port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]);
    drop(master);
    is_refused_at_once(&instance, &key).await;
    let health = instance.health().unwrap_err().to_string();
    assert!(health.contains("replica"), "{health}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    instance.sells_again(&key).await;
    instance.expect_exact(&[server.port()], &key, 1_000 - PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_redis_throws_out_come_back_unnoticed() {
    let server = RedisServer::start();
    let instance = Arc::new(open(&server.url()).await);
    let key = instance.key(1, "default", 10_000).await;
    let (other, its_key) = (Arc::clone(&instance), Arc::clone(&key));
    let selling = tokio::spawn(async move { crowd(&other, &its_key, 500).await });
    for _ in 0..10 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.cli(&["SCRIPT", "FLUSH"]);
    }
    let sold = selling.await.unwrap();
    instance.sells_again(&key).await;
    instance.expect_exact(&[server.port()], &key, 10_000 - (sold + 1) * PRICE).await;
}
