//! Many tasks on books that were just opened, so that loading keys, rotating them, charging and
//! crediting them meet: whatever the order, the sums are right and the journal proves them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use paygate::ledger::CreditKind;
use paygate::model::key::Key;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore, SavePace, verify};
use paygate::store::{HoldRefused, ItemEnd, Show, Store, StoreError, settlement};

use crate::world::{charge, new_key};

const NOW: Time = Time::ZERO;
const KEYS: u8 = 4;
const TASKS: u8 = 12;
const CALLS: u8 = 25;
const FIRST: i64 = 10_000;

/// Credits given to and taken from each key.
type Sums = [(AtomicI64, AtomicI64); KEYS as usize];

fn open(path: PathBuf) -> LocalStore {
    let options = LocalOptions { path: Some(path), durability: Durability::Answer };
    let pace = SavePace { rows: 7, every: Duration::from_hours(1), accounts_per_commit: 1 };
    LocalStore::open_at_pace(&options, pace, NOW).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_meet_on_cold_keys_keep_the_books_right() {
    let folder = std::env::temp_dir().join(format!("paygate-races-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("books.db");
    let store = open(path.clone());
    for number in 0..KEYS {
        store.create_key(new_key(number, NOW), FIRST, None.into(), NOW).await.unwrap();
    }
    store.close().await.unwrap();

    let sums: Arc<Sums> = Arc::default();
    for round in 0..6 {
        let store = Arc::new(open(path.clone()));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(work(Arc::clone(&store), Arc::clone(&sums), round, task)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for (number, (given, taken)) in (0..KEYS).zip(sums.iter()) {
            let account = store.account(&new_key(number, NOW).id).await.unwrap();
            let expected = FIRST + given.load(Ordering::Relaxed) - taken.load(Ordering::Relaxed);
            assert_eq!((account.available(), account.held()), (expected, 0), "key {number}");
        }
        store.close().await.unwrap();
        let report = verify(&path).unwrap();
        assert!(report.is_clean() && report.open_holds == 0, "{report}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn work(store: Arc<LocalStore>, sums: Arc<Sums>, round: u8, task: u8) {
    for number in 0..CALLS {
        let which = (task + number) % KEYS;
        let (given, taken) = &sums[usize::from(which)];
        let id = new_key(which, NOW).id;
        match number % 5 {
            0 => {
                store.credit(&id, 3, CreditKind::Grant, None.into(), NOW).await.unwrap();
                given.fetch_add(3, Ordering::Relaxed);
            }
            1 => change(&store, &id, task).await,
            _ => {
                let mut call = [task; 16];
                (call[0], call[1]) = (round, number);
                taken.fetch_add(pay(&store, &id, call).await, Ordering::Relaxed);
            }
        }
    }
}

/// Changes a record; somebody else may be quicker.
async fn change(store: &LocalStore, id: &paygate::model::ids::KeyId, task: u8) {
    let key = store.key_by_id(id).await.unwrap().unwrap();
    let changed = Key { name: format!("task {task}"), ..(*key).clone() };
    match store.update_key(changed, None.into()).await {
        Ok(changed) => assert!(changed.revision > key.revision),
        Err(StoreError::Conflict) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Pays for a call, judging it again as often as its key's record changes.
async fn pay(store: &LocalStore, id: &paygate::model::ids::KeyId, call: [u8; 16]) -> i64 {
    let until = NOW.plus(Duration::from_mins(1));
    loop {
        let key = store.key_by_id(id).await.unwrap().unwrap();
        let charge = charge(&key, call, 1, NOW);
        match store.hold(&charge, NOW, until).await {
            Ok(()) => {}
            Err(HoldRefused::Stale) => continue,
            Err(refused) => panic!("{refused:?}"),
        }
        let end = ItemEnd { paid: true, outcome: "result" };
        let settled = store.settle(settlement(&charge, &[end], Show::BALANCE), NOW).await;
        settled.unwrap().1.wait().await.unwrap();
        return charge.total;
    }
}
