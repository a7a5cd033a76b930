//! What an operator takes away is gone for priced calls on every instance from the moment that the
//! answer is there; methods that cost nothing follow within five seconds.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::{Fleet, call, was_sold};
use crate::support::{ADMIN_KEY, Connection, Request, Response, rpc_request};

const ROUNDS: usize = 1_000;

/// So long free methods may go on after the answer.
const FREE_METHODS_FOLLOW: Duration = Duration::from_secs(5);

fn post(path: &str, body: &Value) -> Request {
    Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY).json(body)
}

/// A connection to each instance.
fn connections(fleet: &Fleet) -> Vec<Connection> {
    fleet.iter().map(|paygate| Connection::open(&paygate.address).unwrap()).collect()
}

/// The operator's connection to the first instance.
struct Operator(Connection);

impl Operator {
    fn does(&mut self, path: &str, body: &Value) -> Value {
        let answer = self.0.send(&post(path, body)).unwrap();
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    }

    fn deletes(&mut self, id: &str) {
        let request = Request::new("DELETE", &format!("/keys/{id}"));
        let answer = self.0.send(&request.header("X-Admin-Key", ADMIN_KEY)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn new_key(&mut self, body: &Value) -> (String, String) {
        let made = self.does("/keys", body);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }
}

/// The same request to all others in the same moment.
fn at_once(others: &mut [Connection], request: &Request) -> Vec<Response> {
    for other in others.iter_mut() {
        other.begin(request).unwrap();
    }
    others.iter_mut().map(|other| other.finish().unwrap()).collect()
}

/// A method that costs nothing and needs a key.
fn free_method(key: &str) -> Request {
    rpc_request(key, "resources/read", &json!({"uri": "test://fixed"}))
}

#[test]
fn no_priced_call_is_admitted_anywhere_once_the_revocation_is_answered() {
    let fleet = Fleet::start(3, &json!({"globalRateLimitPerMin": 0}));
    let (revoked, free_methods) = sync_channel::<(String, Instant)>(ROUNDS);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut others = connections(&fleet);
            for (key, since) in free_methods {
                for other in &mut others {
                    while other.send(&free_method(&key)).unwrap().error_code() == 0 {
                        assert!(since.elapsed() < FREE_METHODS_FOLLOW, "a free method goes on");
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        revoke_again_and_again(&fleet, &revoked);
        drop(revoked);
    });
}

fn revoke_again_and_again(fleet: &Fleet, free_methods: &SyncSender<(String, Instant)>) {
    let mut others = connections(fleet);
    let mut operator = Operator(others.remove(0));
    for round in 0..ROUNDS {
        let (key, id) = operator.new_key(&json!({"credits": 9}));
        let priced = call(&key, "instant", &json!({}));
        // All of them know the key now, and believe what they know.
        for answer in at_once(&mut others, &priced) {
            assert!(was_sold(&answer), "round {round}: {}", answer.text());
        }
        operator.does("/keys/revoke", &json!({"key": id}));
        let since = Instant::now();
        for (index, answer) in at_once(&mut others, &priced).iter().enumerate() {
            let reason = answer.error_reason();
            assert_eq!(reason, "invalid_api_key", "round {round}, on {index}: {}", answer.text());
        }
        if round % 50 == 0 {
            free_methods.send((key, since)).unwrap();
        }
    }
}

/// What an operator does, and how the next call is refused; how it is undone, if it can be.
struct Deed {
    path: &'static str,
    body: &'static str,
    reason: &'static str,
    undo: Option<(&'static str, &'static str)>,
}

const fn for_good(path: &'static str, body: &'static str, reason: &'static str) -> Deed {
    Deed { path, body, reason, undo: None }
}

const fn undone(
    (path, body): (&'static str, &'static str),
    reason: &'static str,
    undo: (&'static str, &'static str),
) -> Deed {
    Deed { path, body, reason, undo: Some(undo) }
}

const DEEDS: [Deed; 14] = [
    for_good("/keys/rotate", r#"{"key":"$KEY"}"#, "invalid_api_key"),
    for_good("DELETE", "", "invalid_api_key"),
    undone(
        ("/keys/expiry", r#"{"key":"$KEY","expiresAt":"2020-01-01T00:00:00Z"}"#),
        "api_key_expired",
        ("/keys/expiry", r#"{"key":"$KEY","expiresAt":null}"#),
    ),
    undone(
        ("/keys/suspend", r#"{"key":"$KEY"}"#),
        "api_key_suspended",
        ("/keys/resume", r#"{"key":"$KEY"}"#),
    ),
    undone(
        ("/namespaces", r#"{"namespace":"acme","suspended":true}"#),
        "namespace_suspended",
        ("/namespaces", r#"{"namespace":"acme","suspended":false}"#),
    ),
    undone(
        ("/namespaces", r#"{"namespace":"acme","deniedTools":["instant"]}"#),
        "tool_denied",
        ("/namespaces", r#"{"namespace":"acme","deniedTools":null}"#),
    ),
    undone(
        ("/keys/acl", r#"{"key":"$KEY","allowedTools":["fail"]}"#),
        "tool_not_allowed",
        ("/keys/acl", r#"{"key":"$KEY","allowedTools":[]}"#),
    ),
    undone(
        ("/keys/ip", r#"{"key":"$KEY","ips":["10.9.9.9"]}"#),
        "ip_not_allowed",
        ("/keys/ip", r#"{"key":"$KEY","ips":[]}"#),
    ),
    undone(
        ("/limits", r#"{"key":"$KEY","spendingLimit":2}"#),
        "spending_limit_exceeded",
        ("/limits", r#"{"key":"$KEY","spendingLimit":0}"#),
    ),
    undone(
        ("/keys/quota", r#"{"key":"$KEY","dailyCallLimit":2}"#),
        "daily_call_quota_exceeded",
        ("/keys/quota", r#"{"key":"$KEY","remove":true}"#),
    ),
    undone(
        ("/teams/update", r#"{"teamId":"$TEAM","budget":2}"#),
        "team_budget_exceeded",
        ("/teams/update", r#"{"teamId":"$TEAM","budget":100}"#),
    ),
    undone(
        ("/teams/update", r#"{"teamId":"$TEAM","quota":{"dailyCalls":2}}"#),
        "team_daily_call_limit",
        ("/teams/remove", r#"{"teamId":"$TEAM","key":"$KEY"}"#),
    ),
    undone(
        ("/credits/adjust", r#"{"key":"$KEY","credits":-7,"reason":"a test"}"#),
        "insufficient_credits",
        ("/topup", r#"{"key":"$KEY","credits":7}"#),
    ),
    undone(
        ("/teams/assign", r#"{"teamId":"$POOR","key":"$KEY"}"#),
        "team_budget_exceeded",
        ("/teams/update", r#"{"teamId":"$POOR","budget":50}"#),
    ),
];

/// Whatever else an operator takes away, and gives back: the next priced call on any instance goes by it.
#[test]
fn what_an_operator_decides_holds_everywhere_from_its_answer_on() {
    const ROUNDS: usize = 12;
    let fleet = Fleet::start(3, &json!({"globalRateLimitPerMin": 0}));
    let mut others = connections(&fleet);
    let mut operator = Operator(others.remove(0));
    for (deed, round) in DEEDS.iter().flat_map(|deed| (0..ROUNDS).map(move |round| (deed, round))) {
        let what = format!("{} {}, round {round}", deed.path, deed.body);
        let (key, id) = operator.new_key(&json!({"credits": 9, "namespace": "acme"}));
        let mut team = |budget: i64| {
            let body = json!({"name": "t", "budget": budget, "namespace": "acme"});
            operator.does("/teams", &body)["team"]["id"].as_str().unwrap().to_owned()
        };
        let (team, poor) = (team(100), team(1));
        let words = |text: &str| {
            let text = text.replace("$KEY", &id).replace("$TEAM", &team).replace("$POOR", &poor);
            serde_json::from_str::<Value>(&text).unwrap()
        };
        if deed.body.contains("$POOR") {
            // A team that has nothing left.
            let (spender, spender_id) = operator.new_key(&json!({"namespace": "acme"}));
            operator.does("/teams/assign", &json!({"teamId": poor, "key": spender_id}));
            assert!(was_sold(&fleet[0].call(&spender, "instant", &json!({}))));
        } else {
            operator.does("/teams/assign", &json!({"teamId": team, "key": id}));
        }
        let priced = call(&key, "instant", &json!({}));
        for answer in at_once(&mut others, &priced) {
            assert!(was_sold(&answer), "{what}: {}", answer.text());
        }
        match deed.path {
            "DELETE" => operator.deletes(&id),
            path => drop(operator.does(path, &words(deed.body))),
        }
        // Both other instances read the refusal from what they know; twice, so that it is believed.
        for answer in [at_once(&mut others, &priced), at_once(&mut others, &priced)].concat() {
            assert_eq!(answer.error_reason(), deed.reason, "{what}: {}", answer.text());
        }
        if let Some((path, body)) = deed.undo {
            operator.does(path, &words(body));
            for answer in at_once(&mut others, &priced) {
                assert!(was_sold(&answer), "{what}, undone: {}", answer.text());
            }
        }
    }
}
