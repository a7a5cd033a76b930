//! Which file is opened, and which is left alone.

use std::path::Path;

use paygate::ledger::CreditKind;
use paygate::store::local::{Durability, LocalOptions, LocalStore, OpenError, verify};
use paygate::store::{HoldRefused, Store, StoreError};

use super::{Folder, PAID, call, charge, deadline, made, now, open};

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone() {
    let folder = Folder::new("foreign");
    let refused = |path: &Path| {
        let options = LocalOptions { path: Some(path.to_owned()), durability: Durability::Answer };
        LocalStore::open(&options, now()).err().expect("it opened")
    };
    let text = folder.0.join("notes.txt");
    std::fs::write(&text, "this is a letter, not a database, and long enough to be looked at")
        .unwrap();
    assert!(matches!(refused(&text), OpenError::Foreign(_)));
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is a letter"));

    let other = folder.0.join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(refused(&other), OpenError::Foreign(_)));

    let store = open(&folder.db(), Durability::Answer);
    let message = refused(&folder.db()).to_string();
    assert!(message.contains("--db") && message.contains("--ephemeral"), "{message}");
    store.close().await.unwrap();
    rusqlite::Connection::open(folder.db())
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(matches!(refused(&folder.db()), OpenError::Newer { found: 99, .. }));
    assert!(matches!(refused(&folder.0), OpenError::Io { .. } | OpenError::Foreign(_)));
}

#[cfg(unix)]
#[tokio::test]
async fn one_file_is_one_file_whatever_it_is_called() {
    let folder = Folder::new("links");
    let store = open(&folder.db(), Durability::Answer);
    let link = folder.0.join("link.db");
    std::os::unix::fs::symlink(folder.db(), &link).unwrap();
    let options = |path| LocalOptions { path: Some(path), durability: Durability::Answer };
    let refused = LocalStore::open(&options(link), now()).err();
    assert!(matches!(refused, Some(OpenError::InUse(_))), "{refused:?}");
    store.close().await.unwrap();

    // Names that SQLite would take for something else.
    std::env::set_current_dir(&folder.0).unwrap();
    for name in [":memory:", "file:books.db?mode=memory"] {
        let store = LocalStore::open(&options(name.into()), now()).unwrap();
        let key = made(&store, 1, 10).await;
        store.close().await.unwrap();
        let store = LocalStore::open(&options(name.into()), now()).unwrap();
        assert_eq!(store.account(&key.id).await.unwrap().available(), 10, "{name}");
        store.close().await.unwrap();
        assert!(verify(Path::new(name)).unwrap().is_clean());
    }
}

#[tokio::test]
async fn one_file_has_one_owner_whatever_it_is_called() {
    let folder = Folder::new("names");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 100).await;
    let (hard, soft) = (folder.0.join("hard.db"), folder.0.join("soft.db"));
    std::fs::hard_link(folder.db(), &hard).unwrap();
    std::os::unix::fs::symlink(folder.db(), &soft).unwrap();
    for name in [folder.db(), hard, soft] {
        let options = LocalOptions { path: Some(name), durability: Durability::Answer };
        assert!(
            matches!(LocalStore::open(&options, now()), Err(OpenError::InUse(_))),
            "{options:?}"
        );
    }
    assert_eq!(call(&store, &key, 1, &["a"], &[PAID]).await, 98);
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_not_sold_from() {
    let folder = Folder::new("deleted");
    let store = open(&folder.db(), Durability::Answer);
    let key = made(&store, 1, 100).await;
    std::fs::rename(folder.db(), folder.0.join("elsewhere.db")).unwrap();
    let refused = store.credit(&key.id, 5, CreditKind::Grant, None.into(), now()).await;
    assert!(matches!(refused, Err(StoreError::Closed(_))), "{refused:?}");
    assert!(store.health().is_err());
    let held = store.hold(&charge(&key, 1, &["a"]), now(), deadline()).await;
    assert!(matches!(held, Err(HoldRefused::Unavailable(_))));
}
