//! Redis is stopped, killed, or comes back empty, while many sell. Paid calls are refused and answered
//! soon, free methods go on, nothing piles up, and afterwards every credit is where it belongs, without a
//! restart of any instance.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::crowd::{Random, all_at_once};
use super::fleet::{Fleet, balance_of, batch, call, charged, done, number, was_sold};
use super::journal::Journal;
use crate::support::{
    ADMIN_KEY, Connection, PATIENCE, Paygate, RedisServer, Request, Response, eventually,
    rpc_request,
};

const SEED: u64 = 20_261_123;
const CLIENTS: usize = 60;
const CREDITS: i64 = 1_000_000;

/// What the books cannot do now is said by then: three questions of two seconds each at the worst, on a machine
/// that may be far too busy with other tests. How soon it is on a quiet one, `redis_outage` shows.
const REFUSED_BY: Duration = Duration::from_secs(15);

/// Every write is on disk before it is answered.
const WITH_LOG: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

fn config() -> Value {
    json!({"globalRateLimitPerMin": 0, "toolPricing": {
        "instant": {"creditsPerCall": 2}, "sleep": {"creditsPerCall": 3}, "fail": {"creditsPerCall": 5}}})
}

/// What many clients were told, together.
#[derive(Default)]
struct Told {
    paid: AtomicI64,
    sold: AtomicUsize,
    refused: AtomicUsize,
    stop: AtomicBool,
}

impl Told {
    /// Calls, batches and failing calls until it is told to stop, each answered in time.
    fn work(&self, address: &str, key: &str, number: usize) {
        let mut random = Random(SEED + number as u64);
        let mut connection = Connection::open(address).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            let (request, price) = match random.below(5) {
                0 => (call(key, "sleep", &json!({"ms": random.below(30)})), 3),
                1 => (call(key, "fail", &json!({})), 0),
                2 => (batch(key, &["instant", "fail", "sleep"]), 5),
                _ => (call(key, "instant", &json!({})), 2),
            };
            let began = Instant::now();
            let answer = connection.send(&request).unwrap();
            assert!(began.elapsed() < REFUSED_BY, "client {number} waited {:?}", began.elapsed());
            self.heard(&answer, price);
        }
    }

    fn heard(&self, answer: &Response, price: i64) {
        let told = answer.json();
        if answer.error_reason() == "store_unavailable" {
            assert!(told["error"]["data"]["retryAfterMs"].is_i64(), "{told}");
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert!(told["result"].is_object(), "{told}");
        self.paid.fetch_add(price, Ordering::Relaxed);
        self.sold.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until so many more calls were sold, or refused.
fn wait_for_more(what: &str, counted: &AtomicUsize, count: usize) {
    let before = counted.load(Ordering::Relaxed);
    eventually(what, || counted.load(Ordering::Relaxed) >= before + count);
}

/// All clients at work while something happens to Redis; what they were told.
fn under_load(fleet: &mut Fleet, key: &str, happens: impl FnOnce(&mut Fleet, &Told)) -> Told {
    let told = Told::default();
    let addresses: Vec<String> = fleet.iter().map(|paygate| paygate.address.clone()).collect();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (told, address) = (&told, &addresses[number % addresses.len()]);
            scope.spawn(move || told.work(address, key, number));
        }
        wait_for_more("calls before it", &told.sold, 4 * CLIENTS);
        // Whatever fails in there, the clients must end.
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            happens(fleet, &told);
            wait_for_more("calls after it", &told.sold, 4 * CLIENTS);
        }));
        told.stop.store(true, Ordering::Relaxed);
        if let Err(why) = happened {
            std::panic::resume_unwind(why);
        }
    });
    told
}

/// Every credit is where it belongs: what clients were told to have paid, and nothing else, was taken.
fn adds_up(fleet: &Fleet, key: &str, id: &str, granted: i64, paid: i64) {
    fleet.wait_until_nothing_is_held();
    let mut seen = 0;
    let began = Instant::now();
    eventually("what nobody was told of is given back", || {
        seen = number(&balance_of(&fleet[0], key), "credits");
        let journal = (began.elapsed() > PATIENCE / 2).then(|| Journal::read(&fleet.redis, id));
        assert!(
            began.elapsed() < PATIENCE / 10 * 9 || seen >= granted - paid,
            "left {seen}, granted {granted}, paid {paid}, {journal:?}"
        );
        seen >= granted - paid
    });
    assert_eq!(seen, granted - paid);
    let balance = fleet.balance(key);
    assert_eq!(
        (number(&balance, "credits"), number(&balance, "totalSpent")),
        (granted - paid, paid)
    );
    assert_eq!(fleet.charged(id), paid);
    let journal = Journal::read(&fleet.redis, id);
    // What could not be booked in time, though it was, is given back by a refund.
    assert_eq!((journal.granted - journal.charged, journal.open), (granted - paid, 0));
}

/// What goes on without the books, and what does not.
fn expect_outage(fleet: &Fleet, key: &str) {
    for paygate in fleet.iter() {
        let mut health = Value::Null;
        eventually("/health says it", || {
            let answer = paygate.get("/health");
            health = answer.json();
            answer.status == 503 && health["redis"]["connected"] == false
        });
        assert_eq!(health["store"], "unavailable", "{health}");
        assert!(health["redis"]["why"].as_str().is_some_and(|why| !why.is_empty()), "{health}");
        for method in ["initialize", "ping", "tools/list", "resources/list"] {
            for key in ["", key] {
                let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"}});
                let answer = in_time(paygate, &rpc_request(key, method, &params));
                assert!(answer.json()["result"].is_object(), "{method}: {}", answer.text());
            }
        }
        let refused = in_time(paygate, &call(key, "instant", &json!({})));
        assert_eq!(refused.error_reason(), "store_unavailable", "{}", refused.text());
        for (path, body) in [
            ("/keys", json!({"credits": 5})),
            ("/topup", json!({"key": key, "credits": 500})),
            ("/keys/revoke", json!({"key": key})),
            ("/teams", json!({"name": "t"})),
        ] {
            let request = Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY).json(&body);
            let answer = in_time(paygate, &request);
            assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        }
    }
}

/// Can a call be made that is free in the end?
fn is_made(paygate: &Paygate, key: &str) -> bool {
    paygate.call(key, "fail", &json!({})).json()["result"].is_object()
}

fn in_time(paygate: &Paygate, request: &Request) -> Response {
    let began = Instant::now();
    let answer = paygate.send(request);
    assert!(began.elapsed() < REFUSED_BY, "{request:?} took {:?}", began.elapsed());
    answer
}

/// A number of `/proc/PID/status`: memory in KiB, or threads.
fn of_process(paygate: &Paygate, name: &str) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", paygate.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_frozen_redis_refuses_soon_piles_nothing_up_and_is_found_again() {
    const CROWD: usize = 500;
    const GROWTH_KIB: i64 = 200 << 10;
    let mut fleet = Fleet::start(2, &config());
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    let told = under_load(&mut fleet, &key, |fleet, told| {
        let before: Vec<_> = fleet.iter().map(|one| of_process(one, "VmRSS")).collect();
        fleet.redis.freeze();
        wait_for_more("refusals", &told.refused, 4 * CLIENTS);
        expect_outage(fleet, &key);
        let addresses: Vec<String> = fleet.iter().map(|one| one.address.clone()).collect();
        all_at_once(CROWD, |number| {
            let mut connection = Connection::open(&addresses[number % 2]).unwrap();
            for _ in 0..4 {
                let answer = connection.send(&call(&key, "instant", &json!({}))).unwrap();
                assert_eq!(answer.error_reason(), "store_unavailable", "{}", answer.text());
            }
        });
        for (paygate, before) in fleet.iter().zip(before) {
            let grown = of_process(paygate, "VmRSS") - before;
            assert!(grown < GROWTH_KIB, "{grown} KiB more");
            assert!(of_process(paygate, "Threads") < 100);
            let in_flight = number(&paygate.get("/health").json(), "inflight");
            assert!(in_flight <= i64::try_from(CLIENTS).unwrap(), "{in_flight} in flight");
        }
        fleet.redis.thaw();
        for paygate in fleet.iter() {
            eventually("it sells again", || is_made(paygate, &key));
        }
    });
    adds_up(&fleet, &key, &id, CREDITS, told.paid.into_inner());
    for paygate in fleet.iter() {
        assert_eq!(paygate.get("/health").status, 200);
    }
}

/// D15: what was sold, bought, made and revoked before is there afterwards; what was refused meanwhile is
/// not, and can be asked for again.
#[test]
fn d15_a_redis_that_is_killed_and_has_a_log_forgets_nothing() {
    let redis = RedisServer::start_with(&WITH_LOG);
    let mut fleet = Fleet::on(redis, 3, &config());
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    let (revoked, revoked_id) = fleet[1].create_key(&json!({"credits": 5}));
    done(&fleet[2], "/keys/revoke", &json!({"key": revoked_id}));
    let told = under_load(&mut fleet, &key, |fleet, told| {
        for round in 0..2 {
            fleet.redis.kill();
            wait_for_more("refusals", &told.refused, CLIENTS);
            expect_outage(fleet, &key);
            fleet.redis.restart();
            for paygate in fleet.iter() {
                let top_up = Request::new("POST", "/topup")
                    .header("X-Admin-Key", ADMIN_KEY)
                    .header("Idempotency-Key", &format!("round-{round}"))
                    .json(&json!({"key": id, "credits": 500}));
                // The same for all instances: it is booked once.
                eventually("a top-up is taken again", || paygate.send(&top_up).status == 200);
            }
        }
    });
    adds_up(&fleet, &key, &id, CREDITS + 2 * 500, told.paid.into_inner());
    for paygate in fleet.iter() {
        let refused = paygate.call(&revoked, "instant", &json!({}));
        assert_eq!(refused.error_reason(), "invalid_api_key", "revoked is revoked");
        let keys = paygate.admin_get("/keys").json();
        assert_eq!(keys.as_array().map(Vec::len), Some(2), "what was refused was not made: {keys}");
        assert_eq!(paygate.admin_get("/teams").json()["teams"].as_array().map(Vec::len), Some(0));
    }
}

/// A Redis that comes back empty: nobody sells by it, and whoever looks is told why; an instance that is
/// started again believes it no more than the others do.
#[test]
fn a_redis_that_comes_back_empty_sells_nothing_and_is_named() {
    let mut fleet = Fleet::start(2, &config());
    let (key, id) = fleet[0].create_key(&json!({"credits": 100}));
    for paygate in fleet.iter() {
        assert!(was_sold(&paygate.call(&key, "instant", &json!({}))));
        assert_eq!(charged(paygate, &id) % 2, 0);
    }
    fleet.redis.kill();
    fleet.redis.restart();
    let expect_refusals = |fleet: &Fleet| {
        for paygate in fleet.iter() {
            let mut reasons = BTreeSet::new();
            eventually("/health says what is wrong", || {
                let answer = paygate.call(&key, "instant", &json!({}));
                assert!(!was_sold(&answer), "sold from nothing: {}", answer.text());
                reasons.insert(answer.error_reason());
                let health = paygate.get("/health");
                let why = health.json()["redis"]["why"].as_str().unwrap_or_default().to_owned();
                health.status == 503 && why.contains("come back with less")
            });
            let answer = paygate.call(&key, "instant", &json!({}));
            assert_eq!(answer.error_reason(), "store_unavailable", "{reasons:?}");
        }
    };
    expect_refusals(&fleet);
    fleet.restart(1);
    expect_refusals(&fleet);
    let made = fleet[0].admin_post("/keys", &json!({"credits": 5}));
    assert_eq!(made.status, 503, "{}", made.text());
}

/// D17: an instance says that it hears what others change only while it does, and hears again after Redis
/// was away.
#[test]
fn d17_health_says_whether_changes_are_heard() {
    let redis = RedisServer::start_with(&WITH_LOG);
    let mut fleet = Fleet::on(redis, 3, &config());
    let is_heard = |paygate: &Paygate| paygate.get("/health").json()["redis"]["pubsub"] == true;
    let hearing = |fleet: &Fleet| {
        let count = fleet.redis.cli(&["PUBSUB", "NUMSUB", "pg:news"]);
        count.lines().last().unwrap().parse::<usize>().unwrap()
    };
    let expect_heard = |fleet: &Fleet| {
        for paygate in fleet.iter() {
            eventually("it hears", || is_heard(paygate));
        }
        assert_eq!(hearing(fleet), 3);
        let (key, id) = fleet[0].create_key(&json!({"credits": 5}));
        for paygate in fleet.iter() {
            assert!(is_made(paygate, &key));
        }
        done(&fleet[0], "/keys/revoke", &json!({"key": id}));
        let free = rpc_request(&key, "resources/read", &json!({"uri": "test://fixed"}));
        for paygate in fleet.iter() {
            eventually("free methods follow", || {
                paygate.send(&free).error_reason() == "invalid_api_key"
            });
        }
    };
    expect_heard(&fleet);
    fleet.redis.kill();
    for paygate in fleet.iter() {
        eventually("it says that it hears nothing", || !is_heard(paygate));
    }
    fleet.redis.restart();
    expect_heard(&fleet);
    fleet.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for paygate in fleet.iter() {
        eventually("it hears again", || is_heard(paygate) && hearing(&fleet) == 3);
    }
    expect_heard(&fleet);
}
