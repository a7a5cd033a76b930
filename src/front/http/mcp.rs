//! `POST /mcp`: one message in, its answer out.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::media::{self, Wrapping};
use super::respond::{self, Response, error, method_not_allowed, rpc_error, then_close};
use super::service::Service;
use super::{body, respond::empty};
use crate::front::reply::{self, Written, whole_seconds};
use crate::protocol::version;
use crate::proxy::{Inbound, Shown};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const CALL_ID: HeaderName = HeaderName::from_static("x-paygate-call-id");
const CREDITS_REMAINING: HeaderName = HeaderName::from_static("x-credits-remaining");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub(super) async fn serve(
    service: &Service,
    request: Request<Incoming>,
    address: IpAddr,
) -> Response {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    // A drain waits for it from here on.
    let Some(_inside) = service.doors().enter() else { return shutting_down() };
    let (head, body) = request.into_parts();
    let (wrapping, protocol_version) = match negotiate(&head.headers) {
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
    let credential = credential(&head.headers);
    let inbound = Inbound { body, credential, address, protocol_version };
    let reply = service.proxy().handle(inbound).await;
    respond(reply::write(reply, service.denials()), wrapping)
}

fn shutting_down() -> Response {
    then_close(error(StatusCode::SERVICE_UNAVAILABLE, "Server is shutting down"))
}

/// What the headers ask for, or the answer that refuses it.
fn negotiate(headers: &HeaderMap) -> Result<(Wrapping, Option<String>), Box<Response>> {
    let refuse = |status, message: &str| Err(Box::new(rpc_error(status, message)));
    if !media::sends_json(headers) {
        let message = "The body must be JSON: send Content-Type: application/json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let Some(wrapping) = media::wanted(headers) else {
        let message =
            "Answers are application/json or text/event-stream: the Accept header allows neither";
        return refuse(StatusCode::NOT_ACCEPTABLE, message);
    };
    let mut versions = headers.get_all(PROTOCOL_VERSION).iter();
    let version = match (versions.next().map(HeaderValue::to_str), versions.next()) {
        (None, _) => None,
        (Some(Ok(version)), None) if version::age(version).is_some() => Some(version.to_owned()),
        (Some(_), _) => {
            let message = format!(
                "Unsupported MCP-Protocol-Version; this server speaks {}",
                version::ALL.join(", ")
            );
            return refuse(StatusCode::BAD_REQUEST, &message);
        }
    };
    Ok((wrapping, version))
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
            let mut response = respond::with_body(status, Bytes::from(media::event(&text)));
            media::event_headers(response.headers_mut());
            response
        }
        Wrapping::Events | Wrapping::Json => respond::json(status, text),
    };
    show(response.headers_mut(), &written.shown);
    if let Some(seconds) = written.retry_after_s {
        response.headers_mut().insert(hyper::header::RETRY_AFTER, seconds.into());
    }
    response
}

fn show(headers: &mut HeaderMap, shown: &Shown) {
    let mut values = Values(BytesMut::with_capacity(128));
    if let Some(call) = shown.call {
        values.put(headers, CALL_ID, call.text().as_ref());
    }
    let mut digits = itoa::Buffer::new();
    if let Some(reading) = shown.reading {
        values.put(headers, CREDITS_REMAINING, digits.format(reading.available).as_bytes());
    }
    if let Some(rate) = shown.rate() {
        values.put(headers, RATE_LIMIT, digits.format(rate.limit).as_bytes());
        values.put(headers, RATE_REMAINING, digits.format(rate.remaining).as_bytes());
        let seconds = whole_seconds(rate.reset_ms);
        values.put(headers, RATE_RESET, digits.format(seconds).as_bytes());
    }
}

/// The values of an answer's headers: pieces of one allocation, because every call has several.
struct Values(BytesMut);

impl Values {
    fn put(&mut self, headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
        self.0.extend_from_slice(value);
        if let Ok(value) = HeaderValue::from_maybe_shared(self.0.split().freeze()) {
            headers.insert(name, value);
        }
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
            let found = negotiate(&headers).ok().map(|(_, version)| version);
            let expected = expected.map(|version| version.map(str::to_owned));
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn numbers_go_into_headers() {
        let rate = RateState { limit: 60, remaining: 59, reset_ms: 59_001 };
        let reading = Some(Reading { available: -3, rate: Some(rate) });
        let shown = Shown { call: Some(CallId::from_random([7; 16])), reading };
        let written =
            Written { status: 200, text: Some(b"{}".to_vec()), shown, retry_after_s: None };
        let response = respond(written, Wrapping::Events);
        let header = |name| response.headers()[name].to_str().unwrap();
        assert_eq!(header("x-paygate-call-id"), format!("call_{}", "07".repeat(16)));
        assert_eq!(header("x-credits-remaining"), "-3");
        assert_eq!(header("x-ratelimit-limit"), "60");
        assert_eq!(header("x-ratelimit-remaining"), "59");
        assert_eq!(header("x-ratelimit-reset"), "60");
        assert_eq!(header("content-type"), "text/event-stream");
    }
}
