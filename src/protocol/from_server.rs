//! One line from an MCP server: an answer, a request, a notification, or none of these.
//!
//! This is the hot path: every answer that a customer pays for goes through [`FromServer::read`].
//! The line is checked as UTF-8 once and its top level is walked once; the values of the members
//! stay text (`RawValue`), so a result of some megabytes is never built as a tree. An [`Answer`]
//! remembers where the value of `id` stands, so that the client's own id can be put in its place
//! and every other byte goes out as the server wrote it.
//!
//! Edge rules: a member that occurs twice, or whose name differs from a JSON-RPC member only in
//! case, makes the line malformed, because two readers could then see two different messages
//! (mcp-rules 1.6). Ids of answers are numbers that Paygate allocated, so an answer with any
//! other kind of id belongs to nobody.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What one line from a server says.
#[derive(Debug)]
pub enum FromServer<'a> {
    /// The answer to a request of ours.
    Answer(Answer),
    /// The server asks the client something.
    Request {
        /// The server's own id, as it wrote it: a JSON number or string.
        id: &'a str,
        /// The method, with escapes resolved.
        method: Cow<'a, str>,
        /// The parameters as written.
        params: Option<&'a RawValue>,
    },
    /// The server tells the client something.
    Notification {
        /// The method, with escapes resolved.
        method: Cow<'a, str>,
        /// The parameters as written.
        params: Option<&'a RawValue>,
    },
    /// The line is no JSON-RPC message; the text says why.
    Malformed(&'static str),
}

static IS_ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("isError"));
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// The answer to one request: the whole line as the server wrote it, and where its parts are.
#[derive(Debug, Clone)]
pub struct Answer {
    line: String,
    id: u64,
    id_range: Range<usize>,
    body: Body,
    life: u64,
}

#[derive(Debug, Clone)]
enum Body {
    Result(Range<usize>),
    Error(Range<usize>),
}

impl Answer {
    /// The id of the request that this answers.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The whole line as the server wrote it.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line with `id` (a JSON value as text) where our id was, and nothing else changed.
    pub fn with_id(&self, id: &str) -> Vec<u8> {
        let bytes = self.line.as_bytes();
        let mut line = Vec::with_capacity(bytes.len() + id.len());
        line.extend_from_slice(bytes.get(..self.id_range.start).unwrap_or_default());
        line.extend_from_slice(id.as_bytes());
        line.extend_from_slice(bytes.get(self.id_range.end..).unwrap_or_default());
        line
    }

    /// The same answer with another result (JSON text); `None` if it has no result or the text is
    /// none.
    pub fn with_result(&self, result: &str) -> Option<Self> {
        let Body::Result(range) = &self.body else { return None };
        let (before, after) = (self.line.get(..range.start)?, self.line.get(range.end..)?);
        match FromServer::read([before, result, after].concat().as_bytes()) {
            FromServer::Answer(answer) => Some(answer.of_life(self.life)),
            FromServer::Request { .. }
            | FromServer::Notification { .. }
            | FromServer::Malformed(_) => None,
        }
    }

    /// The same answer, from this life of a server.
    #[must_use]
    pub fn of_life(self, life: u64) -> Self {
        Self { life, ..self }
    }

    /// Which life of the server it came from: what the server named in one life means nothing, or
    /// something else, in the next. 0 where that is not known or of no matter.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Is this a JSON-RPC error?
    pub fn is_error(&self) -> bool {
        matches!(self.body, Body::Error(_))
    }

    /// Is this a result whose `isError` is exactly `true`?
    pub fn is_tool_error(&self) -> bool {
        self.result_text().is_some_and(is_tool_error)
    }

    /// The text of `result`.
    pub fn result_text(&self) -> Option<&str> {
        match &self.body {
            Body::Result(range) => self.line.get(range.clone()),
            Body::Error(_) => None,
        }
    }

    /// The text of `error`.
    pub fn error_text(&self) -> Option<&str> {
        match &self.body {
            Body::Error(range) => self.line.get(range.clone()),
            Body::Result(_) => None,
        }
    }

    /// `result` as a raw value, for putting it into a message of our own. Walks the text again.
    pub fn result(&self) -> Option<&RawValue> {
        self.result_text().and_then(|text| serde_json::from_str(text).ok())
    }

    /// `error` as a raw value, for putting it into a message of our own. Walks the text again.
    pub fn error(&self) -> Option<&RawValue> {
        self.error_text().and_then(|text| serde_json::from_str(text).ok())
    }
}

/// Is `isError` of a result (JSON text) exactly `true`?
///
/// The result is searched for the name first and walked only if it may occur, so a large result
/// without it costs one fast scan. Should the member occur twice, one `true` is enough: in doubt the
/// customer does not pay.
pub fn is_tool_error(result: &str) -> bool {
    let bytes = result.as_bytes();
    let named = IS_ERROR.find(bytes).is_some();
    let escaped = || ESCAPE.find(bytes).is_some();
    (named || escaped()) && serde_json::from_str::<IsError>(result).is_ok_and(|found| found.0)
}

impl<'a> FromServer<'a> {
    /// Reads one line, without its line end.
    pub fn read(line: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(line) else {
            return Self::Malformed("not valid UTF-8");
        };
        match serde_json::from_str::<Members<'a>>(text) {
            Ok(members) => members.classify(text).unwrap_or_else(Self::Malformed),
            Err(error) if error.is_data() => Self::Malformed("not a JSON object"),
            Err(_) => Self::Malformed("not valid JSON"),
        }
    }
}

/// The members of the top level, each as the text of its value.
#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    /// Names that JSON-RPC does not know. Almost always empty, which allocates nothing.
    unknown: Vec<Cow<'a, str>>,
    fault: Option<&'static str>,
}

/// Members beside those of JSON-RPC that a message may have. MCP defines none.
const UNKNOWN_MEMBERS_MAX: usize = 16;

const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'a> Members<'a> {
    fn put(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        let place = match name.as_ref() {
            "jsonrpc" => &mut self.jsonrpc,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => return self.put_unknown(name),
        };
        if place.replace(value).is_some() {
            self.fault = Some("a member occurs twice");
        }
    }

    fn put_unknown(&mut self, name: Cow<'a, str>) {
        if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            self.fault = Some("a member differs from a JSON-RPC member only in case");
        } else if self.unknown.contains(&name) {
            self.fault = Some("a member occurs twice");
        } else if self.unknown.len() == UNKNOWN_MEMBERS_MAX {
            self.fault = Some("too many members that JSON-RPC does not know");
        } else {
            self.unknown.push(name);
        }
    }

    fn classify(self, text: &'a str) -> Result<FromServer<'a>, &'static str> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
            return Err("jsonrpc is not \"2.0\"");
        }
        match self.method {
            Some(method) => self.call(method),
            None => self.answer(text).map(FromServer::Answer),
        }
    }

    fn call(&self, method: &'a RawValue) -> Result<FromServer<'a>, &'static str> {
        if self.result.is_some() || self.error.is_some() {
            return Err("method beside result or error");
        }
        let method = string(method).ok_or("method is not a string")?;
        let params = self.params;
        let Some(id) = self.id.map(RawValue::get) else {
            return Ok(FromServer::Notification { method, params });
        };
        if !id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()) {
            return Err("the id of a request is neither a number nor a string");
        }
        Ok(FromServer::Request { id, method, params })
    }

    fn answer(&self, text: &str) -> Result<Answer, &'static str> {
        let body = match (self.result, self.error) {
            (Some(result), None) => Body::Result(position(text, result)),
            (None, Some(error)) if error.get().starts_with('{') => {
                Body::Error(position(text, error))
            }
            (None, Some(_)) => return Err("error is not an object"),
            (Some(_), Some(_)) => return Err("both result and error"),
            (None, None) => return Err("neither method, result nor error"),
        };
        let raw_id = self.id.ok_or("an answer without an id")?;
        let id = raw_id.get().parse().map_err(|_| "the id of an answer is not one of ours")?;
        let id_range = position(text, raw_id);
        Ok(Answer { line: text.to_owned(), id, id_range, body, life: 0 })
    }
}

/// Where a value that was borrowed from `text` stands in it.
fn position(text: &str, value: &RawValue) -> Range<usize> {
    let value = value.get();
    let start = value.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + value.len()
}

/// The string that a raw value is, without a copy unless it has escapes.
fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevel;
        impl<'de> Visitor<'de> for TopLevel {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(Name(name)) = map.next_key()? {
                    members.put(name, map.next_value()?);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(TopLevel)
    }
}

/// The name of a member, borrowed unless it is written with escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a member")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Does a result object have `isError: true` at its top level?
struct IsError(bool);

impl<'de> Deserialize<'de> for IsError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevel;
        impl<'de> Visitor<'de> for TopLevel {
            type Value = IsError;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a result object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = false;
                while let Some(Name(name)) = map.next_key()? {
                    if name == "isError" {
                        found |= map.next_value::<&RawValue>()?.get() == "true";
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(IsError(found))
            }
        }
        deserializer.deserialize_map(TopLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Answer {
        match FromServer::read(line.as_bytes()) {
            FromServer::Answer(answer) => answer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_answer_keeps_every_byte_but_the_id() {
        let cases = [
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
                r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
            ),
            (
                r#"{"result":{"id":1, "x":1.50e3 },"id": 18446744073709551615 , "jsonrpc":"2.0" }"#,
                r#"{"result":{"id":1, "x":1.50e3 },"id": "a" , "jsonrpc":"2.0" }"#,
            ),
            (
                r#" {"jsonrpc":"2.0","\u0069d":7,"result":"é☃","_meta":{"id":9}}"#,
                r#" {"jsonrpc":"2.0","\u0069d":"a","result":"é☃","_meta":{"id":9}}"#,
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(String::from_utf8(answer(line).with_id("\"a\"")).unwrap(), expected);
        }
    }

    #[test]
    fn results_and_errors_are_told_apart() {
        let result = answer(r#"{"jsonrpc":"2.0","id":7,"result": {"a":[1, 2]} }"#);
        assert_eq!((result.id(), result.is_error()), (7, false));
        assert_eq!(result.result().unwrap().get(), r#"{"a":[1, 2]}"#);
        assert!(result.error().is_none());

        let error = answer(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#);
        assert!(error.is_error() && !error.is_tool_error());
        assert_eq!(error.error().unwrap().get(), r#"{"code":-32602,"message":"no"}"#);
        assert!(error.result().is_none());
    }

    #[test]
    fn a_tool_error_is_exactly_true_at_the_top_of_the_result() {
        let cases = [
            (r#"{"isError":true}"#, true),
            (r#"{"content":[{"text":"x"}], "isError" : true }"#, true),
            (r#"{"is\u0045rror":true}"#, true),
            (r#"{"isError":false,"isError":true}"#, true),
            (r#"{"isError":false}"#, false),
            (r#"{"isError":"true"}"#, false),
            (r#"{"isError":1}"#, false),
            (r#"{"iserror":true}"#, false),
            (r#"{"structuredContent":{"isError":true}}"#, false),
            (r#"{"content":[{"text":"\"isError\":true"}]}"#, false),
            ("[true]", false),
            ("null", false),
        ];
        for (result, expected) in cases {
            let line = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
            assert_eq!(answer(&line).is_tool_error(), expected, "{result}");
        }
    }

    #[test]
    fn requests_and_notifications_come_with_their_params() {
        let line =
            br#"{"jsonrpc":"2.0","id":"s-1","method":"sampling\/createMessage","params":{"a":1}}"#;
        let FromServer::Request { id, method, params } = FromServer::read(line) else {
            panic!("not a request");
        };
        assert_eq!((id, method.as_ref()), ("\"s-1\"", "sampling/createMessage"));
        assert_eq!(params.unwrap().get(), r#"{"a":1}"#);

        let line = br#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
        let FromServer::Notification { method, params } = FromServer::read(line) else {
            panic!("not a notification");
        };
        assert!(matches!(method, Cow::Borrowed("notifications/message")));
        assert!(params.is_none());
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        let cases: [&[u8]; 20] = [
            b"",
            b"listening on port 80",
            b"[]",
            b"7",
            b"{",
            br#"{"jsonrpc":"2.0","id":7,"result":{}} {}"#,
            br#"{"jsonrpc":"2.0","id":7}"#,
            br#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#,
            br#"{"jsonrpc":"2.0","id":7,"error":"no"}"#,
            br#"{"jsonrpc":"2.0","result":{}}"#,
            br#"{"jsonrpc":"2.0","id":null,"error":{}}"#,
            br#"{"jsonrpc":"2.0","id":"7","result":{}}"#,
            br#"{"jsonrpc":"2.0","id":-7,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":7,"x":1,"x":2,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":7,"ID":8,"result":{}}"#,
            br#"{"id":7,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#,
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"\xff\"}",
        ];
        for line in cases {
            let read = FromServer::read(line);
            assert!(
                matches!(read, FromServer::Malformed(_)),
                "{}: {read:?}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
