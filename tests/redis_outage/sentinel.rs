//! A master that is lost, and the one that Sentinels promote in its place.

use std::sync::Arc;

use paygate::store::Store;
use paygate::store::redis::RedisReach;

use super::support::{RedisServer, Setup, eventually, free_port};
use super::{PRICE, is_refused, journal, open, patience, soon, try_open};

/// A master and its replica, both with all there is.
fn pair() -> (RedisServer, RedisServer) {
    let master = RedisServer::start();
    let port = master.port().to_string();
    let settings =
        ["--save", "", "--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"];
    let replica = RedisServer::start_with(&settings);
    eventually("the replica has it all", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    (master, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn selling_goes_on_with_the_master_that_sentinels_promote() {
    let (mut master, replica) = pair();
    let sentinel = RedisServer::start_sentinel(&master);
    eventually("the Sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "mymaster"]).contains(&replica.port().to_string())
    });
    // The first Sentinel that is named is not there.
    let url = format!(
        "redis+sentinel://127.0.0.1:{},127.0.0.1:{}/mymaster",
        free_port(),
        sentinel.port()
    );
    let instance = Arc::new(open(&url).await);
    let said = instance.standing().to_string();
    assert!(said.contains("a failover can lose"), "{said}");
    let key = instance.key(1, "default", 1_000).await;
    instance.sell(&key).await.unwrap();
    // Nothing may be lost here. (WAIT waits for what its own client wrote, which is nothing.)
    eventually("all that was sold has reached the replica", || {
        let rows = |server: &RedisServer| server.cli(&["XLEN", "pg:{default}:journal"]);
        rows(&replica) == rows(&master)
    });
    master.kill();
    soon("it is noticed", async || is_refused(&instance.sell(&key).await)).await;
    instance.sells_again(&key).await;
    instance.expect_exact(&[replica.port()], &key, 1_000 - 2 * PRICE).await;
    soon("news come from there", async || instance.is_told()).await;
    let heard = || replica.cli(&["PUBSUB", "NUMSUB", "pg:news"]).ends_with('1');
    soon("they do", async || heard()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_cut_off_is_left_for_the_new_one() {
    let (master, replica) = pair();
    let sentinel = RedisServer::start_sentinel(&master);
    eventually("the Sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "mymaster"]).contains(&replica.port().to_string())
    });
    let instance = open(&format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port())).await;
    let key = instance.key(1, "default", 1_000).await;
    instance.sell(&key).await.unwrap();
    eventually("all that was sold has reached the replica", || {
        let rows = |server: &RedisServer| server.cli(&["XLEN", "pg:{default}:journal"]);
        rows(&replica) == rows(&master)
    });
    // The Sentinel names another one, and the old master knows nothing of it: what it is told is lost.
    let clients = || {
        let info = master.cli(&["INFO", "clients"]);
        let count = info.lines().find_map(|line| line.trim().strip_prefix("connected_clients:"));
        count.unwrap().parse::<u32>().unwrap()
    };
    assert!(clients() > 1, "redis-cli is one");
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    sentinel.cli(&["SENTINEL", "REMOVE", "mymaster"]);
    let port = replica.port().to_string();
    sentinel.cli(&["SENTINEL", "MONITOR", "mymaster", "127.0.0.1", &port, "1"]);
    soon("it is left", async || clients() == 1).await;
    assert!(master.cli(&["ROLE"]).starts_with("master"), "it is well");
    instance.sells_again(&key).await;
    instance.expect_exact(&[replica.port()], &key, 1_000 - 2 * PRICE).await;
    assert_eq!(journal(master.port(), &key).unwrap().ends.len(), 1);
}

/// Sentinels may ask for a password of their own: by configuration, and of commands that look at whole books.
#[tokio::test(flavor = "multi_thread")]
async fn sentinels_let_in_whoever_has_their_password() {
    let master = RedisServer::start();
    let asks = "requirepass watch-word\n";
    let login = ["--no-auth-warning", "-a", "watch-word"];
    let sentinel = RedisServer::start_sentinel_with(&master, asks, &login);
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port());
    let no = try_open(&url, patience()).await.err().unwrap().to_string();
    assert!(no.contains("wants a password"), "{no}");
    let sentinel_login = Some((String::new(), "watch-word".to_owned().into()));
    let instance = try_open(&url, RedisReach { sentinel_login, ..patience() }).await.unwrap();
    let key = instance.key(1, "default", 10).await;
    instance.sell(&key).await.unwrap();
    instance.close().await.unwrap();
    tokio::task::spawn_blocking(move || {
        let setup = Setup::new();
        let run = |words: &[&str]| {
            let refused = setup.run(words);
            assert!(refused.stderr.contains("wants a password"), "{words:?}: {}", refused.stderr);
            let sentinel = ["--sentinel-user", "default", "--sentinel-password", "watch-word"];
            setup.run(&[words, &sentinel[..]].concat())
        };
        run(&["ledger", "verify", "--redis", &url]).expect_success();
        let foreign = run(&["import", "--redis", &url, "--dry-run"]);
        assert!(foreign.stderr.contains("no keys of paygate-mcp"), "{}", foreign.stderr);
        let copy = setup.dir().file("copy.db");
        let repair = ["ledger", "repair", "--redis", &url, "--db", copy.to_str().unwrap()];
        let none = run(&repair);
        assert!(!none.stderr.contains("wants a password"), "{}", none.stderr);
        run(&["migrate", "--from", &url, "--to", "moved.db"]).expect_success();
    })
    .await
    .unwrap();
}
