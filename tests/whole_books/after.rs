//! What goes on after a repair as if nothing had been: webhooks, the audit log, reports.

use paygate::model::audit::AuditFilter;
use paygate::model::time::Time;
use paygate::model::usage::Refused;
use paygate::model::webhook::{BatchEnd, Cursor};
use paygate::store::{AuditOrder, AuditPage, Outbox, Store};

use crate::life::{copy_of, fill, instance, now, paygate, sells};
use crate::support::RedisServer;

fn repair(server: &RedisServer, more: &[&str]) -> String {
    let (url, copy) = (server.url(), copy_of(server, "one.db").display().to_string());
    let args = ["ledger", "repair", "--redis", &url, "--db", &copy];
    paygate(&[&args[..], more].concat()).expect_success().stdout
}

async fn refuse(store: &dyn Store) {
    let (at, reason, count) = (now(), "insufficient_credits", 1);
    let (key, namespace, tool) = (String::new(), String::new(), String::new());
    let refused = Refused { at, key, namespace, tool, reason, count };
    store.note_refused(vec![refused]).await.unwrap();
    store.usage(None).await.unwrap();
}

/// Sends all there is; how many events that were.
async fn send(store: &impl Outbox) -> usize {
    let (mut cursor, mut sent) = (Cursor::default(), 0);
    loop {
        let batch = store.unsent(cursor, 3).await.unwrap();
        cursor = batch.after;
        if batch.is_empty() {
            return sent;
        }
        sent += batch.len();
        let events = i64::try_from(batch.len()).unwrap();
        let end = BatchEnd { after: cursor, events, retries: 0, dead: None };
        store.batch_ended(end).await.unwrap();
    }
}

/// The audit log of tenants.
async fn audit(store: &dyn Store) -> Vec<String> {
    let page = AuditPage { order: AuditOrder::OldestFirst, after: None, skip: 0, limit: 999 };
    let rows = store.audit(AuditFilter::default(), page).await.unwrap();
    let rows = rows.iter().filter(|row| row.namespace.is_some());
    let mut rows: Vec<String> = rows
        .map(|row| {
            format!("{:?} {} {:?} {} {}", row.at, row.kind, row.target, row.message, row.metadata)
        })
        .collect();
    rows.sort();
    rows
}

async fn since(store: &dyn Store) -> Option<Time> {
    store.usage(None).await.unwrap();
    store.complete_since(None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_go_on_where_they_were() {
    let server = RedisServer::start();
    let one = instance(&server, "one.db").await;
    one.open_outbox(now()).await.unwrap();
    fill(&one).await;
    assert!(send(&one).await > 5);
    sells(&one, 70).await.unwrap();
    one.usage(None).await.unwrap();
    server.cli(&["FLUSHALL"]);
    assert_eq!(send(&one).await, 0, "it takes its turn while nothing is there");
    assert!(repair(&server, &["--apply"]).contains("webhooks go on where the copies know"));
    sells(&one, 71).await.unwrap();
    assert_eq!(send(&one).await, 2, "what was not sent before, and what came since");
    assert_eq!(send(&one).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_all_is_complete_and_whoever_has_not_says_so() {
    let server = RedisServer::start();
    let one = instance(&server, "one.db").await;
    let behind = instance(&server, "behind.db").await;
    fill(&one).await;
    refuse(&one).await;
    assert_eq!((since(&one).await, since(&behind).await), (None, None));
    refuse(&one).await;
    let before = audit(&one).await;
    assert!(!before.is_empty());
    server.cli(&["FLUSHALL"]);
    let proposed = repair(&server, &[]);
    for words in
        ["usage that was refused: stay in the copies", "audit log that belong to no tenant"]
    {
        assert!(proposed.contains(words), "{words} is missing in {proposed}");
    }
    repair(&server, &["--apply"]);
    for (number, store) in [(70, &one), (71, &behind)] {
        sells(store, number).await.unwrap();
    }
    let fresh = instance(&server, "fresh.db").await;
    assert!(since(&fresh).await.is_some(), "also before anything new came");
    refuse(&one).await;
    let known = [
        since(&one).await.is_some(),
        since(&behind).await.is_some(),
        since(&fresh).await.is_some(),
    ];
    assert_eq!(known, [false, true, true], "one has all, the others lack what was refused");
    for (name, store) in [("one", &one), ("behind", &behind), ("fresh", &fresh)] {
        assert_eq!(audit(store).await, before, "{name}");
    }
}
