//! `paygate ledger verify --redis`.

use paygate::store::Store;

use crate::life::{copy_of, fill, instance, paygate};
use crate::support::RedisServer;

/// What is done to Redis behind everybody's back, and the words that name it. ONE is a key's hash, HOLD an open
/// call, DIGEST a credential's digest, KEPT an answer's id.
const HARM: &[(&str, &str)] = &[
    ("HINCRBY ONE balance@l 5", "key_0101010101010101 balance: Redis has 93, the journal says 88"),
    ("HSET ONE spent@l 1", "key_0101010101010101 spent"),
    ("HSET ONE rate@60000 what", "a counter that cannot be read"),
    (
        "HSET pg:{default}:team_0909090909090909 rev 9",
        "team_0909090909090909 revision: Redis has 9",
    ),
    ("HDEL pg:{default}:holds HOLD", "key_0101010101010101 held"),
    ("ZREM pg:{default}:due hold:HOLD", "Redis would end it never"),
    (
        "HDEL pg:{default}:refunds 01010101010101010101010101010101",
        "Redis has nothing, the journal says refunded",
    ),
    ("HDEL pg:{other}:meta rev", "other: the tenant's record"),
    ("ZREM pg:{default}:keys key_0202020202020202", "key_0202020202020202"),
    ("DEL pg:digest:DIGEST", "the hint of its credential is missing"),
    ("XDEL pg:{default}:journal 5-0", "journal rows 5 to 5 are missing"),
    ("HDEL pg:{default}:kept KEPT", "answer kept under"),
];

/// The commands with the names that they mean here.
fn harm(server: &RedisServer) -> Vec<(Vec<String>, &'static str)> {
    let one = "pg:{default}:key_0101010101010101";
    let digest = server.cli(&["--raw", "HGET", one, "digest"]);
    let ids = server.cli(&["--raw", "HKEYS", "pg:{default}:kept"]);
    let kept = ids.lines().find(|id| id.len() == 64).unwrap();
    let hold = "09".repeat(16);
    let command = |text: &str| {
        let text = text.replace("ONE", one).replace("HOLD", &hold);
        let text = text.replace("DIGEST", &digest).replace("KEPT", kept);
        text.split(' ').map(str::to_owned).collect()
    };
    HARM.iter().map(|(text, words)| (command(text), *words)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_redis_says_against_its_journal_is_named() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let store = instance(&server, "copy.db").await;
    fill(&store).await;
    let url = server.url();
    let verify = |words: &[&str]| {
        let args = ["ledger", "verify", "--redis", &url];
        paygate(&args.iter().chain(words).copied().collect::<Vec<_>>())
    };
    let clean = verify(&[]);
    assert_eq!((clean.code(), clean.stderr.as_str()), (Some(0), ""), "{clean:#?}");
    for words in ["2 holds open", "the books agree"] {
        assert!(clean.stdout.contains(words), "{words} is missing in {clean:#?}");
    }
    store.usage(None).await.unwrap();
    // One that ran would go on with each repair, and have other books after the next reload.
    store.close().await.unwrap();
    drop(store);
    let copy = copy_of(&server, "copy.db").display().to_string();
    // The same file again after each.
    assert_eq!(server.cli(&["SAVE"]), "OK");
    for (command, words) in harm(&server) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        server.cli(&command);
        let found = verify(&[]);
        assert_eq!(found.code(), Some(1), "{command:?} {found:#?}");
        assert!(found.stdout.contains(words), "{command:?}: {words} is missing in {found:#?}");
        let repair = ["ledger", "repair", "--redis", &url, "--db", &copy, "--apply"];
        paygate(&repair).expect_success();
        assert_eq!(server.cli(&["DEBUG", "RELOAD", "NOSAVE"]), "OK");
    }
    verify(&[]).expect_success();

    // What has left Redis is in the copy.
    server.cli(&["XTRIM", "pg:{default}:journal", "MAXLEN", "3"]);
    let without = verify(&[]);
    assert_eq!(without.code(), Some(1));
    assert!(without.stderr.contains("name one with --db"), "{without:#?}");
    verify(&["--db", &copy]).expect_success();
    let foreign = verify(&["--db", "/dev/null"]);
    assert!(foreign.stderr.contains("is no copy of a journal in Redis"), "{foreign:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_books_and_copies_of_others_are_named() {
    let (server, elsewhere) = (RedisServer::start(), RedisServer::start());
    for server in [&server, &elsewhere] {
        let store = instance(server, "copy.db").await;
        fill(&store).await;
        store.usage(None).await.unwrap();
        store.close().await.unwrap();
    }
    let url = server.url();
    let copies = [&server, &elsewhere].map(|server| copy_of(server, "copy.db"));
    let [copy, other] = copies.each_ref().map(|copy| copy.to_str().unwrap());
    let strange = paygate(&["ledger", "repair", "--redis", &url, "--db", other]);
    assert!(strange.stderr.contains("is a copy of other books than Redis has"), "{strange:#?}");

    server.cli(&["FLUSHALL"]);
    let none = paygate(&["ledger", "verify", "--redis", &url]);
    assert_eq!(none.code(), Some(0), "{none:#?}");
    assert!(none.stdout.contains("there are no books here"), "{none:#?}");
    let emptied = paygate(&["ledger", "verify", "--redis", &url, "--db", copy]);
    assert_eq!(emptied.code(), Some(1), "{emptied:#?}");
    let words = "has rows of 2 tenants: it was emptied, or another database is named";
    assert!(emptied.stdout.contains(words), "{emptied:#?}");
    let both = ["ledger", "repair", "--redis", &url, "--db", copy, "--db", other, "--apply"];
    let both = paygate(&both);
    assert!(both.stderr.contains("is a copy of other books than"), "{both:#?}");
    assert_eq!(server.cli(&["DBSIZE"]), "0", "nothing was written");
}
