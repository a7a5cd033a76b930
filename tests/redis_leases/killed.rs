//! kill -9 of an instance that sells from a lease.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use paygate::store::{Store, clock};

use super::support::{RedisServer, TempDir};
use super::*;

/// Where the child finds its Redis and its files.
const URL: &str = "PAYGATE_TEST_LEASE_URL";
const COPY: &str = "PAYGATE_TEST_LEASE_COPY";

/// Sells without Redis, says so, and has one more call under way when it is killed.
#[tokio::test]
#[ignore = "the other test starts it"]
async fn sells_until_it_is_killed() {
    let (Ok(url), Ok(copy)) = (std::env::var(URL), std::env::var(COPY)) else { return };
    let store = open(&options(&url, Path::new(&copy), RedisClock::Server, LEASE)).await;
    let key = made(&store, 1, 100, clock::now()).await;
    sold(&store, &key, clock::now()).await.unwrap();
    store.tend_leases(clock::now()).await.unwrap();
    println!("\nleased");
    let mut count = 0;
    let until = Instant::now() + PATIENCE;
    while count < 5 {
        assert!(Instant::now() < until, "nothing is sold");
        let calls = store.leases().await.is_ok();
        if !calls && sold(&store, &key, clock::now()).await.is_ok() {
            count += 1;
        }
    }
    let open = charge(&NO_CAPS, &key, None, "a", clock::now());
    held(&store, &open, clock::now()).await.unwrap();
    println!("\nsold");
    tokio::time::sleep(PATIENCE).await;
}

#[tokio::test]
async fn what_was_sold_is_reported_once_after_kill_9() {
    let (server, dir) = (RedisServer::start(), TempDir::new());
    let copy = dir.path().join("copy.db");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "killed::sells_until_it_is_killed", "--ignored", "--nocapture"]);
    child.env(URL, server.url()).env(COPY, &copy).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait_for = |word: &str| {
        assert!(lines.any(|line| line.unwrap() == word), "the child does not say {word}");
    };
    wait_for("leased");
    server.freeze();
    wait_for("sold");
    child.kill().unwrap();
    child.wait().unwrap();
    server.thaw();

    let other = dir.path().join("other.db");
    let other = open(&options(&server.url(), &other, RedisClock::Server, LEASE)).await;
    let key = KeyId::from_random([1; 8]);
    let account = other.account(&key).await.unwrap();
    assert_eq!((account.available(), account.held()), (49, 49), "it counts as spent");

    // The instance comes back, twice: with `refuse` now, which reports all the same.
    for _ in 0..2 {
        let mut options = options(&server.url(), &copy, RedisClock::Server, LEASE);
        options.reach.on_unavailable = OnUnavailable::Refuse;
        let back = open(&options).await;
        tended(&back, clock::now()).await;
        let account = other.account(&key).await.unwrap();
        assert_eq!((account.available(), account.held()), (100 - 2 - 10, 0));
        assert_eq!(other.ended_calls(None).await.unwrap(), 6);
        assert!(other.leases().await.unwrap().is_empty());
    }
}
