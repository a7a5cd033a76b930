//! What a browser is told. Only pages of an allowed origin are told anything, each its own origin
//! and never `*`, and only on the paths that customers use: an operator's key has no place in a
//! web page of somebody else.

use hyper::header::{self, HeaderMap, HeaderValue};

/// The paths that are not the operator's, each with the methods that it answers.
const CUSTOMERS_PATHS: [(&str, &str); 4] = [
    ("/mcp", "GET, POST, DELETE"),
    ("/balance", "GET"),
    ("/health", "GET, HEAD"),
    ("/", "GET, HEAD"),
];

const REQUEST_HEADERS: &str = "Content-Type, Accept, X-API-Key, Authorization, Mcp-Session-Id, MCP-Protocol-Version, \
     Last-Event-ID, Idempotency-Key";

const RESPONSE_HEADERS: &str = "Mcp-Session-Id, MCP-Protocol-Version, X-RateLimit-Limit, X-RateLimit-Remaining, \
     X-RateLimit-Reset, X-Credits-Charged, X-Credits-Remaining, X-PayGate-Call-Id, Retry-After";

/// The methods that a page may use there; `None` if it is told nothing.
pub(super) fn methods(path: &str) -> Option<&'static str> {
    CUSTOMERS_PATHS.iter().find(|(customers, _)| *customers == path).map(|(_, methods)| *methods)
}

pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue, methods: &'static str) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let fixed = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fixed(REQUEST_HEADERS));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, fixed(RESPONSE_HEADERS));
    headers.append(header::VARY, fixed("Origin"));
}
