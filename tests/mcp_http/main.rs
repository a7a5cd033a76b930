//! `POST /mcp` as clients see it: methods, messages, bytes, headers, refusals, and what happens
//! around the end of Paygate or of the child. The real binary before the scripted child.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    reason = "a helper that fails a test panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod arrays;
mod bytes;
mod denials;
mod life;
mod limits;
mod listing;
mod methods;
mod slow;
mod spelling;
mod streams;
mod transport;

use support::{Paygate, Request, Response, rich_key, start};

/// A body to `/mcp`, byte for byte. An empty key sends no key header.
fn raw_request(key: &str, body: impl Into<Vec<u8>>) -> Request {
    let request = Request::new("POST", "/mcp")
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .body(body);
    if key.is_empty() { request } else { request.header("X-API-Key", key) }
}

fn post(paygate: &Paygate, key: &str, body: impl Into<Vec<u8>>) -> Response {
    paygate.send(&raw_request(key, body))
}

/// The text of a request to call a tool, with the arguments as they are.
fn call_text(id: &str, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

/// How many tool calls the child has run.
fn runs(paygate: &Paygate) -> usize {
    paygate.setup().child_log().len()
}
