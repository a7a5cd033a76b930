//! What the embedded store adds to the contract of all stores: restarts, crashes, verification. A crash is the
//! file as another process would find it: copied, with its log, while it is open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "store_local/files.rs"]
mod files;
#[path = "store_local/kept.rs"]
mod kept;
#[path = "store_local/parked.rs"]
mod parked;
#[path = "store_local/sums.rs"]
mod sums;
mod support_books;

use std::path::{Path, PathBuf};
use std::time::Duration;

use paygate::ledger::{CreditKind, names};
use paygate::model::ids::KeyId;
use paygate::model::key::Key;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore, verify};
use paygate::store::{Credited, Show, Store, StoreError, settlement};

use support_books::{FREE, NOW, PAID, call, charge, deadline, key, made, now, raw};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("paygate-store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn db(&self) -> PathBuf {
        self.0.join("books.db")
    }
    /// The file as it is on disk at this moment.
    fn crashed(&self) -> PathBuf {
        let copy = self.0.join("crashed.db");
        for end in ["", "-wal"] {
            let from = format!("{}{end}", self.db().display());
            if Path::new(&from).exists() {
                std::fs::copy(from, format!("{}{end}", copy.display())).unwrap();
            }
        }
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open(path: &Path, durability: Durability) -> LocalStore {
    LocalStore::open(&LocalOptions { path: Some(path.to_owned()), durability }, now()).unwrap()
}

#[tokio::test]
async fn numbers_survive_a_restart_and_verify() {
    let folder = Folder::new("restart");
    for durability in [Durability::Answer, Durability::Call, Durability::None] {
        let path = folder.0.join(format!("{durability:?}.db"));
        let store = open(&path, durability);
        let key = made(&store, 1, 100).await;
        assert_eq!(call(&store, &key, 1, &["a"], &[PAID]).await, 98);
        assert_eq!(call(&store, &key, 2, &["a"], &[FREE]).await, 98);
        assert_eq!(call(&store, &key, 3, &["a", "dear", "b"], &[PAID, FREE, PAID]).await, 94);
        let granted =
            store.credit(&key.id, 6, CreditKind::Grant, None.into(), now()).await.unwrap();
        assert_eq!(granted, Credited::Made(100));
        assert_eq!(
            store.credit(&key.id, -130, CreditKind::Adjustment, None.into(), now()).await.unwrap(),
            Credited::Made(-30)
        );
        store.close().await.unwrap();

        let report = verify(&path).unwrap();
        assert!(report.is_clean(), "{report}");
        let store = open(&path, durability);
        let found = store.key_by_digest(raw(1).digest(), now()).await.unwrap().unwrap();
        assert_eq!(*found, *key);
        let account = store.account(&key.id).await.unwrap();
        let value = |counter| account.value(&counter, now());
        assert_eq!((account.available(), account.held()), (-30, 0));
        assert_eq!((value(names::SPENT), value(names::CALLS), value(names::RATE)), (6, 3, 5));
        assert_eq!((value(names::CALLS_DAY), value(names::CREDITS_MONTH)), (3, 6));
        assert_eq!(value(names::tool_rate("dear")), 1);
        let usage = store.usage(None).await.unwrap();
        let of = |tool: &str| {
            usage.iter().find(|row| row.tool == tool).map(|row| (row.calls, row.credits))
        };
        assert_eq!((of("a"), of("dear"), of("b")), (Some((3, 4)), Some((1, 0)), Some((1, 2))));
    }
}

#[tokio::test]
async fn a_crash_keeps_what_was_answered_and_frees_what_was_in_flight() {
    let folder = Folder::new("crash");
    let store = open(&folder.db(), Durability::Call);
    let key = made(&store, 1, 100).await;
    assert_eq!(call(&store, &key, 1, &["a"], &[PAID]).await, 98);
    // Durability::Call: this hold is on disk although nobody has resolved it.
    store.hold(&charge(&key, 2, &["dear"]), now(), deadline()).await.unwrap();
    assert_eq!(store.account(&key.id).await.unwrap().available(), 68);

    let copy = folder.crashed();
    let report = verify(&copy).unwrap();
    assert!(report.is_clean() && report.open_holds == 1, "{report}");
    let restarted = open(&copy, Durability::Answer);
    let account = restarted.account(&key.id).await.unwrap();
    assert_eq!((account.available(), account.held()), (98, 0));
    assert_eq!(account.value(&names::RATE, now()), 2, "a rate counts admitted calls");
    restarted.close().await.unwrap();
    let report = verify(&copy).unwrap();
    assert!(report.is_clean() && report.open_holds == 0, "{report}");
}

#[tokio::test]
async fn verification_finds_what_was_changed_behind_our_back() {
    let folder = Folder::new("tamper");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 100).await;
    call(&store, &key, 1, &["a"], &[PAID]).await;
    call(&store, &key, 2, &["a"], &[PAID]).await;
    store.close().await.unwrap();
    let tamperings = [
        "UPDATE accounts SET state = json_set(state, '$.counters.balance.lifetime', 99)",
        "UPDATE accounts SET state = json_set(state, '$.counters.calls.lifetime', 7)",
        "UPDATE accounts SET state = json_remove(state, '$.counters.rate')",
        "UPDATE accounts SET state = json_set(state, '$.held', 3)",
        "DELETE FROM journal WHERE seq = 2",
        "DELETE FROM journal WHERE seq = 3",
        "DELETE FROM accounts",
        "DELETE FROM keys",
        "UPDATE meta SET value = 0 WHERE name = 'replay_after'; DELETE FROM journal",
        "INSERT INTO open_holds VALUES (2)",
        "UPDATE journal SET detail = json_set(detail, '$.calls[0][2]', 1) WHERE seq = 2",
        "UPDATE journal SET amount = 1 WHERE kind = 'call'",
        "UPDATE journal SET amount = 90 WHERE kind = 'grant'",
        "UPDATE journal SET detail = 'x' WHERE seq = 3",
        "INSERT INTO journal SELECT 4, at, kind, call, account, amount, detail FROM journal WHERE seq = 3",
        "INSERT INTO accounts VALUES ('key_ffffffffffffffff', 1, '{\"counters\":{\"balance\":{\"lifetime\":5}},\"held\":0,\"lastCallMs\":0}')",
    ];
    for sql in tamperings {
        let copy = folder.crashed();
        rusqlite::Connection::open(&copy).unwrap().execute_batch(sql).unwrap();
        assert!(!verify(&copy).unwrap().is_clean(), "{sql}");
    }
    assert!(verify(&folder.db()).unwrap().is_clean());
}

#[tokio::test]
async fn verification_lists_a_bounded_number_of_differences() {
    let folder = Folder::new("many");
    let store = open(&folder.db(), Durability::Answer);
    for number in 1..=120 {
        made(&store, number, 1).await;
    }
    store.close().await.unwrap();
    let copy = folder.crashed();
    rusqlite::Connection::open(&copy).unwrap().execute_batch("DELETE FROM keys").unwrap();
    let report = verify(&copy).unwrap();
    assert_eq!((report.differences.len(), report.unlisted), (100, 20));
    assert!(report.to_string().ends_with("120 differences: the books do not agree"), "{report}");
}

#[tokio::test]
async fn ledger_time_does_not_run_backwards_across_a_restart() {
    let folder = Folder::new("clock");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 100).await;
    call(&store, &key, 1, &["a"], &[PAID]).await;
    store.close().await.unwrap();

    let an_hour_ago = Time::from_ms(NOW - 3_600_000);
    let options = LocalOptions { path: Some(folder.db()), durability: Durability::Answer };
    let store = LocalStore::open(&options, an_hour_ago).unwrap();
    let key = store.key_by_id(&key.id).await.unwrap().unwrap();
    let charge = charge(&key, 2, &["a"]);
    store.hold(&charge, an_hour_ago, an_hour_ago.plus(Duration::from_mins(1))).await.unwrap();
    let settled = store.settle(settlement(&charge, &[PAID], Show::BALANCE), an_hour_ago).await;
    settled.expect("a hold keeps its length").1.wait().await.unwrap();
    let account = store.account(&key.id).await.unwrap();
    assert_eq!(account.value(&names::RATE, now()), 2, "both count in the same minute");
}

#[tokio::test]
async fn a_credential_belongs_to_one_key() {
    let folder = Folder::new("duplicate");
    let store = open(&folder.db(), Durability::Answer);
    made(&store, 1, 1).await;
    store.close().await.unwrap();
    let store = open(&folder.db(), Durability::Answer);
    let second = Key { id: KeyId::from_random([7; 8]), ..key(1) };
    let refused = store.create_key(second, 5, None.into(), now()).await;
    assert!(matches!(refused, Err(StoreError::Duplicate)));
    assert_eq!(store.keys(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_ephemeral_store_has_no_file() {
    let store = LocalStore::open(&LocalOptions::default(), now()).unwrap();
    let key = made(&store, 1, 10).await;
    assert_eq!(call(&store, &key, 1, &["a"], &[PAID]).await, 8);
    assert_eq!(store.usage(Some("default")).await.unwrap().len(), 1);
    assert_eq!(store.usage(Some("other")).await.unwrap().len(), 0);
    assert_eq!(store.keys(Some("default")).await.unwrap().len(), 1);
    store.close().await.unwrap();
}
