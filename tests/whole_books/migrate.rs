//! `paygate migrate`, there and back.

use std::path::{Path, PathBuf};

use paygate::model::audit::AuditFilter;
use paygate::model::ids::CallId;
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::{AuditOrder, AuditPage, Store};

use crate::life::{fill, id, instance, now, paygate, said, sells};
use crate::support::{Ended, RedisServer, TempDir};

fn migrate(from: &str, to: &str, more: &[&str]) -> Ended {
    let args: Vec<&str> =
        ["migrate", "--from", from, "--to", to].into_iter().chain(more.iter().copied()).collect();
    paygate(&args)
}

fn options(path: &Path) -> LocalOptions {
    LocalOptions { path: Some(path.to_owned()), durability: Durability::Answer }
}

fn open(path: &Path) -> LocalStore {
    LocalStore::open(&options(path), now()).unwrap()
}

/// The audit log, without the places of its entries.
async fn audit(store: &dyn Store) -> Vec<String> {
    let page = AuditPage { order: AuditOrder::OldestFirst, after: None, skip: 0, limit: 999 };
    let mut rows = store.audit(AuditFilter::default(), page).await.unwrap();
    rows.sort_by_key(|row| (row.namespace.is_some(), row.at, row.message.clone()));
    rows.iter()
        .map(|row| format!("{:?} {} {} {}", row.at, row.kind, row.message, row.metadata))
        .collect()
}

async fn close(store: LocalStore) {
    store.close().await.unwrap();
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// It is read, and sold from no more.
fn expect_closed(file: &Path) {
    paygate(&["ledger", "verify", "--db", &text(file)]).expect_success();
    let old = LocalStore::open(&options(file), now()).err().unwrap().to_string();
    for words in ["have moved to the Redis at 127.0.0.1:", "--redis-url", "DROP TABLE moved"] {
        assert!(old.contains(words), "{words}: {old}");
    }
    let elsewhere = migrate(&text(file), &RedisServer::start().url(), &[]);
    assert!(elsewhere.stderr.contains("have moved to the Redis at"), "{elsewhere:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_books_move_there_and_back() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let url = server.url();
    let (first, second): (PathBuf, PathBuf) = (dir.file("first.db"), dir.file("second.db"));
    let store = open(&first);
    fill(&store).await;
    close(store).await;
    // A start releases the one call that ran.
    let store = open(&first);
    let in_use = migrate(&text(&first), &url, &[]);
    assert!(in_use.stderr.contains("in use by another Paygate"), "{in_use:#?}");
    let (before, calls) = (said(&store).await, store.usage(None).await.unwrap());
    let entries = audit(&store).await;
    close(store).await;

    let there = migrate(&text(&first), &url, &["--db", &text(&dir.file("copy.db"))]);
    assert_eq!((there.code(), there.stderr.as_str()), (Some(0), ""), "{there:#?}");
    assert!(there.stdout.contains("moved: 2 tenants, 3 keys with"), "{there:#?}");
    assert!(there.stdout.contains("1 calls that wait"), "{there:#?}");
    paygate(&["ledger", "verify", "--redis", &url, "--db", &text(&dir.file("copy.db"))])
        .expect_success();
    let again = migrate(&text(&first), &url, &[]);
    assert!(again.stderr.contains("Redis has books already"), "{again:#?}");

    expect_closed(&first);
    let shared = instance(&server, "one.db").await;
    assert_eq!(said(&shared).await, before);
    assert_eq!(shared.usage(None).await.unwrap().len(), calls.len());
    assert_eq!(audit(&shared).await, entries);
    sells(&shared, 60).await.unwrap();
    let call = CallId::from_random([7; 16]);
    // Later than any clock of this test.
    let far = Time::parse("2100-01-01T00:00:00Z").unwrap();
    let resumed = shared.resume(&id(1), call, "waits\n", None, now(), far).await.unwrap();
    assert_eq!(resumed.tool.as_str(), "tool");

    let running = migrate(&url, &text(&second), &[]);
    assert!(running.stderr.contains("1 calls of default are under way"), "{running:#?}");
    assert!(!second.exists());
    assert_eq!(shared.expire(far).await.unwrap(), 1);
    let before = said(&shared).await;
    let back = migrate(&url, &text(&second), &[]);
    assert_eq!((back.code(), back.stderr.as_str()), (Some(0), ""), "{back:#?}");
    let refused = sells(&shared, 61).await;
    assert!(format!("{refused:?}").contains("they have moved to"), "{refused:?}");
    let stranger = instance(&server, "two.db").await;
    assert!(sells(&stranger, 62).await.is_err(), "nobody sells from books that have moved");

    paygate(&["ledger", "verify", "--db", &text(&second)]).expect_success();
    let store = open(&second);
    assert_eq!(said(&store).await, before);
    sells(&store, 63).await.unwrap();
    assert_eq!(audit(&store).await, entries);
    let taken = migrate(&url, &text(&second), &[]);
    assert!(taken.stderr.contains("is there already"), "{taken:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_stopped_begins_again() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let (url, path) = (server.url(), dir.file("books.db"));
    let store = open(&path);
    fill(&store).await;
    close(store).await;
    migrate(&text(&path), &url, &[]).expect_success();
    // As if it had been stopped before it opened them, with something wrong in them.
    for tenant in ["default", "other"] {
        server.cli(&[
            "HSET",
            &format!("pg:{{{tenant}}}:meta"),
            "closed",
            "`paygate migrate` is moving them",
        ]);
    }
    server.cli(&["SET", "pg:closed", "`paygate migrate` is moving them"]);
    server.cli(&["HINCRBY", "pg:{default}:key_0101010101010101", "balance@l", "1000"]);
    let shared = instance(&server, "one.db").await;
    assert!(sells(&shared, 60).await.is_err());
    migrate(&text(&path), &url, &[]).expect_success();
    sells(&shared, 61).await.unwrap();
    paygate(&["ledger", "verify", "--redis", &url]).expect_success();

    // The keys of paygate-mcp lie under the same names.
    server.cli(&["FLUSHALL"]);
    server.cli(&["SADD", "pg:keys", "pg_1"]);
    let mixed = migrate(&text(&path), &url, &[]);
    assert!(mixed.stderr.contains("the keys of paygate-mcp"), "{mixed:#?}");
    assert_eq!(server.cli(&["DBSIZE"]), "1");
}
