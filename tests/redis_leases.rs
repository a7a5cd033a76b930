//! Selling through an outage from leases, with a real Redis: what is sold without it is sold once, never more
//! than there is nor than a limit allows, is reported afterwards, and the books are exact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "redis_leases/binary.rs"]
mod binary;
#[path = "redis_leases/faults.rs"]
mod faults;
#[path = "redis_leases/killed.rs"]
mod killed;
#[path = "redis_leases/outage.rs"]
mod outage;
#[path = "redis_leases/partition.rs"]
mod partition;
#[path = "redis_leases/settled.rs"]
mod settled;
mod support;
#[path = "redis_leases/terms.rs"]
mod terms;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use paygate::gate::{self, CallFacts, Charge, Policy, Request, ToolPolicy};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, Quota};
use paygate::model::secret::RawKey;
use paygate::model::team::Team;
use paygate::model::time::Time;
use paygate::store::redis::{
    LeaseOptions, OnUnavailable, RedisClock, RedisOptions, RedisReach, RedisStore,
};
use paygate::store::{
    Creation, HoldRefused, ItemEnd, Reading, Show, Store, StoreError, settlement,
};

use support::PATIENCE;

/// What a call costs.
const PRICE: i64 = 2;
/// How long a hold lives.
const LIFE: Duration = Duration::from_mins(2);

/// A lease takes half of what is left, and is asked for whenever leases are looked after.
const LEASE: LeaseOptions = LeaseOptions {
    length: Duration::from_mins(5),
    renewal: Duration::ZERO,
    calls: 1_000,
    share: 2,
    idle: Duration::from_mins(5),
};

const NOW: i64 = 1_800_000_000_000;

fn at(ms: i64) -> Time {
    Time::from_ms(NOW + ms)
}

fn options(url: &str, copy: &Path, clock: RedisClock, lease: LeaseOptions) -> RedisOptions {
    let (connect_timeout, answer_timeout) =
        (Duration::from_millis(500), Duration::from_millis(500));
    let on_unavailable = OnUnavailable::Lease(lease);
    let reach =
        RedisReach { connect_timeout, answer_timeout, on_unavailable, ..RedisReach::default() };
    RedisOptions { url: url.to_owned().into(), reach, clock, copy: Some(copy.to_owned()) }
}

/// Opens an instance; one that had the files before may still be going away.
async fn open(options: &RedisOptions) -> RedisStore {
    let until = Instant::now() + PATIENCE;
    loop {
        match RedisStore::open(options).await {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn raw(number: u8) -> RawKey {
    RawKey::from_random([number; 24])
}

async fn made(store: &RedisStore, number: u8, credits: i64, now: Time) -> Arc<Key> {
    let mut key = Key::new(KeyId::from_random([number; 8]), &raw(number), "customer", now);
    key.revision = 1;
    match store.create_key(key, credits, None.into(), now).await.unwrap() {
        Creation::Made(key) => key,
        Creation::Repeated(note) => panic!("repeated: {note}"),
    }
}

/// Calls a minute of a key, and of its dear tool.
struct Caps {
    rate: i64,
    dear: i64,
    daily: i64,
}

const NO_CAPS: Caps = Caps { rate: 1_000_000, dear: 0, daily: 0 };

/// A call that nobody has made yet.
fn charge(caps: &Caps, key: &Key, team: Option<&Team>, tool: &str, now: Time) -> Charge {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut call = [3; 16];
    call[..4].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let quota = Quota { daily_call_limit: caps.daily, ..Quota::default() };
    let mut policy =
        Policy { default_price: PRICE, key_rate: caps.rate, quota, ..Policy::default() };
    policy.tools.insert("dear".to_owned(), ToolPolicy::new("dear", Some(5), caps.dear, 0));
    let calls = [CallFacts { tool, arguments: None }];
    let request = Request {
        now,
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(key),
        namespace: None,
        team,
        calls: &calls,
        in_batch: false,
    };
    gate::admit(&policy, &request, CallId::from_random(call)).unwrap()
}

async fn held(store: &RedisStore, charge: &Charge, now: Time) -> Result<(), HoldRefused> {
    store.hold(charge, now, now.plus(LIFE)).await
}

/// Ends a call, durably.
async fn ended(
    store: &RedisStore,
    charge: &Charge,
    paid: bool,
    now: Time,
) -> Result<Reading, StoreError> {
    let outcome = if paid { "result" } else { "timeout" };
    let end = settlement(charge, &[ItemEnd { paid, outcome }], Show::BALANCE);
    let (reading, durable) = store.settle(end, now).await?;
    durable.wait().await?;
    Ok(reading)
}

async fn sold(store: &RedisStore, key: &Key, now: Time) -> Result<Reading, HoldRefused> {
    let charge = charge(&NO_CAPS, key, None, "a", now);
    held(store, &charge, now).await?;
    Ok(ended(store, &charge, true, now).await?)
}

fn is_away(refused: &HoldRefused) -> bool {
    matches!(refused, HoldRefused::Unavailable(StoreError::Unavailable(_)))
}

/// Sells on without Redis until it says that there is nothing left; how many.
async fn sold_out(store: &RedisStore, key: &Key, now: Time) -> i64 {
    let until = Instant::now() + PATIENCE;
    let mut count = 0;
    loop {
        assert!(Instant::now() < until, "it never ends");
        match sold(store, key, now).await {
            Ok(_) => count += 1,
            Err(HoldRefused::Unavailable(StoreError::Unavailable(why)))
                if why.contains("no more room") =>
            {
                return count;
            }
            Err(refused) => {
                assert!(is_away(&refused), "{refused:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Waits until Redis is there again and all leases were looked after.
async fn tended(store: &RedisStore, now: Time) {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = store.leases().await.map(|_| ());
        match asked.and(store.tend_leases(now).await) {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
