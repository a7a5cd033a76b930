//! Requests of the era of 2026-07-28: they say their version and capabilities, and their headers
//! repeat what the body says.

use serde_json::{Map, Value, json};

use super::http::{Request, Response};
use super::paygate::Paygate;

pub const MODERN: &str = "2026-07-28";
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The members of `_meta` that every request has.
pub fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "extensions": {TASKS: {}}},
    })
}

/// The body of a request with id 1.
pub fn modern_body(method: &str, params: &Value) -> Value {
    let mut params = params.as_object().cloned().unwrap_or_default();
    let mut meta = modern_meta();
    let own = params.get("_meta").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    meta.as_object_mut().expect("an object").extend(own);
    params.insert("_meta".to_owned(), meta);
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// A request as a client of this era sends it. An empty key sends no key header.
pub fn modern_request(key: &str, method: &str, params: &Value) -> Request {
    let request = Request::new("POST", "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", MODERN)
        .header("Mcp-Method", method)
        .json(&modern_body(method, params));
    let name = ["name", "uri", "taskId"].iter().find_map(|name| params[*name].as_str());
    let request = match name.filter(|_| method != "subscriptions/listen") {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    };
    if key.is_empty() { request } else { request.header("X-API-Key", key) }
}

impl Paygate {
    /// One request of the modern era.
    pub fn modern(&self, key: &str, method: &str, params: &Value) -> Response {
        self.send(&modern_request(key, method, params))
    }

    /// One tool call of the modern era.
    pub fn modern_call(&self, key: &str, tool: &str, arguments: &Value) -> Response {
        self.modern(key, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }
}
