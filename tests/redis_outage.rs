//! Redis as adversary: real servers that stop, die, come back with less, refuse and move, and wires to them
//! that are cut where it hurts. After each the accounts add up, no more is lost than was said, and selling
//! goes on without a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "redis_outage/cluster.rs"]
mod cluster;
#[path = "redis_outage/fit.rs"]
mod fit;
#[path = "redis_outage/late.rs"]
mod late;
#[path = "redis_outage/lost.rs"]
mod lost;
#[path = "redis_outage/secure.rs"]
mod secure;
#[path = "redis_outage/sentinel.rs"]
mod sentinel;
#[path = "redis_outage/stopped.rs"]
mod stopped;
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use paygate::gate::{self, CallFacts, Charge, Policy, Request};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::Key;
use paygate::model::secret::RawKey;
use paygate::store::redis::{RedisClock, RedisOpenError, RedisOptions, RedisReach, RedisStore};
use paygate::store::{Creation, HoldRefused, ItemEnd, Reading, Show, Store, StoreError};
use paygate::store::{clock, settlement};

use support::{PATIENCE, TempDir};

/// What one call costs.
const PRICE: i64 = 2;

/// How long a hold lives here: nothing in these tests waits for that.
const LIFE: Duration = Duration::from_mins(10);

/// An instance of Paygate's books.
struct Instance {
    store: Arc<RedisStore>,
    calls: AtomicU32,
    dir: TempDir,
}

impl std::ops::Deref for Instance {
    type Target = RedisStore;

    fn deref(&self) -> &RedisStore {
        &self.store
    }
}

/// Short enough for a test, long enough for a busy machine.
fn patience() -> RedisReach {
    let (connect_timeout, answer_timeout) =
        (Duration::from_millis(500), Duration::from_millis(500));
    RedisReach { connect_timeout, answer_timeout, ..RedisReach::default() }
}

async fn try_open(url: &str, reach: RedisReach) -> Result<Instance, RedisOpenError> {
    open_in(TempDir::new(), url, reach).await
}

/// With the copy that is there, or a new one.
async fn open_in(dir: TempDir, url: &str, reach: RedisReach) -> Result<Instance, RedisOpenError> {
    let (url, clock) = (url.to_owned().into(), RedisClock::Server);
    let options = RedisOptions { url, reach, clock, copy: Some(dir.path().join("copy.db")) };
    let store = Arc::new(RedisStore::open(&options).await?);
    Ok(Instance { store, calls: AtomicU32::new(0), dir })
}

async fn open(url: &str) -> Instance {
    try_open(url, patience()).await.unwrap()
}

impl Instance {
    /// A key of a tenant with some credits.
    async fn key(&self, number: u8, namespace: &str, credits: i64) -> Arc<Key> {
        let (id, raw) = (KeyId::from_random([number; 8]), RawKey::from_random([number; 24]));
        let mut key = Key::new(id, &raw, "customer", clock::now());
        namespace.clone_into(&mut key.namespace);
        key.revision = 1;
        match self.create_key(key, credits, None.into(), clock::now()).await.unwrap() {
            Creation::Made(key) => key,
            Creation::Repeated(note) => panic!("repeated: {note}"),
        }
    }

    /// A call that nobody has made yet.
    fn charge(&self, key: &Key) -> Charge {
        let mut call = [0; 16];
        call[..4].copy_from_slice(&self.calls.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        call[8..].copy_from_slice(&[7; 8]);
        let policy = Policy { default_price: PRICE, key_rate: 1_000_000, ..Policy::default() };
        let calls = [CallFacts { tool: "a", arguments: None }];
        let request = Request {
            now: clock::now(),
            address: "10.0.0.1".parse().unwrap(),
            credential_shown: true,
            key: Some(key),
            namespace: None,
            team: None,
            calls: &calls,
            in_batch: false,
        };
        gate::admit(&policy, &request, CallId::from_random(call)).unwrap()
    }

    async fn held(&self, charge: &Charge) -> Result<(), HoldRefused> {
        let now = clock::now();
        self.hold(charge, now, now.plus(LIFE)).await
    }

    async fn paid(&self, charge: &Charge) -> Result<Reading, StoreError> {
        let paid = [ItemEnd { paid: true, outcome: "result" }];
        let end = settlement(charge, &paid, Show::BALANCE);
        self.settle(end, clock::now()).await.map(|(reading, _)| reading)
    }

    /// One whole call; was it sold?
    async fn sell(&self, key: &Key) -> Result<(), HoldRefused> {
        let charge = self.charge(key);
        self.held(&charge).await?;
        self.paid(&charge).await.map(|_| ()).map_err(HoldRefused::from)
    }

    /// Sells one call as soon as that can be done again.
    async fn sells_again(&self, key: &Key) {
        let mut seen = String::new();
        soon_or("it sells again", &mut seen, async |seen| {
            let sold = self.sell(key).await;
            *seen = format!("{sold:?}");
            sold.is_ok()
        })
        .await;
        soon("and says so", async || self.health().is_ok()).await;
    }

    /// What the key owns is what the journal says, none of it is held, and so much is left.
    async fn expect_exact(&self, redis: &[u16], key: &Key, available: i64) {
        let mut seen = String::new();
        soon_or("the accounts show what was sold", &mut seen, async |seen| {
            let Ok(account) = self.account(&key.id).await else { return false };
            *seen = format!("{} and {} held", account.available(), account.held());
            (account.available(), account.held()) == (available, 0)
        })
        .await;
        let journal = redis.iter().find_map(|port| journal(*port, key)).expect("a journal");
        assert_eq!(available, journal.owned, "{journal:?}");
    }
}

/// What a tenant's journal says of one key.
#[derive(Debug)]
struct Journal {
    /// Granted and not taken.
    owned: i64,
    /// How calls ended, by call.
    ends: HashMap<String, Vec<String>>,
}

/// Reads the journal without Paygate; `None` from whoever does not have it.
fn journal(port: u16, key: &Key) -> Option<Journal> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = client.get_connection_with_timeout(PATIENCE).ok()?;
    let rows: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
        .arg(format!("pg:{{{}}}:journal", key.namespace))
        .arg("-")
        .arg("+")
        .query(&mut connection)
        .ok()?;
    let mut journal = Journal { owned: 0, ends: HashMap::new() };
    for (number, (id, row)) in rows.iter().enumerate() {
        assert_eq!(*id, format!("{}-0", number + 1), "no row is missing");
        if row.get("account").is_none_or(|account| account != key.id.as_str()) {
            continue;
        }
        let amount: i64 = row["amount"].parse().unwrap();
        match row["kind"].as_str() {
            "grant" | "adjust" | "refund" => journal.owned += amount,
            "call" => {
                journal.owned -= amount;
                let detail: serde_json::Value = serde_json::from_str(&row["detail"]).unwrap();
                let end = detail["end"].as_str().unwrap().to_owned();
                journal.ends.entry(row["call"].clone()).or_default().push(end);
            }
            _ => {}
        }
    }
    for (call, ends) in &journal.ends {
        assert_eq!(ends.len(), 1, "{call} ended once: {ends:?}");
    }
    Some(journal)
}

fn is_refused(held: &Result<(), HoldRefused>) -> bool {
    matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))))
}

/// Waits until `condition` holds.
async fn soon(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon_or(what, &mut String::new(), async |_| condition().await).await;
}

/// The same, and what was seen instead if it does not.
async fn soon_or(
    what: &str,
    seen: &mut String,
    mut condition: impl AsyncFnMut(&mut String) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(seen).await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; {seen}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// It is refused because Redis is away, which takes a moment to be found out, and from then on at once.
async fn is_refused_at_once(instance: &Instance, key: &Key) {
    soon("it is refused", async || is_refused(&instance.sell(key).await)).await;
    soon("it is refused at once", async || {
        let before = Instant::now();
        let refused = is_refused(&instance.sell(key).await);
        refused && before.elapsed() < Duration::from_millis(50)
    })
    .await;
    let health = instance.health().unwrap_err().to_string();
    assert!(health.contains("not available"), "{health}");
}
