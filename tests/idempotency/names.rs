//! What an idempotency key names: a request of one API key, whatever way it is given.

use serde_json::{Value, json};

use super::support::{Request, Setup, TASKS, rpc_request};
use super::{
    CREDITS, after, call_id, config, config_with, instant, named_call, new_key, request, runs,
    standing, start, stop_and_verify,
};

fn plain(key: &str, nonce: &str) -> Request {
    let params = json!({"name": "instant", "arguments": {"nonce": nonce}});
    rpc_request(key, "tools/call", &params)
}

#[test]
fn the_header_and_the_member_are_one_name() {
    let paygate = start();
    let key = new_key(&paygate);
    let first = paygate.send(&plain(&key, "n").header("Idempotency-Key", "k"));
    assert_eq!(first.tool_text(), "n");
    let both = instant(&key, "k", "n").header("idempotency-key", "k");
    for again in [instant(&key, "k", "n"), both] {
        assert_eq!(call_id(&paygate.send(&again)), call_id(&first));
    }
    let differ = paygate.send(&instant(&key, "k", "n").header("Idempotency-Key", "j"));
    assert_eq!(differ.error_code(), -32602);
    assert!(differ.text().contains("differ"), "{}", differ.text());
    let twice = plain(&key, "n").header("Idempotency-Key", "k").header("Idempotency-Key", "k");
    let twice = paygate.send(&twice);
    assert_eq!((twice.status, twice.error_code()), (400, -32600));
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn another_request_under_the_same_name_is_refused() {
    let paygate = start();
    let key = new_key(&paygate);
    let call = |tool: &str, arguments: &Value| named_call(&key, "k", &json!(1), tool, arguments);
    assert_eq!(paygate.send(&call("instant", &json!({"nonce": "n"}))).tool_text(), "n");
    let others = [
        call("instant", &json!({"nonce": "m"})),
        call("instant", &json!({})),
        call("echo_raw", &json!({"nonce": "n"})),
        request(
            &key,
            &json!(1),
            "tools/call_batch",
            &json!({
                "calls": [{"name": "instant", "arguments": {"nonce": "n"}}],
                "_meta": {"dev.paygate/idempotencyKey": "k"},
            }),
        ),
    ];
    for other in others {
        let refused = paygate.send(&other);
        let expected = (-32602, "idempotency_key_reused".to_owned());
        assert_eq!((refused.error_code(), refused.error_reason()), expected, "{other:?}");
    }
    assert_eq!(paygate.setup().child_log().len(), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn nobody_finds_what_another_one_asked_for() {
    let paygate = start();
    let (key, other) = (new_key(&paygate), new_key(&paygate));
    let first = paygate.send(&instant(&key, "k", "n"));
    let second = paygate.send(&instant(&other, "k", "n"));
    assert_ne!(call_id(&first), call_id(&second));
    assert_eq!(paygate.send(&instant(&other, "k", "m")).error_reason(), "idempotency_key_reused");
    assert_eq!(runs(paygate.setup(), "n"), 2);
    for key in [key, other] {
        assert_eq!(standing(&paygate, &key), after(1, 1));
    }
    stop_and_verify(paygate);
}

#[test]
fn what_is_no_name_is_said() {
    let paygate = start();
    let key = new_key(&paygate);
    let long = "x".repeat(256);
    for name in [json!(5), json!(null), json!(""), json!("é"), json!(long), json!(["k"])] {
        let meta = json!({"dev.paygate/idempotencyKey": name});
        let params = json!({"name": "instant", "arguments": {}, "_meta": meta});
        let refused = paygate.rpc(&key, "tools/call", &params);
        assert_eq!(refused.error_code(), -32602, "{name}");
        assert!(refused.text().contains("must be 1 to 255 printable ASCII"), "{}", refused.text());
    }
    for meta in [
        r#"{"dev.paygate/idempotencyKey":"a","dev.paygate/idempotencyKey":"b"}"#,
        r#"{"dev.paygate/IdempotencyKey":"a"}"#,
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"instant","_meta":{meta}}}}}"#
        );
        let request = Request::new("POST", "/mcp").header("Content-Type", "application/json");
        let refused = paygate.send(&request.header("X-API-Key", &key).body(body));
        assert_eq!(refused.error_code(), -32602, "{meta}");
    }
    let item = json!({"name": "instant", "_meta": {"dev.paygate/idempotencyKey": "k"}});
    let refused = paygate.rpc(&key, "tools/call_batch", &json!({"calls": [item]}));
    assert!(refused.text().contains("belongs into the _meta of the batch"), "{}", refused.text());
    assert!(paygate.setup().child_log().is_empty());
    assert_eq!(standing(&paygate, &key), after(0, 0));
    stop_and_verify(paygate);
}

#[test]
fn a_header_does_not_stand_for_several_messages() {
    let paygate = start();
    let key = new_key(&paygate);
    let call = |id: i64| {
        json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {
                "name": "instant", "arguments": {"nonce": "n"},
                "_meta": {"dev.paygate/idempotencyKey": "k"},
            },
        })
    };
    let array =
        Request::new("POST", "/mcp").header("X-API-Key", &key).json(&json!([call(1), call(2)]));
    let refused = paygate.send(&array.clone().header("Idempotency-Key", "k"));
    assert_eq!((refused.status, refused.error_code()), (400, -32600));
    assert_eq!(runs(paygate.setup(), "n"), 0);
    let answers = paygate.send(&array).json();
    assert_eq!((&answers[0]["id"], &answers[1]["id"]), (&json!(1), &json!(2)));
    assert_eq!(answers[0]["result"], answers[1]["result"]);
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_name_is_for_clients_that_read_the_same_answers() {
    let paygate = Setup::new().env("SCRIPTED_ERA", "dual").config(config()).start();
    let key = new_key(&paygate);
    let params = json!({"name": "instant", "arguments": {"nonce": "n"}});
    let extensions = [json!({}), json!({TASKS: {}})];
    let [plain, tasks] = extensions.map(|extensions| {
        let capabilities = json!({"elicitation": {}, "extensions": extensions});
        let meta = json!({"dev.paygate/idempotencyKey": "k", "io.modelcontextprotocol/clientCapabilities": capabilities});
        let mut params = params.clone();
        params["_meta"] = meta;
        params
    });
    let first = paygate.modern(&key, "tools/call", &plain);
    assert_eq!(first.tool_text(), "n", "{}", first.text());
    assert_eq!(call_id(&paygate.modern(&key, "tools/call", &plain)), call_id(&first));
    let others =
        [paygate.modern(&key, "tools/call", &tasks), paygate.send(&instant(&key, "k", "n"))];
    for other in others {
        assert_eq!(other.error_reason(), "idempotency_key_reused", "{}", other.text());
    }
    assert_eq!(runs(paygate.setup(), "n"), 1);
    stop_and_verify(paygate);
}

#[test]
fn all_rounds_of_a_method_have_one_name() {
    let config = config_with(&json!({"methodPricing": {"prompts/get": {"creditsPerCall": 2}}}));
    let paygate = Setup::new().env("SCRIPTED_ERA", "dual").config(config).start();
    let key = new_key(&paygate);
    let meta = json!({"dev.paygate/idempotencyKey": "k"});
    let params = json!({"name": "ask", "_meta": meta});
    let first = paygate.modern(&key, "prompts/get", &params).json();
    let state = &first["result"]["requestState"];
    assert!(state.is_string(), "{first}");
    let retry = json!({"name": "ask", "inputResponses": {"more": {}}, "requestState": state, "_meta": meta});
    let last = paygate.modern(&key, "prompts/get", &retry);
    assert_eq!(last.json()["result"]["resultType"], "complete", "{}", last.text());
    // Who lost all of it asks from the start, and is given what was paid for.
    let again = paygate.modern(&key, "prompts/get", &params);
    assert_eq!(
        (call_id(&again), again.json()["result"].clone()),
        (call_id(&last), last.json()["result"].clone())
    );
    assert_eq!(paygate.credits(&key), CREDITS - 2);
    stop_and_verify(paygate);
}
