//! `methodPricing`: methods that are no calls of tools, with a price.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use serde_json::{Value, json};

use support::{Paygate, Request, Response, Setup};

const CREDITS: i64 = 20;
const PRICE: i64 = 4;

fn config() -> Value {
    json!({
        "defaultCreditsPerCall": 1,
        "globalRateLimitPerMin": 100,
        "methodPricing": {
            "resources/read": {"creditsPerCall": PRICE, "requestTimeoutMs": 300},
            "tools/list": {"creditsPerCall": 1},
            "prompts/get": {"rateLimitPerMin": 2},
        },
    })
}

fn start() -> Paygate {
    Setup::new().config(config()).start()
}

fn read(paygate: &Paygate, key: &str, uri: &str) -> Response {
    paygate.rpc(key, "resources/read", &json!({"uri": uri, "nonce": "n"}))
}

fn standing(paygate: &Paygate, key: &str) -> [i64; 3] {
    let balance = paygate.balance(key);
    ["credits", "totalSpent", "totalCalls"].map(|name| balance[name].as_i64().expect("a number"))
}

fn stop_and_verify(paygate: Paygate) {
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_method_is_charged_like_a_call() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    let paid = read(&paygate, &key, "test://fixed");
    assert_eq!(paid.json()["result"]["contents"][0]["text"], "fixed content");
    let header = |response: &Response, name: &str| response.header(name).map(str::to_owned);
    assert_eq!(header(&paid, "X-Credits-Remaining"), Some((CREDITS - PRICE).to_string()));
    assert_eq!(header(&paid, "X-RateLimit-Remaining").as_deref(), Some("99"));
    assert!(header(&paid, "X-PayGate-Call-Id").is_some());
    assert_eq!(standing(&paygate, &key), [CREDITS - PRICE, PRICE, 1]);

    // What the outcome table says of calls holds for methods.
    for (uri, reason) in [("test://error", ""), ("test://hang", "timeout")] {
        let free = read(&paygate, &key, uri);
        assert!(free.json().get("error").is_some());
        assert_eq!(free.error_reason(), reason);
        assert_eq!(standing(&paygate, &key), [CREDITS - PRICE, PRICE, 1], "{uri}");
    }
    let usage = paygate.admin_get("/status").json();
    let tools = usage["usage"]["perTool"].to_string() + &usage.to_string();
    assert!(tools.contains("resources/read"), "{tools}");
    stop_and_verify(paygate);
}

#[test]
fn a_refused_method_is_a_json_rpc_error() {
    let setup = Setup::new();
    for style in ["auto", "result"] {
        let mut config = config();
        config["denialStyle"] = json!(style);
        let paygate = setup.clone().config(config).start();
        let (poor, _) = paygate.create_key(&json!({"credits": PRICE - 1}));
        for (key, reason) in
            [("", "missing_api_key"), ("pg_x", "invalid_api_key"), (&poor, "insufficient_credits")]
        {
            let refused = read(&paygate, key, "test://fixed");
            assert_eq!((refused.error_code(), refused.error_reason()), (-32402, reason.into()));
            assert_eq!(refused.json()["error"]["data"]["creditsRequired"], PRICE);
        }
        // Free without a price, even of those that need no key.
        assert_eq!(paygate.rpc("", "tools/list", &json!({})).error_reason(), "missing_api_key");
        assert_eq!(paygate.rpc("", "resources/list", &json!({})).error_code(), 0);
        assert!(setup.child_log().is_empty(), "nothing was read");
        assert_eq!(paygate.credits(&poor), PRICE - 1);
        stop_and_verify(paygate);
    }
}

#[test]
fn a_method_has_a_rate_of_its_own() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    let get = || paygate.rpc(&key, "prompts/get", &json!({"name": "greet"}));
    let first = get();
    assert_eq!(first.header("X-RateLimit-Remaining"), Some("1"));
    assert_eq!(get().error_code(), 0);
    let refused = get();
    assert_eq!(refused.error_reason(), "tool_rate_limited");
    assert!(refused.text().contains("prompts/get limited to 2 calls/min"), "{}", refused.text());
    assert_eq!(standing(&paygate, &key), [CREDITS, 0, 2], "an entry without a price costs nothing");
    stop_and_verify(paygate);
}

#[test]
fn a_method_is_no_tool() {
    let mut config = config();
    config["toolPricing"] = json!({"resources/read": {"creditsPerCall": 9, "rateLimitPerMin": 1}});
    let paygate = Setup::new().config(config).start();
    let body =
        json!({"credits": CREDITS, "allowedTools": ["instant"], "deniedTools": ["resources/read"]});
    let (key, _) = paygate.create_key(&body);
    for reads in 1..=2 {
        assert_eq!(read(&paygate, &key, "test://fixed").error_code(), 0);
        assert_eq!(paygate.credits(&key), CREDITS - reads * PRICE);
    }
    let call = paygate.call(&key, "resources/read", &json!({}));
    assert_eq!(call.error_reason(), "tool_not_allowed");
    stop_and_verify(paygate);
}

#[test]
fn a_list_with_a_price_shows_what_its_caller_may_call() {
    let paygate = start();
    let body = json!({"credits": CREDITS, "allowedTools": ["instant"]});
    let (key, _) = paygate.create_key(&body);
    let meta = json!({"_meta": {"dev.paygate/idempotencyKey": "k"}});
    for _ in 0..2 {
        let list = paygate.rpc(&key, "tools/list", &meta).json();
        let tools = list["result"]["tools"].as_array().expect("a list");
        let names: Vec<_> = tools.iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["instant"]);
        assert_eq!(tools[0]["_pricing"]["creditsPerCall"], 1);
        assert_eq!(paygate.credits(&key), CREDITS - 1, "the second one repeats the first");
    }
    stop_and_verify(paygate);
}

#[test]
fn a_method_can_be_repeated() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    let read = |uri: &str, token: i64| {
        let meta = json!({"dev.paygate/idempotencyKey": "k", "progressToken": token});
        let params = json!({"uri": uri, "nonce": "n", "_meta": meta});
        paygate.rpc(&key, "resources/read", &params)
    };
    let first = read("test://fixed", 1);
    assert_eq!(read("test://fixed", 2).text(), first.text());
    assert_eq!(read("test://other", 3).error_reason(), "idempotency_key_reused");
    assert_eq!(paygate.setup().child_log().len(), 1);
    assert_eq!(standing(&paygate, &key), [CREDITS - PRICE, PRICE, 1]);
    stop_and_verify(paygate);
}

#[test]
fn a_second_spelling_is_no_way_around_a_price() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    for method in ["Resources/Read", " resources/read", "re\u{17f}ources/read", "resources/read\0"]
    {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"nonce": "n"}});
        let request = Request::new("POST", "/mcp").header("X-API-Key", &key).json(&body);
        let refused = paygate.send(&request);
        assert_eq!((refused.status, refused.error_code()), (400, -32600), "{method:?}");
    }
    assert!(paygate.setup().child_log().is_empty());
    stop_and_verify(paygate);
}

#[test]
fn shadow_mode_charges_no_method() {
    let mut config = config();
    config["shadowMode"] = json!(true);
    let paygate = Setup::new().config(config).start();
    let (poor, _) = paygate.create_key(&json!({"credits": 1}));
    for key in ["", "pg_x", &poor] {
        assert_eq!(read(&paygate, key, "test://fixed").error_code(), 0);
    }
    assert_eq!(paygate.credits(&poor), 1);
    stop_and_verify(paygate);
}

/// What belongs to a connection has a price where it is served, and is refused elsewhere.
#[test]
fn a_method_of_a_connection_is_charged_where_it_is_served() {
    let methods = ["resources/subscribe", "resources/unsubscribe", "logging/setLevel"];
    let prices: serde_json::Map<_, _> =
        methods.iter().map(|method| ((*method).into(), json!({"creditsPerCall": PRICE}))).collect();
    let paygate = Setup::new().config(json!({"methodPricing": prices})).start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let opened = paygate.rpc(&key, "initialize", &hello);
    let session = opened.header("Mcp-Session-Id").expect("a session").to_owned();
    let params = json!({"uri": "test://fixed", "level": "info"});
    for (count, method) in (1..).zip(methods) {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = Request::new("POST", "/mcp").header("X-API-Key", &key);
        let paid = paygate.send(&request.header("Mcp-Session-Id", &session).json(&body));
        assert_eq!(paid.json()["result"], json!({}), "{method}");
        assert_eq!(paygate.credits(&key), CREDITS - count * PRICE, "{method}");
        assert_eq!(paygate.rpc(&key, method, &params).error_code(), -32601, "{method}");
        assert_eq!(paygate.credits(&key), CREDITS - count * PRICE, "{method}");
    }
    stop_and_verify(paygate);
}
