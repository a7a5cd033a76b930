//! What only books in Redis promise: several instances are one, nothing is sold from a Redis that has
//! lost something, and what lies in it tells no secret.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use paygate::ledger::{CreditKind, names};
use paygate::model::ids::CallId;
use paygate::model::key::Key;
use paygate::model::secret::Digest;
use paygate::model::token::{AdminToken, Role, TokenId};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};
use paygate::store::{Deed, HoldRefused, Once, Show, Store, StoreError, clock, settlement};

use super::support::{RedisServer, eventually};
use super::{PAID, charge, charge_of, deadline, instance, made, now, raw};

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_sell_each_credit_once() {
    let server = RedisServer::start();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Arc::new(instance(&server, RedisClock::Server).await));
    }
    let key = made(&*instances[0], 1, 101).await;
    let sellers: Vec<_> = (0_u8..90)
        .map(|number| {
            let (store, key) = (Arc::clone(&instances[usize::from(number) % 3]), Arc::clone(&key));
            tokio::spawn(async move {
                let charge = charge_of(&key, None, [number; 16], &["a"]);
                let now = clock::now();
                match store.hold(&charge, now, now.plus(Duration::from_mins(1))).await {
                    Ok(()) => {
                        let end = settlement(&charge, &[PAID], Show::BALANCE);
                        store.settle(end, now).await.unwrap();
                        true
                    }
                    Err(HoldRefused::Refused(_)) => false,
                    Err(other) => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut sold = 0;
    for seller in sellers {
        sold += i64::from(seller.await.unwrap());
    }
    assert_eq!(sold, 50, "101 credits at 2 a call");
    for store in &instances {
        let account = store.account(&key.id).await.unwrap();
        assert_eq!((account.available(), account.held()), (1, 0));
        assert_eq!(account.value(&names::RATE, store.ledger_now(clock::now())), sold);
    }
}

#[tokio::test]
async fn a_revoked_key_buys_nothing_anywhere_once_the_operator_has_the_answer() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    let mut key = made(&one, 1, 1_000_000).await;
    for round in 0_u8..100 {
        let digest = raw(1).digest();
        // The other one has it in memory and judges by that.
        let judged = other.key_by_digest(digest, clock::now()).await.unwrap().unwrap();
        assert!(judged.active, "round {round}");
        let charge = charge(&judged, round, &["a"]);
        let revoked = Key { active: false, ..(*key).clone() };
        key = one.update_key(revoked, None.into()).await.unwrap();
        let now = clock::now();
        let held = other.hold(&charge, now, now.plus(Duration::from_mins(1))).await;
        assert!(matches!(held, Err(HoldRefused::Stale)), "round {round}: {held:?}");
        let again = other.key_by_digest(digest, clock::now()).await.unwrap().unwrap();
        assert!(!again.active, "judged again, it is refused");
        let open = Key { active: true, ..(*key).clone() };
        key = one.update_key(open, None.into()).await.unwrap();
        let back = other.hold(&charge, now, now.plus(Duration::from_mins(1))).await;
        assert!(matches!(back, Err(HoldRefused::Stale)), "an old revision stays old");
    }
}

#[tokio::test]
async fn what_is_asked_again_is_done_once() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 100).await;
    let charge = charge(&key, 1, &["a"]);
    for _ in 0..2 {
        store.hold(&charge, now(), deadline()).await.unwrap();
        // The next one has to come in again, with scripts that Redis no longer knows.
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.cli(&["SCRIPT", "FLUSH"]);
    }
    let account = store.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (98, 2));
    let end = || settlement(&charge, &[PAID], Show::BALANCE);
    let (reading, _) = store.settle(end(), now()).await.unwrap();
    assert_eq!(reading.available, 98);
    let again = store.settle(end(), now()).await;
    assert!(matches!(again, Err(StoreError::NotOpen)), "{again:?}");
    let account = store.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (98, 0));
}

#[tokio::test]
async fn a_call_costs_one_script_each_way() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 100).await;
    super::call(&store, &key, 1, &["a"], &[PAID]).await;
    server.cli(&["CONFIG", "RESETSTAT"]);
    for id in 2..12 {
        super::call(&store, &key, id, &["a", "b"], &[PAID, super::FREE]).await;
    }
    assert_eq!(scripts(&server), 20);
}

#[tokio::test]
async fn calls_that_come_together_share_scripts() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 31).await;
    super::call(&store, &key, 1, &["a"], &[PAID]).await;
    let before = rows(&server);
    server.cli(&["CONFIG", "RESETSTAT"]);
    // One goes at once, and the others with the next script.
    let charges: Vec<_> = (2..22).map(|id| charge(&key, id, &["a"])).collect();
    let held = join_all(charges.iter().map(|one| store.hold(one, now(), deadline()))).await;
    let held: Vec<bool> = held.iter().map(Result::is_ok).collect();
    assert_eq!(held, [[true; 14].as_slice(), &[false; 6]].concat(), "29 credits at 2 a call");
    assert_eq!(scripts(&server), 2);
    let ends = charges.iter().take(14).zip(0..).map(|(one, number)| {
        let end = if number % 3 == 0 { super::FREE } else { PAID };
        store.settle(settlement(one, &[end], Show::BALANCE), now())
    });
    assert!(join_all(ends).await.iter().all(Result::is_ok));
    assert_eq!(scripts(&server), 4);
    let account = store.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (29 - 9 * 2, 0));
    assert_eq!(rows(&server) - before, 14, "a row each");
}

fn rows(server: &RedisServer) -> u32 {
    server.cli(&["HGET", "pg:{default}:meta", "seq"]).parse().unwrap()
}

fn scripts(server: &RedisServer) -> usize {
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn a_redis_that_has_lost_something_sells_nothing() {
    for loss in [&["FLUSHALL"][..], &["HSET", "pg:{default}:meta", "seq", "1"]] {
        let server = RedisServer::start();
        let store = instance(&server, RedisClock::Passed).await;
        let key = made(&store, 1, 100).await;
        super::call(&store, &key, 1, &["a"], &[PAID]).await;
        store.health().unwrap();
        server.cli(loss);
        let held = store.hold(&charge(&key, 2, &["a"]), now(), deadline()).await;
        let refused = matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))));
        assert!(refused, "{held:?}");
        let health = store.health().unwrap_err().to_string();
        assert!(health.contains("come back with less"), "{health}");
        assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0");
    }
}

/// A replica was made the master before it had the last rows, and somebody who had not seen them has
/// sold on: there are as many rows as before, but not those.
#[tokio::test]
async fn another_history_with_as_many_rows_is_seen_and_then_nobody_sells() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 100).await;
    server.cli(&["SAVE"]);
    super::call(&store, &key, 1, &["a"], &[PAID]).await;
    super::call(&store, &key, 2, &["a"], &[PAID]).await;
    server.cli(&["DEBUG", "RELOAD", "NOSAVE"]);
    let newcomer = instance(&server, RedisClock::Passed).await;
    for id in 3..8 {
        super::call(&newcomer, &key, id, &["a"], &[PAID]).await;
    }
    for store in [&store, &newcomer] {
        let held = store.hold(&charge(&key, 9, &["a"]), now(), deadline()).await;
        let refused = matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))));
        assert!(refused, "{held:?}");
        assert!(store.health().unwrap_err().to_string().contains("come back with less"));
    }
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_was_seen() {
    let server = RedisServer::start();
    let copy = server.dir().join("kept.db");
    let open = async || {
        let (url, clock) = (server.url().into(), RedisClock::Passed);
        let (reach, copy) = (RedisReach::default(), Some(copy.clone()));
        RedisStore::open(&RedisOptions { url, reach, clock, copy }).await.unwrap()
    };
    let store = open().await;
    let key = made(&store, 1, 100).await;
    super::call(&store, &key, 1, &["a"], &[PAID]).await;
    store.usage(None).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    // An older state of the same books.
    server.cli(&["HINCRBY", "pg:{default}:meta", "seq", "-1"]);
    let store = open().await;
    let held = store.hold(&charge(&key, 2, &["a"]), now(), deadline()).await;
    let refused = matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))));
    assert!(refused, "{held:?}");
}

#[tokio::test]
async fn an_outage_refuses_and_ends_by_itself() {
    let server = RedisServer::start();
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 100).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let held = store.hold(&charge(&key, 1, &["a"]), now(), deadline()).await;
    let refused = matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))));
    assert!(refused, "{held:?}");
    assert!(store.health().is_err());
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    store.hold(&charge(&key, 1, &["a"]), now(), deadline()).await.unwrap();
    store.health().unwrap();
    let account = store.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (98, 2), "the first attempt left nothing");
}

#[tokio::test]
async fn holds_of_an_instance_that_died_are_released_by_another() {
    let server = RedisServer::start();
    let dead = instance(&server, RedisClock::Server).await;
    let key = made(&dead, 1, 100).await;
    let at = clock::now();
    dead.hold(&charge(&key, 1, &["a"]), at, at.plus(Duration::from_millis(1))).await.unwrap();
    drop(dead);
    let other = instance(&server, RedisClock::Server).await;
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        eventually("its hold is released", || {
            runtime.block_on(other.expire(clock::now())).unwrap() == 1
        });
        let account = runtime.block_on(other.account(&key.id)).unwrap();
        assert_eq!((account.available(), account.held()), (100, 0));
        assert!(runtime.block_on(other.find_call(CallId::from_random([1; 16]))).unwrap().is_some());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn redis_holds_no_raw_key_and_every_tenant_is_one_slot() {
    let server = RedisServer::start_with(&["--save", "", "--rdbcompression", "no"]);
    let store = instance(&server, RedisClock::Passed).await;
    let key = made(&store, 1, 100).await;
    super::call(&store, &key, 1, &["a"], &[PAID]).await;
    assert_eq!(server.cli(&["SAVE"]), "OK");
    let dump = std::fs::read(server.dir().join("dump.rdb")).unwrap();
    let found = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(found(key.id.as_str()), "names can be found");
    assert!(!found(raw(1).reveal()));
    for name in server.cli(&["KEYS", "*"]).lines() {
        let outside = [
            "pg:{_}:",
            "pg:digest:",
            "pg:format",
            "pg:key:",
            "pg:keys",
            "pg:namespaces",
            "pg:order",
            "pg:seal",
        ];
        let known = outside.iter().any(|head| name.starts_with(head));
        assert!(known || name.starts_with("pg:{default}:"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_is_for_one_of_two_tenants_that_ask_at_once() {
    let server = RedisServer::start();
    let here = instance(&server, RedisClock::Server).await;
    let there = instance(&server, RedisClock::Server).await;
    let mut keys = Vec::new();
    for number in [1, 2] {
        let key = Key { namespace: format!("tenant-{number}"), ..super::key(number) };
        keys.push(key.id.clone());
        here.create_key(key, 0, None.into(), clock::now()).await.unwrap();
    }
    for round in 0_u8..40 {
        let credit = async |store: &RedisStore, key: usize| {
            let (id, request) = (Digest::of(&[round]), Digest::of(keys[key].as_str().as_bytes()));
            let once = Some(Once { id, request, note: String::new() });
            let (deed, now) = (Deed { once, ..Deed::default() }, clock::now());
            store.credit(&keys[key], 1, CreditKind::Grant, deed, now).await
        };
        let (first, second) = tokio::join!(credit(&here, 0), credit(&there, 1));
        let refused = match (first, second) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("round {round}: {both:?}"),
        };
        assert!(matches!(refused, StoreError::OnceMismatch), "round {round}: {refused:?}");
    }
    // What was refused leaves the idempotency key to whoever comes.
    let (id, request) = (Digest::of(b"free"), Digest::of(b"request"));
    let once = || Some(Once { id, request, note: String::new() });
    let deed = || Deed { once: once(), ..Deed::default() };
    let credit = async |key: usize, amount: i64| {
        here.credit(&keys[key], amount, CreditKind::Adjustment, deed(), clock::now()).await
    };
    assert!(matches!(credit(0, i64::MIN / 2).await, Err(StoreError::OutOfRange)));
    credit(1, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_that_was_ended_opens_nothing_any_more_whatever_redis_says() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    let token = AdminToken {
        id: TokenId::from_random([3; 8]),
        digest: raw(3).digest(),
        name: "night shift".to_owned(),
        role: Role::Owner,
        namespace: None,
        created_at: clock::now(),
        created_by: "admin".to_owned(),
    };
    one.create_token(token.clone(), Deed::default()).await.unwrap();
    eventually("it is known", || other.token(&token.digest).is_some());
    assert!(other.has_token(&token.id).await.unwrap());
    let record = server.cli(&["HGET", "pg:{_}:tokens", token.id.as_str()]);
    one.delete_token(&token.id, Deed::default()).await.unwrap();
    // Before it has heard of it.
    assert!(!other.has_token(&token.id).await.unwrap());
    // An older Redis comes back.
    server.cli(&["HSET", "pg:{_}:tokens", token.id.as_str(), &record]);
    server.cli(&["INCR", "pg:{_}:changes"]);
    eventually("it is ended once more", || server.cli(&["HLEN", "pg:{_}:tokens"]) == "0");
    assert!([&one, &other].iter().all(|store| store.token(&token.digest).is_none()));
}
