//! `paygate backup` while calls go on, and `paygate restore`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use support::Setup;

#[test]
fn a_copy_is_taken_while_calls_go_on_and_comes_back_whole() {
    let setup = Setup::new().without_child_log().args(["--rate-limit", "0"]);
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"credits": 1_000_000}));
    let over = AtomicBool::new(false);
    let copies: Vec<_> = (0..5).map(|index| format!("copy-{index}.db")).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let called = paygate.call(&key, "instant", &json!({"nonce": "n"}));
                assert_eq!(called.tool_text(), "n");
            }
        });
        for copy in &copies {
            let ended = setup.run(&["backup", copy]);
            assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
            assert!(ended.stdout.contains("journal rows replayed"), "{ended:#?}");
            setup.run(&["ledger", "verify", "--db", copy]).expect_success();
        }
        over.store(true, Ordering::SeqCst);
    });
    let mode = fs::metadata(setup.dir().file(&copies[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a copy of the books is for its owner alone");

    // After the last call: the copy has every credit.
    let last = setup.run(&["backup", "last.db"]);
    assert_eq!(last.code(), Some(0), "{last:#?}");
    let left = paygate.credits(&key);
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    paygate.stop().expect_success();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(setup.dir().file(&format!("paygate.db{suffix}"))).ok();
    }
    let restored = setup.run(&["restore", "last.db"]);
    assert_eq!(restored.code(), Some(0), "{restored:#?}");
    let paygate = setup.start();
    assert_eq!(paygate.credits(&key), left);
    paygate.stop().expect_success();
    setup.verify().expect_success();
    let parts = fs::read_dir(setup.dir().path()).unwrap();
    let parts = parts
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".part"));
    assert_eq!(parts.count(), 0, "something was left behind");
}

#[test]
fn nothing_is_overwritten_and_nothing_foreign_copied() {
    let setup = Setup::new().without_child_log();
    setup.start().stop().expect_success();
    fs::write(setup.dir().file("mine.txt"), "mine").unwrap();
    fs::write(setup.dir().file("fresh.db-wal"), "of another").unwrap();
    for (args, words) in [
        (&["backup", "mine.txt"][..], "mine.txt is there already"),
        (&["backup", "fresh.db"], "fresh.db-wal is there already"),
        (&["restore", "mine.txt"], "paygate.db is there already"),
        (&["restore", "mine.txt", "--db", "new.db"], "not a Paygate database"),
        (&["backup", "new.db", "--db", "none.db"], "none.db"),
        (&["backup", "no/such/folder/new.db"], "cannot be opened"),
        (&["backup"], "<FILE>"),
    ] {
        let ended = setup.run(args);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{args:?} {ended:#?}");
        assert!(ended.stderr.contains(words), "{words} is missing in {}", ended.stderr);
        assert!(!setup.dir().file("new.db").exists() && !setup.dir().file("none.db").exists());
    }
    assert_eq!(fs::read_to_string(setup.dir().file("mine.txt")).unwrap(), "mine");
    setup.verify().expect_success();
}
