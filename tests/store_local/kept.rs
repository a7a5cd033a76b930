//! Answers that are kept for repetitions: with the capture or not at all, for their time, and found
//! by whoever reads the file.

use std::path::Path;
use std::time::Duration;

use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::Key;
use paygate::model::secret::Digest;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalStore, verify};
use paygate::store::{
    Durable, ItemEnd, Keep, Kept, Once, Settlement, Show, Store, StoreError, settlement,
};

use super::{FREE, Folder, PAID, charge, deadline, made, now, open};

const TTL: Duration = Duration::from_hours(1);

fn once(id: &str, request: &str) -> Once {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Once { id: digest(id), request: digest(request), note: String::new() }
}

/// Holds and settles a call that asks for its answer to be kept under `id`.
async fn keep(store: &LocalStore, key: &Key, call: u8, id: &str, end: ItemEnd) -> Durable {
    let charge = charge(key, call, &["a"]);
    store.hold(&charge, now(), deadline()).await.unwrap();
    let keep = Keep { once: once(id, "r"), answer: Some(vec![call; 3]), ttl: TTL };
    let end = Settlement { keep: Some(keep), ..settlement(&charge, &[end], Show::BALANCE) };
    store.settle(end, now()).await.unwrap().1
}

fn kept(call: u8) -> Kept {
    Kept { call: CallId::from_random([call; 16]), answer: Some(vec![call; 3]) }
}

async fn recall(store: &LocalStore, key: &KeyId, id: &str, at: Time) -> Option<Kept> {
    store.recall(key, &once(id, "r"), at).await.unwrap()
}

fn rows(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_answer_is_kept_with_the_capture_or_not_at_all() {
    for durability in [Durability::Answer, Durability::Call, Durability::None] {
        let folder = Folder::new(&format!("kept-{durability:?}"));
        let store = open(&folder.db(), durability);
        let key = made(&store, 1, 100).await;
        keep(&store, &key, 1, "paid", PAID).await.wait().await.unwrap();
        keep(&store, &key, 2, "free", FREE).await.wait().await.unwrap();
        for crashed in [false, true] {
            let again;
            let store = if crashed {
                again = open(&folder.crashed(), durability);
                &again
            } else {
                &store
            };
            assert_eq!(
                recall(store, &key.id, "paid", now()).await,
                Some(kept(1)),
                "{durability:?}"
            );
            assert_eq!(recall(store, &key.id, "free", now()).await, None);
            assert_eq!(recall(store, &key.id, "new", now()).await, None);
            let other = store.recall(&key.id, &once("paid", "another"), now()).await;
            assert!(matches!(other, Err(StoreError::OnceMismatch)), "{other:?}");
        }
        store.close().await.unwrap();
        assert!(verify(&folder.db()).unwrap().is_clean());
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_no_longer() {
    let folder = Folder::new("kept-ttl");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 1_000).await;
    let calls: u8 = 200;
    for call in 1..=calls {
        keep(&store, &key, call, &format!("id {call}"), PAID).await.wait().await.unwrap();
    }
    let end = now().plus(TTL);
    let just_before = Time::from_ms(end.ms() - 1);
    assert_eq!(recall(&store, &key.id, "id 7", just_before).await, Some(kept(7)));
    store.expire(just_before).await.unwrap();
    assert_eq!(recall(&store, &key.id, "id 7", end).await, None, "its time has passed");
    assert_eq!(rows(&folder.db()), i64::from(calls), "nothing is deleted early");

    // The idempotency key is free again, also while the old row is still there.
    keep(&store, &key, 201, "id 7", PAID).await.wait().await.unwrap();
    assert_eq!(recall(&store, &key.id, "id 7", now()).await, Some(kept(201)));

    store.expire(end).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while rows(&folder.db()) > 0 {
        assert!(std::time::Instant::now() < deadline, "{} rows are left", rows(&folder.db()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.close().await.unwrap();
    assert!(verify(&folder.db()).unwrap().is_clean());
}

#[tokio::test]
async fn an_answer_without_its_capture_is_found_by_verify() {
    let folder = Folder::new("kept-stray");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 100).await;
    keep(&store, &key, 1, "paid", PAID).await.wait().await.unwrap();
    store.close().await.unwrap();
    let connection = rusqlite::Connection::open(folder.db()).unwrap();
    connection.execute_batch("UPDATE kept SET seq = 77").unwrap();
    let report = verify(&folder.db()).unwrap().to_string();
    assert!(report.contains("kept answer 77: journal row 77 did not capture its call"), "{report}");
}
