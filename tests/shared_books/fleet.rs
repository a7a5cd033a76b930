//! Some Paygates on one Redis, and what all of them must say alike.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Paygate, RedisServer, Request, Response, Setup, eventually, rpc_request,
};

/// Some instances, and the server that has their books.
pub(crate) struct Fleet {
    // Ends before the server does.
    all: Vec<Paygate>,
    pub(crate) redis: RedisServer,
}

impl Deref for Fleet {
    type Target = [Paygate];

    fn deref(&self) -> &[Paygate] {
        &self.all
    }
}

/// One more instance on these books.
pub(crate) fn setup(redis: &RedisServer, config: &Value) -> Setup {
    let mut config = config.clone();
    config["redisUrl"] = json!(redis.url());
    Setup::new().config(config).without_child_log()
}

impl Fleet {
    /// So many instances with this configuration.
    pub(crate) fn start(count: usize, config: &Value) -> Self {
        Self::on(RedisServer::start(), count, config)
    }

    pub(crate) fn on(redis: RedisServer, count: usize, config: &Value) -> Self {
        let all = (0..count).map(|_| setup(&redis, config).start()).collect();
        Self::of(redis, all)
    }

    pub(crate) const fn of(redis: RedisServer, all: Vec<Paygate>) -> Self {
        Self { all, redis }
    }

    /// Kills one and starts it again on its own files.
    pub(crate) fn restart(&mut self, index: usize) {
        let setup = self.all[index].setup().clone();
        self.all.remove(index).kill9();
        self.all.insert(index, setup.start());
    }

    /// Takes one out, for whatever is to happen to it.
    pub(crate) fn take(&mut self, index: usize) -> Paygate {
        self.all.remove(index)
    }

    pub(crate) fn put(&mut self, index: usize, paygate: Paygate) {
        self.all.insert(index, paygate);
    }

    /// The numbers that every instance tells the key, which must be the same.
    pub(crate) fn balance(&self, key: &str) -> Value {
        let numbers = |paygate: &Paygate| {
            let told = balance_of(paygate, key);
            let names = ["credits", "totalSpent", "totalCalls", "quotaUsage"];
            json!(
                names
                    .map(|name| (name, told[name].clone()))
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
            )
        };
        let told: Vec<Value> = self.iter().map(numbers).collect();
        assert!(told.iter().all(|one| *one == told[0]), "not the same everywhere: {told:?}");
        told[0].clone()
    }

    pub(crate) fn credits(&self, key: &str) -> i64 {
        number(&self.balance(key), "credits")
    }

    /// The sum of what usage says was charged to a key, on every instance the same.
    pub(crate) fn charged(&self, id: &str) -> i64 {
        let told: Vec<i64> = self.iter().map(|paygate| charged(paygate, id)).collect();
        assert!(told.iter().all(|one| *one == told[0]), "not the same everywhere: {told:?}");
        told[0]
    }

    /// All ends of all calls: nothing is held any more.
    pub(crate) fn wait_until_nothing_is_held(&self) {
        for paygate in self.iter() {
            let began = Instant::now();
            eventually("no call is in flight, and all ends are known", || {
                let health = paygate.get("/health").json();
                assert!(
                    began.elapsed() < PATIENCE / 10 * 9,
                    "{health}\n{}\n{}",
                    self.redis.cli(&["HGETALL", "pg:{default}:holds"]),
                    paygate.output()
                );
                health["inflight"] == 0 && health["redis"].get("unsettled").is_none()
            });
        }
    }
}

/// What `/balance` says; a busy Redis may answer later than a request waits.
pub(crate) fn balance_of(paygate: &Paygate, key: &str) -> Value {
    let mut balance = Value::Null;
    eventually("the balance is told", || {
        balance = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", key)).json();
        balance["credits"].is_i64()
    });
    balance
}

pub(crate) fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_else(|| panic!("no number {name} in {value}"))
}

/// The sum of what usage says was charged to a key.
pub(crate) fn charged(paygate: &Paygate, id: &str) -> i64 {
    let mut usage = Value::Null;
    // A busy Redis may answer later than a request waits.
    eventually("usage is told", || {
        usage = paygate.admin_get(&format!("/usage?key={id}")).json();
        usage["events"].is_array()
    });
    let events = usage["events"].as_array().unwrap();
    events.iter().map(|event| number(event, "creditsCharged")).sum()
}

/// Was the call made and answered?
pub(crate) fn was_sold(answer: &Response) -> bool {
    let answer = answer.json();
    answer["result"]["isError"].as_bool() != Some(true) && answer.get("error").is_none()
}

/// A call of a tool as a request.
pub(crate) fn call(key: &str, tool: &str, arguments: &Value) -> Request {
    rpc_request(key, "tools/call", &json!({"name": tool, "arguments": arguments}))
}

/// A batch of calls as a request.
pub(crate) fn batch(key: &str, tools: &[&str]) -> Request {
    let calls: Vec<Value> = tools.iter().map(|tool| json!({"name": tool})).collect();
    rpc_request(key, "tools/call_batch", &json!({ "calls": calls }))
}

/// Does something as the operator, which must be done.
pub(crate) fn done(paygate: &Paygate, path: &str, body: &Value) -> Value {
    let answer = paygate.admin_post(path, body);
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    answer.json()
}

/// Makes a team of one key.
pub(crate) fn team_of(paygate: &Paygate, key: &str, body: &Value) -> String {
    let team = done(paygate, "/teams", body)["team"]["id"].as_str().unwrap().to_owned();
    done(paygate, "/teams/assign", &json!({"teamId": team, "key": key}));
    team
}
