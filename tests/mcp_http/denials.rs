//! Every reason to refuse a call, in order of precedence: exact code, message and data.

use serde_json::{Value, json};

use super::support::{Paygate, Response, Setup};
use super::{rich_key, runs, start};

const PRICE: i64 = 3;

/// A configuration in which one call of `instant` uses up both rates, or fewer of them.
fn config(key_rate: i64, tool_rate: i64) -> Value {
    json!({
        "defaultCreditsPerCall": PRICE,
        "globalRateLimitPerMin": key_rate,
        "toolPricing": {"instant": {"rateLimitPerMin": tool_rate}},
    })
}

/// A call that everything speaks against; a reason disappears when its step is taken.
struct Refused {
    paygate: Paygate,
    key: String,
}

impl Refused {
    /// Asserts that the call is refused for this reason, and that this shows this balance.
    #[track_caller]
    fn expect(&self, reason: &str, shown: Option<i64>, waiting_helps: bool) {
        let response = self.paygate.call(&self.key, "instant", &json!({}));
        check_denial(&response, reason, shown.unwrap_or(0), waiting_helps);
        let header = response.header("X-Credits-Remaining").map(str::to_owned);
        assert_eq!(header, shown.map(|credits| credits.to_string()), "{reason}");
    }

    #[track_caller]
    fn post(&self, path: &str, mut body: Value) {
        body["key"] = json!(self.key);
        let response = self.paygate.admin_post(path, &body);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
    }

    /// The same on the same database with another configuration.
    fn restart(self, config: Value) -> Self {
        let setup = self.paygate.setup().clone().config(config);
        self.paygate.stop().expect_success();
        Self { paygate: setup.start(), key: self.key }
    }
}

#[track_caller]
fn check_denial(response: &Response, reason: &str, remaining: i64, waiting_helps: bool) {
    let answer = response.json();
    assert_eq!(response.status, 200, "{answer}");
    let error = &answer["error"];
    assert_eq!(error["code"], -32402, "{answer}");
    assert_eq!(error["message"], format!("Payment required: {reason}"));
    let mut data = error["data"].clone();
    let retry_after_ms = data.as_object_mut().and_then(|data| data.remove("retryAfterMs"));
    assert_eq!(retry_after_ms.is_some(), waiting_helps, "{answer}");
    let expected =
        json!({"creditsRequired": PRICE, "remainingCredits": remaining, "reason": reason});
    assert_eq!(data, expected);
}

#[test]
fn one_reason_after_the_other() {
    let paygate = Setup::new().config(config(1, 1)).start();
    for (credential, reason) in [("", "missing_api_key"), ("pg_unknown", "invalid_api_key")] {
        check_denial(&paygate.call(credential, "instant", &json!({})), reason, 0, false);
    }
    let quota = |daily_calls: i64, monthly_calls: i64, daily_credits: i64, monthly_credits: i64| {
        json!({
            "dailyCallLimit": daily_calls, "monthlyCallLimit": monthly_calls,
            "dailyCreditLimit": daily_credits, "monthlyCreditLimit": monthly_credits,
        })
    };
    let (key, _) =
        paygate.create_key(&json!({"credits": PRICE + 2, "quota": quota(1, 1, PRICE, PRICE)}));
    let refused = Refused { paygate, key };
    refused.post("/limits", json!({"spendingLimit": PRICE}));
    let served = refused.paygate.call(&refused.key, "instant", &json!({"nonce": "n"}));
    assert_eq!(served.tool_text(), "n");

    refused.post("/keys/ip", json!({"ips": ["192.0.2.0/24", "2001:db8::1"]}));
    refused.post("/keys/acl", json!({"allowedTools": ["sleep"], "deniedTools": ["instant"]}));
    refused.post("/keys/expiry", json!({"expiresAt": "2020-01-01T00:00:00Z"}));
    refused.expect("api_key_expired", None, false);
    refused.post("/keys/expiry", json!({}));
    refused.expect("ip_not_allowed: 127.0.0.1 not in allowlist", None, false);
    refused.post("/keys/ip", json!({"ips": ["127.0.0.0/8"]}));
    refused.expect("tool_not_allowed: instant not in allowedTools", Some(2), false);
    refused.post("/keys/acl", json!({"allowedTools": []}));
    refused.expect("tool_denied: instant is in deniedTools", Some(2), false);
    refused.post("/keys/acl", json!({"deniedTools": []}));
    refused.expect("rate_limited: 1 calls/min exceeded", Some(2), true);
    // Rate windows survive the restarts.
    let refused = refused.restart(config(0, 1));
    refused.expect("tool_rate_limited: instant limited to 1 calls/min", Some(2), true);
    let refused = refused.restart(config(0, 0));
    refused.expect("insufficient_credits: need 3, have 2", Some(2), false);
    refused.post("/topup", json!({"credits": 8}));
    refused.expect("spending_limit_exceeded: limit 3, spent 3, need 3", Some(10), false);
    refused.post("/limits", json!({"spendingLimit": 0}));
    refused.expect("daily_call_quota_exceeded: 1/1 calls today", Some(10), true);
    refused.post("/keys/quota", quota(0, 1, PRICE, PRICE));
    refused.expect("monthly_call_quota_exceeded: 1/1 calls this month", Some(10), true);
    refused.post("/keys/quota", quota(0, 0, PRICE, PRICE));
    refused.expect("daily_credit_quota_exceeded: 3+3 would exceed 3 credits/day", Some(10), true);
    refused.post("/keys/quota", quota(0, 0, 0, PRICE));
    refused.expect(
        "monthly_credit_quota_exceeded: 3+3 would exceed 3 credits/month",
        Some(10),
        true,
    );
    refused.post("/keys/quota", quota(0, 0, 0, 0));
    let served = refused.paygate.call(&refused.key, "instant", &json!({"nonce": "m"}));
    assert_eq!(served.tool_text(), "m");
    // None of the refusals used up anything.
    assert_eq!(runs(&refused.paygate), 2);
    let balance = refused.paygate.balance(&refused.key);
    assert_eq!([&balance["totalCalls"], &balance["totalSpent"]], [&json!(2), &json!(2 * PRICE)]);
    refused.post("/keys/revoke", json!({}));
    refused.expect("invalid_api_key", None, false);
    let setup = refused.paygate.setup().clone();
    refused.paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn the_whole_price_is_told() {
    let pricing = json!({"big": {"creditsPerCall": 2, "creditsPerKbInput": 1}});
    let paygate = start(json!({"toolPricing": pricing, "topUpUrl": "https://shop.example/buy"}));
    let (key, _) = paygate.create_key(&json!({"credits": 3}));
    let response = paygate.call(&key, "big", &json!({"nonce": "x".repeat(2048)}));
    let data = &response.json()["error"]["data"];
    assert_eq!(data["reason"], "insufficient_credits: need 5, have 3");
    assert_eq!((&data["creditsRequired"], &data["remainingCredits"]), (&json!(5), &json!(3)));
    assert_eq!(data["topUpUrl"], "https://shop.example/buy");
}

/// A style, then for each of a missing key, too few credits, a used-up rate: HTTP status and code.
const STYLES: [(&str, [(u16, i64); 3]); 4] = [
    ("auto", [(200, -32402); 3]),
    ("error", [(200, -32402); 3]),
    ("result", [(200, 0); 3]),
    ("http", [(401, -32402), (402, -32402), (429, -32402)]),
];

#[test]
fn styles_of_denial() {
    for (style, expected) in STYLES {
        let pricing = json!({"big": {"creditsPerCall": 5000}});
        let config =
            json!({"denialStyle": style, "globalRateLimitPerMin": 1, "toolPricing": pricing});
        let paygate = start(config);
        let key = rich_key(&paygate);
        let missing = paygate.call("", "instant", &json!({}));
        let poor = paygate.call(&key, "big", &json!({}));
        assert_eq!(paygate.call(&key, "instant", &json!({"nonce": "n"})).tool_text(), "n");
        let limited = paygate.call(&key, "instant", &json!({}));
        let words = ["missing_api_key", "insufficient_credits", "rate_limited"];
        let calls = [missing, poor, limited];
        for ((response, (status, code)), word) in calls.iter().zip(expected).zip(words) {
            assert_eq!((response.status, response.error_code()), (status, code), "{style} {word}");
            let answer = response.json();
            let data = if code == 0 {
                let result = &answer["result"];
                assert_eq!(result["isError"], true, "{answer}");
                assert!(response.tool_text().len() > 20, "{answer}");
                &result["_meta"]["dev.paygate/denial"]
            } else {
                &answer["error"]["data"]
            };
            let reason = data["reason"].as_str().unwrap_or_else(|| panic!("{answer}"));
            assert!(reason.starts_with(word), "{style}: {answer}");
            let tells_when = response.header("Retry-After").is_some();
            assert_eq!(tells_when, status == 429, "{style} {word}");
        }
        // What no model reads is an error in every style.
        let other = paygate.rpc("", "resources/read", &json!({"uri": "test://fixed"}));
        assert_eq!(other.error_code(), -32402, "{style}: {}", other.text());
        let batch = paygate.rpc("", "tools/call_batch", &json!({"calls": [{"name": "instant"}]}));
        assert_eq!(batch.error_code(), -32402, "{style}: {}", batch.text());
    }
}
