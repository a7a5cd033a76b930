//! What a start asks of Redis, and says of it.

use paygate::store::StoreError;
use paygate::store::redis::RedisOpenError;

use super::support::{RedisServer, free_port};
use super::{open, patience, try_open};

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
