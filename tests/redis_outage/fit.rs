//! What a start asks of Redis, and says of it.

use paygate::store::redis::RedisOpenError;
use paygate::store::{Store, StoreError};

use super::support::{RedisServer, Setup, free_port};
use super::{open, patience, soon, try_open};

#[tokio::test]
async fn a_start_says_what_an_outage_can_lose() {
    let cases: [(&[&str], &str); 3] = [
        (&["--appendonly", "yes", "--appendfsync", "everysec"], "can lose the last second"),
        (&["--appendonly", "no", "--save", ""], "a crash loses everything"),
        (&["--appendonly", "no", "--save", "60 1"], "since the last snapshot"),
    ];
    for (settings, part) in cases {
        let server = RedisServer::start_with(settings);
        let instance = open(&server.url()).await;
        let said = instance.standing().to_string();
        assert!(said.contains(part) && said.contains("no replica"), "{settings:?}: {said}");
    }
}

#[tokio::test]
async fn a_start_refuses_a_redis_that_cannot_hold_books() {
    let evicts = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let master = free_port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &master]);
    let sentinel = RedisServer::start_sentinel(&evicts);
    for (server, part) in [(&evicts, "noeviction"), (&replica, "replica"), (&sentinel, "Sentinel")]
    {
        let error = try_open(&server.url(), patience()).await.err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let nobody = format!("redis://:secret@127.0.0.1:{master}/");
    let error = try_open(&nobody, patience()).await.err().unwrap();
    assert!(matches!(error, RedisOpenError::Redis(StoreError::Unavailable(_))), "{error:?}");
    let error = error.to_string();
    assert!(error.contains(&master) && !error.contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_set_otherwise_is_not_sold_from_until_it_is_set_right() {
    let server = RedisServer::start();
    let instance = open(&server.url()).await;
    let key = instance.key(1, "default", 1_000_000).await;
    instance.sell(&key).await.unwrap();
    // A connection that lasts is looked at now and then, a new one at once.
    for is_cut in [false, true] {
        server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        if is_cut {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            instance.sell(&key).await.expect_err("a new connection looks first");
        }
        soon("it is noticed", async || instance.health().is_err()).await;
        instance.sell(&key).await.expect_err("nothing is sold");
        let why = instance.health().unwrap_err().to_string();
        assert!(why.contains("allkeys-lru") && why.contains("set it to noeviction"), "{why}");
        server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        soon("it sells again", async || instance.sell(&key).await.is_ok()).await;
        instance.health().unwrap();
    }
}

#[test]
fn less_that_is_kept_is_a_warning() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let start = || Setup::new().args(["--redis-url", &server.url()]).without_child_log().start();
    let paygate = start();
    let warned = |output: String| {
        let lines = output.lines().filter(|line| line.contains("WARN"));
        lines.filter(|line| line.contains("a crash loses")).count()
    };
    assert_eq!(warned(paygate.output()), 0);
    server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    paygate.wait_for_output("appendonly no");
    assert_eq!(warned(paygate.output()), 1, "{}", paygate.output());
    let next = start();
    assert_eq!(warned(next.output()), 1, "{}", next.output());
}
