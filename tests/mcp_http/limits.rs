//! The numbers in headers, prices by size, and tools with odd or unknown names.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::support::Response;
use super::{call_text, post, rich_key, runs, start};

fn number(response: &Response, name: &str) -> i64 {
    let value = response.header(name).unwrap_or_else(|| panic!("no {name}: {}", response.text()));
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}

#[test]
fn rate_headers_are_exact() {
    let paygate = start(json!({"globalRateLimitPerMin": 3}));
    let key = rich_key(&paygate);
    assert_eq!(number(&paygate.rpc(&key, "ping", &json!({})), "X-RateLimit-Remaining"), 3);
    let mut call_ids = HashSet::new();
    for (remaining, credits) in [(2, 999), (1, 998), (0, 997)] {
        let response = paygate.call(&key, "instant", &json!({}));
        assert_eq!(number(&response, "X-RateLimit-Limit"), 3);
        assert_eq!(number(&response, "X-RateLimit-Remaining"), remaining);
        assert!((1..=61).contains(&number(&response, "X-RateLimit-Reset")));
        assert_eq!(number(&response, "X-Credits-Remaining"), credits);
        let call_id = response.header("X-PayGate-Call-Id").expect("a priced answer");
        let random = call_id.strip_prefix("call_").expect("its prefix");
        assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(call_ids.insert(call_id.to_owned()), "{call_id} twice");
    }
    let denied = paygate.call(&key, "instant", &json!({}));
    assert_eq!(denied.error_reason(), "rate_limited");
    assert_eq!(number(&denied, "X-RateLimit-Remaining"), 0);
    assert_eq!(number(&denied, "X-Credits-Remaining"), 997);
    // Another key has a window of its own.
    let other = paygate.call(&rich_key(&paygate), "instant", &json!({}));
    assert_eq!(number(&other, "X-RateLimit-Remaining"), 2);
}

#[test]
fn the_headers_show_the_limit_that_applies_to_the_tool() {
    let paygate = start(json!({
        "globalRateLimitPerMin": 10,
        "toolPricing": {"instant": {"rateLimitPerMin": 2}},
    }));
    let key = rich_key(&paygate);
    let limits = |response: &Response| {
        (number(response, "X-RateLimit-Limit"), number(response, "X-RateLimit-Remaining"))
    };
    assert_eq!(limits(&paygate.call(&key, "instant", &json!({}))), (2, 1));
    assert_eq!(limits(&paygate.call(&key, "sleep", &json!({}))), (10, 8));
    assert_eq!(limits(&paygate.call(&key, "instant", &json!({}))), (2, 0));
    let denied = paygate.call(&key, "instant", &json!({}));
    assert_eq!(denied.error_reason(), "tool_rate_limited");
    assert_eq!(limits(&paygate.rpc(&key, "ping", &json!({}))), (10, 7));
}

#[test]
fn no_limit_no_rate_headers() {
    let paygate = start(json!({"globalRateLimitPerMin": 0}));
    let response = paygate.call(&rich_key(&paygate), "instant", &json!({}));
    for name in ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"] {
        assert_eq!(response.header(name), None);
    }
    assert_eq!(number(&response, "X-Credits-Remaining"), 999);
}

#[test]
fn strangers_see_no_numbers() {
    let paygate = start(json!({}));
    let (expired, _) = paygate.create_key(&json!({"expiresAt": "2020-01-01T00:00:00Z"}));
    let (elsewhere, _) = paygate.create_key(&json!({"ipAllowlist": ["192.0.2.1"]}));
    for key in ["", "pg_unknown", &expired, &elsewhere] {
        for response in
            [paygate.call(key, "instant", &json!({})), paygate.rpc(key, "ping", &json!({}))]
        {
            for name in ["X-Credits-Remaining", "X-RateLimit-Limit", "X-RateLimit-Remaining"] {
                assert_eq!(response.header(name), None, "{name} for {key}: {}", response.text());
            }
        }
    }
}

#[test]
fn arguments_are_priced_by_their_size() {
    let pricing = json!({"echo_raw": {"creditsPerCall": 10, "creditsPerKbInput": 1.5}});
    let paygate = start(json!({"toolPricing": pricing}));
    // `{"a":"…"}` is eight bytes beside its text; 1.5 credits per 1024 bytes, rounded up.
    let text = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
    let cases = [
        ("{}".to_owned(), 11),
        (text(1024), 12),
        (text(1366), 13),
        (text(2048), 13),
        (text(2049), 14),
        // White space and spellings that a script would not write are not paid for.
        (format!("{{ {} }}", " ".repeat(5000)), 11),
        (format!(r#"{{"a":"{}"}}"#, r"\u0078".repeat(1016)), 12),
    ];
    for (arguments, price) in cases {
        let (key, _) = paygate.create_key(&json!({"credits": 100}));
        let response = post(&paygate, &key, call_text("1", "echo_raw", &arguments));
        assert_eq!(number(&response, "X-Credits-Remaining"), 100 - price, "{}", arguments.len());
    }
}

#[test]
fn tools_with_odd_names_are_sold_like_any_other() {
    let paygate = start(json!({"toolPricing": {"constructor": {"creditsPerCall": 4}}}));
    let key = rich_key(&paygate);
    for (tool, credits) in [("constructor", 996), ("__proto__", 995), ("Ünïcode-tool", 994)] {
        let response = paygate.call(&key, tool, &json!({"nonce": "n"}));
        assert_eq!(response.tool_text(), "n", "{tool}");
        assert_eq!(number(&response, "X-Credits-Remaining"), credits, "{tool}");
    }
    // The same name in other escapes is the same tool.
    let escaped = call_text("1", r"\u00dcn\u00efcode-tool", r#"{"nonce":"n"}"#);
    assert_eq!(post(&paygate, &key, escaped).tool_text(), "n");
}

#[test]
fn a_tool_that_costs_nothing_needs_a_key_but_no_credits() {
    let paygate = start(json!({"toolPricing": {"instant": {"creditsPerCall": 0}}}));
    let (key, _) = paygate.create_key(&json!({"credits": 0}));
    let response = paygate.call(&key, "instant", &json!({"nonce": "n"}));
    assert_eq!(response.tool_text(), "n");
    assert_eq!(number(&response, "X-Credits-Remaining"), 0);
    assert_eq!(number(&response, "X-RateLimit-Remaining"), 59);
    assert_eq!(paygate.balance(&key)["totalCalls"], 1);
    assert_eq!(paygate.call("", "instant", &json!({})).error_reason(), "missing_api_key");
    let other = paygate.call(&key, "sleep", &json!({}));
    assert_eq!(other.error_reason(), "insufficient_credits");
}

#[test]
fn unknown_tools_are_refused_for_free() {
    let paygate = start(json!({}));
    let key = rich_key(&paygate);
    let unknown =
        ["nothing", "Instant", "instant ", "U\u{308}nïcode-tool", "toString", "instant\u{0}"];
    for tool in unknown {
        let response = paygate.call(&key, tool, &json!({}));
        let error = &response.json()["error"];
        assert_eq!(error["code"], -32602, "{tool}: {error}");
        assert_eq!(error["message"], format!("Unknown tool: {tool}"));
        assert_eq!(number(&response, "X-RateLimit-Remaining"), 60);
    }
    assert_eq!(paygate.balance(&key)["totalCalls"], 0);
    assert_eq!(runs(&paygate), 0);
}

#[test]
fn unlisted_tools_may_be_allowed() {
    let paygate = start(json!({"unlistedTools": "allow"}));
    let key = rich_key(&paygate);
    let answer: Value = paygate.call(&key, "hidden", &json!({})).json();
    assert_eq!(answer["error"], json!({"code": -32602, "message": "unknown tool"}));
    assert_eq!(runs(&paygate), 1);
    assert_eq!(paygate.credits(&key), 1000);
}
