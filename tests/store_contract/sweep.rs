//! What ends by itself is looked for by one instance, and by another one when that is gone; and it costs little
//! where nothing ends.

use std::time::Duration;

use paygate::model::namespace::Namespace;
use paygate::store::redis::{RedisClock, RedisStore};
use paygate::store::{Deed, Store, clock};
use tokio::time::{Instant, sleep};

use super::support::{RedisServer, eventually};
use super::{charge, instance, made};

/// Holds something that is late at once.
async fn hold_late(store: &RedisStore, call: u8) {
    let key = store.recent_key(&super::key(1).id).await.unwrap().unwrap();
    let at = clock::now();
    let end = at.plus(Duration::from_millis(1));
    store.hold(&charge(&key, call, &["a"]), at, end).await.unwrap();
    sleep(Duration::from_millis(5)).await;
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let head = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&head)?.split(',').next());
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn one_instance_sweeps_and_another_takes_over() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    made(&one, 1, 100).await;
    assert_eq!(one.expire(clock::now()).await.unwrap(), 0);
    hold_late(&other, 1).await;
    assert_eq!(other.expire(clock::now()).await.unwrap(), 0, "it is not its turn");
    assert_eq!(one.expire(clock::now()).await.unwrap(), 1);
    hold_late(&other, 2).await;
    // It leaves in peace.
    one.close().await.unwrap();
    assert_eq!(other.expire(clock::now()).await.unwrap(), 1);
    // The next one dies.
    drop(other);
    let third = instance(&server, RedisClock::Server).await;
    hold_late(&third, 3).await;
    let end = Instant::now() + Duration::from_secs(20);
    while third.expire(clock::now()).await.unwrap() == 0 {
        assert!(Instant::now() < end, "nobody has taken over");
        sleep(Duration::from_millis(20)).await;
    }
    let account = third.account(&super::key(1).id).await.unwrap();
    assert_eq!((account.available(), account.held()), (100, 0));
}

#[tokio::test]
async fn thousands_of_idle_tenants_cost_a_bounded_look() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Server).await;
    made(&store, 1, 100).await;
    for number in 0..2_100 {
        let name = format!("tenant-{number}");
        store.update_namespace(Namespace::unwritten(&name), Deed::default()).await.unwrap();
    }
    let round = async || {
        let first = store.expire(clock::now()).await.unwrap();
        first + store.expire(clock::now()).await.unwrap()
    };
    hold_late(&store, 1).await;
    assert_eq!(round().await, 1, "the scripts are known from here on");
    hold_late(&store, 2).await;
    server.cli(&["CONFIG", "RESETSTAT"]);
    let released = round().await;
    // Deeds are remembered for a while, so nothing of the tenants is due.
    assert_eq!(released, 1);
    // One look that found it and one end; beside them some tenants are looked at for losses each second.
    let (scripts, looks) = (calls(&server, "evalsha"), calls(&server, "zrangebyscore"));
    assert!((2..500).contains(&scripts), "{scripts}");
    assert!((4_001..4_500).contains(&looks), "two looks at so many, and what was found: {looks}");
}

#[tokio::test]
async fn what_is_due_and_not_held_keeps_nobody_from_what_is() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Server).await;
    made(&store, 1, 100).await;
    hold_late(&store, 1).await;
    for number in 0..450 {
        server.cli(&["ZADD", "pg:{default}:due", "1", &format!("hold:{number:032x}")]);
    }
    assert_eq!(store.expire(clock::now()).await.unwrap(), 1);
    let due = server.cli(&["ZRANGE", "pg:{default}:due", "0", "-1"]);
    assert!(!due.contains("hold:"), "{due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_tenants_that_are_not_there_are_not_believed() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    eventually("news are heard", || store.is_told());
    for number in 0..50 {
        let news = format!("key nobody-{number} key_0123456789abcdef");
        server.cli(&["PUBLISH", "pg:news", &news]);
    }
    made(&other, 1, 100).await;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        server.cli(&["CONFIG", "RESETSTAT"]);
        assert_eq!(store.expire(clock::now()).await.unwrap(), 0);
        let looks = calls(&server, "zrangebyscore");
        assert!(looks < 50, "tenants that are not there are looked at: {looks}");
        if looks > 0 {
            return;
        }
        assert!(Instant::now() < end, "the tenant that is there is not known");
        sleep(Duration::from_millis(20)).await;
    }
}
