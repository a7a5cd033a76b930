//! Leases of instances that do not come back, and of one that does after all.

use paygate::store::Store;
use paygate::store::redis::SettleAs;

use super::support::{RedisServer, TempDir, Wire};
use super::*;

/// An instance that sold three calls from its lease and is cut off, and one that is not.
async fn cut_off(server: &RedisServer, wire: &Wire, dir: &TempDir) -> (RedisOptions, RedisStore) {
    let mine = options(&wire.url(), &dir.path().join("cut-off.db"), RedisClock::Passed, LEASE);
    let store = open(&mine).await;
    let caps = Caps { rate: 10, dear: 0, daily: 0 };
    let key = made(&store, 1, 100, at(0)).await;
    let first = charge(&caps, &key, None, "a", at(0));
    held(&store, &first, at(0)).await.unwrap();
    ended(&store, &first, true, at(0)).await.unwrap();
    store.tend_leases(at(0)).await.unwrap();
    wire.cut(true);
    let (mut count, until) = (0, Instant::now() + PATIENCE);
    while count < 3 {
        let next = charge(&caps, &key, None, "a", at(1));
        if held(&store, &next, at(1)).await.is_ok() {
            ended(&store, &next, true, at(1)).await.unwrap();
            count += 1;
        }
        assert!(Instant::now() < until, "nothing is sold");
    }
    drop(store);
    let other = dir.path().join("other.db");
    (mine, open(&options(&server.url(), &other, RedisClock::Passed, LEASE)).await)
}

#[tokio::test]
async fn an_unreported_lease_is_spent_until_an_operator_settles_it() {
    for (settle, after) in [(SettleAs::Spent, 49), (SettleAs::Returned, 98)] {
        let (server, dir) = (RedisServer::start(), TempDir::new());
        let wire = Wire::to(server.port());
        let (mine, other) = cut_off(&server, &wire, &dir).await;
        let key = KeyId::from_random([1; 8]);
        let out = other.leases().await.unwrap();
        let [lease] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!((lease.credits, lease.key.as_str()), (49, key.as_str()));

        let settled = |now| other.settle_lease("default", &lease.id, settle, None.into(), now);
        assert!(matches!(settled(at(1)).await, Err(StoreError::Conflict)), "it may still sell");
        let end = at(300_000);
        other.expire(end).await.unwrap();
        assert_eq!(other.account(&key).await.unwrap().available(), 49, "it counts as spent");
        let verified =
            super::support::Setup::new().run(&["ledger", "verify", "--redis", &server.url()]);
        assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
        assert_eq!(settled(end).await.unwrap(), 49);
        assert!(matches!(settled(end).await, Err(StoreError::Conflict)), "once");
        let account = other.account(&key).await.unwrap();
        assert_eq!((account.available(), account.held()), (after, 0));
        other.compare_books().await.unwrap();
        assert_eq!(other.load().compared.unwrap().drift, 0);

        let verified =
            super::support::Setup::new().run(&["ledger", "verify", "--redis", &server.url()]);
        assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);

        // It comes back after all: what it sold is known, and costs nothing more.
        wire.cut(false);
        let back = open(&mine).await;
        tended(&back, end).await;
        let account = other.account(&key).await.unwrap();
        assert_eq!((account.available(), account.held()), (after, 0));
        assert_eq!(other.ended_calls(None).await.unwrap(), 4);
        assert!(other.leases().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn room_of_an_unreported_lease_is_free_once_its_window_has_passed() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let (_, other) = cut_off(&server, &wire, &dir).await;
    let key = other.key_by_id(&KeyId::from_random([1; 8])).await.unwrap().unwrap();
    let caps = Caps { rate: 10, dear: 0, daily: 0 };
    // Ten a minute, of which the other one has four until a minute after the end of its lease.
    for (now, free) in [(100_000, 6), (290_000, 6), (360_500, 6), (425_000, 10)] {
        other.expire(at(now)).await.unwrap();
        let mut count = 0;
        loop {
            let next = charge(&caps, &key, None, "a", at(now));
            if held(&other, &next, at(now)).await.is_err() {
                break;
            }
            ended(&other, &next, false, at(now)).await.unwrap();
            count += 1;
        }
        assert_eq!(count, free, "at {now}");
    }
}
