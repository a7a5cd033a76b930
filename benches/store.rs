//! What the embedded store costs per call, apart from any protocol: hold, settle, wait for the disk,
//! with as many calls in flight as the proxy's benchmark has connections. Prints calls/s and the
//! processor time per call. `cargo bench --bench store`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a bench"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use paygate::gate::{self, CallFacts, Policy, Request, ToolPolicy};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, ToolList};
use paygate::model::secret::RawKey;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};
use paygate::store::{Creation, ItemEnd, Show, Store, clock, settlement};

const RUN: Duration = Duration::from_secs(3);

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, durability) in [("none", Durability::None), ("answer", Durability::Answer)] {
        for in_flight in [1, 16, 64] {
            runtime.block_on(local(name, durability, in_flight));
        }
    }
    // Beside it, if one runs: PAYGATE_BENCH_REDIS=redis://127.0.0.1:6379/ (it is written into).
    if let Ok(url) = std::env::var("PAYGATE_BENCH_REDIS") {
        for in_flight in [1, 16, 64] {
            runtime.block_on(redis(&url, in_flight));
        }
    }
}

async fn redis(url: &str, in_flight: usize) {
    let folder = std::path::PathBuf::from(format!("target/bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let options = RedisOptions {
        url: url.to_owned().into(),
        reach: RedisReach::default(),
        clock: RedisClock::Server,
        copy: Some(folder.join(format!("copy-{in_flight}.db"))),
    };
    let store = Arc::new(RedisStore::open(&options).await.unwrap());
    measure("redis", store, in_flight).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn local(name: &str, durability: Durability, in_flight: usize) {
    let folder = std::path::PathBuf::from(format!("target/bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let options = LocalOptions { path: Some(folder.join("books.db")), durability };
    let store = Arc::new(LocalStore::open(&options, clock::now()).unwrap());
    measure(name, store, in_flight).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn measure(name: &str, store: Arc<dyn Store>, in_flight: usize) {
    let key = key();
    let Creation::Made(key) =
        store.create_key(key, 1 << 50, None.into(), clock::now()).await.unwrap()
    else {
        return;
    };
    let mut policy = Policy { default_price: 1, key_rate: 1 << 40, ..Policy::default() };
    policy.tools.insert("instant".to_owned(), ToolPolicy::new("instant", Some(2), 1 << 40, 0));
    let (policy, count) = (Arc::new(policy), Arc::new(AtomicU64::new(0)));
    let (began, used) = (Instant::now(), processor_time());
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (store, key, policy, count) =
                (Arc::clone(&store), Arc::clone(&key), Arc::clone(&policy), Arc::clone(&count));
            tokio::spawn(async move {
                while began.elapsed() < RUN {
                    one(&*store, &key, &policy, count.fetch_add(1, Ordering::Relaxed)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let calls = count.load(Ordering::Relaxed) as f64;
    let rate = calls / began.elapsed().as_secs_f64();
    let cost = (processor_time() - used) * 1e6 / calls;
    println!(
        "{name:>7} {in_flight:>3} in flight: {rate:>9.0} calls/s, {cost:>5.1} µs of processor per call"
    );
    store.close().await.unwrap();
}

async fn one(store: &dyn Store, key: &Key, policy: &Policy, number: u64) {
    let now = clock::now();
    let calls = [CallFacts { tool: "instant", arguments: None }];
    let address = "127.0.0.1".parse().unwrap();
    let request = Request {
        now,
        address,
        credential_shown: true,
        key: Some(key),
        namespace: None,
        team: None,
        calls: &calls,
        in_batch: false,
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id[8..].copy_from_slice(&key.created_at.ms().to_le_bytes());
    let charge = gate::admit(policy, &request, CallId::from_random(id)).unwrap();
    store.hold(&charge, now, now.plus(Duration::from_mins(10))).await.unwrap();
    tokio::task::yield_now().await;
    let ends = [ItemEnd { paid: true, outcome: "result" }];
    let (_, durable) = store.settle(settlement(&charge, &ends, Show::BALANCE), now).await.unwrap();
    durable.wait().await.unwrap();
}

/// A new one for each run, because Redis keeps those before.
fn key() -> Key {
    let number = clock::now().ms().to_le_bytes();
    let mut bytes = [1; 24];
    bytes[..8].copy_from_slice(&number);
    let raw = RawKey::from_random(bytes);
    let mut key = Key::new(KeyId::from_random(number), &raw, "bench", clock::now());
    key.allowed_tools = ToolList::from_names(["instant"].into_iter());
    key
}

/// Seconds of processor time that this process has used.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
