//! What went wrong with several instances of paygate-mcp (D7 to D19), each shown not to.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::fleet::{Fleet, batch, done, number, team_of, was_sold};
use crate::support::{Background, Connection, Request, Response, eventually};

/// Longer than any instance believes a copy of a record or a list without asking.
const LONGER_THAN_COPIES: Duration = Duration::from_millis(3_500);

fn unlimited() -> Value {
    json!({"globalRateLimitPerMin": 0})
}

/// D7: two batches at once, of all that there is, on several instances.
#[test]
fn d7_simultaneous_batches_spend_each_credit_once() {
    const ROUNDS: i64 = 5;
    let fleet = Fleet::start(3, &unlimited());
    let (key, id) = fleet[0].create_key(&json!({"credits": 0}));
    let all = batch(&key, &["instant"; 100]);
    for round in 0..ROUNDS {
        done(&fleet[0], "/topup", &json!({"key": id, "credits": 100}));
        let sold: Vec<bool> = thread::scope(|scope| {
            let sent = fleet.iter().map(|paygate| scope.spawn(|| was_sold(&paygate.send(&all))));
            let sent: Vec<_> = sent.collect();
            sent.into_iter().map(|sent| sent.join().unwrap()).collect()
        });
        let count = sold.iter().filter(|sold| **sold).count();
        assert_eq!(count, 1, "round {round}: {sold:?}");
        assert_eq!(fleet.credits(&key), 0);
    }
    assert_eq!(fleet.charged(&id), 100 * ROUNDS);
}

/// D8: one call, one deduction, and the same number everywhere at once; an operator's change in between
/// writes nothing back.
#[test]
fn d8_a_call_is_deducted_once_and_shown_everywhere_at_once() {
    let fleet = Fleet::start(3, &json!({}));
    let (key, id) = fleet[0].create_key(&json!({"credits": 10}));
    for left in (0..10).rev() {
        let paygate = &fleet[left % 3];
        let answer = paygate.call(&key, "instant", &json!({}));
        assert!(was_sold(&answer), "{}", answer.text());
        assert_eq!(answer.header("X-Credits-Remaining"), Some(&*left.to_string()));
        let balance = fleet.balance(&key);
        assert_eq!(number(&balance, "credits"), i64::try_from(left).unwrap());
        assert_eq!(number(&balance, "totalSpent"), i64::try_from(10 - left).unwrap());
        let tags = json!({"key": id, "tags": {"left": left.to_string()}});
        done(&fleet[(left + 1) % 3], "/keys/tags", &tags);
    }
    for paygate in fleet.iter() {
        assert_eq!(
            paygate.call(&key, "instant", &json!({})).error_reason(),
            "insufficient_credits"
        );
    }
    assert_eq!(fleet.charged(&id), 10);
}

/// D9: rotation leaves one account; the old credential is refused at once, or when its grace is over.
#[test]
fn d9_rotation_leaves_one_account_and_ends_the_old_credential() {
    let fleet = Fleet::start(3, &unlimited());
    let (old, id) = fleet[0].create_key(&json!({"credits": 50}));
    let call = |index: usize, key: &str| fleet[index].call(key, "instant", &json!({}));
    for index in 0..3 {
        assert!(was_sold(&call(index, &old)), "every instance knows it");
    }
    let rotate = |index: usize, grace: u64| {
        let asked = json!({"key": id, "graceSeconds": grace});
        done(&fleet[index], "/keys/rotate", &asked)["newKey"].as_str().unwrap().to_owned()
    };
    let second = rotate(1, 0);
    for index in 0..3 {
        assert_eq!(call(index, &old).error_reason(), "invalid_api_key", "on {index}");
        assert!(was_sold(&call(index, &second)), "on {index}");
    }
    assert_eq!(fleet.credits(&second), 44);
    let third = rotate(2, 1);
    assert!(was_sold(&call(0, &third)));
    eventually("the grace ends everywhere", || {
        (0..3).all(|index| call(index, &second).error_reason() == "invalid_api_key")
    });
    let left = fleet.credits(&third);
    assert_eq!((left + fleet.charged(&id), fleet[0].credits(&third)), (50, left));
    let keys = fleet[1].admin_get("/keys").json();
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
}

/// D10: what a failed call gives back is given back everywhere, with its counters.
#[test]
fn d10_refunds_are_not_lost() {
    let mut config = unlimited();
    config["toolPricing"] = json!({"hang": {"creditsPerCall": 7, "requestTimeoutMs": 200}});
    let fleet = Fleet::start(3, &config);
    let (key, id) = fleet[0].create_key(&json!({"credits": 50}));
    for (index, tool) in ["fail", "error", "hang", "garbage"].into_iter().enumerate() {
        let answer = fleet[index % 3].call(&key, tool, &json!({}));
        assert!(!was_sold(&answer), "{tool}: {}", answer.text());
        let balance = fleet.balance(&key);
        assert_eq!(number(&balance, "credits"), 50, "{tool}");
        assert_eq!(number(&balance, "totalSpent"), 0, "{tool}");
        assert_eq!(number(&balance, "totalCalls"), 0, "{tool}");
    }
    let mixed = fleet[1].send(&batch(&key, &["instant", "fail", "instant"])).json();
    assert_eq!(number(&mixed["result"], "totalCreditsCharged"), 2, "{mixed}");
    assert_eq!((fleet.credits(&key), fleet.charged(&id)), (48, 2));
    // The operator's own refund.
    let sold = fleet[2].call(&key, "instant", &json!({}));
    let call = sold.header("x-paygate-call-id").unwrap().to_owned();
    assert_eq!(fleet.credits(&key), 47);
    let path = format!("/calls/{call}/refund");
    let refunded = fleet[0].admin_post(&path, &json!({"reason": "a test"}));
    assert_eq!(refunded.status, 200, "{}", refunded.text());
    assert_eq!(fleet.credits(&key), 48);
    // Asked again, it is answered again, and nothing is given twice.
    fleet[1].admin_post(&path, &json!({"reason": "a test"}));
    assert_eq!(fleet.credits(&key), 48);
}

/// D12, D14: what is used up, over or closed stays so, whatever is read again meanwhile: other changes
/// of the same records, a restart, and the time after which instances read their copies anew.
#[test]
fn d12_d14_what_is_used_up_or_over_stays_so() {
    let mut fleet = Fleet::start(3, &unlimited());
    let first = &fleet[0];
    let key = |body: Value| first.create_key(&body);
    let (quota, quota_id) = key(json!({"credits": 50, "quota": {"dailyCallLimit": 2}}));
    let (expired, expired_id) = key(json!({"credits": 50}));
    let (revoked, revoked_id) = key(json!({"credits": 50}));
    let (capped, capped_id) = key(json!({"credits": 50}));
    let (member, member_id) = key(json!({"credits": 50}));
    done(first, "/limits", &json!({"key": capped_id, "spendingLimit": 2}));
    team_of(first, &member_id, &json!({"name": "poor", "budget": 2}));
    for raw in [&quota, &expired, &revoked, &capped, &member] {
        for index in 0..2 {
            assert!(was_sold(&fleet[index].call(raw, "instant", &json!({}))));
        }
    }
    let past = json!({"key": expired_id, "expiresAt": "2020-01-01T00:00:00Z"});
    done(&fleet[1], "/keys/expiry", &past);
    done(&fleet[2], "/keys/revoke", &json!({"key": revoked_id}));
    let over = [
        (&quota, &quota_id, "daily_call_quota_exceeded"),
        (&expired, &expired_id, "api_key_expired"),
        (&revoked, &revoked_id, "invalid_api_key"),
        (&capped, &capped_id, "spending_limit_exceeded"),
        (&member, &member_id, "team_budget_exceeded"),
    ];
    let check = |fleet: &Fleet, when: &str| {
        for (raw, _, reason) in over {
            for (index, paygate) in fleet.iter().enumerate() {
                let refused = paygate.call(raw, "instant", &json!({})).error_reason();
                assert_eq!(refused, reason, "{when}, on {index}");
            }
        }
    };
    check(&fleet, "at once");
    fleet.restart(0);
    check(&fleet, "after a restart");
    let (began, mut round) = (Instant::now(), 0_usize);
    while began.elapsed() < LONGER_THAN_COPIES {
        for (_, id, reason) in over {
            if reason != "invalid_api_key" {
                let tags = json!({"key": id, "tags": {"round": round.to_string()}});
                done(&fleet[round % 3], "/keys/tags", &tags);
            }
        }
        check(&fleet, "while records change");
        round += 1;
    }
    for (raw, id, reason) in over {
        assert_eq!(fleet.charged(id), 2, "{reason}");
        if !["invalid_api_key", "api_key_expired"].contains(&reason) {
            assert_eq!(fleet.credits(raw), 48, "{reason}");
        }
    }
}

/// D13: a rate is one for all instances, and goes on over a restart.
#[test]
fn d13_rates_are_of_all_instances() {
    let config = json!({
        "globalRateLimitPerMin": 6,
        "toolPricing": {"fail": {"creditsPerCall": 1, "rateLimitPerMin": 2}},
    });
    let mut fleet = Fleet::start(3, &config);
    let (key, _) = fleet[0].create_key(&json!({"credits": 50}));
    for index in 0..2 {
        let answer = fleet[index].call(&key, "fail", &json!({}));
        assert_eq!(answer.error_code(), 0, "{}", answer.text());
    }
    let refused = fleet[2].call(&key, "fail", &json!({}));
    assert_eq!(refused.error_reason(), "tool_rate_limited", "{}", refused.text());
    for left in (0..4).rev() {
        let answer = fleet[left % 3].call(&key, "instant", &json!({}));
        assert!(was_sold(&answer), "{}", answer.text());
        assert_eq!(answer.header("X-RateLimit-Remaining"), Some(&*left.to_string()));
    }
    fleet.restart(1);
    for paygate in fleet.iter() {
        let refused = paygate.call(&key, "instant", &json!({}));
        assert_eq!(refused.error_reason(), "rate_limited", "{}", refused.text());
    }
}

/// D13, at once: not one more than the rate, whoever is asked.
#[test]
fn d13_a_minute_never_admits_more_than_its_rate() {
    const RATE: usize = 40;
    let fleet = Fleet::start(3, &json!({"globalRateLimitPerMin": RATE}));
    let (key, id) = fleet[0].create_key(&json!({"credits": 1_000}));
    let sold: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|client| {
                let (paygate, key) = (&fleet[client % 3], &key);
                let sold = move |_: &u32| was_sold(&paygate.call(key, "instant", &json!({})));
                scope.spawn(move || (0..10).filter(sold).count())
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(sold, RATE);
    assert_eq!(fleet.charged(&id), i64::try_from(RATE).unwrap());
}

/// What a client of D16 is told, which nobody else could be told.
fn check_reply(answer: &Response, nonce: &str, low: i64) {
    let told = answer.json();
    let reason = told["error"]["data"]["reason"].as_str().unwrap_or_default();
    if reason == "store_unavailable" {
        return;
    }
    assert_eq!(told["result"]["content"][0]["text"], nonce, "{told}");
    let left: i64 = answer.header("x-credits-remaining").unwrap().parse().unwrap();
    assert!((low..low + 10_000).contains(&left), "the balance of somebody else: {left}");
}

/// D16: connections to Redis are cut while commands are under way, again and again. No reply goes to
/// another command, whatever was not answered is not done twice, and nothing is stuck afterwards.
#[test]
fn d16_cut_connections_never_mix_replies() {
    const CLIENTS: usize = 9;
    const CUTS: usize = 12;
    let fleet = Fleet::start(3, &unlimited());
    // No two keys ever have the same balance.
    let low = |client: usize| i64::try_from(client + 1).unwrap() * 100_000;
    let keys: Vec<(String, String)> = (0..CLIENTS)
        .map(|client| fleet[0].create_key(&json!({"credits": low(client) + 9_000})))
        .collect();
    let stop = AtomicBool::new(false);
    let topped: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (key, id) = &keys[client];
                let (fleet, stop) = (&fleet, &stop);
                scope.spawn(move || d16_client(&fleet[client % 3], key, id, low(client), stop))
            })
            .collect();
        for _ in 0..CUTS {
            // Commands that write wait, so the cut finds many of them.
            fleet.redis.cli(&["CLIENT", "PAUSE", "60", "WRITE"]);
            thread::sleep(Duration::from_millis(20));
            fleet.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            thread::sleep(Duration::from_millis(150));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    eventually("it sells again everywhere", || {
        fleet.iter().all(|paygate| was_sold(&paygate.call(&keys[0].0, "instant", &json!({}))))
    });
    fleet.wait_until_nothing_is_held();
    for (client, (key, id)) in keys.iter().enumerate() {
        let granted = low(client) + 9_000 + topped[client];
        eventually("holds whose calls were never heard of are given back", || {
            fleet[0].credits(key) + fleet.charged(id) == granted
        });
        assert_eq!(fleet.credits(key) + fleet.charged(id), granted, "client {client}");
    }
}

/// Calls and top-ups until it is told to stop; the credits that it bought.
fn d16_client(
    paygate: &crate::support::Paygate,
    key: &str,
    id: &str,
    low: i64,
    stop: &AtomicBool,
) -> i64 {
    let (mut round, mut topped) = (0_i64, 0);
    let mut connection = Connection::open(&paygate.address).unwrap();
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let nonce = format!("{id}-{round}");
        let call = super::fleet::call(key, "instant", &json!({"nonce": nonce}));
        check_reply(&connection.send(&call).unwrap(), &nonce, low);
        if round % 8 == 0 && topped < 900 {
            let body = json!({"key": id, "credits": 1});
            let top_up = Request::new("POST", "/topup")
                .header("X-Admin-Key", crate::support::ADMIN_KEY)
                .header("Idempotency-Key", &nonce)
                .json(&body);
            eventually("the top-up is answered, once it is sent again", || {
                let answer = connection.send(&top_up).unwrap();
                assert!([200, 503].contains(&answer.status), "{}", answer.text());
                answer.status == 200
            });
            topped += 1;
        }
    }
    topped
}

/// D18: what is not there is not made by asking for it.
#[test]
fn d18_unknown_keys_leave_no_ghosts() {
    let fleet = Fleet::start(2, &unlimited());
    let (_, id) = fleet[0].create_key(&json!({"credits": 5}));
    let keys = |pattern: &str| {
        let found = fleet.redis.cli(&["--scan", "--pattern", pattern]);
        let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
        found.sort_unstable();
        found
    };
    let before = keys("*");
    let ghost = "key_00000000deadbeef";
    for asked in ["pg_nobody", ghost] {
        for (path, body) in [
            ("/topup", json!({"key": asked, "credits": 5})),
            ("/keys/revoke", json!({"key": asked})),
            ("/keys/rotate", json!({"key": asked})),
            ("/keys/tags", json!({"key": asked, "tags": {"a": "b"}})),
            ("/keys/expiry", json!({"key": asked, "expiresIn": 5})),
            ("/keys/quota", json!({"key": asked, "dailyCallLimit": 5})),
            ("/limits", json!({"key": asked, "spendingLimit": 5})),
        ] {
            for paygate in fleet.iter() {
                let answer = paygate.admin_post(path, &body);
                assert_eq!(answer.status, 404, "{path} {asked}: {}", answer.text());
            }
        }
        let refused = fleet[1].call(asked, "instant", &json!({}));
        assert_eq!(refused.error_reason(), "invalid_api_key");
    }
    // What was refused is counted, and told of in a stream of its own.
    let after: Vec<String> = keys("*").into_iter().filter(|key| key != "pg:refused").collect();
    assert_eq!(after, before);
    assert_eq!(fleet[1].admin_get("/keys").json().as_array().map(Vec::len), Some(1));
    assert_eq!(fleet[1].admin_get(&format!("/keys/{id}")).status, 200);
}

/// D19: nothing that goes to Redis has a raw key in it.
#[test]
fn d19_raw_keys_never_go_to_redis() {
    let fleet = Fleet::start(2, &unlimited());
    let mut monitor = Command::new("redis-cli");
    monitor.args(["-u", &fleet.redis.url(), "MONITOR"]);
    let monitor = Background::start(monitor, "OK");
    let (key, id) = fleet[0].create_key(&json!({"credits": 5, "name": "watched"}));
    assert!(was_sold(&fleet[1].call(&key, "instant", &json!({}))));
    let named = fleet[0].call(&key, "fail", &json!({"nonce": "seen"}));
    assert!(!was_sold(&named));
    done(&fleet[0], "/topup", &json!({"key": key, "credits": 5}));
    let new = done(&fleet[1], "/keys/rotate", &json!({"key": key, "graceSeconds": 60}));
    let new = new["newKey"].as_str().unwrap();
    assert!(was_sold(&fleet[0].call(new, "instant", &json!({}))));
    done(&fleet[1], "/keys/revoke", &json!({"key": new}));
    eventually("all of it was seen", || monitor.said().contains("key.revoked"));
    let seen = monitor.said();
    assert!(seen.contains(&id));
    for raw in [&*key, new] {
        assert!(!seen.contains(raw) && !seen.contains(&raw[3..40]), "a raw key went to Redis");
    }
}

/// D19: what one instance was told, all of them say: usage, audit, teams.
#[test]
fn d19_reports_are_the_same_whoever_is_asked() {
    let fleet = Fleet::start(3, &unlimited());
    let (key, id) = fleet[0].create_key(&json!({"credits": 50, "name": "Ada"}));
    let team = team_of(&fleet[1], &id, &json!({"name": "Research", "budget": 40}));
    for index in 0..9 {
        let tool = ["instant", "fail", "constructor"][index / 3];
        fleet[index % 3].call(&key, tool, &json!({}));
    }
    let told = |path: &str| {
        let told: Vec<Value> = fleet.iter().map(|paygate| paygate.admin_get(path).json()).collect();
        assert!(told.iter().all(|one| *one == told[0]), "{path}: {told:#?}");
        told[0].clone()
    };
    let usage = told(&format!("/usage?key={id}"));
    assert_eq!(usage["events"].as_array().map(Vec::len), Some(9), "{usage}");
    let team = told(&format!("/teams/usage?teamId={team}"));
    assert_eq!(number(&team, "totalSpent"), 6, "{team}");
    told("/keys");
    told("/teams");
    told("/audit?limit=10");
    let hour = 3_600_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let analytics = told(&format!("/analytics?from={}&to={}", now - hour, now + hour));
    assert!(analytics.to_string().contains("constructor"), "{analytics}");
}
