//! A line on its way to a server, as far as the transport that carries it must know it, and what a
//! modern request repeats of itself in HTTP headers.
//!
//! The lines are Paygate's own or written by it, so one that cannot be read is a mistake of ours.

use std::borrow::Cow;

use super::modern::{self, VERSION_KEY, encoded};
use super::object::{Object, string};
use super::version;

/// One message to a server.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The id as written.
    pub id: Option<&'a str>,
    /// The method, with escapes resolved; an answer has none.
    pub method: Option<Cow<'a, str>>,
    params: Option<&'a str>,
}

impl<'a> Outgoing<'a> {
    /// Reads one line. `None` if it is no message.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let object = Object::read(std::str::from_utf8(line).ok()?).ok()?;
        let method = match object.get("method") {
            Some(method) => Some(string(method)?),
            None => None,
        };
        Some(Self { id: object.get("id"), method, params: object.get("params") })
    }

    /// The id of ours whose request this cancels.
    pub fn cancels(&self) -> Option<u64> {
        let cancels = self.method.as_deref() == Some("notifications/cancelled");
        self.params().filter(|_| cancels)?.get("requestId")?.parse().ok()
    }

    /// The tool that is called, and its arguments as written.
    pub fn tool_call(&self) -> Option<(Cow<'a, str>, Option<&'a str>)> {
        let params = self.params().filter(|_| self.method.as_deref() == Some("tools/call"))?;
        Some((params.get("name").and_then(string)?, params.get("arguments")))
    }

    /// The headers that repeat, for a modern server, what the message says. `Mcp-Param-*`, which
    /// needs the tool's schema, is not among them: see [`super::modern::ParamHeaders`].
    pub fn mirrored(&self) -> Vec<(&'static str, String)> {
        let Some(method) = self.method.as_deref() else {
            return Vec::new();
        };
        let params = self.params();
        let member = |name: &str| params.as_ref().and_then(|params| params.get(name));
        let version = member("_meta")
            .and_then(|meta| Object::read(meta).ok())
            .and_then(|meta| meta.get(VERSION_KEY).and_then(string).map(Cow::into_owned));
        let mut headers = vec![
            ("mcp-protocol-version", version.unwrap_or_else(|| version::MODERN.to_owned())),
            ("mcp-method", encoded(method).into_owned()),
        ];
        if let Some(name) = modern::named_by(method).and_then(member).and_then(string) {
            headers.push(("mcp-name", encoded(&name).into_owned()));
        }
        headers
    }

    fn params(&self) -> Option<Object<'a>> {
        Object::read(self.params?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modern_requests_repeat_themselves() {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        for (method, params, name) in [
            ("tools/call", format!(r#"{{"name":"a\u0062",{meta}}}"#), Some("ab")),
            ("prompts/get", format!(r#"{{{meta},"name":" x"}}"#), Some("=?base64?IHg=?=")),
            (
                "resources/read",
                format!(r#"{{{meta},"uri":"test://é"}}"#),
                Some("=?base64?dGVzdDovL8Op?="),
            ),
            ("tasks/get", r#"{"taskId":"t"}"#.to_owned(), Some("t")),
            ("tools/list", r#"{"name":"x"}"#.to_owned(), None),
            ("tools/call", "[]".to_owned(), None),
        ] {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
            let message = Outgoing::read(line.as_bytes()).unwrap();
            assert_eq!((message.id, message.cancels()), (Some("7"), None));
            let expected: Vec<_> = [
                ("mcp-protocol-version", Some("2026-07-28")),
                ("mcp-method", Some(method)),
                ("mcp-name", name),
            ]
            .into_iter()
            .filter_map(|(header, value)| Some((header, value?.to_owned())))
            .collect();
            assert_eq!(message.mirrored(), expected, "{line}");
        }
    }

    #[test]
    fn what_a_message_is() {
        let read = |line: &'static str| Outgoing::read(line.as_bytes());
        let cancelled = read(r#"{"method":"notifications/cancelled","params":{"requestId":12}}"#);
        assert_eq!(cancelled.unwrap().cancels(), Some(12));
        let answer = read(r#"{"jsonrpc":"2.0","id":"s-1","result":{}}"#).unwrap();
        assert!(answer.method.is_none() && answer.mirrored().is_empty());
        assert!(read("[]").is_none() && read("").is_none() && read(r#"{"method":7}"#).is_none());
    }
}
