//! Sums that are kept instead of counted: of usage, and of what the keys of each tenant come to. They
//! must be what counting would say, at any time, whatever happened on the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use paygate::ledger::CreditKind;
use paygate::ledger::names;
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::Key;
use paygate::model::labels::Labels;
use paygate::model::namespace::TenantSum;
use paygate::model::time::Time;
use paygate::model::usage::{Bucket, ReportAsked, UsageReport};
use paygate::store::local::{Durability, LocalStore};
use paygate::store::{Creation, Show, Store, UsageRow, settlement};
use rusqlite::Connection;

use super::{FREE, Folder, PAID, call, charge, deadline, made, now, open, raw};

const DAY_MS: i64 = 86_400_000;

/// All that the sums say.
async fn said(store: &LocalStore) -> (Vec<UsageRow>, UsageReport, UsageReport) {
    store.roll_up_usage(Vec::new()).await.unwrap();
    let mut rows = store.usage(None).await.unwrap();
    rows.sort_by(|one, other| (&one.key, &one.tool).cmp(&(&other.key, &other.tool)));
    let from = now().ms() - now().ms() % DAY_MS;
    let asked = |bucket, namespace: Option<&str>| ReportAsked {
        from,
        to: from + DAY_MS,
        bucket,
        namespace: namespace.map(str::to_owned),
        label: Some("job".to_owned()),
        top: 2,
    };
    let hours = store.usage_report(asked(Bucket::Hour, None)).await.unwrap();
    let days = store.usage_report(asked(Bucket::Day, Some("default"))).await.unwrap();
    (rows, hours, days)
}

/// Lets the file believe that nothing was summed up.
fn forget_sums(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let tables = ["usage_hours", "usage_days", "usage_tools", "usage_marks", "label_hours"];
    for table in tables {
        connection.execute(&format!("DELETE FROM {table}"), []).unwrap();
    }
    connection.execute("UPDATE meta SET value = 0 WHERE name = 'usage_seq'", []).unwrap();
}

#[tokio::test]
async fn usage_is_the_same_however_it_was_summed_up() {
    let folder = Folder::new("sums");
    let store = open(&folder.db(), Durability::Answer);
    let (one, two) = (made(&store, 1, 1000).await, made(&store, 2, 1000).await);
    call(&store, &one, 1, &["a"], &[PAID]).await;
    call(&store, &one, 2, &["a", "dear", "a"], &[PAID, FREE, PAID]).await;
    store.roll_up_usage(Vec::new()).await.unwrap();
    call(&store, &two, 3, &["dear"], &[PAID]).await;
    call(&store, &two, 4, &["a"], &[FREE]).await;
    let mut labelled = charge(&one, 5, &["a", "dear"]);
    labelled.labels = Labels::parse(r#"{"job":"night","user":"ü\"x"}"#).unwrap();
    store.hold(&labelled, now(), deadline()).await.unwrap();
    let end = settlement(&labelled, &[PAID, PAID], Show::BALANCE);
    store.settle(end, now()).await.unwrap().1.wait().await.unwrap();
    for id in [1, 5] {
        let found = store.find_call(CallId::from_random([id; 16])).await.unwrap().unwrap();
        store.refund(found, None.into(), now()).await.unwrap();
    }
    // A hold that runs out, with labels, long after its row was written.
    let mut lost = charge(&two, 6, &["a"]);
    lost.labels = Labels::parse(r#"{"job":"day"}"#).unwrap();
    store.hold(&lost, now(), deadline()).await.unwrap();
    store.expire(deadline().plus(Duration::from_secs(1))).await.unwrap();

    // As after a crash: some are summed up, the rest is read from the journal.
    store.credit(&one.id, 1, CreditKind::Grant, None.into(), now()).await.unwrap();
    let crashed = folder.crashed();
    let noted = said(&store).await;
    store.close().await.unwrap();
    let reopened = open(&crashed, Durability::Answer);
    assert_eq!(said(&reopened).await, noted);
    reopened.close().await.unwrap();
    // As in a file that never had sums.
    forget_sums(&crashed);
    let reopened = open(&crashed, Durability::Answer);
    assert_eq!(said(&reopened).await, noted);

    let (rows, hours, days) = noted;
    let all: Vec<_> = rows.iter().map(|row| (&*row.tool, row.calls, row.credits)).collect();
    assert_eq!(all, [("a", 4, 4), ("dear", 2, 0), ("a", 2, 0), ("dear", 1, 30)]);
    assert_eq!((hours.keys, hours.tools_used, hours.current.allowed), (2, 2, 9));
    assert_eq!(
        (hours.consumers[0].key.as_str(), &*hours.consumers[0].top_tool),
        (two.id.as_str(), "a")
    );
    let labels: Vec<_> =
        hours.labels.iter().map(|(value, tally)| (&**value, tally.allowed)).collect();
    assert_eq!(labels, [("night", 2), ("day", 1)]);
    assert_eq!(days.tools, hours.tools);
}

/// What counting says.
async fn counted(store: &LocalStore, at: Time) -> Vec<TenantSum> {
    let mut sums: Vec<TenantSum> = Vec::new();
    let mut places = BTreeMap::new();
    for (key, account) in store.keys(None).await.unwrap() {
        let place = *places.entry(key.namespace.clone()).or_insert_with(|| {
            sums.push(TenantSum::empty(&key.namespace));
            sums.len() - 1
        });
        let sum = &mut sums[place];
        sum.keys += 1;
        sum.usable += usize::from(key.usable(at));
        sum.available += account.available();
        sum.spent += account.value(&names::SPENT, at);
    }
    sums.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    sums
}

async fn kept(store: &LocalStore, at: Time) -> Vec<TenantSum> {
    let mut sums = store.tenant_sums(at).await.unwrap();
    sums.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    sums
}

fn numbered(number: u64) -> Key {
    let mut key = super::key(1);
    key.id = KeyId::from_random((number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes());
    let mut random = [7; 24];
    random[..8].copy_from_slice(&number.to_be_bytes());
    key.digest = paygate::model::secret::RawKey::from_random(random).digest();
    key.namespace = format!("tenant-{}", number % 5);
    key.expires_at = number.is_multiple_of(3).then(|| now().plus(Duration::from_secs(number)));
    key
}

async fn create(store: &LocalStore, number: u64) -> Arc<Key> {
    let credits = i64::try_from(number % 1000).unwrap();
    match store.create_key(numbered(number), credits, None.into(), now()).await.unwrap() {
        Creation::Made(key) => key,
        Creation::Repeated(note) => panic!("repeated: {note}"),
    }
}

/// Changes of every kind to keys that lie everywhere in the order of ids.
async fn change(store: &LocalStore, number: u64, round: u8) {
    let id = numbered(number).id;
    let Some(key) = store.key_by_id(&id).await.unwrap() else { return };
    match number % 7 {
        0 => store.delete_key(&id, None.into(), now()).await.unwrap(),
        1 => {
            let mut changed = Key::clone(&key);
            changed.suspended = !changed.suspended;
            changed.expires_at = None;
            store.update_key(changed, None.into()).await.unwrap();
        }
        2 | 3 => {
            let credit =
                store.credit(&id, 100, CreditKind::Grant, None.into(), now()).await.unwrap();
            assert!(matches!(credit, paygate::store::Credited::Made(_)));
            let mut bytes = [round; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let mut charge = charge(&key, 1, &["a", "dear"]);
            charge.call = CallId::from_random(bytes);
            store.hold(&charge, now(), deadline()).await.unwrap();
            if number.is_multiple_of(2) {
                let end = settlement(&charge, &[PAID, FREE], Show::BALANCE);
                store.settle(end, now()).await.unwrap().1.wait().await.unwrap();
            }
        }
        4 => drop(create(store, number + 100_000 * u64::from(round)).await),
        _ => {
            store.credit(&id, -50, CreditKind::Adjustment, None.into(), now()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tenants_have_is_what_counting_says() {
    const KEYS: u64 = 900;
    let folder = Folder::new("tenants");
    let store = Arc::new(open(&folder.db(), Durability::None));
    for number in 0..KEYS {
        create(&store, number).await;
    }
    // Nothing is counted yet, and everything is in memory.
    assert_eq!(kept(&store, now()).await, counted(&store, now()).await);
    for number in 0..KEYS / 2 {
        change(&store, number, 1).await;
    }
    assert_eq!(kept(&store, now()).await, counted(&store, now()).await);
    let late = now().plus(Duration::from_secs(KEYS / 2));
    assert_eq!(kept(&store, late).await, counted(&store, late).await);
    store.expire(deadline().plus(Duration::from_secs(1))).await.unwrap();
    assert_eq!(kept(&store, now()).await, counted(&store, now()).await);
    store.close().await.unwrap();
    drop(store);

    // Now they are in the file, and changes go on while they are counted.
    let store = Arc::new(open(&folder.db(), Durability::None));
    let changing = Arc::clone(&store);
    let changes = tokio::spawn(async move {
        for number in 0..KEYS {
            change(&changing, number, 2).await;
        }
    });
    let counting = Arc::clone(&store);
    let count = tokio::spawn(async move { counting.tenant_sums(now()).await.unwrap().len() });
    changes.await.unwrap();
    assert_eq!(count.await.unwrap(), 5);
    assert_eq!(kept(&store, now()).await, counted(&store, now()).await);
    store.expire(deadline().plus(Duration::from_hours(1))).await.unwrap();
    assert_eq!(kept(&store, now()).await, counted(&store, now()).await);
    assert!(store.key_by_digest(raw(1).digest(), now()).await.unwrap().is_none());
    store.close().await.unwrap();
}
