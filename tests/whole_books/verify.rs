//! `paygate ledger verify --redis`.

use crate::life::{copy_of, fill, instance, paygate};
use crate::support::RedisServer;
use paygate::store::Store;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_redis_says_against_its_journal_is_named() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let store = instance(&server, "copy.db").await;
    fill(&store).await;
    let url = server.url();
    let verify = |words: &[&str]| {
        let args: Vec<&str> =
            ["ledger", "verify", "--redis", &url].iter().chain(words).copied().collect();
        paygate(&args)
    };
    let clean = verify(&[]);
    assert_eq!((clean.code(), clean.stderr.as_str()), (Some(0), ""), "{clean:#?}");
    assert!(
        clean.stdout.contains("2 holds open") && clean.stdout.contains("the books agree"),
        "{clean:#?}"
    );

    let one = "pg:{default}:key_0101010101010101";
    let hold = "09".repeat(16);
    let digest = server.cli(&["--raw", "HGET", one, "digest"]);
    let harm: &[(&[&str], &[&str])] = &[
        (
            &["HINCRBY", one, "balance@l", "5"],
            &["key_0101010101010101 balance: Redis has 93, the journal says 88"],
        ),
        (&["HSET", one, "spent@l", "1"], &["key_0101010101010101 spent"]),
        (&["HSET", one, "rate@60000", "what"], &["a counter that cannot be read"]),
        (
            &["HSET", "pg:{default}:team_0909090909090909", "rev", "9"],
            &["team_0909090909090909 revision: Redis has 9"],
        ),
        (&["HDEL", "pg:{default}:holds", &hold], &["key_0101010101010101 held", "balance"]),
        (&["ZREM", "pg:{default}:due", &format!("hold:{hold}")], &["Redis would end it never"]),
        (
            &["HDEL", "pg:{default}:refunds", &"01".repeat(16)],
            &["Redis has nothing, the journal says refunded"],
        ),
        (&["HDEL", "pg:{other}:meta", "rev"], &["other: the tenant's record"]),
        (&["ZREM", "pg:{default}:keys", "key_0202020202020202"], &["key_0202020202020202"]),
        (&["DEL", &format!("pg:digest:{digest}")], &["the hint of its credential is missing"]),
        (&["XDEL", "pg:{default}:journal", "5-0"], &["journal rows 5 to 5 are missing"]),
        (
            &[
                "HDEL",
                "pg:{default}:kept",
                &server
                    .cli(&["--raw", "HKEYS", "pg:{default}:kept"])
                    .lines()
                    .find(|id| id.len() == 64)
                    .unwrap()
                    .to_owned(),
            ],
            &["answer kept under"],
        ),
    ];
    store.usage(None).await.unwrap();
    let copy = copy_of(&server, "copy.db").display().to_string();
    // The same file again after each.
    assert_eq!(server.cli(&["SAVE"]), "OK");
    for (command, words) in harm {
        server.cli(command);
        let found = verify(&[]);
        assert_eq!(found.code(), Some(1), "{command:?} {found:#?}");
        for word in *words {
            assert!(
                found.stdout.contains(word),
                "{command:?}: {word} is missing in {}",
                found.stdout
            );
        }
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
