//! What operators read: usage, reports and the audit log. On shared books an instance answers from its
//! copy of the journals, which has all that happened before the question, on any instance.

use std::sync::Arc;

use paygate::ledger::CreditKind;
use paygate::model::audit::{AuditEvent, AuditFilter};
use paygate::model::key::Key;
use paygate::model::labels::Labels;
use paygate::model::time::Time;
use paygate::model::usage::{Bucket, Refused, ReportAsked, UsageFilter};
use paygate::store::{
    AuditOrder, AuditPage, CallState, CreditsMoved, Deed, Parking, Settlement, Show, Store,
    UsageRow, settlement,
};

use super::{FREE, NOW, PAID, Place, call, charge, deadline, made, now};

fn row(key: &str, tool: &str, reason: &str, calls: i64, credits: i64) -> UsageRow {
    let text = str::to_owned;
    UsageRow { key: text(key), tool: text(tool), reason: text(reason), calls, credits }
}

/// A key that was used: three calls, one with a label, and the first refunded.
async fn used(store: &dyn Store) -> Arc<Key> {
    let key = made(store, 1, 100).await;
    call(store, &key, 1, &["a"], &[PAID]).await;
    call(store, &key, 2, &["a", "dear", "a"], &[PAID, FREE, PAID]).await;
    let labels = Labels::parse(r#"{"project":"x \"y\""}"#).unwrap();
    let labelled = charge(&key, 3, &["b"]).labelled(labels);
    store.hold(&labelled, now(), deadline()).await.unwrap();
    let end: Settlement = settlement(&labelled, &[PAID], Show::BALANCE);
    store.settle(end, now()).await.unwrap().1.wait().await.unwrap();
    let found = store.find_call(charge(&key, 1, &["a"]).call).await.unwrap().unwrap();
    store.refund(found, None.into(), now()).await.unwrap();
    key
}

#[tokio::test]
async fn usage_is_summed_up_and_listed() {
    for place in Place::all() {
        let store = place.open().await;
        let key = used(&*store).await;
        let store = place.again(store).await;
        let refused = Refused {
            at: now(),
            key: key.id.to_string(),
            namespace: "default".to_owned(),
            tool: "a".to_owned(),
            reason: "rate_limited",
            count: 7,
        };
        store.roll_up_usage(vec![refused]).await.unwrap();

        let id = key.id.as_str();
        let mut sums = store.usage(Some("default")).await.unwrap();
        sums.sort_by(|one, other| (&one.tool, &one.reason).cmp(&(&other.tool, &other.reason)));
        let expected = [
            row(id, "a", "", 3, 4),
            row(id, "a", "rate_limited", 7, 0),
            row(id, "b", "", 1, 2),
            row(id, "dear", "", 1, 0),
        ];
        assert_eq!(sums, expected);
        assert!(store.usage(Some("other")).await.unwrap().is_empty());

        let page = store.usage_events(UsageFilter::default(), None, 50).await.unwrap();
        let told = page.events.iter().map(|event| (&*event.tool, event.charged, event.count));
        let expected = [
            ("a", 2, 1),
            ("a", 2, 1),
            ("dear", 0, 1),
            ("a", 2, 1),
            ("b", 2, 1),
            ("a", -2, 1),
            ("a", 0, 7),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        let names = page.events.iter().all(|event| event.key_name == "customer 1");
        assert!(names, "{:?}", page.events);

        let hour = Bucket::Hour.start(Time::from_ms(NOW));
        let asked = ReportAsked {
            from: hour,
            to: hour + Bucket::Hour.ms(),
            bucket: Bucket::Hour,
            namespace: None,
            label: Some("project".to_owned()),
            top: 5,
        };
        let report = store.usage_report(asked).await.unwrap();
        assert_eq!((report.current.allowed, report.current.denied), (5, 7));
        assert_eq!(report.current.credits, 6);
        assert_eq!(report.labels.first().map(|(value, _)| &**value), Some("x \"y\""));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_audit_log_has_what_operators_did() {
    for place in Place::all() {
        let store = place.open().await;
        let key = made(&*store, 1, 100).await;
        let event = |kind: &'static str| AuditEvent {
            at: now(),
            kind,
            actor: "Ada".to_owned(),
            actor_id: None,
            namespace: Some("default".to_owned()),
            target: Some(key.id.to_string()),
            message: "a \"word\"\n".to_owned(),
            metadata: serde_json::Map::new(),
        };
        let deed = |kind| Deed { audit: Some(event(kind)), ..Deed::default() };
        let topped = store.credit(&key.id, 5, CreditKind::Grant, deed("key.topup"), now());
        topped.await.unwrap();
        store.update_key((*key).clone(), deed("key.updated")).await.unwrap();
        store.note(event("admin.auth_failed").with("unlisted", 2));
        let page = AuditPage { order: AuditOrder::OldestFirst, after: None, skip: 0, limit: 9 };
        let read = async || store.audit(AuditFilter::default(), page).await.unwrap();
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        while read().await.len() < 3 {
            assert!(std::time::Instant::now() < deadline, "a note comes a moment later");
            tokio::task::yield_now().await;
        }
        let mut rows: Vec<(String, String)> =
            read().await.into_iter().map(|row| (row.kind, row.metadata)).collect();
        rows.sort();
        let expected = [
            ("admin.auth_failed", r#"{"unlisted":2}"#),
            ("key.topup", r#"{"newBalance":105}"#),
            ("key.updated", "{}"),
        ];
        assert_eq!(rows, expected.map(|(kind, data)| (kind.to_owned(), data.to_owned())));
        let totals = store.audit_totals(AuditFilter::default()).await.unwrap();
        assert_eq!((totals.total, totals.newest_id), (3, 3));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn accounts_are_what_the_journal_says() {
    for place in Place::all_and_a_cluster() {
        let store = place.open().await;
        let key = used(&*store).await;
        let open = charge(&key, 9, &["dear"]);
        store.hold(&open, now(), deadline()).await.unwrap();
        let other = made(&*store, 2, 50).await;
        store.delete_key(&other.id, Deed::default(), now()).await.unwrap();
        store.compare_books().await.unwrap();
        let load = store.load();
        assert_eq!(load.compared.unwrap().drift, 0);
        let CreditsMoved { held, captured, released, refunded } = load.moved;
        assert_eq!((held, captured, released, refunded), (30, 8, 30, 2));
        assert_eq!(load.open_holds, 1);
        if let Place::Redis(server) = &place {
            let account = format!("pg:{{default}}:{}", key.id);
            server.cli(&["HINCRBY", &account, "balance@l", "7"]);
            store.compare_books().await.unwrap();
            assert_eq!(store.load().compared.unwrap().drift, 7, "nobody has booked those");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_tenants_have_is_added_up() {
    for place in Place::all_and_a_cluster() {
        let store = place.open().await;
        assert!(store.tenant_sums(now()).await.unwrap().is_empty());
        let of_acme = paygate::model::key::Key { namespace: "acme".to_owned(), ..super::key(7) };
        store.create_key(of_acme, 9, None.into(), now()).await.unwrap();
        let key = used(&*store).await;
        let suspended = paygate::model::key::Key { suspended: true, ..(*key).clone() };
        store.update_key(suspended, Deed::default()).await.unwrap();
        let store = place.again(store).await;
        let sums = store.tenant_sums(now()).await.unwrap();
        let told: Vec<_> = sums
            .iter()
            .map(|sum| (&*sum.namespace, sum.keys, sum.usable, sum.available, sum.spent))
            .collect();
        assert_eq!(told, [("acme", 1, 1, 9, 0), ("default", 1, 0, 94, 6)]);
        assert_eq!(store.ended_calls(None).await.unwrap(), 5);
        assert_eq!(store.ended_calls(Some("acme")).await.unwrap(), 0);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_call_is_explained() {
    for place in Place::all() {
        let store = place.open().await;
        let key = used(&*store).await;
        let call = charge(&key, 1, &["a"]).call;
        let found = store.explain_call(call).await.unwrap().unwrap();
        assert_eq!((&*found.key, found.key_name.as_deref()), (key.id.as_str(), Some("customer 1")));
        assert!(found.end.is_some() && found.refund.is_some(), "{found:?}");
        let items: Vec<_> =
            found.items.iter().map(|item| (&*item.tool, item.price, item.charged)).collect();
        assert_eq!(items, [("a", 2, 2)]);
        let labelled = store.explain_call(charge(&key, 3, &["b"]).call).await.unwrap().unwrap();
        assert_eq!(labelled.labels.as_deref(), Some(r#"{"project":"x \"y\""}"#));
        let unknown = charge(&key, 77, &["a"]).call;
        assert!(store.explain_call(unknown).await.unwrap().is_none());
        let open = charge(&key, 9, &["dear"]);
        store.hold(&open, now(), deadline()).await.unwrap();
        let (state, until) = ("round 1".to_owned(), deadline());
        let parking = Parking { call: open.call, key: key.id.clone(), state, until };
        store.park(parking, Show::BALANCE, now()).await.unwrap().1.wait().await.unwrap();
        let held = store.explain_call(open.call).await.unwrap().unwrap();
        assert!(held.end.is_none(), "{held:?}");
        assert_eq!(held.waits, Some(("round 1".to_owned(), deadline())));
        assert_eq!(store.find_call(open.call).await.unwrap().unwrap().state, CallState::Open);
        assert_eq!(held.items.first().map(|item| &*item.outcome), Some("open"));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_entry_of_the_audit_log_is_written_before_the_answer() {
    for place in Place::all() {
        let store = place.open().await;
        let event = AuditEvent {
            at: now(),
            kind: "config.reloaded",
            actor: "Ada".to_owned(),
            actor_id: None,
            namespace: None,
            target: None,
            message: String::new(),
            metadata: serde_json::Map::new(),
        };
        store.record(event).await.unwrap();
        let store = place.again(store).await;
        assert_eq!(store.audit_totals(AuditFilter::default()).await.unwrap().total, 1);
        store.close().await.unwrap();
    }
}
