//! Which media types a client sends and takes.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::proxy::EventId;

const JSON: (&str, &str) = ("application", "json");
const EVENTS: (&str, &str) = ("text", "event-stream");

/// How an answer is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// As it is.
    Json,
    /// As the one event of a stream, for clients that take nothing else.
    Events,
}

/// No header is JSON: many a script sends none.
pub(super) fn sends_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => {
            let essence = || value.to_str().unwrap_or("").split(';').next().unwrap_or("");
            value == PLAIN || essence().trim().eq_ignore_ascii_case(PLAIN)
        }
        (Some(_), Some(_)) => false,
    }
}

const PLAIN: &str = "application/json";

/// What MCP asks its clients to send, and they do.
const BOTH: &str = "application/json, text/event-stream";

/// The usual headers, which need not be taken apart: does this one take events? `None` for any other, or several.
fn usual(headers: &HeaderMap) -> Option<bool> {
    let mut values = headers.get_all(ACCEPT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    if value == BOTH { Some(true) } else { (value == PLAIN).then_some(false) }
}

/// JSON wherever it is allowed; `None` if the client takes neither.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Wrapping> {
    if usual(headers).is_some() {
        return Some(Wrapping::Json);
    }
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Some(Wrapping::Json);
    }
    let (mut json, mut events) = (Match::NONE, Match::NONE);
    for value in values {
        for range in value.to_str().unwrap_or("").split(',') {
            json.look_at(range, JSON);
            events.look_at(range, EVENTS);
        }
    }
    if json.is_allowed {
        return Some(Wrapping::Json);
    }
    events.is_allowed.then_some(Wrapping::Events)
}

/// Does the client name event streams, beside whatever else it takes? `*/*` says too little: it
/// is what tools send that know nothing of events.
pub(super) fn takes_events(headers: &HeaderMap) -> bool {
    if let Some(takes_events) = usual(headers) {
        return takes_events;
    }
    let mut events = Match::NONE;
    for value in headers.get_all(ACCEPT) {
        value.to_str().unwrap_or("").split(',').for_each(|range| events.look_at(range, EVENTS));
    }
    events.is_allowed && events.specificity == 3
}

/// The most specific range so far that a type falls into.
struct Match {
    /// 0 none, 1 `*/*`, 2 `type/*`, 3 `type/subtype`.
    specificity: u8,
    is_allowed: bool,
}

impl Match {
    const NONE: Self = Self { specificity: 0, is_allowed: false };

    fn look_at(&mut self, range: &str, wanted: (&str, &str)) {
        let mut parts = range.split(';').map(str::trim);
        let Some((kind, subtype)) = parts.next().and_then(|range| range.split_once('/')) else {
            return;
        };
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let specificity = match (kind, subtype) {
            ("*", "*") => 1,
            (kind, "*") if is(kind, wanted.0) => 2,
            (kind, subtype) if is(kind, wanted.0) && is(subtype, wanted.1) => 3,
            _ => return,
        };
        if specificity >= self.specificity {
            self.specificity = specificity;
            self.is_allowed = !parts.any(is_zero_quality);
        }
    }
}

/// `q=0`, `q=0.0` and so on: not wanted.
fn is_zero_quality(parameter: &str) -> bool {
    parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.trim().strip_prefix('0'))
        .is_some_and(|rest| rest.bytes().all(|byte| matches!(byte, b'.' | b'0')))
}

/// One event, as text. A line end is white space in JSON and would be the end of the event's line,
/// so it becomes a space.
pub(super) fn event(id: Option<EventId>, json: &[u8]) -> Vec<u8> {
    let (before, after) = (b"event: message\ndata: ", b"\n\n");
    let mut text = Vec::with_capacity(32 + before.len() + json.len() + after.len());
    if let Some(id) = id {
        text.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    text.extend_from_slice(before);
    text.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    text.extend_from_slice(after);
    text
}

/// The headers of an event stream.
pub(super) fn event_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("connection", HeaderValue::from_static("keep-alive"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn accept() {
        use Wrapping::{Events, Json};
        for (values, expected) in [
            (&[][..], Some(Json)),
            (&["*/*"], Some(Json)),
            (&["application/json"], Some(Json)),
            (&["APPLICATION/JSON;q=0.5"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&["application/json, text/event-stream"], Some(Json)),
            (&["text/event-stream, application/json"], Some(Json)),
            (&["text/event-stream", "application/json"], Some(Json)),
            (&["text/event-stream"], Some(Events)),
            (&["text/event-stream; charset=utf-8"], Some(Events)),
            (&["text/*"], Some(Events)),
            (&["application/json;q=0, text/event-stream"], Some(Events)),
            (&["*/*, application/json;q=0"], Some(Events)),
            (&["application/json;q=0.000, */*"], Some(Events)),
            (&["application/json;q=0.001"], Some(Json)),
            (&["text/html"], None),
            (&["text/html, */*;q=0"], None),
            (&["application/jsonx"], None),
            (&[""], None),
        ] {
            assert_eq!(wanted(&headers("accept", values)), expected, "{values:?}");
        }
    }

    #[test]
    fn content_type() {
        for (values, expected) in [
            (&[][..], true),
            (&["application/json"], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["text/plain"], false),
            (&["application/x-www-form-urlencoded"], false),
            (&[""], false),
            (&["application/json", "text/plain"], false),
        ] {
            assert_eq!(sends_json(&headers("content-type", values)), expected, "{values:?}");
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let text = b"event: message\ndata: {\"a\":  1}\n\n".to_vec();
        assert_eq!(event(None, b"{\"a\":\r\n1}"), text);
        let id = EventId::parse("3-14");
        assert_eq!(event(id, b"{\"a\":\r\n1}"), [b"id: 3-14\n".to_vec(), text].concat());
    }
}
