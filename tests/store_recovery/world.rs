//! The books under random operations, and every comparison with the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paygate::gate::{self, CallFacts, Charge, Policy, Request};
use paygate::ledger::{CreditKind, names};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, OldCredential};
use paygate::model::namespace::Namespace;
use paygate::model::secret::{Digest, RawKey};
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore, SavePace, verify};
use paygate::store::{
    HoldRefused, ItemEnd, Keep, Kept, Once, Settlement, Show, Store, StoreError, settlement,
};

use crate::model::{Call, CallState, Model};

const START: i64 = 1_800_000_000_000;
const PRICE: i64 = 3;
const KEYS_MAX: usize = 7;
const PAID: ItemEnd = ItemEnd { paid: true, outcome: "result" };
const FREE: ItemEnd = ItemEnd { paid: false, outcome: "timeout" };

/// The same numbers for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
    fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(crate) struct World {
    seed: u64,
    random: Random,
    folder: PathBuf,
    life: usize,
    store: LocalStore,
    /// What answers wait for in this life.
    durability: Durability,
    model: Model,
    keys: Vec<Key>,
    charges: BTreeMap<[u8; 16], Charge>,
    /// Calls that asked for their answers to be kept, the last time that they were settled.
    kept: BTreeMap<[u8; 16], Option<Vec<u8>>>,
    now: i64,
    counted: u64,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let name = format!("paygate-recovery-{}-{seed}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut random = Random(seed);
        let durability = any_durability(&mut random);
        let store = open(&folder.join("0.db"), durability, &mut random, START);
        let mut world = Self {
            seed,
            random,
            folder,
            life: 0,
            store,
            durability,
            model: Model::default(),
            keys: Vec::new(),
            charges: BTreeMap::new(),
            kept: BTreeMap::new(),
            now: START,
            counted: 0,
        };
        world.create_key().await;
        world
    }

    fn time(&self) -> Time {
        Time::from_ms(self.now)
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.db", self.life))
    }

    /// One random operation.
    pub(crate) async fn act(&mut self) {
        match self.random.below(100) {
            0..3 if self.keys.len() < KEYS_MAX => self.create_key().await,
            0..3 => {}
            3..6 => self.rotate().await,
            6..14 => self.credit().await,
            14..16 => self.now += i64::try_from(self.random.below(30_000)).unwrap(),
            16..20 => self.expire().await,
            20..24 => drop(self.store.usage(None).await.unwrap()),
            24..26 => self.look_at_a_crash().await,
            26..28 => self.restart_cleanly().await,
            28..64 => self.hold().await,
            _ => self.settle().await,
        }
        self.now += i64::try_from(self.random.below(50)).unwrap();
    }

    async fn create_key(&mut self) {
        let key = new_key(self.keys.len() as u8 + 1, self.time());
        let credits = i64::try_from(self.random.below(60)).unwrap();
        self.store.create_key(key.clone(), credits, None.into(), self.time()).await.unwrap();
        self.keys.push(key);
        self.model.granted.push(credits);
    }

    /// Calls that were judged before go on: their holds are open.
    async fn rotate(&mut self) {
        let index = self.random.index(self.keys.len());
        self.counted += 1;
        let mut bytes = [0xff; 24];
        bytes[..8].copy_from_slice(&self.counted.to_be_bytes());
        let raw = RawKey::from_random(bytes);
        let key = &self.keys[index];
        let old = Some(OldCredential { digest: key.digest, until: self.time() });
        let rotated = Key { digest: raw.digest(), ends: raw.ends(), old, ..key.clone() };
        let rotated = self.store.update_key(rotated, None.into()).await.unwrap();
        let gone = self.store.key_by_digest(key.digest, self.time()).await.unwrap();
        assert!(gone.is_none(), "seed {}: an old credential opens {}", self.seed, key.id);
        self.keys[index] = (*rotated).clone();
    }

    async fn credit(&mut self) {
        let key = self.random.index(self.keys.len());
        let amount = 1 + i64::try_from(self.random.below(20)).unwrap();
        let (amount, kind) = if self.random.chance(20) {
            (-amount, CreditKind::Adjustment)
        } else {
            (amount, CreditKind::Grant)
        };
        self.counted += 1;
        let id = Digest::of(&self.counted.to_be_bytes());
        let once = self.random.chance(50).then(|| Once { id, request: id, note: String::new() });
        let times = if once.is_some() { 1 + self.random.below(2) } else { 1 };
        for _ in 0..times {
            let id = &self.keys[key].id;
            self.store.credit(id, amount, kind, once.clone().into(), self.time()).await.unwrap();
        }
        self.model.granted[key] += amount;
    }

    async fn hold(&mut self) {
        let key = self.random.index(self.keys.len());
        self.counted += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.counted.to_be_bytes());
        let tools = 1 + self.random.index(3);
        let charge = charge(&self.keys[key], id, tools, self.time());
        let deadline = self.now + 1_000 + i64::try_from(self.random.below(60_000)).unwrap();
        match self.store.hold(&charge, self.time(), Time::from_ms(deadline)).await {
            Ok(()) => {
                let state = CallState::Open;
                let at = self.now;
                let call = Call { key, price: charge.total, tools, at, deadline, state };
                self.model.calls.insert(id, call);
                self.charges.insert(id, charge);
            }
            Err(HoldRefused::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn settle(&mut self) {
        let open: Vec<_> = self.charges.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.random.index(open.len())];
        let charge = &self.charges[&id];
        let ends: Vec<ItemEnd> =
            charge.items.iter().map(|_| if self.random.chance(70) { PAID } else { FREE }).collect();
        let calls = i64::try_from(ends.iter().filter(|end| end.paid).count()).unwrap();
        let charged = calls * PRICE;
        // What is kept for repetitions is kept exactly if the call is captured.
        let keep = self.random.chance(50).then(|| {
            let answer = self.random.chance(80).then(|| id.to_vec());
            Keep { once: once_of(&id), answer, ttl: Duration::from_hours(24) }
        });
        self.kept.extend(keep.as_ref().map(|keep| (id, keep.answer.clone())));
        let end = Settlement { keep, ..settlement(charge, &ends, Show::BALANCE) };
        let late = self.now >= self.model.calls[&id].deadline;
        let state = match self.store.settle(end, self.time()).await {
            // Its deadline has passed: it stays held until `expire` releases it.
            Err(StoreError::NotOpen) if late && calls > 0 => return,
            Ok(_) if calls == 0 => CallState::Free,
            Ok((_, durable))
                if !late && self.durability != Durability::None && self.random.chance(60) =>
            {
                durable.wait().await.unwrap();
                CallState::Charged { charged, calls }
            }
            Ok(_) if !late => CallState::Unsure { charged, calls },
            other => panic!("late: {late}, calls: {calls}: {other:?}"),
        };
        self.charges.remove(&id);
        self.model.calls.get_mut(&id).unwrap().state = state;
    }

    async fn expire(&mut self) {
        let count = self.store.expire(self.time()).await.unwrap();
        let gone = self.model.expire(self.now);
        assert_eq!(count, gone.len(), "seed {}: expired holds", self.seed);
        self.charges.retain(|id, _| !gone.contains(id));
    }

    async fn look_at_a_crash(&mut self) {
        // The books in use agree too, in the middle of whatever the writer is doing.
        expect_clean(self.seed, &self.file());
        let copy = self.crashed("look");
        let mut model = self.model.clone();
        model.crash(&ends_in(&copy));
        let store = open(&copy, self.durability, &mut self.random, self.now);
        self.compare(&store, &model).await;
        store.close().await.unwrap();
        expect_clean(self.seed, &copy);
    }

    async fn restart_cleanly(&mut self) {
        self.store.close().await.unwrap();
        let file = self.file();
        expect_clean(self.seed, &file);
        // Everything that was resolved is on disk after a clean stop.
        self.model.stop();
        self.charges.clear();
        self.durability = any_durability(&mut self.random);
        self.store = open(&file, self.durability, &mut self.random, self.now);
        self.compare(&self.store, &self.model).await;
    }

    /// The process dies: what the file says goes on.
    pub(crate) async fn end_life(&mut self) {
        let copy = self.crashed(&format!("{}", self.life + 1));
        self.life += 1;
        expect_clean(self.seed, &copy);
        self.model.crash(&ends_in(&copy));
        self.charges.clear();
        self.durability = any_durability(&mut self.random);
        let reopened = open(&copy, self.durability, &mut self.random, self.now);
        let before = std::mem::replace(&mut self.store, reopened);
        before.close().await.unwrap();
        self.compare(&self.store, &self.model).await;
    }

    pub(crate) async fn finish(mut self) {
        self.restart_cleanly().await;
        self.store.close().await.unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// The file as it is on disk at this moment, under another name.
    fn crashed(&self, name: &str) -> PathBuf {
        let copy = self.folder.join(format!("{name}.db"));
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{end}", copy.display())).ok();
        }
        for end in ["", "-wal"] {
            let from = format!("{}{end}", self.file().display());
            if Path::new(&from).exists() {
                std::fs::copy(from, format!("{}{end}", copy.display())).unwrap();
            }
        }
        copy
    }

    async fn compare(&self, store: &LocalStore, model: &Model) {
        let now = self.time();
        for (id, answer) in &self.kept {
            let call = &model.calls[id];
            let found = store.recall(&self.keys[call.key].id, &once_of(id), now).await.unwrap();
            let expected = matches!(call.state, CallState::Charged { .. })
                .then(|| Kept { call: CallId::from_random(*id), answer: answer.clone() });
            assert_eq!(found, expected, "seed {}, life {}, {id:?}", self.seed, self.life);
        }
        for (index, key) in self.keys.iter().enumerate() {
            let what = format!("seed {}, life {}, {}", self.seed, self.life, key.id);
            let found = store.key_by_digest(key.digest, now).await.unwrap();
            assert_eq!(found.as_deref(), Some(key), "{what}");
            let account = store.account(&key.id).await.unwrap();
            let (credits, calls) = model.charged(index);
            let held = model.held(index);
            assert_eq!(account.held(), held, "{what}: held");
            let balance = model.granted[index] - credits;
            assert_eq!(account.available(), balance - held, "{what}: available");
            assert_eq!(account.value(&names::SPENT, now), credits + held, "{what}: spent");
            let day = account.value(&names::CALLS_DAY, now);
            assert_eq!(day, account.value(&names::CALLS, now), "{what}: calls of the day");
            assert_eq!(account.value(&names::CALLS, now), calls + held / PRICE, "{what}: calls");
            let (sure, possible) = model.rate(index, self.now);
            let rate = account.value(&names::RATE, now);
            assert!((sure..=possible).contains(&rate), "{what}: {sure} <= {rate} <= {possible}");
        }
    }
}

fn once_of(id: &[u8]) -> Once {
    Once { id: Digest::of(id), request: Digest::of(b"request"), note: String::new() }
}

fn any_durability(random: &mut Random) -> Durability {
    [Durability::Answer, Durability::Call, Durability::None][random.index(3)]
}

fn open(path: &Path, durability: Durability, random: &mut Random, now: i64) -> LocalStore {
    let options = LocalOptions { path: Some(path.to_owned()), durability };
    let pace = SavePace {
        rows: 1 + i64::try_from(random.below(12)).unwrap(),
        every: Duration::from_hours(1),
        accounts_per_commit: 1 + random.index(2),
    };
    LocalStore::open_at_pace(&options, pace, Time::from_ms(now))
        .unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn new_key(number: u8, now: Time) -> Key {
    let (id, raw) = (KeyId::from_random([number; 8]), RawKey::from_random([number; 24]));
    Key { revision: 1, ..Key::new(id, &raw, &format!("customer {number}"), now) }
}

pub(crate) fn charge(key: &Key, id: [u8; 16], tools: usize, now: Time) -> Charge {
    let policy = Policy { default_price: PRICE, key_rate: 100_000, ..Policy::default() };
    let calls = vec![CallFacts { tool: "tool", arguments: None }; tools];
    let request = Request {
        now,
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(key),
        namespace: Some(&Namespace::unwritten("default")),
        team: None,
        calls: &calls,
        in_batch: tools > 1,
    };
    gate::admit(&policy, &request, CallId::from_random(id)).unwrap()
}

/// Every call with an end in the file, and what its rows say it was charged.
fn ends_in(path: &Path) -> BTreeMap<[u8; 16], i64> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT call, amount FROM journal WHERE kind IN ('call', 'capture')";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)));
    let mut ends = BTreeMap::new();
    for row in rows.unwrap() {
        let (call, amount) = row.unwrap();
        let twice = ends.insert(call.try_into().unwrap(), amount);
        assert!(twice.is_none(), "a call was charged twice");
    }
    ends
}

fn expect_clean(seed: u64, path: &Path) {
    let report = verify(path).unwrap();
    assert!(report.is_clean(), "seed {seed}: {report}");
}
