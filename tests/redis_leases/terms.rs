//! What a lease is for, and what becomes of it while Redis is there.

use paygate::store::Store;

use super::support::{RedisServer, TempDir, Wire};
use super::*;

#[tokio::test]
async fn what_an_instance_has_on_lease_keeps_nobody_of_its_own_from_the_last_credit() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let copy = dir.path().join("copy.db");
    let store = open(&options(&server.url(), &copy, RedisClock::Passed, LEASE)).await;
    let key = made(&store, 1, 10, at(0)).await;
    for number in 1..=5 {
        let reading = sold(&store, &key, at(number)).await.unwrap();
        let account = store.account(&key.id).await.unwrap();
        assert_eq!(account.balance(), 10 - number * PRICE);
        assert_eq!(account.available(), reading.available);
        store.tend_leases(at(number)).await.unwrap();
    }
    let refused = sold(&store, &key, at(9)).await.unwrap_err();
    assert!(matches!(refused, HoldRefused::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_changed_record_takes_the_lease_back_as_soon_as_it_is_seen() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let cut_off = dir.path().join("cut-off.db");
    let cut_off = open(&options(&wire.url(), &cut_off, RedisClock::Passed, LEASE)).await;
    let other = dir.path().join("other.db");
    let other = open(&options(&server.url(), &other, RedisClock::Passed, LEASE)).await;
    let key = made(&cut_off, 1, 100, at(0)).await;
    sold(&cut_off, &key, at(0)).await.unwrap();
    cut_off.tend_leases(at(0)).await.unwrap();
    assert_eq!(cut_off.lease_exposure(), 49);

    // While it can be reached, it gives back what was leased for other terms.
    let capped = Key { spending_limit: 20, ..(*key).clone() };
    let capped = other.update_key(capped, None.into()).await.unwrap();
    cut_off.tend_leases(at(1)).await.unwrap();
    cut_off.tend_leases(at(1)).await.unwrap();
    assert_eq!(cut_off.lease_exposure(), 0);
    assert_eq!(other.account(&key.id).await.unwrap().available(), 98);

    // By the new terms it leases half of what may be spent yet.
    sold(&cut_off, &capped, at(2)).await.unwrap();
    cut_off.tend_leases(at(2)).await.unwrap();
    wire.cut(true);
    // It is cut off when the key is revoked: it sells its lease and nothing more.
    other.update_key(Key { active: false, ..(*capped).clone() }, None.into()).await.unwrap();
    assert_eq!(sold_out(&cut_off, &capped, at(3)).await, 4, "(20 - 4) / 2 credits");
    wire.cut(false);
    tended(&cut_off, at(4)).await;
    let account = other.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (100 - 4 - 8, 0));
}

#[tokio::test]
async fn every_limit_of_a_call_is_leased_with_it() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let copy = dir.path().join("copy.db");
    let store = open(&options(&wire.url(), &copy, RedisClock::Passed, LEASE)).await;
    // What each allows of "dear" calls once one was made, halved: rate 9/2, its own rate 5/2, quota 3/2.
    let all = [
        (Caps { rate: 10, dear: 0, daily: 0 }, 4),
        (Caps { rate: 100, dear: 6, daily: 0 }, 2),
        (Caps { rate: 100, dear: 0, daily: 4 }, 1),
    ];
    for (number, (caps, expected)) in (1..).zip(&all) {
        let key = made(&store, number, 1_000, at(0)).await;
        let first = charge(caps, &key, None, "dear", at(0));
        held(&store, &first, at(0)).await.unwrap();
        ended(&store, &first, true, at(0)).await.unwrap();
        tended(&store, at(0)).await;
        wire.cut(true);
        let until = Instant::now() + PATIENCE;
        let mut count = 0;
        loop {
            let next = charge(caps, &key, None, "dear", at(1));
            match held(&store, &next, at(1)).await {
                Ok(()) => count += 1,
                Err(refused) if format!("{refused:?}").contains("no more room") => break,
                Err(refused) => assert!(is_away(&refused), "{refused:?}"),
            }
            assert!(Instant::now() < until, "it never ends");
        }
        assert_eq!(count, *expected);
        wire.cut(false);
        tended(&store, at(1)).await;
    }
}

#[tokio::test]
async fn a_call_with_a_limit_that_was_not_leased_is_refused() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let wire = Wire::to(server.port());
    let copy = dir.path().join("copy.db");
    let store = open(&options(&wire.url(), &copy, RedisClock::Passed, LEASE)).await;
    let (key, caps) = (made(&store, 1, 1_000, at(0)).await, Caps { dear: 6, ..NO_CAPS });
    sold(&store, &key, at(0)).await.unwrap();
    store.tend_leases(at(0)).await.unwrap();
    wire.cut(true);
    let until = Instant::now() + PATIENCE;
    loop {
        let dear = charge(&caps, &key, None, "dear", at(1));
        let refused = held(&store, &dear, at(1)).await.unwrap_err();
        if format!("{refused:?}").contains("not for such a call") {
            break;
        }
        assert!(Instant::now() < until, "{refused:?}");
    }
    sold(&store, &key, at(1)).await.unwrap();
}
