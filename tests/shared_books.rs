//! Several Paygates on one Redis: they are one, whichever a client or an operator speaks to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "whoever looks for a condition, or plays the adversary, pauses; nothing waits for luck"
)]

#[path = "shared_books/crowd.rs"]
mod crowd;
#[path = "shared_books/faults.rs"]
mod faults;
#[path = "shared_books/fleet.rs"]
mod fleet;
#[path = "shared_books/journal.rs"]
mod journal;
#[path = "shared_books/kill.rs"]
mod kill;
#[path = "shared_books/load.rs"]
mod load;
#[path = "shared_books/outage.rs"]
mod outage;
#[path = "webhooks/receiver.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of webhooks")]
mod receiver;
#[path = "shared_books/revoke.rs"]
mod revoke;
#[path = "shared_books/rolling.rs"]
mod rolling;
mod support;

use std::collections::BTreeMap;
use std::thread;

use receiver::Receiver;
use serde_json::{Value, json};

use support::{Paygate, RedisServer, Setup, eventually};

/// One more instance. Each has a folder of its own, where its copy is.
fn instance(redis: &RedisServer) -> Setup {
    Setup::new().args(["--redis-url", &redis.url()]).without_child_log()
}

fn was_sold(answer: &support::Response) -> bool {
    let answer = answer.json();
    answer["result"]["isError"].as_bool() != Some(true) && answer.get("error").is_none()
}

/// The sum of what usage says was charged to a key.
fn charged(paygate: &Paygate, id: &str) -> i64 {
    let usage = paygate.admin_get("/usage").json();
    let events = usage["events"].as_array().cloned().unwrap_or_default();
    let theirs = events.iter().filter(|event| event["keyId"] == id);
    theirs.filter_map(|event| event["creditsCharged"].as_i64()).sum()
}

#[test]
fn instances_are_one_to_clients_and_operators() {
    let redis = RedisServer::start();
    let setups = [(); 3].map(|()| instance(&redis));
    let all: Vec<Paygate> = setups.iter().map(Setup::start).collect();
    let [one, two, three] = &all[..] else { panic!("three") };
    for paygate in &all {
        assert_eq!(paygate.get("/health").json()["store"], "ok");
        let both = json!({"connected": true, "pubsub": true});
        eventually("it hears the others", || paygate.get("/health").json()["redis"] == both);
        assert_eq!(paygate.get("/").json()["redis"], true);
        assert!(paygate.output().contains(&redis.url()), "{}", paygate.output());
    }

    let (key, id) = one.create_key(&json!({"name": "shared", "credits": 20}));
    assert!(was_sold(&two.call(&key, "instant", &json!({}))), "a key made on one is known on all");
    assert_eq!(three.credits(&key), 19);
    let topped = three.admin_post("/topup", &json!({"key": id, "credits": 5}));
    assert_eq!(topped.status, 200, "{}", topped.text());
    assert_eq!(one.credits(&key), 24);
    let refused = two.call("pg_nobody", "instant", &json!({}));
    assert!(!was_sold(&refused));
    assert!(was_sold(&one.call(&key, "instant", &json!({}))));

    for paygate in &all {
        assert_eq!(charged(paygate, &id), 2, "usage is the same wherever it is asked for");
        let audit = paygate.admin_get("/audit").text();
        assert!(audit.contains("key.created") && audit.contains("key.topup"), "{audit}");
    }
    // Refusals are told of every other second.
    eventually("refusals are seen everywhere", || {
        all.iter().all(|paygate| paygate.admin_get("/usage").text().contains("invalid_api_key"))
    });

    let revoked = one.admin_post("/keys/revoke", &json!({"key": id}));
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    for paygate in &all {
        assert!(
            !was_sold(&paygate.call(&key, "instant", &json!({}))),
            "at once, on every instance"
        );
    }
    for paygate in all {
        let ended = paygate.stop();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

#[test]
fn each_credit_is_sold_once_whoever_sells_it() {
    let redis = RedisServer::start();
    let all = [(); 3].map(|()| instance(&redis).args(["--rate-limit", "0"]).start());
    let (key, id) = all[0].create_key(&json!({"name": "poor", "credits": 100}));
    let sold: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|client| {
                let (paygate, key) = (&all[client % 3], &key);
                scope.spawn(move || {
                    (0..20).filter(|_| was_sold(&paygate.call(key, "instant", &json!({})))).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(sold, 100);
    for paygate in &all {
        assert_eq!(paygate.credits(&key), 0);
        assert_eq!(charged(paygate, &id), 100);
    }
}

#[test]
fn an_instance_that_is_killed_comes_back_to_the_same_books() {
    let redis = RedisServer::start();
    let (first, other) = (instance(&redis), instance(&redis).start());
    let paygate = first.start();
    let (key, id) = paygate.create_key(&json!({"name": "kept", "credits": 10}));
    assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
    assert_eq!(charged(&paygate, &id), 1);
    paygate.kill9();
    assert!(was_sold(&other.call(&key, "instant", &json!({}))));
    let paygate = first.start();
    assert_eq!(paygate.credits(&key), 8);
    assert_eq!(charged(&paygate, &id), 2, "what it missed is copied");
    let in_use = first.run_to_end();
    assert!(!in_use.status.success());
    assert!(in_use.stderr.contains("is in use by another Paygate"), "{}", in_use.stderr);
}

#[test]
fn what_cannot_be_is_said_at_the_start() {
    let redis = RedisServer::start();
    let setup = instance(&redis);
    setup.start().stop();
    // Its file is no books.
    for command in [
        vec!["ledger", "verify", "--db", "paygate.db"],
        vec!["backup", "--db", "paygate.db", "copy.db"],
    ] {
        let refused = setup.run(&command);
        assert!(!refused.status.success(), "{command:?}");
        let said = refused.stderr.contains("copy of books in Redis");
        assert!(said, "{command:?}: {}", refused.stderr);
    }
    let local = setup.with_same_files().run_to_end();
    assert!(local.stderr.contains("copy of books in Redis"), "{}", local.stderr);
    let local = Setup::new();
    local.start().stop();
    let shared = local.clone().args(["--redis-url", &redis.url()]).run_to_end();
    assert!(shared.stderr.contains("keeps books of its own"), "{}", shared.stderr);
    let url = redis.url().replace("redis://", "redis://:secret-word@");
    drop(redis);
    let gone = instance_at(&url).run_to_end();
    assert!(!gone.status.success());
    assert!(gone.stderr.contains("cannot be opened"), "{}", gone.stderr);
    assert!(!gone.stderr.contains("secret-word"), "{}", gone.stderr);
}

fn instance_at(url: &str) -> Setup {
    Setup::new().args(["--redis-url", url])
}

#[test]
fn a_state_file_comes_over_once_for_all_instances() {
    let redis = RedisServer::start();
    let setup = instance(&redis);
    let state = setup.dir().file("state.json");
    let record = json!([["legacy-imported-key-0001", {
        "key": "legacy-imported-key-0001", "name": "old", "credits": 40, "active": true,
        "totalSpent": 3, "totalCalls": 3, "spendingLimit": 0,
    }]]);
    std::fs::write(&state, record.to_string()).unwrap();
    let state = state.to_str().unwrap();
    let first = setup.clone().args(["--state-file", state]).start();
    first.wait_for_output("1 keys with 40 credits were brought over");
    let second = instance(&redis).args(["--state-file", state]).start();
    second.wait_for_output("is left alone");
    assert!(was_sold(&second.call("legacy-imported-key-0001", "instant", &json!({}))));
    let balance: Value = first.balance("legacy-imported-key-0001");
    assert_eq!((&balance["credits"], &balance["totalSpent"]), (&json!(39), &json!(4)));

    // And by the command, into books that are in use.
    let config = setup.dir().file("import.json");
    let more = setup.dir().file("more.json");
    let record = record.to_string().replace("0001", "0002");
    std::fs::write(&more, record).unwrap();
    let text =
        json!({"serverCommand": "x", "redisUrl": redis.url(), "adminKey": "admin-key-of-the-test"});
    std::fs::write(&config, text.to_string()).unwrap();
    let (config, more) = (config.to_str().unwrap(), more.to_str().unwrap());
    for (words, said) in [
        (vec!["--dry-run"], "1 would be imported"),
        (vec![], "1 imported"),
        (vec![], "1 there already"),
    ] {
        let import = setup.run(&[&["import", more, "--config", config][..], &words].concat());
        assert!(import.status.success(), "{}", import.stderr);
        assert!(import.stdout.contains(said), "{words:?}: {}", import.stdout);
    }
    assert!(was_sold(&first.call("legacy-imported-key-0002", "instant", &json!({}))));
}

#[test]
fn each_event_is_sent_by_one_instance() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start());
    let config = json!({
        "webhookUrl": receiver.url(), "webhookAllowPrivate": true, "globalRateLimitPerMin": 0,
    });
    let mut all: Vec<Paygate> =
        [(); 3].iter().map(|()| instance(&redis).config(config.clone()).start()).collect();
    let (key, _) = all[0].create_key(&json!({"name": "told", "credits": 1000}));
    let sell = |all: &[Paygate], calls: usize| {
        thread::scope(|scope| {
            for paygate in all {
                let key = &key;
                scope.spawn(move || {
                    for _ in 0..calls {
                        assert!(was_sold(&paygate.call(key, "instant", &json!({}))));
                    }
                });
            }
        });
    };
    // How often each event came, by its id.
    let told = || {
        let mut told = BTreeMap::<String, usize>::new();
        for event in receiver.taken("events") {
            *told.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        told
    };
    sell(&all, 20);
    eventually("all are told", || told().len() == 60);
    assert!(told().values().all(|count| *count == 1), "{:?}", told());
    assert_eq!(receiver.taken("adminEvents").len(), 1);
    // Whoever sends is killed: another one goes on. An event may come again, none is left out.
    all.remove(0).kill9();
    sell(&all, 10);
    all.remove(0).stop();
    sell(&all, 10);
    eventually("all are told", || told().len() == 90);
}

#[test]
fn without_redis_what_costs_nothing_goes_on() {
    let redis = RedisServer::start();
    let paygate = instance(&redis).start();
    let (key, _) = paygate.create_key(&json!({"name": "patient", "credits": 10}));
    assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
    drop(redis);
    for _ in 0..3 {
        let refused = paygate.call(&key, "instant", &json!({}));
        assert_eq!(refused.json()["error"]["data"]["reason"], "store_unavailable");
        let free = paygate.rpc(&key, "tools/list", &json!({}));
        assert!(free.json()["result"]["tools"].is_array(), "{}", free.text());
    }
    let written = paygate.admin_post("/keys", &json!({"name": "late", "credits": 1}));
    assert_eq!(written.status, 503, "{}", written.text());
    let health = paygate.get("/health");
    assert_eq!((health.status, &health.json()["store"]), (503, &json!("unavailable")));
    assert_eq!(health.json()["redis"]["connected"], false);
    assert!(paygate.stop().status.success());
}
