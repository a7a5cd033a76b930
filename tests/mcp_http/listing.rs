//! `tools/list`: prices, lists of forbidden tools, and everything else as the child wrote it.

use serde_json::{Value, json};

use super::support::{Paygate, Setup};
use super::{rich_key, start};

fn tools(paygate: &Paygate, key: &str) -> Vec<Value> {
    let answer = paygate.rpc(key, "tools/list", &json!({})).json();
    answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

fn names(tools: &[Value]) -> Vec<&str> {
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[test]
fn every_tool_has_its_price() {
    let paygate = start(json!({
        "defaultCreditsPerCall": 2,
        "globalRateLimitPerMin": 50,
        "toolPricing": {
            "instant": {"creditsPerCall": 7, "rateLimitPerMin": 5},
            "big": {"creditsPerKbInput": 1.25},
            "meta": {"creditsPerCall": 0},
        },
    }));
    let cases = [
        (
            "sleep",
            json!({"creditsPerCall": 2, "creditsPerKbInput": 0, "rateLimitPerMin": 50, "pricingModel": "flat"}),
        ),
        (
            "instant",
            json!({"creditsPerCall": 7, "creditsPerKbInput": 0, "rateLimitPerMin": 5, "pricingModel": "flat"}),
        ),
        (
            "big",
            json!({"creditsPerCall": 2, "creditsPerKbInput": 1.25, "rateLimitPerMin": 50, "pricingModel": "dynamic"}),
        ),
        (
            "meta",
            json!({"creditsPerCall": 0, "creditsPerKbInput": 0, "rateLimitPerMin": 50, "pricingModel": "flat"}),
        ),
    ];
    let listed = tools(&paygate, "");
    for (name, mut pricing) in cases {
        pricing["name"] = json!(name);
        let tool = listed.iter().find(|tool| tool["name"] == name).expect("it is listed");
        assert_eq!(tool["_pricing"], pricing);
        assert_eq!(tool["_meta"]["dev.paygate/pricing"], pricing);
        assert!(tool["description"].is_string() && tool["inputSchema"].is_object(), "{tool}");
    }
}

#[test]
fn a_key_sees_the_tools_that_it_may_call() {
    let paygate = start(json!({}));
    let whole = tools(&paygate, "");
    let key = |lists: &Value| paygate.create_key(lists).0;
    let allowed = key(&json!({"allowedTools": ["sleep", "instant", "gone"]}));
    assert_eq!(names(&tools(&paygate, &allowed)), ["instant", "sleep"]);
    let denied = tools(&paygate, &key(&json!({"deniedTools": ["sleep"]})));
    assert_eq!(denied.len(), whole.len() - 1);
    assert!(!names(&denied).contains(&"sleep"));
    let both = key(&json!({"allowedTools": ["sleep", "instant"], "deniedTools": ["sleep"]}));
    assert_eq!(names(&tools(&paygate, &both)), ["instant"]);
    // Who shows no valid key sees what anybody sees.
    paygate.admin_post("/keys/revoke", &json!({"key": allowed}));
    for other in ["pg_unknown", &allowed, &rich_key(&paygate)] {
        assert_eq!(tools(&paygate, other).len(), whole.len());
    }
}

/// A server of two pages whose lists have members that Paygate does not know.
const PAGED: &str = r#"
import json, sys
PAGES = {
    None: '{"tools":[{"name":"a","inputSchema":{"type":"object","x":1.0},"_pricing":"mine"}],"nextCursor":"p\\/2","_meta":{"k":1e400}}',
    "p/2": '{"extra":[12345678901234567890],"tools":[{"name":"b","inputSchema":{},"_meta":{"own":true}}]}',
}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"paged","version":"1"}}'
    elif message["method"] == "tools/list":
        result = PAGES[message.get("params", {}).get("cursor")]
    else:
        result = '{"content":[{"type":"text","text":"%s"}]}' % message["params"]["name"]
    print('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(message["id"]), result), flush=True)
"#;

#[test]
fn pages_and_unknown_members_are_kept() {
    let setup = Setup::new().ephemeral();
    let script = setup.dir().file("paged.py");
    std::fs::write(&script, PAGED).unwrap();
    let paygate = setup.server(format!("python3 {}", script.display())).start();
    let first = paygate.rpc("", "tools/list", &json!({})).text();
    assert!(first.contains(r#""nextCursor":"p\/2","_meta":{"k":1e400}"#), "{first}");
    assert!(first.contains(r#""inputSchema":{"type":"object","x":1.0}"#), "{first}");
    assert!(!first.contains("mine"), "{first}");
    let second = paygate.rpc("", "tools/list", &json!({"cursor": "p/2"}));
    assert!(second.text().contains(r#""extra":[12345678901234567890]"#), "{}", second.text());
    let tool = &second.json()["result"]["tools"][0];
    assert_eq!((&tool["name"], &tool["_meta"]["own"]), (&json!("b"), &json!(true)));
    assert!(second.json()["result"].get("nextCursor").is_none());
    // Tools of every page can be called.
    let key = rich_key(&paygate);
    for tool in ["a", "b"] {
        assert_eq!(paygate.call(&key, tool, &json!({})).tool_text(), tool);
    }
}
