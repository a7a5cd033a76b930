//! What every store promises, on each of them: the embedded one in a file, a real Redis, and a cluster. Opened
//! again means a restart on the one, another instance on the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "store_contract/alerts.rs"]
mod alerts;
#[path = "store_contract/calls.rs"]
mod calls;
#[path = "store_contract/copies.rs"]
mod copies;
#[path = "store_contract/news.rs"]
mod news;
#[path = "store_contract/outbox.rs"]
mod outbox;
#[path = "store_contract/parked.rs"]
mod parked;
#[path = "store_contract/records.rs"]
mod records;
#[path = "store_contract/reports.rs"]
mod reports;
#[path = "store_contract/runs.rs"]
mod runs;
#[path = "store_contract/shared.rs"]
mod shared;
mod support;
#[path = "store_contract/sweep.rs"]
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use paygate::gate::{self, CallFacts, Charge, Policy, Request, ToolPolicy};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{IpAllowlist, Key};
use paygate::model::secret::RawKey;
use paygate::model::team::Team;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};
use paygate::store::{Creation, ItemEnd, Show, Store, settlement};

use support::{RedisServer, TempDir};

const NOW: i64 = 1_800_000_000_000;

fn now() -> Time {
    Time::from_ms(NOW)
}

fn deadline() -> Time {
    now().plus(Duration::from_mins(1))
}

/// Where books are kept.
enum Place {
    File(TempDir),
    Redis(RedisServer),
}

impl Place {
    /// One of each kind.
    fn all() -> [Self; 2] {
        [Self::File(TempDir::new()), Self::Redis(RedisServer::start())]
    }

    /// The same and a cluster, which takes two seconds to start: where several keys are changed at once.
    fn all_and_a_cluster() -> [Self; 3] {
        let [file, redis] = Self::all();
        [file, redis, Self::Redis(RedisServer::start_cluster())]
    }

    async fn open(&self) -> Box<dyn Store> {
        match self {
            Self::File(dir) => {
                let path = Some(dir.path().join("books.db"));
                let options = LocalOptions { path, durability: Durability::Answer };
                Box::new(LocalStore::open(&options, now()).unwrap())
            }
            Self::Redis(server) => Box::new(instance(server, RedisClock::Passed).await),
        }
    }

    /// The same books for somebody who has seen nothing of them yet.
    async fn again(&self, store: Box<dyn Store>) -> Box<dyn Store> {
        store.close().await.unwrap();
        drop(store);
        self.open().await
    }
}

/// One more instance on the same Redis.
async fn instance(server: &RedisServer, clock: RedisClock) -> RedisStore {
    // A file of its own for each.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let copy = server.dir().join(format!("copy-{number}.db"));
    let (url, reach) = (server.url().into(), RedisReach::default());
    let options = RedisOptions { url, reach, clock, copy: Some(copy) };
    RedisStore::open(&options).await.unwrap()
}

fn raw(number: u8) -> RawKey {
    RawKey::from_random([number; 24])
}

fn key(number: u8) -> Key {
    let id = KeyId::from_random([number; 8]);
    let mut key = Key::new(id, &raw(number), &format!("customer {number}"), now());
    key.tags = [("plan".to_owned(), "gold \"x\"\n".to_owned())].into();
    key.ip_allowlist = IpAllowlist::parse(["10.0.0.0/8"].into_iter()).unwrap();
    key.revision = 1;
    key
}

async fn made(store: &dyn Store, number: u8, credits: i64) -> Arc<Key> {
    match store.create_key(key(number), credits, None.into(), now()).await.unwrap() {
        Creation::Made(key) => key,
        Creation::Repeated(note) => panic!("repeated: {note}"),
    }
}

fn charge_of(key: &Key, team: Option<&Team>, call: [u8; 16], tools: &[&str]) -> Charge {
    let mut policy = Policy { default_price: 2, key_rate: 1_000, ..Policy::default() };
    policy.tools.insert("dear".to_owned(), ToolPolicy::new("dear", Some(30), 5, 0));
    let calls: Vec<CallFacts<'_>> =
        tools.iter().map(|tool| CallFacts { tool, arguments: None }).collect();
    let request = Request {
        now: now(),
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(key),
        namespace: None,
        team,
        calls: &calls,
        in_batch: tools.len() > 1,
    };
    gate::admit(&policy, &request, CallId::from_random(call)).unwrap()
}

fn charge(key: &Key, call: u8, tools: &[&str]) -> Charge {
    charge_of(key, None, [call; 16], tools)
}

const PAID: ItemEnd = ItemEnd { paid: true, outcome: "result" };
const FREE: ItemEnd = ItemEnd { paid: false, outcome: "timeout" };

async fn call(store: &dyn Store, key: &Key, id: u8, tools: &[&str], ends: &[ItemEnd]) -> i64 {
    let charge = charge(key, id, tools);
    store.hold(&charge, now(), deadline()).await.unwrap();
    let (reading, durable) =
        store.settle(settlement(&charge, ends, Show::BALANCE), now()).await.unwrap();
    durable.wait().await.unwrap();
    reading.available
}
