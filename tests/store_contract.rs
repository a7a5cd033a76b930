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
mod support_books;
#[path = "store_contract/sweep.rs"]
mod sweep;

use std::sync::atomic::{AtomicU32, Ordering};

use paygate::store::Store;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};

use support::{RedisServer, TempDir};
use support_books::{FREE, NOW, PAID, call, charge, charge_of, deadline, key, made, now, raw};

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
