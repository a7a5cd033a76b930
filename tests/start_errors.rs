//! Wrong starts: one message on stderr that says what is wrong, where, and what to do; exit code
//! 1; nothing on stdout; nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use support::{Ended, Setup};

/// The end of a wrong start, whose message must hold all of `words`.
#[track_caller]
fn check(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert_eq!(ended.stdout, "", "{ended:#?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is missing in {}", ended.stderr);
    }
    for sign in ["panicked", "RUST_BACKTRACE", "Err(", "Error {"] {
        assert!(!ended.stderr.contains(sign), "{}", ended.stderr);
    }
}

#[test]
fn wrong_flags() {
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--prise", "5"], &["--prise", "--price"]),
        (&["--prise=5"], &["--prise", "--price"]),
        (&["stray"], &["stray"]),
        (&["--price"], &["--price", "value"]),
        (&["--price", "-5"], &["defaultCreditsPerCall", "-5", ">= 0", "--price"]),
        (&["--price", "1.5"], &["1.5", "whole number", "--price"]),
        (&["--port", "99999"], &["99999", "0–65535", "--port"]),
        (&["--host", "nowhere"], &["nowhere", "127.0.0.1", "--host"]),
        (&["--tool-price", "a:b"], &["toolPricing.a", "--tool-price", "digits"]),
        (&["--import-key", "pg_0123456789abcdefghij:-1"], &["pg_0123456...ghij", "--import-key"]),
        (&["--server", "x 'y"], &["serverCommand", "quote", "--server"]),
        (&["--server", ""], &["serverCommand", "--server"]),
    ];
    for (args, words) in cases {
        let setup = Setup::new().args(args);
        let ended = setup.run_to_end();
        check(&ended, words);
        assert!(!setup.database().exists(), "{args:?} made a database");
        // A secret is never repeated.
        assert!(!ended.stderr.contains("pg_0123456789abcdefghij"), "{}", ended.stderr);
    }
}

#[test]
fn flags_whose_feature_is_not_built() {
    let flag = "--stripe-secret";
    let setup = Setup::new().args([flag, "whsec_0123456789"]);
    check(&setup.run_to_end(), &[flag, "does not have this feature yet", "Stripe", "leave it out"]);
    assert!(!setup.database().exists(), "{flag}");
}

#[test]
fn wrong_config_files() {
    let cases: [(&str, &[&str]); 8] = [
        ("{ nope", &["paygate.json:1:3"]),
        ("[]", &["paygate.json", "object"]),
        ("", &["paygate.json"]),
        (
            r#"{"defaultCreditPerCall":2}"#,
            &["Unknown key", "defaultCreditsPerCall", "paygate.json:1:2"],
        ),
        (
            "{\n  \"port\": \"a\",\n  \"shadowMod\": true\n}",
            &["2 error(s)", "paygate.json:2:", "0–65535", "paygate.json:3:", "shadowMode"],
        ),
        (
            r#"{"toolPricing":{"a":{"creditsPerCal":1}}}"#,
            &["toolPricing.a.creditsPerCal", "creditsPerCall"],
        ),
        (r#"{"oauth":{}}"#, &["oauth", "OAuth", "does not have this feature yet", "remove it"]),
        (r#"{"remoteUrl":"","oauth":{}}"#, &["2 error(s)", "remoteUrl", "oauth"]),
    ];
    for (content, words) in cases {
        let setup = Setup::new();
        let path = setup.dir().file("paygate.json");
        fs::write(&path, content).unwrap();
        let setup = setup.args(["--config".into(), path.into_os_string()]);
        check(&setup.run_to_end(), words);
        assert!(!setup.database().exists(), "{content}");
    }
    let missing = Setup::new().args(["--config", "no-such-file.json"]);
    check(&missing.run_to_end(), &["no-such-file.json", "No such file"]);
}

#[test]
fn nothing_to_guard() {
    let words = ["No backend configured", "--server", "--demo"];
    check(&Setup::new().without_server().run_to_end(), &words);
}

#[test]
fn servers_that_do_not_start() {
    let cases: [(&str, &[&str]); 6] = [
        ("no-such-program-of-anybody", &["no-such-program-of-anybody", "not found", "PATH"]),
        ("/no/such/program --flag", &["/no/such/program", "not found"]),
        ("/etc", &["\"/etc\"", "cannot be started", "this user may run"]),
        ("false", &["\"false\"", "ended before it was ready", "exit status: 1", "by hand"]),
        ("sh -c 'echo no licence key >&2; exit 7'", &["exit status: 7", "no licence key"]),
        ("cat /dev/null", &["cat", "ended before it was ready"]),
    ];
    for (server, words) in cases {
        let setup = Setup::new().server(server);
        let ended = setup.run_to_end();
        check(&ended, words);
        // The books that a wrong server met are good books, closed well: nothing is in a log.
        setup.verify().expect_success();
        let log = fs::metadata(setup.dir().file("paygate.db-wal"));
        assert!(log.is_err() || log.is_ok_and(|log| log.len() == 0), "{server}");
        setup.server(quoted_child()).start().stop().expect_success();
    }
}

fn quoted_child() -> String {
    format!("'{}'", support::scripted_child().display())
}

#[test]
fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let setup = Setup::new().args(["--port", &port]);
    check(&setup.run_to_end(), &[&format!("127.0.0.1:{port}"), "taken", "--port"]);
    drop(taken);
    let foreign = Setup::new().args(["--host", "192.0.2.1"]);
    check(&foreign.run_to_end(), &["192.0.2.1", "--host"]);
}

#[test]
fn unreadable_databases() {
    let setup = Setup::new();
    let file = setup.dir().file("file");
    fs::write(&file, "in the way").unwrap();
    let directory = setup.dir().file("directory.db");
    fs::create_dir(&directory).unwrap();
    for path in [directory, setup.dir().file("no/such/directory/x.db"), file.join("x.db")] {
        let text = path.to_str().unwrap().to_owned();
        let setup = setup.clone().args(["--db", &text]);
        check(&setup.run_to_end(), &[&text, "cannot be opened", "--db", "--ephemeral"]);
    }
}

/// A file and what all of it was, to see that it is still so.
struct Untouched(PathBuf, Vec<u8>);

impl Untouched {
    fn new(path: PathBuf, content: Vec<u8>) -> Self {
        fs::write(&path, &content).unwrap();
        Self(path, content)
    }

    #[track_caller]
    fn check(&self) {
        assert!(fs::read(&self.0).unwrap() == self.1, "{} was changed", self.0.display());
    }
}

fn sqlite_file_of_somebody(path: &Path) -> Vec<u8> {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);").unwrap();
    drop(connection);
    fs::read(path).unwrap()
}

#[test]
fn foreign_files_are_left_alone() {
    let setup = Setup::new();
    let theirs = sqlite_file_of_somebody(&setup.dir().file("theirs.sqlite"));
    for content in [theirs, b"a text of somebody\n".to_vec(), vec![0; 8192]] {
        let file = Untouched::new(setup.database(), content);
        check(&setup.run_to_end(), &["paygate.db", "not a Paygate database", "--db"]);
        file.check();
        let ended = setup.verify();
        check(&ended, &["paygate.db", "not a Paygate database"]);
        file.check();
    }
}

/// Books with one key that has bought one call.
fn used_books() -> (Setup, String) {
    let setup = Setup::new();
    let paygate = setup.start();
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    paygate.stop().expect_success();
    (setup, key)
}

#[test]
fn a_newer_database_is_left_alone() {
    let (setup, key) = used_books();
    let set_version = |version: i64| {
        let connection = Connection::open(setup.database()).unwrap();
        let known: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        known
    };
    let known = set_version(99);
    let before = fs::read(setup.database()).unwrap();
    check(&setup.run_to_end(), &["paygate.db", "newer Paygate", "99", "--db"]);
    check(&setup.verify(), &["paygate.db", "newer Paygate", "99"]);
    assert!(fs::read(setup.database()).unwrap() == before, "it was changed");
    set_version(known);
    assert_eq!(setup.start().credits(&key), 9);
}

#[test]
fn a_damaged_database_is_left_alone() {
    let (setup, _) = used_books();
    let mut content = fs::read(setup.database()).unwrap();
    content.truncate(content.len() / 2 / 4096 * 4096);
    let file = Untouched::new(setup.database(), content);
    check(&setup.run_to_end(), &["paygate.db", "damaged", "backup", "--db"]);
    file.check();
}

#[test]
fn a_database_has_one_paygate() {
    let (setup, key) = used_books();
    let first = setup.start();
    check(&setup.run_to_end(), &["paygate.db", "another Paygate", "--db", "--ephemeral"]);
    // The first goes on, and its books can be verified meanwhile.
    assert_eq!(first.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
    setup.verify().expect_success();
    first.stop().expect_success();
    assert_eq!(setup.start().credits(&key), 8);
}

#[test]
fn other_commands() {
    let setup = Setup::new();
    let cases: [(&[&str], &[&str]); 4] = [
        (&["ledger", "verify", "--db", "missing.db"], &["missing.db", "no such file"]),
        (&["ledger", "verify", "--dB", "x"], &["--dB", "--help"]),
        (&["ledger"], &["verify"]),
        (&["health", "--url"], &["--url"]),
    ];
    for (args, words) in cases {
        let ended = setup.run(args);
        let said = Ended { stdout: String::new(), ..ended };
        check(&said, words);
    }
    assert!(!setup.dir().file("missing.db").exists());
    let unknown = setup.run(&["wrpa"]);
    assert_eq!(unknown.code(), Some(1));
    assert!(unknown.stderr.contains("Unknown command: wrpa"), "{}", unknown.stderr);
    let usage: &str = &unknown.stdout;
    assert!(usage.contains("wrap"), "{usage}");
}

#[test]
fn a_warning_does_not_stop_the_start() {
    let config: Value = json!({"shadowMode": true});
    let paygate = Setup::new().ephemeral().config(config).start();
    paygate.wait_for_output("Shadow mode is enabled");
    paygate.stop().expect_success();
}
