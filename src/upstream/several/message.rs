//! Messages on their way through the router: read once, and written with the few values changed
//! that must be.

use std::borrow::Cow;

use crate::protocol::object::{Member, Object, string};
use crate::protocol::to_client::push_json;
use crate::protocol::to_server::{push_member, push_name};

/// A line for a server.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// Wants an answer under this id of the outer link.
    Request { id: u64, method: Cow<'a, str>, body: Body<'a> },
    /// Wants none.
    Notification { method: Cow<'a, str>, body: Body<'a> },
    /// Answers what a server asked, under an id that the router gave out.
    Response { id: u64, body: Body<'a> },
}

/// A message, one level of it and one of its parameters.
#[derive(Debug)]
pub(super) struct Body<'a> {
    top: Object<'a>,
    params: Option<Object<'a>>,
    bytes: usize,
}

/// What is to be changed in a message. A value is JSON text; `None` leaves the member out. What a
/// message does not have is not added.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The id.
    pub(super) id: Option<String>,
    /// Members of `params`.
    pub(super) params: Vec<(&'static str, Option<String>)>,
    /// Members of `params._meta`.
    pub(super) meta: Vec<(&'static str, String)>,
}

impl<'a> Message<'a> {
    /// Reads a line of ours. `None` if it is none.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let body = Body::read(line)?;
        let id = body.top.get("id").map(str::parse);
        let method = body.top.get("method").map(string);
        match (id, method) {
            (Some(Ok(id)), Some(Some(method))) => Some(Self::Request { id, method, body }),
            (None, Some(Some(method))) => Some(Self::Notification { method, body }),
            (Some(Ok(id)), None) => Some(Self::Response { id, body }),
            _ => None,
        }
    }
}

impl<'a> Body<'a> {
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let top = Object::read(std::str::from_utf8(line).ok()?).ok()?;
        let params = top.get("params").and_then(|params| Object::read(params).ok());
        Some(Self { top, params, bytes: line.len() })
    }

    /// A parameter as JSON text.
    pub(super) fn param(&self, name: &str) -> Option<&'a str> {
        self.params.as_ref()?.get(name)
    }

    /// A parameter that is a text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.param(name).and_then(string)
    }

    /// A member of `params._meta`, as JSON text.
    pub(super) fn meta(&self, name: &str) -> Option<&'a str> {
        self.param("_meta").and_then(|meta| Object::read(meta).ok()?.get(name))
    }

    /// The message with these changes and every other value as it was.
    pub(super) fn with(&self, changes: &Changes) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.bytes + 64);
        push_changed(&mut line, &self.top, |line, member| match member.name.as_ref() {
            "id" => push_value(line, member, changes.id.as_deref()),
            "params" => match &self.params {
                Some(params) if !(changes.params.is_empty() && changes.meta.is_empty()) => {
                    push_name(line, member);
                    push_params(line, params, changes);
                    true
                }
                _ => false,
            },
            _ => false,
        });
        line
    }
}

fn push_params(line: &mut Vec<u8>, params: &Object<'_>, changes: &Changes) {
    let left_out: Vec<_> =
        changes.params.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    let kept = params.members().iter().filter(|member| !left_out.contains(&&*member.name));
    push_members(line, kept, |line, member| {
        let other = changes.params.iter().find(|(name, _)| *name == member.name);
        if let Some((_, value)) = other {
            return push_value(line, member, value.as_deref());
        }
        match Object::read(member.value) {
            Ok(meta) if member.name == "_meta" => {
                push_name(line, member);
                push_changed(line, &meta, |line, member| {
                    let other = changes.meta.iter().find(|(name, _)| *name == member.name);
                    push_value(line, member, other.map(|(_, value)| value.as_str()))
                });
                true
            }
            _ => false,
        }
    });
}

/// Writes a member with another value, if there is one.
fn push_value(line: &mut Vec<u8>, member: &Member<'_>, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    push_name(line, member);
    line.extend_from_slice(value.as_bytes());
    true
}

/// Writes an object. `push` writes a member in its own way, or says that it stays as it is.
pub(super) fn push_changed<'a>(
    line: &mut Vec<u8>,
    object: &Object<'a>,
    push: impl FnMut(&mut Vec<u8>, &Member<'a>) -> bool,
) {
    push_members(line, object.members().iter(), push);
}

fn push_members<'a, 'm>(
    line: &mut Vec<u8>,
    members: impl Iterator<Item = &'m Member<'a>>,
    mut push: impl FnMut(&mut Vec<u8>, &Member<'a>) -> bool,
) where
    'a: 'm,
{
    line.push(b'{');
    for (index, member) in members.enumerate() {
        if index > 0 {
            line.push(b',');
        }
        if !push(line, member) {
            push_member(line, member);
        }
    }
    line.push(b'}');
}

/// A text as JSON.
pub(super) fn json(text: &str) -> String {
    let mut line = Vec::with_capacity(text.len() + 2);
    push_json(&mut line, text);
    String::from_utf8(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_lines_are_told_apart() {
        let read = |line: &'static str| match Message::read(line.as_bytes()) {
            Some(Message::Request { id, method, .. }) => format!("{id} {method}"),
            Some(Message::Notification { method, .. }) => method.into_owned(),
            Some(Message::Response { id, .. }) => format!("{id}"),
            None => "none".to_owned(),
        };
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"a\u0062"}"#, "7 ab"),
            (r#"{"jsonrpc":"2.0","method":"n","params":[1]}"#, "n"),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, "7"),
            (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, "none"),
            (r#"{"jsonrpc":"2.0","id":7,"method":5}"#, "none"),
            ("{}", "none"),
            ("x", "none"),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn only_what_must_change_changes() {
        let line = concat!(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"fs:a","arguments":{"name":1.50, "x":[1,  2]},"#,
            r#""cursor":"c","_meta":{"progressToken":7,"k":{"progressToken":7}}},"more":1e400}"#
        );
        let body = Body::read(line.as_bytes()).unwrap();
        assert_eq!(body.with(&Changes::default()), line.as_bytes());
        let changes = Changes {
            id: Some("9".to_owned()),
            params: vec![("name", Some(json("a"))), ("cursor", None), ("absent", Some("1".into()))],
            meta: vec![("progressToken", "9".to_owned())],
        };
        assert_eq!(
            String::from_utf8(body.with(&changes)).unwrap(),
            concat!(
                r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"a","arguments":{"name":1.50, "x":[1,  2]},"#,
                r#""_meta":{"progressToken":9,"k":{"progressToken":7}}},"more":1e400}"#
            )
        );
        assert_eq!(body.meta("progressToken"), Some("7"));
        assert_eq!(body.text("name").as_deref(), Some("fs:a"));
    }
}
