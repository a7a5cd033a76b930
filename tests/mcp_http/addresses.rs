//! Host, Origin, and whose address counts.

use serde_json::{Value, json};

use super::support::{Paygate, Request};
use super::{call_text, raw_request, runs, start};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// The configuration, the header, and what each value of it gets.
type Rule = (Value, &'static str, &'static [(&'static str, u16)]);

fn rules() -> [Rule; 5] {
    [
        (
            json!({}),
            "Host",
            &[
                ("localhost", 200),
                ("LOCALHOST:1234", 200),
                ("127.0.0.1:80", 200),
                ("[::1]:3402", 200),
                ("evil.example", 403),
                ("localhost.evil.example", 403),
                ("127.0.0.1.evil.example:3402", 403),
                ("", 403),
            ],
        ),
        (
            json!({"allowedHosts": ["pay.example"]}),
            "Host",
            &[("pay.example", 200), ("PAY.example:443", 200), ("other.example", 403)],
        ),
        (
            json!({}),
            "Origin",
            &[
                ("http://localhost:5173", 200),
                ("https://127.0.0.1", 200),
                ("http://[::1]:80", 200),
                ("https://evil.example", 403),
                ("http://localhost.evil.example", 403),
                ("null", 403),
            ],
        ),
        (
            json!({"allowedOrigins": ["https://app.example"]}),
            "Origin",
            &[
                ("https://app.example", 200),
                ("http://app.example", 403),
                ("https://app.example.evil.example", 403),
            ],
        ),
        (
            json!({"host": "0.0.0.0"}),
            "Origin",
            &[("http://localhost:5173", 403), ("https://evil.example", 403)],
        ),
    ]
}

#[test]
fn hosts_and_origins() {
    for (config, header, values) in rules() {
        let paygate = start(config);
        let local = loopback(&paygate);
        for (value, status) in values {
            let request = raw_request("", PING).header(header, value);
            let response = request.send(&local).expect("an answer");
            assert_eq!(response.status, *status, "{header}: {value}");
            let allowed = response.header("Access-Control-Allow-Origin");
            let expected = (header == "Origin" && *status == 200).then_some(*value);
            assert_eq!(allowed, expected, "{header}: {value}");
        }
    }
}

/// Where to reach a Paygate that may be bound to all addresses.
fn loopback(paygate: &Paygate) -> String {
    paygate.address.replace("0.0.0.0", "127.0.0.1")
}

#[test]
fn a_foreign_host_reaches_nothing_at_all() {
    let paygate = start(json!({}));
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    let call = raw_request(&key, call_text("1", "instant", "{}")).header("Host", "evil.example");
    assert_eq!(paygate.send(&call).status, 403);
    for path in ["/", "/health", "/balance", "/keys", "/status"] {
        let request = Request::new("GET", path).header("Host", "evil.example");
        assert_eq!(paygate.send(&request).status, 403, "{path}");
    }
    assert_eq!(runs(&paygate), 0);
    assert_eq!(paygate.credits(&key), 10);
}

#[test]
fn the_operators_paths_are_not_for_web_pages() {
    let paygate = start(json!({"allowedOrigins": ["https://app.example"]}));
    for (path, allowed) in
        [("/mcp", true), ("/balance", true), ("/keys", false), ("/status", false)]
    {
        let request = Request::new("OPTIONS", path).header("Origin", "https://app.example");
        let response = paygate.send(&request);
        assert_eq!(response.header("Access-Control-Allow-Origin").is_some(), allowed, "{path}");
    }
}

/// An allowlist, the trusted proxies, the forwarded header, and whether the call is served.
type Case = (&'static str, &'static [&'static str], Option<&'static str>, bool);

const CASES: [Case; 14] = [
    ("127.0.0.1", &[], None, true),
    ("127.0.0.0/8", &[], None, true),
    ("192.0.2.7", &[], None, false),
    // A forwarded address from anybody is not believed, in either direction.
    ("192.0.2.7", &[], Some("192.0.2.7"), false),
    ("127.0.0.1", &[], Some("192.0.2.7"), true),
    ("192.0.2.7", &["127.0.0.1"], Some("192.0.2.7"), true),
    ("192.0.2.0/24", &["127.0.0.0/8"], Some("192.0.2.7:4711"), true),
    ("2001:db8::/32", &["127.0.0.1"], Some("2001:db8::5"), true),
    ("192.0.2.7", &["127.0.0.1"], Some("::ffff:192.0.2.7"), true),
    // What the client wrote itself lies further left than what the proxy appended.
    ("192.0.2.7", &["127.0.0.1"], Some("192.0.2.7, 203.0.113.9"), false),
    ("203.0.113.9", &["127.0.0.1"], Some("192.0.2.7, 203.0.113.9"), true),
    ("192.0.2.7", &["127.0.0.1", "10.0.0.0/8"], Some("192.0.2.7, 10.1.2.3"), true),
    ("192.0.2.7", &["127.0.0.1"], Some("nonsense"), false),
    ("192.0.2.7", &["127.0.0.1"], None, false),
];

#[test]
fn whose_address_counts() {
    for (allowlist, trusted, forwarded, served) in CASES {
        let paygate = start(json!({"trustedProxies": trusted}));
        let (key, _) = paygate.create_key(&json!({"ipAllowlist": [allowlist]}));
        let mut call = raw_request(&key, call_text("1", "instant", "{}"));
        let mut balance = Request::new("GET", "/balance").header("X-API-Key", &key);
        if let Some(forwarded) = forwarded {
            call = call.header("X-Forwarded-For", forwarded);
            balance = balance.header("X-Forwarded-For", forwarded);
        }
        let response = paygate.send(&call);
        let reason = if served { "" } else { "ip_not_allowed" };
        assert_eq!(response.error_reason(), reason, "{allowlist} {trusted:?} {forwarded:?}");
        // The balance is told to the same addresses.
        let told = paygate.send(&balance).status == 200;
        assert_eq!(told, served, "{allowlist} {trusted:?} {forwarded:?}");
    }
}
