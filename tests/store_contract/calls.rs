//! Holds, their ends, and credits.

use std::time::Duration;

use paygate::ledger::{CreditKind, names};
use paygate::model::ids::CallId;
use paygate::model::key::Key;
use paygate::model::secret::Digest;
use paygate::model::time::Time;
use paygate::store::{
    CallState, Credited, HoldRefused, Keep, Kept, Once, Settlement, Show, StoreError, settlement,
};

use super::{FREE, NOW, PAID, Place, call, charge, deadline, made, now};

#[tokio::test]
async fn numbers_are_found_again() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        assert_eq!(call(&*store, &key, 1, &["a"], &[PAID]).await, 98);
        assert_eq!(call(&*store, &key, 2, &["a"], &[FREE]).await, 98);
        assert_eq!(call(&*store, &key, 3, &["a", "dear", "b"], &[PAID, FREE, PAID]).await, 94);
        let granted =
            store.credit(&key.id, 6, CreditKind::Grant, None.into(), now()).await.unwrap();
        assert_eq!(granted, Credited::Made(100));
        let adjusted = store.credit(&key.id, -130, CreditKind::Adjustment, None.into(), now());
        assert_eq!(adjusted.await.unwrap(), Credited::Made(-30));
        let store = place.again(store).await;
        let account = store.account(&key.id).await.unwrap();
        let value = |counter| account.value(&counter, now());
        assert_eq!((account.available(), account.held()), (-30, 0));
        assert_eq!((value(names::SPENT), value(names::CALLS), value(names::RATE)), (6, 3, 5));
        assert_eq!((value(names::CALLS_DAY), value(names::CREDITS_MONTH)), (3, 6));
        assert_eq!(value(names::tool_rate("dear")), 1);
    }
}

#[tokio::test]
async fn a_record_that_changed_is_judged_again() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let judged = charge(&key, 1, &["a"]);
        let revoked =
            store.update_key(Key { active: false, ..(*key).clone() }, None.into()).await.unwrap();
        assert!(matches!(store.hold(&judged, now(), deadline()).await, Err(HoldRefused::Stale)));
        let again = store.update_key(Key { name: "x".into(), ..(*key).clone() }, None.into()).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "the first revision is gone");
        assert_eq!(revoked.revision, key.revision + 1);
    }
}

#[tokio::test]
async fn a_hold_ends_once() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let charge = charge(&key, 1, &["dear"]);
        store.hold(&charge, now(), deadline()).await.unwrap();
        let late = deadline().plus(Duration::from_millis(1));
        let paid = || settlement(&charge, &[PAID], Show::BALANCE);
        assert!(
            matches!(store.settle(paid(), late).await, Err(StoreError::NotOpen)),
            "its deadline has passed"
        );
        assert_eq!(store.expire(late).await.unwrap(), 1);
        assert_eq!(store.expire(late).await.unwrap(), 0);
        assert!(matches!(store.settle(paid(), late).await, Err(StoreError::NotOpen)));
        assert_eq!(store.account(&key.id).await.unwrap().available(), 100);
    }
}

#[tokio::test]
async fn a_call_is_refunded_once() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        call(&*store, &key, 1, &["a", "dear"], &[PAID, FREE]).await;
        call(&*store, &key, 2, &["a"], &[FREE]).await;
        let store = place.again(store).await;
        let find = async |call: u8| store.find_call(CallId::from_random([call; 16])).await.unwrap();
        assert!(find(9).await.is_none());
        assert_eq!(find(2).await.map(|found| found.state), Some(CallState::Free));
        let found = find(1).await.unwrap();
        assert_eq!((found.charged, found.state), (2, CallState::Charged));
        let refund = |found| store.refund(found, None.into(), now());
        assert_eq!(refund(found.clone()).await.unwrap(), Credited::Made(100));
        assert_eq!(refund(found).await.unwrap(), Credited::Repeated(100));
        let found = find(1).await.unwrap();
        assert_eq!((found.charged, found.state), (2, CallState::Refunded));
        let account = store.account(&key.id).await.unwrap();
        assert_eq!(account.value(&names::SPENT, now()), 0);
    }
}

fn once(id: &str, request: &str) -> Once {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Once { id: digest(id), request: digest(request), note: "note".to_owned() }
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let top_up =
            |once: Once| store.credit(&key.id, 5, CreditKind::Grant, Some(once).into(), now());
        assert_eq!(top_up(once("1", "five")).await.unwrap(), Credited::Made(105));
        assert_eq!(top_up(once("2", "five")).await.unwrap(), Credited::Made(110));
        assert_eq!(
            top_up(once("1", "five")).await.unwrap(),
            Credited::Repeated(105),
            "the answer of then"
        );
        assert!(matches!(top_up(once("1", "six")).await, Err(StoreError::OnceMismatch)));
        let store = place.again(store).await;
        let again = |now| {
            let deed = Some(once("1", "five")).into();
            store.credit(&key.id, 5, CreditKind::Grant, deed, now)
        };
        assert_eq!(again(now()).await.unwrap(), Credited::Repeated(105));
        assert_eq!(store.repeated(&once("1", "five"), now()).await.unwrap(), Some(105));
        assert_eq!(store.repeated(&once("3", "five"), now()).await.unwrap(), None);
        let other = store.repeated(&once("1", "six"), now()).await;
        assert!(matches!(other, Err(StoreError::OnceMismatch)), "{other:?}");
        let a_day_later = now().plus(Duration::from_hours(24));
        assert_eq!(again(a_day_later).await.unwrap(), Credited::Made(115), "then it is new");
    }
}

#[tokio::test]
async fn a_repetition_is_known_after_the_clock_was_set_back() {
    for place in Place::all() {
        let in_two_days = Time::from_ms(NOW + 2 * 86_400_000);
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        store.credit(&key.id, 1, CreditKind::Grant, None.into(), in_two_days).await.unwrap();
        let deed = || Some(once("1", "five")).into();
        let first = store.credit(&key.id, 5, CreditKind::Grant, deed(), now()).await.unwrap();
        assert_eq!(first, Credited::Made(106));
        let store = place.again(store).await;
        let again = store.credit(&key.id, 5, CreditKind::Grant, deed(), now()).await.unwrap();
        assert_eq!(again, Credited::Repeated(106));
        assert_eq!(store.account(&key.id).await.unwrap().available(), 106);
    }
}

#[tokio::test]
async fn an_answer_is_kept_with_the_capture_for_its_time() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let ttl = Duration::from_hours(1);
        for (call, id, end) in [(1, "paid", PAID), (2, "free", FREE)] {
            let charge = charge(&key, call, &["a"]);
            store.hold(&charge, now(), deadline()).await.unwrap();
            // Not only text: whatever a server answers.
            let answer = Some(vec![call, b'\n', 0xff, 0]);
            let keep = Some(Keep { once: once(id, "r"), answer, ttl });
            let end = Settlement { keep, ..settlement(&charge, &[end], Show::BALANCE) };
            store.settle(end, now()).await.unwrap().1.wait().await.unwrap();
        }
        let store = place.again(store).await;
        let recall = async |id, at| store.recall(&key.id, &once(id, "r"), at).await.unwrap();
        let answer = Some(vec![1, b'\n', 0xff, 0]);
        let kept = Kept { call: CallId::from_random([1; 16]), answer };
        assert_eq!(recall("paid", now()).await, Some(kept.clone()));
        assert_eq!(recall("free", now()).await, None);
        let other = store.recall(&key.id, &once("paid", "another"), now()).await;
        assert!(matches!(other, Err(StoreError::OnceMismatch)), "{other:?}");
        let end = now().plus(ttl);
        assert_eq!(recall("paid", Time::from_ms(end.ms() - 1)).await, Some(kept));
        assert_eq!(recall("paid", end).await, None, "its time has passed");
        store.expire(end).await.unwrap();
        if let Place::Redis(server) = &place {
            assert_eq!(server.cli(&["HLEN", "pg:{default}:kept"]), "0", "it takes no room either");
        }
    }
}
