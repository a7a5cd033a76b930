//! Holds that wait, and tasks that are paid.

use std::time::Duration;

use paygate::model::bounds::{PARKED_PER_KEY_MAX, TASK_ASK_MAX};
use paygate::model::ids::CallId;
use paygate::model::key::Key;
use paygate::model::time::Time;
use paygate::store::{Judged, PaidTask, Parking, Show, Store, StoreError, settlement};

use super::{PAID, Place, charge, charge_of, deadline, made, now};

const STATE: &str = "a task\n";

/// Makes a task whose hold waits until then.
async fn task(store: &dyn Store, key: &Key, call: u8, at: Time, until: Time) -> CallId {
    let charge = charge(key, call, &["a"]);
    store.hold(&charge, at, at.plus(Duration::from_mins(1))).await.unwrap();
    let parking =
        Parking { call: charge.call, key: key.id.clone(), state: STATE.to_owned(), until };
    let (_, durable) = store.park(parking, Show::BALANCE, at).await.unwrap();
    durable.wait().await.unwrap();
    charge.call
}

#[tokio::test]
async fn a_hold_that_waits_is_gone_on_with_once_and_by_its_owner() {
    for place in Place::all() {
        let store = place.open().await;
        let (key, other) = (made(&*store, 1, 100).await, made(&*store, 2, 100).await);
        let until = now().plus(Duration::from_mins(10));
        let call = task(&*store, &key, 1, now(), until).await;
        let store = place.again(store).await;
        let resume = async |key: &Key, state: &str| {
            store.resume(&key.id, call, state, None, now(), deadline()).await
        };
        for (who, state) in [(&other, STATE), (&key, "else")] {
            assert!(matches!(resume(who, state).await, Err(StoreError::NotOpen)));
        }
        let resumed = resume(&key, STATE).await.unwrap();
        assert_eq!((resumed.tool.as_str(), resumed.price), ("a", 2));
        assert_eq!(resumed.hold.deadline, deadline());
        assert!(matches!(resume(&key, STATE).await, Err(StoreError::NotOpen)));
        let end = settlement(&charge(&key, 1, &["a"]), &[PAID], Show::BALANCE);
        let paid = PaidTask { call, until: now().plus(TASK_ASK_MAX) };
        assert!(!store.is_task_paid(&key.id, paid).await.unwrap());
        let (reading, durable) = store.settle_task(end, paid, now()).await.unwrap();
        durable.wait().await.unwrap();
        assert_eq!(reading.available, 98);
        let store = place.again(store).await;
        assert!(store.is_task_paid(&key.id, paid).await.unwrap());
    }
}

#[tokio::test]
async fn whoever_was_judged_by_old_records_does_not_go_on() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let until = now().plus(Duration::from_mins(10));
        let call = task(&*store, &key, 1, now(), until).await;
        let by = |revision| Judged { key: revision, namespace: 0, team: None };
        let go_on = async |judged: Judged| {
            store.resume(&key.id, call, STATE, Some(&judged), now(), deadline()).await
        };
        let changed = Key { suspended: true, ..Key::clone(&key) };
        let changed = store.update_key(changed, None.into()).await.unwrap();
        for judged in [by(key.revision), Judged { namespace: 1, ..by(changed.revision) }] {
            let refused = go_on(judged).await;
            assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        }
        go_on(by(changed.revision)).await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_is_bounded() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 10_000).await;
        let mut at = now();
        for number in 0..=u16::try_from(PARKED_PER_KEY_MAX).unwrap() {
            at = at.plus(Duration::from_secs(1));
            let mut id = [7; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            let charge = charge_of(&key, None, id, &["a"]);
            store.hold(&charge, at, at.plus(Duration::from_mins(1))).await.unwrap();
            let (call, key, state) = (charge.call, key.id.clone(), STATE.to_owned());
            let parking = Parking { call, key, state, until: at.plus(Duration::from_hours(1)) };
            let parked = store.park(parking, Show::BALANCE, at).await;
            let is_full = matches!(parked, Err(StoreError::ParkedFull));
            assert_eq!(is_full, usize::from(number) == PARKED_PER_KEY_MAX, "{number}");
        }
        // All of them run out, several with each look; then there is room again.
        let late = at.plus(Duration::from_hours(2));
        assert_eq!(store.expire(late).await.unwrap(), PARKED_PER_KEY_MAX + 1);
        assert_eq!(store.account(&key.id).await.unwrap().available(), 10_000);
        task(&*store, &key, 1, late, late.plus(Duration::from_hours(1))).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_hold_waits_as_long_as_it_is_told_while_the_clock_is_behind() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let ahead = now().plus(Duration::from_hours(1));
        let first = charge(&key, 9, &["a"]);
        store.hold(&first, ahead, ahead).await.unwrap();
        // The clock is an hour behind ledger time, in which the moment to wait for is.
        let until = ahead.plus(Duration::from_mins(10));
        task(&*store, &key, 1, now(), until).await;
        assert_eq!(store.expire(ahead.plus(Duration::from_mins(9))).await.unwrap(), 1, "the first");
        assert_eq!(store.expire(until).await.unwrap(), 1);
        assert_eq!(store.account(&key.id).await.unwrap().available(), 100);
        store.close().await.unwrap();
    }
}
