//! Five hundred clients on three instances: sold × price + available = granted, exactly, whatever ends
//! how; nothing is sold over a limit; and nobody is refused while there was something left.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::crowd::{CLIENTS, Random, all_at_once, connected};
use super::fleet::{Fleet, batch, call, done, number, team_of, was_sold};
use super::journal::Journal;
use crate::support::{Connection, Paygate, Request, Response, eventually, rpc_request};

const SEED: u64 = 20_261_121;
const CREDITS: i64 = 10_000;
const BUDGET: i64 = 9_500;
const ROUNDS: usize = 14;

/// Tools and their prices; the last three are given back.
const PRICES: [(&str, i64); 7] = [
    ("instant", 1),
    ("sleep", 2),
    ("constructor", 4),
    ("progress", 7),
    ("error", 3),
    ("fail", 5),
    ("hang", 6),
];

fn price(tool: &str) -> i64 {
    PRICES.iter().find(|(name, _)| *name == tool).unwrap().1
}

/// What one client knows.
#[derive(Default)]
struct Seen {
    /// What it was charged for its answers.
    paid: i64,
    /// What it may have been charged beside, for answers that it did not wait for.
    perhaps: i64,
    refused: usize,
}

struct Client<'a> {
    number: usize,
    address: &'a str,
    key: &'a str,
    connection: Connection,
    random: Random,
    seen: Seen,
}

impl Client<'_> {
    fn work(mut self) -> Seen {
        for round in 0..ROUNDS {
            match self.random.below(12) {
                0..4 => self.single("instant"),
                4 => self.single("sleep"),
                5 => self.single("constructor"),
                6 => self.single("progress"),
                7 => self.single("fail"),
                8 => self.batch(),
                9 if round % 2 == 0 => self.single("hang"),
                9 => self.single("error"),
                10 => self.cancel(round),
                _ => self.leave(),
            }
        }
        // Whatever it left before has begun by now.
        self.single("instant");
        self.seen
    }

    fn answered(&mut self, answer: &Response) -> Option<Value> {
        let told = answer.json();
        let reason = told["error"]["data"]["reason"].as_str().unwrap_or_default();
        let reason = reason.split(':').next().unwrap_or_default();
        match reason {
            "insufficient_credits" | "team_budget_exceeded" | "batch_rejected" => {
                self.seen.refused += 1;
                None
            }
            // A machine that is much too busy: Redis did not answer in time. It costs nothing either.
            "store_unavailable" => None,
            "" | "timeout" => Some(told),
            _ => panic!("client {} of {}: {told}", self.number, self.address),
        }
    }

    fn single(&mut self, tool: &str) {
        let arguments = json!({"ms": self.random.below(30)});
        let answer = self.connection.send(&call(self.key, tool, &arguments)).unwrap();
        let Some(told) = self.answered(&answer) else { return };
        let is_free = ["error", "fail", "hang"].contains(&tool);
        assert_eq!(was_sold(&answer), !is_free, "{tool}: {told}");
        self.seen.paid += if is_free { 0 } else { price(tool) };
    }

    fn batch(&mut self) {
        let count = 2 + self.random.below(4);
        let tools = ["instant", "sleep", "constructor", "error", "fail"];
        let tools: Vec<&str> = (0..count).map(|_| self.random.pick(&tools)).collect();
        let answer = self.connection.send(&batch(self.key, &tools)).unwrap();
        let Some(told) = self.answered(&answer) else { return };
        let charged = number(&told["result"], "totalCreditsCharged");
        let kept = tools.iter().filter(|tool| !["error", "fail"].contains(*tool));
        assert_eq!(charged, kept.map(|tool| price(tool)).sum::<i64>(), "{tools:?}: {told}");
        self.seen.paid += charged;
    }

    /// A call that is cancelled: before, while or after it runs.
    fn cancel(&mut self, round: usize) {
        let id = format!("{}-{round}", self.number);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "sleep", "arguments": {"ms": 60}}});
        self.connection.begin(&self.mcp(&body)).unwrap();
        let mut other = Connection::open(self.address).unwrap();
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": id}});
        assert_eq!(other.send(&self.mcp(&cancel)).unwrap().status, 202);
        let answer = self.connection.finish().unwrap();
        if answer.body.is_empty() {
            return;
        }
        let told = answer.json();
        if told.get("result").is_some() {
            self.seen.paid += price("sleep");
        }
    }

    fn mcp(&self, body: &Value) -> Request {
        Request::new("POST", "/mcp")
            .header("Accept", "application/json")
            .header("X-API-Key", self.key)
            .json(body)
    }

    /// A call whose answer nobody waits for.
    fn leave(&mut self) {
        let tool = self.random.pick(&["instant", "sleep", "fail"]);
        self.connection.begin(&call(self.key, tool, &json!({"ms": 20}))).unwrap();
        self.connection = Connection::open(self.address).unwrap();
        self.seen.perhaps += if tool == "fail" { 0 } else { price(tool) };
    }
}

fn addresses(fleet: &Fleet) -> Vec<String> {
    fleet.iter().map(|paygate| paygate.address.clone()).collect()
}

fn metric(paygate: &Paygate, name: &str) -> Option<String> {
    let page = paygate.get("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(str::to_owned)
}

/// Every place that shows what was sold shows the same; returns it.
fn same_everywhere(fleet: &Fleet, key: &str, id: &str, team: &str, granted: i64) -> i64 {
    eventually("what could not be booked is given back", || {
        let balance = fleet[0].balance(key);
        number(&balance, "credits") + number(&balance, "totalSpent") == granted
    });
    let balance = fleet.balance(key);
    let (left, sold) = (number(&balance, "credits"), number(&balance, "totalSpent"));
    assert_eq!(left + sold, granted, "{balance}");
    assert_eq!(fleet.charged(id), sold, "usage");
    for paygate in fleet.iter() {
        let usage = paygate.admin_get(&format!("/teams/usage?teamId={team}")).json();
        assert_eq!(number(&usage, "totalSpent"), sold, "{usage}");
        let status = paygate.admin_get("/status").json();
        assert_eq!(number(&status["usage"], "totalCreditsSpent"), sold, "{status}");
        assert_eq!(metric(paygate, "paygate_open_holds").as_deref(), Some("0"));
    }
    let journal = Journal::read(&fleet.redis, id);
    assert_eq!((journal.granted - journal.charged, journal.open), (granted - sold, 0));
    let captured = journal.ends.values().filter(|end| *end == "capture").count();
    assert!(captured > 0 && captured < journal.ends.len(), "some are paid, some are free");
    sold
}

/// Buys until so many credits are gone, one by one at the end; then one more is refused everywhere.
fn sell_out(fleet: &Fleet, key: &str, mut left: i64, reason: &str) {
    let mut turn = 0;
    while left > 0 {
        let count = usize::try_from(left.min(if left > 3 { 50 } else { 1 })).unwrap();
        let answer = fleet[turn % 3].send(&batch(key, &vec!["instant"; count]));
        assert!(was_sold(&answer), "{left} left: {}", answer.text());
        left -= i64::try_from(count).unwrap();
        turn += 1;
    }
    for paygate in fleet.iter() {
        assert_eq!(paygate.call(key, "instant", &json!({})).error_reason(), reason);
    }
}

#[test]
fn what_five_hundred_clients_were_sold_adds_up_exactly() {
    let mut pricing = json!({});
    for (tool, price) in PRICES {
        pricing[tool] = json!({"creditsPerCall": price});
    }
    pricing["hang"]["requestTimeoutMs"] = json!(150);
    let mut fleet = Fleet::start(3, &json!({"globalRateLimitPerMin": 0, "toolPricing": pricing}));
    let (key, id) = fleet[0].create_key(&json!({"credits": CREDITS}));
    let team = team_of(&fleet[0], &id, &json!({"name": "crowd", "budget": BUDGET}));
    let addresses = addresses(&fleet);
    let seen = all_at_once(CLIENTS, |number| {
        let client = Client {
            number,
            address: &addresses[number % 3],
            key: &key,
            connection: connected(&addresses, number),
            random: Random(SEED + number as u64),
            seen: Seen::default(),
        };
        client.work()
    });
    fleet.wait_until_nothing_is_held();
    let sold = same_everywhere(&fleet, &key, &id, &team, CREDITS);
    let paid: i64 = seen.iter().map(|seen| seen.paid).sum();
    let perhaps: i64 = seen.iter().map(|seen| seen.perhaps).sum();
    assert!((paid..=paid + perhaps).contains(&sold), "{paid} <= {sold} <= {paid} + {perhaps}");
    // Whatever was refused, what is left can be bought to the last credit, and no more.
    let refused: usize = seen.iter().map(|seen| seen.refused).sum();
    assert!(refused > 0, "they wanted more than there was, but only {sold} were sold");
    sell_out(&fleet, &key, BUDGET - sold, "team_budget_exceeded");
    done(&fleet[1], "/teams/update", &json!({"teamId": team, "budget": 2 * CREDITS}));
    sell_out(&fleet, &key, CREDITS - BUDGET, "insufficient_credits");
    assert_eq!(same_everywhere(&fleet, &key, &id, &team, CREDITS), CREDITS);
    // Accounts are compared with the journal at each start.
    fleet.restart(0);
    let drift = || metric(&fleet[0], "paygate_ledger_drift_credits");
    eventually("the accounts are compared", || drift().is_some());
    assert_eq!(drift().as_deref(), Some("0"));
}

/// Exactly enough of everything for everybody: nobody is refused, on any instance; then everybody is.
#[test]
fn nobody_is_refused_while_something_is_left() {
    const CALLS: usize = 4;
    let all = CLIENTS * CALLS;
    let config = json!({"globalRateLimitPerMin": all,
        "toolPricing": {"instant": {"creditsPerCall": 1, "rateLimitPerMin": all}}});
    let fleet = Fleet::start(3, &config);
    let quota = json!({"dailyCallLimit": all, "monthlyCallLimit": all,
        "dailyCreditLimit": all, "monthlyCreditLimit": all});
    let (key, id) = fleet[0].create_key(&json!({"credits": all, "quota": quota}));
    done(&fleet[0], "/limits", &json!({"key": id, "spendingLimit": all}));
    team_of(&fleet[0], &id, &json!({"name": "just enough", "budget": all, "quota": quota}));
    let addresses = addresses(&fleet);
    let was_busy = AtomicBool::new(false);
    all_at_once(CLIENTS, |number| {
        let mut connection = connected(&addresses, number);
        for _ in 0..CALLS {
            let answer = connection.send(&call(&key, "instant", &json!({}))).unwrap();
            was_busy.fetch_or(answer.error_reason() == "store_unavailable", Ordering::Relaxed);
            let is_right = was_sold(&answer) || was_busy.load(Ordering::Relaxed);
            assert!(is_right, "client {number}: {}", answer.text());
        }
    });
    fleet.wait_until_nothing_is_held();
    let sold = fleet.charged(&id);
    assert_eq!(fleet.credits(&key) + sold, i64::try_from(all).unwrap());
    if was_busy.into_inner() {
        // Redis was not heard in time on this machine, and a call that is given back keeps its place in
        // the minute: nothing more can be said of this run.
        return;
    }
    assert_eq!(fleet.credits(&key), 0);
    for paygate in fleet.iter() {
        let refused = paygate.call(&key, "instant", &json!({}));
        assert_eq!(refused.error_reason(), "rate_limited", "{}", refused.text());
    }
}

/// Each limit alone, wanted by more clients than it has room for: it admits what it has room for.
#[test]
fn every_limit_admits_exactly_what_it_has_room_for() {
    const ROOM: i64 = 300;
    let config = json!({"globalRateLimitPerMin": 0,
        "toolPricing": {"constructor": {"creditsPerCall": 1, "rateLimitPerMin": ROOM}}});
    let fleet = Fleet::start(3, &config);
    let made = |body: Value| fleet[0].create_key(&body);
    let keys = [
        made(json!({"credits": ROOM})),
        made(json!({"credits": CREDITS, "quota": {"dailyCallLimit": ROOM}})),
        made(json!({"credits": CREDITS, "quota": {"monthlyCreditLimit": ROOM}})),
        made(json!({"credits": CREDITS})),
        made(json!({"credits": CREDITS})),
        made(json!({"credits": CREDITS})),
    ];
    done(&fleet[0], "/limits", &json!({"key": keys[3].1, "spendingLimit": ROOM}));
    team_of(&fleet[0], &keys[4].1, &json!({"name": "t", "quota": {"dailyCalls": ROOM}}));
    let addresses = addresses(&fleet);
    let sold = all_at_once(CLIENTS, |number| {
        let mut connection = connected(&addresses, number);
        // The last is bound by the rate of a tool.
        [0, 1, 2, 3, 4, 5].map(|index| {
            let tool = if index == 5 { "constructor" } else { "instant" };
            let request = rpc_request(&keys[index].0, "tools/call", &json!({"name": tool}));
            i64::from(was_sold(&connection.send(&request).unwrap()))
        })
    });
    for (index, (_, id)) in keys.iter().enumerate() {
        let sold: i64 = sold.iter().map(|sold| sold[index]).sum();
        assert_eq!((sold, fleet.charged(id)), (ROOM, ROOM), "limit {index}");
    }
}
