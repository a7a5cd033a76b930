//! Calls of the modern era that ask their customer for more before they end.

use serde_json::{Value, json};

use super::support::{Paygate, Response, Setup, eventually, modern_request};
use super::{Standing, config_with, has_run, stop_and_verify, used_key, verify};

fn start() -> Paygate {
    Setup::new()
        .env("SCRIPTED_ERA", "dual")
        .config(config_with(&json!({"maxAnswerBytes": 65_536})))
        .start()
}

/// A call with its first answer, which asks for more.
struct Waiting {
    arguments: Value,
    state: Value,
}

impl Waiting {
    fn begin(paygate: &Paygate, key: &str, arguments: &Value) -> Self {
        let first = paygate.modern_call(key, "ask_more", arguments);
        let result = first.json()["result"].clone();
        assert_eq!(result["resultType"], "input_required", "{}", first.text());
        // What Paygate need not change stays as it was.
        assert!(first.text().contains(r#""x":1.50"#), "{}", first.text());
        assert!(first.header("X-PayGate-Call-Id").is_some());
        Self { arguments: arguments.clone(), state: result["requestState"].clone() }
    }

    fn params(&self) -> Value {
        json!({
            "name": "ask_more", "arguments": self.arguments,
            "inputResponses": {"more": {"action": "accept"}}, "requestState": self.state,
        })
    }

    fn retry(&self, paygate: &Paygate, key: &str) -> Response {
        paygate.modern(key, "tools/call", &self.params())
    }
}

/// Two calls were admitted, one was charged, and the price of the other is reserved.
fn reserved() -> Standing {
    Standing::after(2, 2)
}

#[test]
fn all_rounds_together_are_one_call() {
    let paygate = start();
    let key = used_key(&paygate);
    let mut waiting = Waiting::begin(&paygate, &key, &json!({"rounds": 3, "nonce": "n"}));
    for had in 1..3 {
        assert_eq!(Standing::of(&paygate, &key), reserved());
        let next = waiting.retry(&paygate, &key).json();
        assert_eq!(next["result"]["resultType"], "input_required", "{had}: {next}");
        waiting.state = next["result"]["requestState"].clone();
    }
    let seen = waiting.retry(&paygate, &key).tool_text();
    assert!(seen.contains(r#""requestState":"had 3""#), "its own state came back: {seen}");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    assert_eq!(paygate.balance(&key)["totalSpent"], 6);
    stop_and_verify(paygate);
}

#[test]
fn a_server_without_a_state_gets_none_back() {
    let paygate = start();
    let key = used_key(&paygate);
    let waiting = Waiting::begin(&paygate, &key, &json!({"stateless": true}));
    assert!(waiting.state.is_string(), "the client must have something to bring back");
    let seen = waiting.retry(&paygate, &key).tool_text();
    assert!(seen.contains("inputResponses") && !seen.contains("requestState"), "{seen}");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn the_last_outcome_decides() {
    let paygate = start();
    for end in ["fail", "error", "hang"] {
        let key = used_key(&paygate);
        let waiting = Waiting::begin(&paygate, &key, &json!({"end": end, "nonce": end}));
        if end == "hang" {
            let request = modern_request(&key, "tools/call", &waiting.params());
            let open = request.open(&paygate.address).expect("it can be sent");
            let begun =
                || paygate.setup().child_log().iter().filter(|(_, it)| it == end).count() == 2;
            eventually("the second round has begun", begun);
            drop(open);
            eventually("leaving is cancelling", || {
                Standing::of(&paygate, &key) == Standing::after(2, 1)
            });
            continue;
        }
        waiting.retry(&paygate, &key);
        assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1), "{end}");
    }
    stop_and_verify(paygate);
}

#[test]
fn a_state_is_good_for_its_customer_its_request_and_one_time() {
    let paygate = start();
    let (key, other) = (used_key(&paygate), used_key(&paygate));
    let waiting = Waiting::begin(&paygate, &key, &json!({"nonce": "n"}));
    let refused = |response: &Response| {
        assert_eq!((response.status, response.error_code()), (400, -32602), "{}", response.text());
    };
    refused(&waiting.retry(&paygate, &other));
    let mut changed = waiting.params();
    changed["arguments"]["nonce"] = json!("dear");
    refused(&paygate.modern(&key, "tools/call", &changed));
    for forged in
        [json!("had 1"), json!(5), json!(format!("{}x", waiting.state.as_str().expect("text")))]
    {
        let mut params = waiting.params();
        params["requestState"] = forged;
        refused(&paygate.modern(&key, "tools/call", &params));
    }
    assert_eq!(Standing::of(&paygate, &key), reserved());
    assert_eq!(waiting.retry(&paygate, &key).status, 200);
    refused(&waiting.retry(&paygate, &key));
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    assert_eq!(Standing::of(&paygate, &other), Standing::after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_round_waits_over_a_restart_and_is_used_once_over_another() {
    let paygate = start();
    let key = used_key(&paygate);
    let waiting = Waiting::begin(&paygate, &key, &json!({"nonce": "n"}));
    let setup = paygate.setup().clone();
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), reserved(), "recovery leaves it waiting");
    paygate.stop().expect_success();
    verify(&setup);
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), reserved());
    let seen = waiting.retry(&paygate, &key).tool_text();
    assert!(seen.contains("had 1"), "{seen}");
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(waiting.retry(&paygate, &key).error_code(), -32602);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn too_many_rounds_are_free() {
    let paygate = start();
    let key = used_key(&paygate);
    let mut waiting = Waiting::begin(&paygate, &key, &json!({"rounds": 99}));
    for _ in 1..10 {
        let next = waiting.retry(&paygate, &key).json();
        waiting.state = next["result"]["requestState"].clone();
    }
    assert_eq!(Standing::of(&paygate, &key), reserved());
    let last = waiting.retry(&paygate, &key);
    assert_eq!(last.error_reason(), "too_many_rounds", "{}", last.text());
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_batch_cannot_go_on_later() {
    let paygate = start();
    let key = used_key(&paygate);
    let calls =
        json!({"calls": [{"name": "instant", "arguments": {"nonce": "a"}}, {"name": "ask_more"}]});
    let answer = paygate.modern(&key, "tools/call_batch", &calls).json();
    assert_eq!(answer["result"]["results"][0]["creditsCharged"], 3, "{answer}");
    assert_eq!(answer["result"]["results"][1]["error"]["data"]["reason"], "input_required");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 2));
    stop_and_verify(paygate);
}

#[test]
fn a_client_that_leaves_has_cancelled() {
    let paygate = start();
    let key = used_key(&paygate);
    let call = json!({"name": "sleep", "arguments": {"ms": 20_000, "nonce": "n"}});
    let request = modern_request(&key, "tools/call", &call);
    let open = request.open(&paygate.address).expect("it can be sent");
    eventually("the call has begun", || has_run(paygate.setup(), "n"));
    drop(open);
    eventually("it is free", || Standing::of(&paygate, &key) == Standing::after(2, 1));
    eventually("the child is told", || {
        paygate.setup().child_log().iter().any(|(what, _)| what == "cancelled")
    });
    stop_and_verify(paygate);
}

#[test]
fn shadow_mode_charges_nothing_that_was_held_before_it() {
    let paygate = start();
    let (key, denied) = (used_key(&paygate), used_key(&paygate));
    let (waiting, other) = (
        Waiting::begin(&paygate, &key, &json!({"nonce": "n"})),
        Waiting::begin(&paygate, &denied, &json!({"nonce": "o"})),
    );
    assert_eq!(Standing::of(&paygate, &key), reserved());
    let setup = paygate.setup().clone();
    paygate.admin_post("/keys/acl", &json!({"key": denied, "deniedTools": ["ask_more"]}));
    paygate.stop().expect_success();
    let shadow = config_with(&json!({"shadowMode": true, "maxAnswerBytes": 65_536}));
    let paygate = setup.config(shadow).start();
    for (key, waiting) in [(&key, waiting), (&denied, other)] {
        let last = waiting.retry(&paygate, key);
        assert!(last.tool_text().contains("had 1"), "{}", last.text());
        assert_eq!(paygate.credits(key), 97);
        assert_eq!(paygate.balance(key)["totalSpent"], 3);
    }
    stop_and_verify(paygate);
}

#[test]
fn shadow_mode_goes_through_all_rounds() {
    let config = config_with(&json!({"shadowMode": true, "maxAnswerBytes": 65_536}));
    let paygate = Setup::new().env("SCRIPTED_ERA", "dual").config(config).start();
    let (key, _) = paygate.create_key(&json!({"name": "customer", "credits": 1}));
    let first = paygate.modern_call(&key, "ask_more", &json!({})).json();
    let params = json!({"name": "ask_more", "arguments": {}, "inputResponses": {},
        "requestState": first["result"]["requestState"]});
    assert_eq!(paygate.modern(&key, "tools/call", &params).status, 200);
    assert_eq!(paygate.credits(&key), 1);
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    verify(&setup);
}
