//! What webhooks have still to send: a cursor that survives a restart, and what nobody took. On shared books
//! one instance sends at a time.

use std::collections::BTreeSet;

use paygate::ledger::CreditKind;
use paygate::model::audit::{AuditEvent, AuditFilter};
use paygate::model::key::Key;
use paygate::model::usage::Refused;
use paygate::model::webhook::{Batch, BatchEnd, Cursor, DeadLetter, OutboxTotals};
use paygate::store::redis::RedisClock;
use paygate::store::{Deed, Outbox, Store};

use super::support::RedisServer;
use super::{FREE, PAID, Place, call, instance, made, now};

fn topped() -> Deed {
    let audit = AuditEvent {
        at: now(),
        kind: "key.topup",
        actor: "Ada".to_owned(),
        actor_id: None,
        namespace: Some("default".to_owned()),
        target: None,
        message: String::new(),
        metadata: serde_json::Map::new(),
    };
    Deed { audit: Some(audit), ..Deed::default() }
}

async fn refuse(store: &dyn Store, key: &Key) {
    let refused = Refused {
        at: now(),
        key: key.id.to_string(),
        namespace: "default".to_owned(),
        tool: "a".to_owned(),
        reason: "rate_limited",
        count: 7,
    };
    store.note_refused(vec![refused]).await.unwrap();
}

/// What a batch tells, in any order.
fn told(batch: &Batch) -> BTreeSet<String> {
    let usage = batch.usage.iter().map(|event| {
        let (tool, outcome, count) = (&event.tool, &event.outcome, event.count);
        assert_eq!(event.key_name, "customer 1");
        format!("{tool} {outcome} {} {count}", event.charged)
    });
    usage.chain(batch.admin.iter().map(|row| row.kind.clone())).collect()
}

fn set<const COUNT: usize>(words: [&str; COUNT]) -> BTreeSet<String> {
    words.map(str::to_owned).into()
}

async fn end(store: &dyn Store, after: Cursor, events: i64, dead: Option<DeadLetter>) {
    store.batch_ended(BatchEnd { after, events, retries: 1, dead }).await.unwrap();
}

fn letter(count: i64) -> DeadLetter {
    DeadLetter {
        id: 0,
        events: "\"events\":[]".to_owned(),
        count,
        attempts: 2,
        error: "it said \"500\"".to_owned(),
        first: now(),
        last: now(),
        url: "http://hooks.example".to_owned(),
    }
}

#[tokio::test]
async fn what_happens_is_told_once_from_where_it_was_over_a_restart() {
    for place in Place::all() {
        let store = place.open().await;
        assert_eq!(store.outbox_totals().await.unwrap(), OutboxTotals::default());
        let key = made(&*store, 1, 100).await;
        call(&*store, &key, 1, &["before"], &[PAID]).await;
        refuse(&*store, &key).await;
        let cursor = store.open_outbox(now()).await.unwrap().cursor.unwrap();
        assert!(store.unsent(cursor, 10).await.unwrap().is_empty(), "what was there is not sent");

        call(&*store, &key, 2, &["a", "b", "dear"], &[PAID, FREE, PAID]).await;
        store.credit(&key.id, 5, CreditKind::Grant, topped(), now()).await.unwrap();
        refuse(&*store, &key).await;
        store.update_key((*key).clone(), Deed::default()).await.unwrap();
        let all = set([
            "a result 2 1",
            "b timeout 0 1",
            "dear result 30 1",
            "a rate_limited 0 7",
            "key.topup",
        ]);
        let batch = store.unsent(cursor, 10).await.unwrap();
        assert_eq!(told(&batch), all);
        assert_eq!(told(&store.unsent(cursor, 10).await.unwrap()), all, "it may be asked again");
        let nothing = store.unsent(batch.after, 10).await.unwrap();
        assert!(nothing.is_empty() && !nothing.has_more, "{nothing:?}");

        // A part of it is taken, in the middle of a batch of calls perhaps; then comes a restart.
        let part = store.unsent(cursor, 2).await.unwrap();
        assert_eq!((part.len(), part.has_more), (2, true));
        end(&*store, part.after, 2, None).await;
        let store = place.again(store).await;
        let totals = store.open_outbox(now()).await.unwrap();
        assert_eq!((totals.delivered, totals.events_delivered, totals.retries), (1, 2, 1));
        let rest = store.unsent(totals.cursor.unwrap(), 10).await.unwrap();
        assert_eq!(rest.len(), 3);
        let both: BTreeSet<String> = told(&rest).union(&told(&part)).cloned().collect();
        assert_eq!(both, all);
        end(&*store, rest.after, 3, Some(letter(3))).await;
        let totals = store.outbox_totals().await.unwrap();
        assert_eq!((totals.failed, totals.events_failed, totals.dead), (1, 3, 1));
        assert_eq!(totals.lost, 0);
        assert!(store.unsent(rest.after, 10).await.unwrap().is_empty());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_stay_until_they_are_taken_or_thrown_away() {
    for place in Place::all() {
        let store = place.open().await;
        let cursor = store.open_outbox(now()).await.unwrap().cursor.unwrap();
        let after = store.unsent(cursor, 10).await.unwrap().after;
        for count in 1..=4 {
            end(&*store, after, count, Some(letter(count))).await;
        }
        let store = place.again(store).await;
        let letters = store.dead_letters(1, 2).await.unwrap();
        assert_eq!(letters, [DeadLetter { id: 2, ..letter(2) }, DeadLetter { id: 3, ..letter(3) }]);
        assert_eq!(store.dead_letter(9).await.unwrap(), None);
        let one = store.dead_letter(2).await.unwrap().unwrap();
        let again = DeadLetter { attempts: 3, error: "still 500".to_owned(), ..one };
        store.letter_ended(again.clone(), false).await.unwrap();
        assert_eq!(store.dead_letter(2).await.unwrap(), Some(again.clone()));
        store.letter_ended(again, true).await.unwrap();
        assert_eq!(store.dead_letter(2).await.unwrap(), None);
        let totals = store.outbox_totals().await.unwrap();
        assert_eq!((totals.dead, totals.last_dead, totals.events_delivered), (3, 4, 2));
        let audit = topped().audit.unwrap();
        store.clear_dead_letters(3, audit).await.unwrap();
        let left: Vec<i64> =
            store.dead_letters(0, 9).await.unwrap().iter().map(|letter| letter.id).collect();
        assert_eq!(left, [4]);
        assert_eq!(store.outbox_totals().await.unwrap().dead, 1);
        assert_eq!(store.audit_totals(AuditFilter::default()).await.unwrap().total, 1);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn one_instance_sends_and_another_takes_over() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Passed).await;
    let other = instance(&server, RedisClock::Passed).await;
    let key = made(&one, 1, 100).await;
    let cursor = one.open_outbox(now()).await.unwrap().cursor.unwrap();
    let of_other = other.open_outbox(now()).await.unwrap().cursor.unwrap();
    call(&other, &key, 1, &["a", "b"], &[PAID, FREE]).await;
    let batch = one.unsent(cursor, 1).await.unwrap();
    assert_eq!((batch.len(), batch.has_more), (1, true));
    let nothing = other.unsent(of_other, 10).await.unwrap();
    assert!(nothing.is_empty(), "it is not its turn: {nothing:?}");
    let ended =
        other.batch_ended(BatchEnd { after: nothing.after, events: 0, retries: 0, dead: None });
    assert!(ended.await.is_err(), "nor may it say that something was sent");
    end(&one, batch.after, 1, None).await;
    let late = one.unsent(batch.after, 10).await.unwrap();
    assert_eq!(late.usage[0].tool, "b");
    // It stops before that was taken.
    one.close().await.unwrap();
    let rest = other.unsent(of_other, 10).await.unwrap();
    assert_eq!(rest.usage, late.usage, "with the same ids");
    let stale = one.batch_ended(BatchEnd { after: late.after, events: 1, retries: 0, dead: None });
    assert!(stale.await.is_err());
    end(&other, rest.after, 1, None).await;
    assert_eq!(other.outbox_totals().await.unwrap().events_delivered, 2);
}
