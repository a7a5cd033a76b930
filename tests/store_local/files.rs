//! Which file is opened, and which is left alone.

use std::path::Path;

use paygate::store::Store;
use paygate::store::local::{Durability, LocalOptions, LocalStore, OpenError, verify};

use super::{Folder, made, now, open};

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
