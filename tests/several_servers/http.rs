//! What HTTP itself demands is demanded before several servers too.

use serde_json::json;

use super::support::{MODERN, Request, modern_body, modern_request};
use super::{rich_key, scripted, setup};

#[test]
fn foreign_hosts_and_origins_are_refused_in_either_era() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for era in ["legacy", "modern"] {
        let paygate = setup(&[scripted("one"), scripted("two")], &json!({}));
        let paygate = paygate.env("SCRIPTED_ERA", era).start();
        let key = rich_key(&paygate);
        let request = || match era {
            "modern" => modern_request(&key, "tools/list", &json!({})),
            _ => Request::new("POST", "/mcp")
                .header("Accept", "application/json, text/event-stream")
                .header("Content-Type", "application/json")
                .body(body),
        };
        assert_eq!(paygate.send(&request()).status, 200, "{era}");
        let origin = request().header("Origin", "https://evil.example");
        assert_eq!(paygate.send(&origin).status, 403, "{era}");
        let host = request().header("Host", "evil.example");
        assert_eq!(paygate.send(&host).status, 403, "{era}");
        paygate.stop().expect_success();
    }
}

#[test]
fn headers_repeat_the_full_name_and_the_arguments_or_are_refused_for_free() {
    let paygate = setup(&[scripted("one"), scripted("two")], &json!({}));
    let paygate = paygate.env("SCRIPTED_ERA", "modern").start();
    let key = rich_key(&paygate);
    let arguments = json!({"region": "eu", "count": 42});
    let body = modern_body("tools/call", &json!({"name": "one:routed", "arguments": arguments}));
    let call = |name: &str, region: &str| {
        let request = Request::new("POST", "/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("X-API-Key", &key)
            .header("MCP-Protocol-Version", MODERN)
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", name)
            .header("Mcp-Param-Region", region)
            .header("Mcp-Param-Count", "42");
        paygate.send(&request.json(&body))
    };
    for (name, region) in [("routed", "eu"), ("two:routed", "eu"), ("one:routed", "us")] {
        let refused = call(name, region);
        assert_eq!((refused.status, refused.error_code()), (400, -32020), "{name} {region}");
    }
    assert_eq!(paygate.credits(&key), 1000);
    assert_eq!(call("one:routed", "eu").status, 200);
    assert_eq!(paygate.credits(&key), 999);
    paygate.stop().expect_success();
}
