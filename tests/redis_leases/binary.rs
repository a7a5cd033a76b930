//! The program itself, without its Redis.

use serde_json::{Value, json};

use super::support::{Paygate, RedisServer, Response, Setup, eventually};

fn was_sold(answer: &Response) -> bool {
    let answer = answer.json();
    answer["result"]["isError"].as_bool() != Some(true) && answer.get("error").is_none()
}

fn leased(paygate: &Paygate) -> i64 {
    paygate.get("/health").json()["redis"]["leasedCredits"].as_i64().expect("it is told")
}

#[test]
fn paygate_sells_through_an_outage_and_says_so() {
    let redis = RedisServer::start();
    let config = json!({ "redisUrl": redis.url(), "redis": { "onUnavailable": "lease" } });
    let paygate =
        Setup::new().config(config).args(["--rate-limit", "0"]).without_child_log().start();
    let (key, _) = paygate.create_key(&json!({"name": "buyer", "credits": 100}));
    assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
    eventually("a quarter is on lease", || leased(&paygate) == 24);

    redis.freeze();
    let mut count = 0;
    eventually("it sells again", || {
        let is_sold = was_sold(&paygate.call(&key, "instant", &json!({})));
        count += i64::from(is_sold);
        is_sold
    });
    let health = paygate.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    for _ in 0..30 {
        count += i64::from(was_sold(&paygate.call(&key, "instant", &json!({}))));
    }
    assert_eq!(count, 24, "what was leased and nothing more");
    redis.thaw();
    eventually("all was reported", || {
        let usage = paygate.admin_get("/usage");
        let events = usage.json()["events"].as_array().cloned().unwrap_or_default();
        let charged = events.iter().filter_map(|event| event["creditsCharged"].as_i64());
        usage.status == 200 && charged.sum::<i64>() == 25
    });
    // What is on lease now is not shown, but is there.
    eventually("the rest is for sale", || {
        let left: Value = paygate.credits(&key).into();
        left.as_i64().unwrap() + leased(&paygate) == 75
    });
    let ended = paygate.stop();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(redis.cli(&["HLEN", "pg:{default}:leases"]), "0", "a stop gives all back");
}

#[test]
fn a_key_is_sold_to_although_nothing_was_heard_for_a_while_or_news_of_it_came() {
    type Event = fn(&RedisServer, &Paygate, &str);
    let events: [Event; 2] = [
        |redis, paygate, _| {
            let subscriber = || redis.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
            let id = |list: &str| list.split(' ').next().unwrap().to_owned();
            let before = id(&subscriber());
            redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            // What it has forgotten or doubts, it has when it hears again.
            eventually("it subscribes again", || {
                let list = subscriber();
                !list.is_empty() && id(&list) != before && hears(paygate)
            });
        },
        |redis, _, id| {
            let before = asked_for_records(redis);
            redis.cli(&["PUBLISH", "pg:news", &format!("key default {id}")]);
            eventually("the record was read", || asked_for_records(redis) > before);
        },
    ];
    for event in events {
        let redis = RedisServer::start();
        let config = json!({ "redisUrl": redis.url(), "redis": { "onUnavailable": "lease" } });
        let paygate = Setup::new().config(config).without_child_log().start();
        let (key, id) = paygate.create_key(&json!({"name": "buyer", "credits": 100}));
        assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
        eventually("a quarter is on lease", || leased(&paygate) == 24 && hears(&paygate));
        event(&redis, &paygate, &id);
        redis.freeze();
        eventually("it sells", || was_sold(&paygate.call(&key, "instant", &json!({}))));
    }
}

fn hears(paygate: &Paygate) -> bool {
    paygate.get("/health").json()["redis"]["pubsub"] == true
}

/// How often fields of a hash were read, by whoever.
fn asked_for_records(redis: &RedisServer) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_hmget:")).unwrap_or_default();
    let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[test]
fn an_operator_lists_and_settles_leases() {
    let redis = RedisServer::start();
    let url = redis.url();
    let config = json!({ "redisUrl": url, "redis": { "onUnavailable": "lease" } });
    let setup = Setup::new().config(config).without_child_log();
    let paygate = setup.start();
    let (key, id) = paygate.create_key(&json!({"name": "buyer", "credits": 100}));
    assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
    eventually("a quarter is on lease", || leased(&paygate) == 24);
    paygate.kill9();

    let operator = Setup::new();
    let listed = operator.run(&["ledger", "leases", "--redis", &url]);
    assert!(listed.stdout.contains(&id) && listed.stdout.contains("24 credits"), "{listed:?}");
    let lease = listed.stdout.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
    let settle = |how| operator.run(&["ledger", "settle-lease", lease, "--redis", &url, how]);
    let early = settle("--returned");
    assert!(!early.status.success() && early.stderr.contains("settle it after that"), "{early:?}");
    // As if its ten minutes had passed.
    let record = redis.cli(&["HGET", "pg:{default}:leases", lease]);
    let mut record: Value = serde_json::from_str(&record).unwrap();
    record["until"] = "1".into();
    redis.cli(&["HSET", "pg:{default}:leases", lease, &record.to_string()]);
    let settled = settle("--returned");
    assert!(settled.stdout.contains("24 credits"), "{settled:?}");
    let again = settle("--spent");
    assert!(again.stderr.contains("was settled before"), "{again:?}");
    let verified = operator.run(&["ledger", "verify", "--redis", &url]);
    assert!(verified.status.success(), "{verified:?}");

    let paygate = setup.start();
    assert_eq!(paygate.credits(&key) + leased(&paygate), 99);
    assert!(paygate.admin_get("/audit").text().contains("lease.settled"));
    eventually("and its record is gone", || {
        !operator.run(&["ledger", "leases", "--redis", &url]).stdout.contains(lease)
    });
}
