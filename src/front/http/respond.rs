//! Small answers.

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use crate::front::reply::error_without_id;

/// Our own answers are whole; the admin API's may be streams.
pub(super) type Body = Either<Full<Bytes>, AxumBody>;

pub(super) type Response = hyper::Response<Body>;

/// JSON-RPC: the message is not one that can be handled.
pub(super) const INVALID_REQUEST: i32 = -32600;

/// Headers of the answer to a call.
const CALL_HEADERS: usize = 7;

pub(super) fn empty(status: StatusCode) -> Response {
    with_body(status, Bytes::new())
}

pub(super) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = with_body(status, text.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"error": message}`, as every path but `/mcp` refuses.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, serde_json::json!({ "error": message }).to_string())
}

/// A JSON-RPC error for a request that was not read. The code is none of the modern era's, so that
/// a client of that era sees a server of the older one and falls back.
pub(super) fn rpc_error(status: StatusCode, message: &str) -> Response {
    json(status, error_without_id(INVALID_REQUEST, message))
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Ends the connection after this answer.
pub(super) fn then_close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

pub(super) fn with_body(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    // As many as an answer to a call has: they would not fit into what the first one makes.
    response.headers_mut().reserve(CALL_HEADERS);
    response
}
