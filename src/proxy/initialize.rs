//! `initialize` on the link that is shared: answered from the guarded server's own handshake, with the
//! version negotiated.

use super::Proxy;
use crate::protocol::from_client::Request;
use crate::protocol::object::{Member, Object, string};
use crate::protocol::to_server::{push_member, push_name};
use crate::protocol::version;

impl Proxy {
    /// What a client is told that has no server to itself. `None` if there is none at the moment.
    pub(super) fn shared_result(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let result = self.shared.link.first_result()?;
        let wanted = request.param("protocolVersion").and_then(string);
        Some(negotiated(&result, wanted.as_deref()))
    }
}

/// The version that a result of initialize names.
pub(super) fn version_of(result: &str) -> Option<Box<str>> {
    let object = Object::read(result).ok()?;
    object.get("protocolVersion").and_then(string).map(|version| version.as_ref().into())
}

/// The server's result with the version that both sides speak, and without what is not offered
/// on a connection that all customers share. Everything else stays as the server wrote it.
fn negotiated(result: &str, wanted: Option<&str>) -> Vec<u8> {
    let Ok(object) = Object::read(result) else { return result.as_bytes().to_vec() };
    let agreed = agreed(object.get("protocolVersion").and_then(string).as_deref(), wanted);
    let mut text = Vec::with_capacity(result.len());
    push_members(&mut text, object.members(), |text, member| {
        match (member.name.as_ref(), agreed, Object::read(member.value)) {
            ("protocolVersion", Some(agreed), _) => {
                text.extend_from_slice(format!("\"protocolVersion\":\"{agreed}\"").as_bytes());
            }
            ("capabilities", _, Ok(all)) => push_capabilities(text, member, &all),
            _ => push_member(text, member),
        }
    });
    text
}

/// The client's version, if Paygate knows it and it is not newer than the server's; else `None`:
/// the server's stays.
fn agreed(offered: Option<&str>, wanted: Option<&str>) -> Option<&'static str> {
    let (offered, wanted) = (offered.and_then(version::age)?, wanted.and_then(version::age)?);
    if wanted <= offered { version::ALL.get(wanted).copied() } else { None }
}

/// Writes what the server can do, without the methods that `free` answers with "not found".
fn push_capabilities(text: &mut Vec<u8>, member: &Member<'_>, all: &Object<'_>) {
    push_name(text, member);
    let offered = all.members().iter().filter(|one| !matches!(&*one.name, "tasks" | "logging"));
    push_members(text, offered, |text, one| match (&*one.name, Object::read(one.value)) {
        ("resources", Ok(resources)) => {
            push_name(text, one);
            let offered = resources.members().iter().filter(|inner| inner.name != "subscribe");
            push_members(text, offered, push_member);
        }
        _ => push_member(text, one),
    });
}

fn push_members<'a, 'b: 'a>(
    text: &mut Vec<u8>,
    members: impl IntoIterator<Item = &'a Member<'b>>,
    push: impl Fn(&mut Vec<u8>, &Member<'b>),
) {
    text.push(b'{');
    for (index, member) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        push(text, member);
    }
    text.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_is_agreed_on_and_the_rest_stays() {
        let check = |offered: &str, wanted: Option<&str>| {
            let result =
                format!(r#"{{"x":1.0,"protocolVersion":"{offered}","capabilities":{{}}}}"#);
            let text = String::from_utf8(negotiated(&result, wanted)).unwrap();
            assert!(
                text.starts_with(r#"{"x":1.0,"#) && text.ends_with(r#","capabilities":{}}"#),
                "{text}"
            );
            text.split('"').nth(5).unwrap().to_owned()
        };
        assert_eq!(check("2025-06-18", Some("2025-03-26")), "2025-03-26");
        assert_eq!(check("2025-06-18", Some("2025-06-18")), "2025-06-18");
        assert_eq!(check("2025-06-18", Some("2025-11-25")), "2025-06-18");
        assert_eq!(check("2025-06-18", Some("1.0")), "2025-06-18");
        assert_eq!(check("2025-06-18", None), "2025-06-18");
        assert_eq!(check("2024-10-07", Some("2024-11-05")), "2024-10-07");
    }

    #[test]
    fn what_belongs_to_a_connection_is_not_offered() {
        let result = concat!(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"log\u0067ing":{},"tools":{"listChanged" : true},"#,
            r#""tasks":{"list":{}},"resources":{"subscribe":true,"listChanged":1.0},"x":{"tasks":1}},"tasks":2}"#
        );
        let left = concat!(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged" : true},"#,
            r#""resources":{"listChanged":1.0},"x":{"tasks":1}},"tasks":2}"#
        );
        for wanted in [None, Some("2025-11-25"), Some("x")] {
            assert_eq!(String::from_utf8(negotiated(result, wanted)).unwrap(), left);
        }
    }
}
