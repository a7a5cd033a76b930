//! One instance and an outage.

use paygate::store::{Show, Store, clock};

use super::support::{RedisServer, TempDir, Wire};
use super::*;

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test]
async fn a_redis_that_is_away_is_sold_through_and_told_of_it_afterwards() {
    for kills in [false, true] {
        let mut server = RedisServer::start_with(&AOF);
        let dir = TempDir::new();
        let copy = dir.path().join("copy.db");
        let store = open(&options(&server.url(), &copy, RedisClock::Server, LEASE)).await;
        let key = made(&store, 1, 100, clock::now()).await;
        assert_eq!(sold(&store, &key, clock::now()).await.unwrap().available, 98);
        store.tend_leases(clock::now()).await.unwrap();
        let account = store.account(&key.id).await.unwrap();
        assert_eq!((account.available(), account.held()), (49, 49), "half of it is on lease");
        assert_eq!(store.lease_exposure(), 49);
        // As every request does.
        store.key_by_digest(raw(1).digest(), clock::now()).await.unwrap();

        if kills {
            server.kill();
        } else {
            server.freeze();
        }
        let count = sold_out(&store, &key, clock::now()).await;
        assert_eq!(count, 24, "what was leased, and nothing more");
        let known = store.key_by_digest(raw(1).digest(), clock::now()).await.unwrap();
        assert_eq!(known.map(|key| key.id.clone()), Some(key.id.clone()), "and it is known whose");
        let shown = store.read(&key.id, Show::BALANCE, clock::now()).await.unwrap();
        assert_eq!(shown.available, 1, "what is shown is what can be sold");
        if kills {
            server.restart();
        } else {
            server.thaw();
        }
        tended(&store, clock::now()).await;
        // A lease may have been taken again at once.
        let account = store.account(&key.id).await.unwrap();
        assert_eq!(account.balance(), 98 - 48);
        assert_eq!(account.held(), store.lease_exposure());
        // What was held in Redis when nobody heard of it any more is released soon.
        assert!(store.ended_calls(None).await.unwrap() >= 25);
        let usage = store.usage(None).await.unwrap();
        let sums = |sum: (i64, i64), row: &paygate::store::UsageRow| {
            if row.credits == 0 { sum } else { (sum.0 + row.calls, sum.1 + row.credits) }
        };
        assert_eq!(usage.iter().fold((0, 0), sums), (25, 50), "each call once: {usage:?}");
        store.compare_books().await.unwrap();
        assert_eq!(store.load().compared.unwrap().drift, 0);
        // And selling goes on.
        sold(&store, &key, clock::now()).await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_ends_here_before_it_ends_in_redis() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let copy = dir.path().join("copy.db");
    let lease = LeaseOptions { length: Duration::from_mins(1), ..LEASE };
    let store = open(&options(&wire.url(), &copy, RedisClock::Passed, lease)).await;
    let key = made(&store, 1, 100, at(0)).await;
    sold(&store, &key, at(0)).await.unwrap();
    store.tend_leases(at(0)).await.unwrap();
    wire.cut(true);
    let until = Instant::now() + PATIENCE;
    while sold(&store, &key, at(58_000)).await.is_err() {
        assert!(Instant::now() < until, "nothing is sold");
    }
    let refused = sold(&store, &key, at(58_800)).await.unwrap_err();
    assert!(format!("{refused:?}").contains("has ended"), "{refused:?}");
}

#[tokio::test]
async fn by_redis_time_a_lease_ends_by_the_clock_of_this_machine() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let copy = dir.path().join("copy.db");
    let lease = LeaseOptions { length: Duration::from_secs(3), ..LEASE };
    let store = open(&options(&server.url(), &copy, RedisClock::Server, lease)).await;
    let key = made(&store, 1, 100, clock::now()).await;
    sold(&store, &key, clock::now()).await.unwrap();
    store.tend_leases(clock::now()).await.unwrap();
    server.freeze();
    let until = Instant::now() + PATIENCE;
    loop {
        let refused = sold(&store, &key, clock::now()).await.err();
        if refused.is_some_and(|refused| format!("{refused:?}").contains("has ended")) {
            break;
        }
        assert!(Instant::now() < until, "it sells for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.thaw();
    tended(&store, clock::now()).await;
}

#[tokio::test]
async fn calls_under_way_when_redis_goes_or_comes_end_where_they_were_held() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let copy = dir.path().join("copy.db");
    let store = open(&options(&wire.url(), &copy, RedisClock::Passed, LEASE)).await;
    let key = made(&store, 1, 100, at(0)).await;
    let in_redis = charge(&NO_CAPS, &key, None, "a", at(0));
    held(&store, &in_redis, at(0)).await.unwrap();
    store.tend_leases(at(0)).await.unwrap();

    wire.cut(true);
    let lost = ended(&store, &in_redis, true, at(1)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "not charged, not answered: {lost:?}");
    let until = Instant::now() + PATIENCE;
    let on_lease = loop {
        let charge = charge(&NO_CAPS, &key, None, "a", at(2));
        if held(&store, &charge, at(2)).await.is_ok() {
            break charge;
        }
        assert!(Instant::now() < until, "nothing is sold");
    };
    wire.cut(false);
    tended(&store, at(3)).await;
    let out = store.leases().await.unwrap();
    assert!(out.iter().any(|lease| lease.credits == 49), "it waits for the call: {out:?}");
    let reading = ended(&store, &on_lease, true, at(4)).await.unwrap();
    assert_eq!(reading.available, 47, "of the lease");
    tended(&store, at(5)).await;
    // The other one ends as soon as Redis is there; nobody paid for it.
    while store.account(&key.id).await.unwrap().balance() != 98
        || store.account(&key.id).await.unwrap().held() != store.lease_exposure()
    {
        assert!(Instant::now() < until, "the books do not come right");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
