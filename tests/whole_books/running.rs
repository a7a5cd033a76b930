//! Instances that run while their Redis is emptied and repaired.

use serde_json::{Value, json};

use crate::life::paygate as command;
use crate::support::{Paygate, RedisServer, Request, Response, Setup, eventually};

fn start(redis: &RedisServer) -> Paygate {
    Setup::new().args(["--redis-url", &redis.url()]).without_child_log().start()
}

fn buy(paygate: &Paygate, key: &str) -> Response {
    paygate.call(key, "instant", &json!({}))
}

fn was_sold(answer: &Response) -> bool {
    let answer = answer.json();
    answer["result"]["isError"].as_bool() != Some(true) && answer.get("error").is_none()
}

/// While something is lost: nobody is told that a key is none or that there are no keys, and what an operator
/// writes would stand beside what comes back.
fn expect_nothing_is_judged_or_written(paygate: &Paygate, key: &str) {
    let redis = paygate.get("/health").json()["redis"].clone();
    assert_eq!(redis["connected"], true, "{redis}");
    let why = redis["why"].as_str().expect("why").to_owned();
    assert!(why.contains("paygate ledger repair --redis URL --db COPY"), "{why}");
    let rule = json!({"rules": [{"type": "credits_low", "threshold": 5}]});
    let answers = [
        paygate.send(&Request::new("GET", "/balance").header("X-API-Key", key)),
        paygate.admin_get("/keys"),
        paygate.admin_post("/keys", &json!({"name": "new", "namespace": "new"})),
        paygate.admin_post("/admin/tokens", &json!({"name": "new", "role": "viewer"})),
        paygate.admin_post("/alerts", &rule),
        paygate.admin_post("/topup", &json!({"key": key, "credits": 5})),
    ];
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 503, "{index}: {}", answer.text());
    }
}

#[test]
fn running_instances_sell_again_after_a_repair() {
    let redis = RedisServer::start();
    let all = [(); 3].map(|()| start(&redis));
    let (key, _) = all[0].create_key(&json!({"name": "customer", "credits": 20}));
    let (poor, _) = all[1].create_key(&json!({"name": "poor", "credits": 1}));
    let token = all[2].admin_post("/admin/tokens", &json!({"name": "robot", "role": "viewer"}));
    let token = token.json()["token"].as_str().expect("an admin token").to_owned();
    assert!(was_sold(&buy(&all[1], &poor)));
    for paygate in &all {
        assert!(was_sold(&buy(paygate, &key)) && was_sold(&buy(paygate, &key)));
    }
    // Whoever is asked for a report has copied all there is.
    for paygate in &all {
        assert_eq!(paygate.admin_get("/usage").status, 200);
    }

    redis.cli(&["FLUSHALL"]);
    for paygate in &all {
        for key in [&key, &poor] {
            let refused = buy(paygate, key);
            assert_eq!(refused.error_reason(), "store_unavailable", "{}", refused.text());
        }
        let health = || paygate.get("/health").text();
        eventually("it says why", || health().contains("come back with less"));
        expect_nothing_is_judged_or_written(paygate, &key);
    }
    assert_eq!(redis.cli(&["EXISTS", "pg:order", "pg:namespaces", "pg:{_}:tokens"]), "0");
    // What belongs to no tenant is written on.
    assert_ne!(all[0].admin_as("guessed-admin-key", "GET", "/keys", &Value::Null).status, 200);
    eventually("the attempt is noted", || redis.cli(&["XLEN", "pg:{_}:journal"]) != "0");
    let url = redis.url();
    let copies = all.each_ref().map(|paygate| paygate.setup().database().display().to_string());
    let [one, two, three] = copies.each_ref().map(String::as_str);
    let repair = ["ledger", "repair", "--redis", &url, "--db", one, "--db", two, "--db", three];
    command(&[&repair[..], &["--apply"]].concat()).expect_success();
    assert_eq!(redis.cli(&["HLEN", "pg:{_}:tokens"]), "1");

    for paygate in &all {
        let sold = buy(paygate, &key);
        assert!(was_sold(&sold), "{}", sold.text());
        assert_eq!(buy(paygate, &poor).error_reason(), "insufficient_credits");
        eventually("it is well", || paygate.get("/health").json()["store"] == "ok");
        eventually("the admin key is known again", || {
            paygate.admin_as(&token, "GET", "/keys", &Value::Null).status == 200
        });
    }
    for paygate in &all {
        assert_eq!(paygate.credits(&key), 20 - 6 - 3);
        assert_eq!(paygate.balance(&key)["totalCalls"], 9);
    }
    command(&["ledger", "verify", "--redis", &url, "--db", one]).expect_success();
}
