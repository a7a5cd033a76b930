//! What a browser is told. Only pages of an allowed origin are told anything, each its own origin
//! and never `*`, and only on the paths that customers use: an operator's key has no place in a
//! web page of somebody else.

use hyper::header::{self, HeaderMap, HeaderValue};

/// The paths that are not the operator's.
const CUSTOMERS_PATHS: [&str; 4] = ["/mcp", "/balance", "/health", "/"];

const METHODS: &str = "GET, POST, DELETE, OPTIONS";

const REQUEST_HEADERS: &str = "Content-Type, Accept, X-API-Key, Authorization, Mcp-Session-Id, MCP-Protocol-Version, \
     Last-Event-ID";

const RESPONSE_HEADERS: &str = "Mcp-Session-Id, MCP-Protocol-Version, X-RateLimit-Limit, X-RateLimit-Remaining, \
     X-RateLimit-Reset, X-Credits-Remaining, X-PayGate-Call-Id, Retry-After";

pub(super) fn applies_to(path: &str) -> bool {
    CUSTOMERS_PATHS.contains(&path)
}

pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let fixed = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fixed(REQUEST_HEADERS));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, fixed(RESPONSE_HEADERS));
    headers.append(header::VARY, fixed("Origin"));
}
