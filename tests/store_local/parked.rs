//! Holds that wait, and tasks that are paid.

use std::time::Duration;

use paygate::model::bounds::{PARKED_PER_KEY_MAX, TASK_ASK_MAX};
use paygate::model::ids::CallId;
use paygate::model::key::Key;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalStore};
use paygate::store::{PaidTask, Parking, Show, Store, StoreError, settlement};

use super::{Folder, PAID, charge, deadline, made, now, open};

const STATE: &str = "task";

fn id(number: u16) -> CallId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    CallId::from_random(bytes)
}

/// Makes a task whose hold waits until then.
async fn task(store: &LocalStore, key: &Key, call: u8, at: Time, until: Time) -> CallId {
    let charge = charge(key, call, &["a"]);
    store.hold(&charge, at, at.plus(Duration::from_mins(1))).await.unwrap();
    let parking =
        Parking { call: charge.call, key: key.id.clone(), state: STATE.to_owned(), until };
    let (_, durable) = store.park(parking, Show::BALANCE, at).await.unwrap();
    durable.wait().await.unwrap();
    charge.call
}

async fn is_gone_on_with(store: &LocalStore, key: &Key, call: CallId, at: Time) -> bool {
    match store.resume(&key.id, call, STATE, None, at, at.plus(Duration::from_mins(1))).await {
        Ok(_) => true,
        Err(StoreError::NotOpen) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn available(store: &LocalStore, key: &Key) -> i64 {
    store.account(&key.id).await.unwrap().available()
}

#[tokio::test]
async fn a_task_that_was_paid_by_another_hold_stays_paid() {
    for crashes_before_the_old_hold_ends in [true, false] {
        let folder = Folder::new(&format!("paid-again-{crashes_before_the_old_hold_ends}"));
        let store = open(&folder.db(), Durability::Answer);
        let key = made(&store, 1, 100).await;
        let call = task(&store, &key, 1, now(), deadline()).await;
        // The hold has run out, and nobody has released it yet.
        let late = deadline().plus(Duration::from_millis(1));
        assert!(!is_gone_on_with(&store, &key, call, late).await);
        let paid = PaidTask { call, until: late.plus(TASK_ASK_MAX) };
        assert!(!store.is_task_paid(&key.id, paid).await.unwrap());
        let again = charge(&key, 2, &["a"]);
        store.hold(&again, late, late.plus(Duration::from_mins(1))).await.unwrap();
        let ended = settlement(&again, &[PAID], Show::BALANCE);
        store.settle_task(ended, paid, late).await.unwrap().1.wait().await.unwrap();

        let path = if crashes_before_the_old_hold_ends {
            folder.crashed()
        } else {
            assert_eq!(store.expire(late).await.unwrap(), 1);
            store.close().await.unwrap();
            folder.db()
        };
        let store = open(&path, Durability::Answer);
        assert!(store.is_task_paid(&key.id, paid).await.unwrap());
        assert!(!is_gone_on_with(&store, &key, call, late).await);
        assert_eq!(available(&store, &key).await, 98, "the old hold is released");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn paid_tasks_take_no_room_of_what_waits() {
    let folder = Folder::new("paid-room");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 10_000).await;
    let mut at = now();
    let most = u16::try_from(PARKED_PER_KEY_MAX).unwrap();
    for number in 0..most {
        at = at.plus(Duration::from_secs(1));
        let mut charge = charge(&key, 0, &["a"]);
        charge.call = id(number);
        store.hold(&charge, at, at.plus(Duration::from_mins(1))).await.unwrap();
        let paid = PaidTask { call: charge.call, until: at.plus(TASK_ASK_MAX) };
        let ended = settlement(&charge, &[PAID], Show::BALANCE);
        store.settle_task(ended, paid, at).await.unwrap();
    }
    let until = at.plus(Duration::from_mins(10));
    let waiting = task(&store, &key, 1, at, until).await;
    store.close().await.unwrap();
    let store = open(&folder.db(), Durability::Answer);
    for call in [id(0), id(most - 1)] {
        assert!(store.is_task_paid(&key.id, PaidTask { call, until }).await.unwrap());
    }
    let key = store.key_by_id(&key.id).await.unwrap().unwrap();
    task(&store, &key, 2, at, until).await;
    assert!(is_gone_on_with(&store, &key, waiting, at).await);
    store.close().await.unwrap();
}
