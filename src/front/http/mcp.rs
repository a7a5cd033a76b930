//! `/mcp`: with POST one message in, its answer out; with GET what a session is told beside; with DELETE
//! the end of a session.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::connection::{Departure, departed};
use super::media::{self, Wrapping};
use super::respond::{self, Response, error, method_not_allowed, rpc_error, then_close};
use super::service::Service;
use super::{body, events, modern, respond::empty};
use crate::front::reply::{self, Written, whole_seconds};
use crate::model::idempotency::IdempotencyKey;
use crate::protocol::from_client::{self, Message};
use crate::protocol::version;
use crate::proxy::{Inbound, Reply, Shown};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const CALL_ID: HeaderName = HeaderName::from_static("x-paygate-call-id");
const CREDITS_CHARGED: HeaderName = HeaderName::from_static("x-credits-charged");
const CREDITS_REMAINING: HeaderName = HeaderName::from_static("x-credits-remaining");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(super) async fn serve(
    service: &Service,
    request: Box<Request<Incoming>>,
    address: IpAddr,
    departure: Departure,
) -> Response {
    let method = request.method().clone();
    if ![Method::GET, Method::POST, Method::DELETE].contains(&method) {
        return method_not_allowed("GET, POST, DELETE");
    }
    // A drain waits for it from here on.
    let inside = service.doors().enter();
    let (head, body) = request.into_parts();
    let admitted = match &inside {
        Some(_) => Admitted::All,
        // The calls that a drain waits for may wait for their clients.
        None if method == Method::POST && head.headers.contains_key(SESSION_ID) => {
            Admitted::AnswersToServers
        }
        None => return shutting_down(),
    };
    if method == Method::POST {
        return message(service, &head.headers, body, address, (departure, admitted)).await;
    }
    if modern::is_named(&head.headers) {
        return method_not_allowed("POST");
    }
    let inbound = match bodiless(&head.headers, address) {
        Ok(inbound) => inbound,
        Err(refusal) => return *refusal,
    };
    if method == Method::GET {
        listen(service, &head.headers, &inbound).await
    } else {
        end(service, &inbound).await
    }
}

/// Which messages may still come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    All,
    /// While Paygate drains: what a client answers its server in a session.
    AnswersToServers,
}

fn is_answer(body: &[u8]) -> bool {
    matches!(from_client::read(body), Ok(from_client::Incoming::Single(Message::Response { .. })))
}

async fn message(
    service: &Service,
    headers: &HeaderMap,
    body: Incoming,
    address: IpAddr,
    (departure, admitted): (Departure, Admitted),
) -> Response {
    let negotiated =
        negotiate(headers).and_then(|wrapping| Ok((wrapping, idempotency_key(headers)?)));
    let (wrapping, idempotency_key) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(refusal) => return *refusal,
    };
    let body = tokio::select! {
        biased;
        body = body::read(body, service.body_bytes_max()) => match body {
            Ok(body) => body,
            Err(fault) => return fault.response(),
        },
        () = service.doors().bodies_are_late() => return shutting_down(),
    };
    if admitted == Admitted::AnswersToServers && !is_answer(&body) {
        return shutting_down();
    }
    let (protocol_version, mirrored) = modern::read(headers, &body);
    // Who leaves the modern era's way cancels; the proxy sees it by what is dropped here.
    let departure = mirrored.is_some().then_some(departure);
    let inbound = Inbound {
        body,
        credential: credential(headers),
        address,
        protocol_version,
        headers: mirrored,
        takes_events: media::takes_events(headers),
        session: session(headers),
        idempotency_key,
    };
    let reply = tokio::select! {
        biased;
        reply = service.proxy().handle(inbound) => reply,
        () = departed(departure.as_ref()) => return then_close(empty(StatusCode::BAD_REQUEST)),
    };
    match reply {
        Reply::Stream(streaming) => {
            // The balance after it is not known yet.
            let shown = Shown { call: streaming.call(), ..Shown::default() };
            let denials = Arc::clone(service.denials());
            let mut response = events::respond(streaming, denials, departure);
            show(response.headers_mut(), &shown);
            response
        }
        reply => respond(reply::write(reply, service.denials()), wrapping),
    }
}

/// What a session is told that belongs to no request, or the rest of a stream that broke.
async fn listen(service: &Service, headers: &HeaderMap, inbound: &Inbound) -> Response {
    if !media::takes_events(headers) {
        let message = "A stream is text/event-stream: send Accept: text/event-stream";
        return rpc_error(StatusCode::NOT_ACCEPTABLE, message);
    }
    let seen = headers.get(LAST_EVENT_ID).map(|seen| seen.to_str().unwrap_or_default());
    match service.proxy().listen(inbound, seen).await {
        Reply::Stream(streaming) => events::respond(streaming, Arc::clone(service.denials()), None),
        reply => respond(reply::write(reply, service.denials()), Wrapping::Json),
    }
}

async fn end(service: &Service, inbound: &Inbound) -> Response {
    if inbound.session.is_none() {
        return error(StatusCode::BAD_REQUEST, "Missing Mcp-Session-Id header");
    }
    match service.proxy().end_session(inbound).await {
        Reply::Accepted => {
            let text = serde_json::json!({ "message": "Session terminated" }).to_string();
            respond::json(StatusCode::OK, text)
        }
        Reply::NoSession => error(StatusCode::NOT_FOUND, "Session not found"),
        reply => respond(reply::write(reply, service.denials()), Wrapping::Json),
    }
}

/// What is known of the sender of a request without a body.
fn bodiless(headers: &HeaderMap, address: IpAddr) -> Result<Inbound, Box<Response>> {
    Ok(Inbound {
        body: Bytes::new(),
        credential: credential(headers),
        address,
        protocol_version: protocol_version(headers)?,
        headers: None,
        takes_events: true,
        session: session(headers),
        idempotency_key: None,
    })
}

fn shutting_down() -> Response {
    then_close(error(StatusCode::SERVICE_UNAVAILABLE, "Server is shutting down"))
}

/// What the headers ask for, or the answer that refuses it.
fn negotiate(headers: &HeaderMap) -> Result<Wrapping, Box<Response>> {
    let refuse = |status, message: &str| Err(Box::new(rpc_error(status, message)));
    if !media::sends_json(headers) {
        let message = "The body must be JSON: send Content-Type: application/json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let message =
        "Answers are application/json or text/event-stream: the Accept header allows neither";
    match media::wanted(headers) {
        Some(wrapping) => Ok(wrapping),
        None => refuse(StatusCode::NOT_ACCEPTABLE, message),
    }
}

fn protocol_version(headers: &HeaderMap) -> Result<Option<String>, Box<Response>> {
    let mut versions = headers.get_all(PROTOCOL_VERSION).iter();
    match (versions.next().map(HeaderValue::to_str), versions.next()) {
        (None, _) => Ok(None),
        (Some(Ok(version)), None) if version::age(version).is_some() => {
            Ok(Some(version.to_owned()))
        }
        (Some(_), _) => {
            let spoken = version::ALL.join(", ");
            let message = format!("Unsupported MCP-Protocol-Version; this server speaks {spoken}");
            Err(Box::new(rpc_error(StatusCode::BAD_REQUEST, &message)))
        }
    }
}

/// The session that is named. Two headers or foreign bytes name none that exists.
fn session(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(SESSION_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().unwrap_or_default().to_owned()),
        (Some(_), Some(_)) => Some(String::new()),
    }
}

/// The client's name for its request, or the answer that refuses it. Two of them cannot both be
/// heeded, and to heed none would be to charge a repetition.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Box<Response>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next().map(|value| IdempotencyKey::parse(value.as_bytes())), values.next()) {
        (None, _) => Ok(None),
        (Some(Some(key)), None) => Ok(Some(key)),
        (Some(_), _) => {
            let rule = IdempotencyKey::RULE;
            let message = format!("Idempotency-Key must be given once and {rule}");
            Err(Box::new(rpc_error(StatusCode::BAD_REQUEST, &message)))
        }
    }
}

/// What stands for two credentials in one request. No key begins like an id, so it opens nothing.
const SEVERAL: &str = "key_several";

/// The raw key. What cannot be one, two headers or foreign bytes, becomes a text that opens
/// nothing: it was shown and it is invalid. `GET /balance` judges in the same way.
fn credential(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(API_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => Some(SEVERAL.to_owned()),
        (Some(value), None) => {
            (!value.is_empty()).then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
        }
    }
}

fn respond(written: Written, wrapping: Wrapping) -> Response {
    let status = StatusCode::from_u16(written.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let Some(text) = written.text else { return empty(status) };
    let mut response = match wrapping {
        // Only a 200 is a stream; what HTTP itself refuses is read as JSON.
        Wrapping::Events if status == StatusCode::OK => {
            let mut response = respond::with_body(status, Bytes::from(media::event(None, &text)));
            media::event_headers(response.headers_mut());
            response
        }
        Wrapping::Events | Wrapping::Json => respond::json(status, text),
    };
    show(response.headers_mut(), &written.shown);
    if let Some(session) = written.opened
        && let Ok(value) = HeaderValue::try_from(session.to_string())
    {
        response.headers_mut().insert(SESSION_ID, value);
    }
    if let Some(seconds) = written.retry_after_s {
        response.headers_mut().insert(hyper::header::RETRY_AFTER, seconds.into());
    }
    response
}

fn show(headers: &mut HeaderMap, shown: &Shown) {
    let mut put = |name, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    };
    if let Some(call) = shown.call {
        put(CALL_ID, call.text().as_ref());
    }
    let mut digits = itoa::Buffer::new();
    if let Some(charged) = shown.charged {
        put(CREDITS_CHARGED, digits.format(charged).as_bytes());
    }
    if let Some(reading) = shown.reading {
        put(CREDITS_REMAINING, digits.format(reading.available).as_bytes());
    }
    if let Some(rate) = shown.rate() {
        put(RATE_LIMIT, digits.format(rate.limit).as_bytes());
        put(RATE_REMAINING, digits.format(rate.remaining).as_bytes());
        put(RATE_RESET, digits.format(whole_seconds(rate.reset_ms)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::CallId;
    use crate::model::secret::RawKey;
    use crate::store::{RateState, Reading};

    #[test]
    fn credentials() {
        let cases: [(&[&[u8]], Option<&str>); 7] = [
            (&[], None),
            (&[b""], None),
            (&[b"pg_1"], Some("pg_1")),
            (&[b"pg_1", b""], Some(SEVERAL)),
            (&[b"", b"pg_1"], Some(SEVERAL)),
            (&[b"pg_1", b"pg_1"], Some(SEVERAL)),
            (&[b"pg_\xff"], Some("pg_\u{fffd}")),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(API_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(credential(&headers).as_deref(), expected);
        }
        assert!(RawKey::parse(SEVERAL).is_none());
    }

    #[test]
    fn versions() {
        for (values, expected) in [
            (&[][..], Some(None)),
            (&["2024-11-05"], Some(Some("2024-11-05"))),
            (&["2025-11-25"], Some(Some("2025-11-25"))),
            (&["2026-07-28"], None),
            (&[""], None),
            (&["2025-06-18", "2025-06-18"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PROTOCOL_VERSION, value.parse().unwrap());
            }
            let found = protocol_version(&headers).ok();
            let expected = expected.map(|version| version.map(str::to_owned));
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn numbers_go_into_headers() {
        let rate = RateState { limit: 60, remaining: 59, reset_ms: 59_001 };
        let reading = Some(Reading { available: -3, rate: Some(rate) });
        let shown = Shown { call: Some(CallId::from_random([7; 16])), reading, charged: Some(2) };
        let written =
            Written { status: 200, text: Some(b"{}".to_vec()), shown, ..Written::default() };
        let response = respond(written, Wrapping::Events);
        let header = |name| response.headers()[name].to_str().unwrap();
        assert_eq!(header("x-paygate-call-id"), format!("call_{}", "07".repeat(16)));
        assert_eq!(header("x-credits-charged"), "2");
        assert_eq!(header("x-credits-remaining"), "-3");
        assert_eq!(header("x-ratelimit-limit"), "60");
        assert_eq!(header("x-ratelimit-remaining"), "59");
        assert_eq!(header("x-ratelimit-reset"), "60");
        assert_eq!(header("content-type"), "text/event-stream");
    }
}
