//! Batches: one hold, each call ends by its own row, part of the hold is captured.

use serde_json::{Value, json};

use super::support::{Paygate, Response, Setup};
use super::{CREDITS, PRICE, RATE, Standing, config, config_with, stop_and_verify, used_key};

fn batch(paygate: &Paygate, key: &str, calls: &[(&str, Value)]) -> Response {
    let call = |(tool, arguments): &(&str, Value)| json!({"name": tool, "arguments": arguments});
    let calls: Vec<_> = calls.iter().map(call).collect();
    paygate.rpc(key, "tools/call_batch", &json!({"calls": calls}))
}

/// What a result of a batch is: its text, or why there is none, and its price.
fn ends(response: &Response) -> Vec<(String, i64)> {
    let json = response.json();
    let results = json["result"]["results"].as_array();
    let end = |result: &Value| {
        let text = result.pointer("/result/content/0/text");
        let reason =
            result.pointer("/error/data/reason").or_else(|| result.pointer("/error/message"));
        let text = text.or(reason).and_then(Value::as_str).unwrap_or_else(|| panic!("{result}"));
        (text.to_owned(), result["creditsCharged"].as_i64().expect("a number"))
    };
    results.unwrap_or_else(|| panic!("no results in {json}")).iter().map(end).collect()
}

fn check_ends(refund_on_failure: bool, calls: &[(&str, Value, &str, bool)]) {
    let config = config_with(&json!({"refundOnFailure": refund_on_failure}));
    let paygate = Setup::new().config(config).start();
    let key = used_key(&paygate);
    let asked: Vec<_> =
        calls.iter().map(|(tool, arguments, ..)| (*tool, arguments.clone())).collect();
    let response = batch(&paygate, &key, &asked);
    let price = |paid: bool| if paid { PRICE } else { 0 };
    let expected: Vec<_> =
        calls.iter().map(|(.., text, paid)| ((*text).to_owned(), price(*paid))).collect();
    assert_eq!(ends(&response), expected);
    let call_id = response.header("X-PayGate-Call-Id");
    assert!(call_id.is_some_and(|call_id| call_id.starts_with("call_")), "{call_id:?}");
    let paid = i64::try_from(calls.iter().filter(|call| call.3).count()).unwrap();
    let result = &response.json()["result"];
    assert_eq!(result["totalCreditsCharged"], paid * PRICE);
    assert_eq!(result["remainingCredits"], CREDITS - (1 + paid) * PRICE);
    let admitted = 1 + i64::try_from(calls.len()).unwrap();
    assert_eq!(Standing::of(&paygate, &key), Standing::after(admitted, 1 + paid));
    stop_and_verify(paygate);
}

#[test]
fn each_call_ends_by_its_own_row() {
    check_ends(
        true,
        &[
            ("instant", json!({"nonce": "a"}), "a", true),
            ("fail", json!({"nonce": "b"}), "b", false),
            ("error", json!({}), "this tool always fails", false),
            ("hang", json!({}), "timeout", false),
            ("big", json!({"bytes": 5000}), "answer_too_large", false),
            ("garbage", json!({"kind": "both"}), "malformed_answer", false),
            ("instant", json!({"nonce": "c"}), "c", true),
        ],
    );
}

#[test]
fn without_refunds_only_what_got_no_answer_is_free() {
    check_ends(
        false,
        &[
            ("fail", json!({"nonce": "a"}), "a", true),
            ("error", json!({}), "this tool always fails", true),
            ("hang", json!({}), "timeout", false),
        ],
    );
}

#[test]
fn all_answers_together_are_bounded_and_the_rest_is_free() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    // Each is within `maxAnswerBytes`, two of them are not.
    let big = || ("big", json!({"bytes": 3000}));
    let calls = [big(), ("instant", json!({"nonce": "n"})), big(), big()];
    let response = batch(&paygate, &key, &calls);
    let ends = ends(&response);
    let too_large = ends.iter().filter(|end| **end == ("answer_too_large".to_owned(), 0)).count();
    let paid = ends.iter().filter(|end| end.1 == PRICE).count();
    assert_eq!((too_large, paid), (2, 2), "{}", response.text());
    assert_eq!(response.json()["result"]["totalCreditsCharged"], 2 * PRICE);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(5, 3));
    stop_and_verify(paygate);
}

#[test]
fn a_crash_ends_the_rest_for_free() {
    check_ends(
        true,
        &[
            ("instant", json!({"nonce": "a"}), "a", true),
            ("sleep", json!({"ms": 60_000}), "upstream_exited", false),
            ("crash", json!({}), "upstream_exited", false),
        ],
    );
}

#[test]
fn sizes_are_priced_in_batches_too() {
    let pricing = json!({"big": {"creditsPerKbInput": 1}});
    let paygate = Setup::new().config(config_with(&json!({"toolPricing": pricing}))).start();
    let (key, _) = paygate.create_key(&json!({"credits": 2 * PRICE + 2}));
    let calls = [
        ("instant", json!({"nonce": "a"})),
        ("big", json!({"bytes": 1, "nonce": "x".repeat(1500)})),
    ];
    let response = batch(&paygate, &key, &calls);
    assert_eq!(ends(&response), [("a".to_owned(), PRICE), ("x".to_owned(), PRICE + 2)]);
    assert_eq!(paygate.credits(&key), 0);
    let denied = batch(&paygate, &key, &calls);
    assert_eq!(denied.json()["error"]["data"]["totalCreditsRequired"], 2 * PRICE + 2);
    stop_and_verify(paygate);
}

#[test]
fn nothing_of_a_batch_runs_if_one_tool_is_unknown() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let calls = [("instant", json!({"nonce": "a"})), ("Instant", json!({"nonce": "b"}))];
    let response = batch(&paygate, &key, &calls);
    assert_eq!(response.error_code(), -32602, "{}", response.text());
    assert_eq!(paygate.setup().child_log().len(), 1);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(1, 1));
    stop_and_verify(paygate);
}

/// A batch that a limit refuses: the reason, the item, and whether waiting could help.
struct Refusal {
    config: Value,
    key: Value,
    calls: &'static [&'static str],
    reason: &'static str,
    failed_index: usize,
    waiting_helps: bool,
}

impl Refusal {
    fn check(&self) {
        let paygate = Setup::new().config(config_with(&self.config)).start();
        let (key, _) = paygate.create_key(&self.key);
        let before = (paygate.balance(&key), rate_remaining(&paygate, &key));
        let calls: Vec<_> = self.calls.iter().map(|tool| (*tool, json!({}))).collect();
        let response = batch(&paygate, &key, &calls);
        let error = &response.json()["error"];
        assert_eq!(error["code"], -32402, "{error}");
        assert_eq!(error["message"], format!("Payment required: {}", self.reason));
        let data = &error["data"];
        assert_eq!(data["reason"], self.reason);
        assert_eq!(data["failedIndex"], self.failed_index, "{data}");
        let required = PRICE * i64::try_from(self.calls.len()).unwrap();
        assert_eq!(data["totalCreditsRequired"], required);
        assert_eq!(data["remainingCredits"], before.0["credits"]);
        assert_eq!(data.get("retryAfterMs").is_some(), self.waiting_helps, "{data}");
        for (index, decision) in data["decisions"].as_array().expect("decisions").iter().enumerate()
        {
            let reason = if index == self.failed_index { self.reason } else { "batch_rejected" };
            assert_eq!(decision["reason"], reason, "{data}");
        }
        assert_eq!((paygate.balance(&key), rate_remaining(&paygate, &key)), before);
        assert!(paygate.setup().child_log().is_empty());
        stop_and_verify(paygate);
    }
}

fn rate_remaining(paygate: &Paygate, key: &str) -> Option<String> {
    let ping = paygate.rpc(key, "ping", &json!({}));
    ping.header("X-RateLimit-Remaining").map(str::to_owned)
}

#[test]
fn a_batch_is_refused_whole() {
    let customer = json!({"credits": CREDITS});
    let refusals = [
        Refusal {
            config: json!({"globalRateLimitPerMin": 2}),
            key: customer.clone(),
            calls: &["instant"; 3],
            reason: "rate_limited: 2 calls/min exceeded",
            failed_index: 0,
            waiting_helps: false,
        },
        Refusal {
            config: json!({"toolPricing": {"fail": {"rateLimitPerMin": 1}}}),
            key: customer.clone(),
            calls: &["instant", "fail", "fail"],
            reason: "tool_rate_limited: fail limited to 1 calls/min",
            failed_index: 2,
            waiting_helps: false,
        },
        Refusal {
            config: json!({}),
            key: json!({"credits": 2 * PRICE}),
            calls: &["instant"; 3],
            reason: "insufficient_credits: need 9, have 6",
            failed_index: 0,
            waiting_helps: false,
        },
        Refusal {
            config: json!({}),
            key: json!({"credits": CREDITS, "quota": {"dailyCallLimit": 2}}),
            calls: &["instant"; 3],
            reason: "daily_call_quota_exceeded: 0+3 would exceed 2 calls/day",
            failed_index: 0,
            waiting_helps: false,
        },
        Refusal {
            config: json!({}),
            key: json!({"credits": CREDITS, "deniedTools": ["error"]}),
            calls: &["instant", "error", "error"],
            reason: "tool_denied: error is in deniedTools",
            failed_index: 1,
            waiting_helps: false,
        },
    ];
    for refusal in refusals {
        refusal.check();
    }
}

#[test]
fn a_batch_that_would_fit_later_is_told_when() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let calls = vec![("instant", json!({})); usize::try_from(RATE).unwrap()];
    let response = batch(&paygate, &key, &calls);
    assert_eq!(response.error_reason(), "rate_limited", "{}", response.text());
    let retry_after_ms = response.json()["error"]["data"]["retryAfterMs"].as_i64();
    assert!(retry_after_ms.is_some_and(|ms| (1..=61_000).contains(&ms)), "{retry_after_ms:?}");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn what_is_no_batch_is_free() {
    let paygate = Setup::new().config(config_with(&json!({"maxBatchCalls": 3}))).start();
    let key = used_key(&paygate);
    let call = json!({"name": "instant", "arguments": {}});
    let cases = [
        json!({}),
        json!({"calls": {}}),
        json!({"calls": []}),
        json!({"calls": [null]}),
        json!({"calls": [{}]}),
        json!({"calls": [call, {"name": 5}]}),
        json!({"calls": [call, call, call, call]}),
    ];
    for params in cases {
        let response = paygate.rpc(&key, "tools/call_batch", &params);
        assert_eq!((response.status, response.error_code()), (200, -32602), "{params}");
    }
    assert_eq!(paygate.setup().child_log().len(), 1);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(1, 1));
    stop_and_verify(paygate);
}
