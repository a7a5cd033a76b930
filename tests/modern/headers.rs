//! What a request must say, and that nothing is priced by a header.

use serde_json::{Value, json};

use super::support::{MODERN, Paygate, Request, Response, modern_body};
use super::{dual, key};

fn send(paygate: &Paygate, key: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let request = Request::new("POST", "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("X-API-Key", key)
        .json(body);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    paygate.send(&request)
}

#[test]
fn headers_that_do_not_agree_are_refused_and_free() {
    let paygate = dual().start();
    let key = key(&paygate);
    let call = modern_body("tools/call", &json!({"name": "instant", "arguments": {"nonce": "n"}}));
    let version = ("MCP-Protocol-Version", MODERN);
    let method = ("Mcp-Method", "tools/call");
    let name = ("Mcp-Name", "instant");
    let mismatch: &[&[(&str, &str)]] = &[
        &[method, name],
        &[("MCP-Protocol-Version", "2025-11-25"), method, name],
        &[("MCP-Protocol-Version", "1900-01-01"), method, name],
        &[version, version, method, name],
        &[version, name],
        &[version, method],
        &[version, ("Mcp-Method", "tools/list"), name],
        &[version, method, ("Mcp-Name", "env")],
        &[version, method, ("Mcp-Name", "=?base64?!?=")],
        &[version, method, name, ("Mcp-Name", "instant")],
    ];
    for headers in mismatch {
        let refused = send(&paygate, &key, headers, &call);
        assert_eq!(
            (refused.status, refused.error_code()),
            (400, -32020),
            "{headers:?} {}",
            refused.text()
        );
        assert_eq!(refused.json()["id"], 1);
    }
    let encoded = ("Mcp-Name", "=?base64?aW5zdGFudA==?=");
    for name in [name, encoded] {
        // A session header of the other era means nothing here.
        let session = ("Mcp-Session-Id", "nobody");
        assert_eq!(send(&paygate, &key, &[version, method, name, session], &call).tool_text(), "n");
    }
    assert_eq!(paygate.credits(&key), 94);
    paygate.stop().expect_success();
}

#[test]
fn meta_must_be_whole() {
    let paygate = dual().start();
    let key = key(&paygate);
    let headers = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/list")];
    for meta in [json!(null), json!({}), json!({"io.modelcontextprotocol/protocolVersion": MODERN})]
    {
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}});
        let refused = send(&paygate, &key, &headers, &body);
        assert_eq!((refused.status, refused.error_code()), (400, -32602), "{}", refused.text());
    }
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    let accepted = send(&paygate, &key, &headers[..1], &notification);
    assert_eq!((accepted.status, accepted.text().as_str()), (202, ""));
    let call = modern_body("tools/call", &json!({"name": "instant"}));
    let refused = send(&paygate, &key, &headers[..1], &json!([call]));
    assert_eq!((refused.status, refused.error_code()), (400, -32600));
    // A call without an id is not made.
    let mut nameless = call;
    nameless.as_object_mut().expect("an object").remove("id");
    assert_eq!(send(&paygate, &key, &headers[..1], &nameless).status, 202);
    assert_eq!((paygate.credits(&key), paygate.setup().child_log().len()), (100, 0));
    paygate.stop().expect_success();
}

#[test]
fn arguments_that_are_repeated_in_headers_must_agree() {
    let paygate = dual().start();
    let key = key(&paygate);
    let body = modern_body(
        "tools/call",
        &json!({"name": "routed", "arguments": {"region": "eu", "count": 42.0}}),
    );
    let common =
        [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "routed")];
    let send = |more: &[(&str, &str)]| send(&paygate, &key, &[&common[..], more].concat(), &body);
    for wrong in [
        &[("Mcp-Param-Region", "eu")][..],
        &[("Mcp-Param-Region", "us"), ("Mcp-Param-Count", "42")],
        &[("Mcp-Param-Region", "eu"), ("Mcp-Param-Count", "41")],
    ] {
        let refused = send(wrong);
        assert_eq!(
            (refused.status, refused.error_code()),
            (400, -32020),
            "{wrong:?} {}",
            refused.text()
        );
    }
    assert_eq!(paygate.credits(&key), 100);
    let right =
        send(&[("mcp-param-region", "eu"), ("Mcp-Param-COUNT", "42"), ("Mcp-Param-X", "y")]);
    assert_eq!(right.status, 200, "{}", right.text());
    assert_eq!(paygate.credits(&key), 97);
    paygate.stop().expect_success();
}
