//! Bodies of requests: read within bounds, then taken apart without losing anything. Members keep
//! their text, so a number is never rounded before somebody looks at it; a member that comes twice
//! or that nobody knows is refused, because it would be unclear what counts.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::admin::wire::answer::Problem;
use crate::admin::wire::fields;
use crate::model::secret::Digest;
use crate::model::spelling::nearest;

/// How long a body may take to arrive: far longer than a megabyte needs on any line.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);

/// Reads a whole body.
pub(in crate::admin) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(ARRIVAL_MAX, Limited::new(body, bytes_max).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(bytes_max)),
        Ok(Err(_)) => Err(Problem::bad("The body ended too early")),
        Err(_) => Err(Problem::too_slow()),
    }
}

/// Characters of an unknown name that a message repeats.
const NAME_SHOWN_CHARS_MAX: usize = 60;

/// One JSON value, seen only as far as its kind.
#[derive(Debug)]
pub(in crate::admin) enum Json<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'a str),
    Text(String),
    List(&'a RawValue),
    Object(&'a RawValue),
}

impl<'a> Json<'a> {
    /// Looks at a value; `name` is for the message if it is broken text.
    pub(in crate::admin) fn of(raw: &'a RawValue, name: &str) -> Result<Self, Problem> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => Self::Object(raw),
            Some(b'[') => Self::List(raw),
            Some(b'"') => {
                let broken = |_| Problem::bad(format!("{name} is not valid Unicode text"));
                Self::Text(serde_json::from_str(text).map_err(broken)?)
            }
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number(text),
        })
    }
}

/// The members of an object, in their order.
#[derive(Debug)]
pub(in crate::admin) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes the body of a request apart. `known` are the members that mean something to it.
    pub(in crate::admin) fn of_body(body: &'a [u8], known: &[&str]) -> Result<Self, Problem> {
        let raw: &RawValue =
            serde_json::from_slice(body).map_err(|_| Problem::bad("Invalid JSON"))?;
        if !raw.get().starts_with('{') {
            return Err(Problem::bad("The body must be a JSON object"));
        }
        let members = Self::of_object(raw, "the body")?;
        members.refuse_unknown(known)?;
        Ok(members)
    }

    /// Takes an object apart; `what` names it in messages.
    pub(in crate::admin) fn of_object(raw: &'a RawValue, what: &str) -> Result<Self, Problem> {
        let members: Self = serde_json::from_str(raw.get())
            .map_err(|_| Problem::bad(format!("A name in {what} is not valid Unicode text")))?;
        let mut seen = HashSet::with_capacity(members.0.len());
        for (name, _) in &members.0 {
            if !seen.insert(name) {
                let message = format!("The member \"{name}\" is in {what} more than once");
                return Err(Problem::bad(message));
            }
        }
        Ok(members)
    }

    /// Refuses members that mean nothing here: `credit` for `credits` would be 100 credits.
    pub(in crate::admin) fn refuse_unknown(&self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()))
        else {
            return Ok(());
        };
        let shown = fields::cut(name, NAME_SHOWN_CHARS_MAX);
        Err(Problem::bad(match nearest(name, known.iter().copied()) {
            Some(meant) => format!("Unknown member \"{shown}\": did you mean \"{meant}\"?"),
            None => format!("Unknown member \"{shown}\"; known are {}", known.join(", ")),
        }))
    }

    /// Is there such a member, be it `null`?
    pub(in crate::admin) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| member == name)
    }

    /// A member; an absent one is like `null`.
    pub(in crate::admin) fn get(&self, name: &str) -> Result<Json<'a>, Problem> {
        match self.0.iter().find(|(member, _)| member == name) {
            Some((_, raw)) => Json::of(raw, name),
            None => Ok(Json::Null),
        }
    }

    /// All members.
    pub(in crate::admin) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    /// The same for every order of the members.
    pub(in crate::admin) fn digest(&self) -> Digest {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        let mut text = String::new();
        for (name, raw) in members {
            // Lengths, so that no two lists of members make the same text.
            for part in [name, raw.get()] {
                text.push_str(&part.len().to_string());
                text.push(':');
                text.push_str(part);
            }
        }
        Digest::of(text.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Members::of_body(body.as_bytes(), &["credits", "key", "a"])
            .unwrap_err()
            .message()
            .to_owned()
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        for body in
            ["", "{", "{\"a\":1}}", "{\"a\":01}", "nul", "{'a':1}", "{\"a\":1,}", "\u{feff}{}"]
        {
            assert_eq!(refused(body), "Invalid JSON", "{body}");
        }
        for body in ["null", "[]", "[{}]", "7", "\"text\"", "true"] {
            assert_eq!(refused(body), "The body must be a JSON object", "{body}");
        }
        assert!(Members::of_body(b"{\"a\":\"\xff\"}", &[]).is_err());
    }

    #[test]
    fn members_must_be_clear() {
        assert_eq!(
            refused(r#"{"credits":1,"credits":100}"#),
            "The member \"credits\" is in the body more than once"
        );
        // The same name, once written with an escape.
        assert_eq!(
            refused(r#"{"credits":1,"\u0063redits":100}"#),
            "The member \"credits\" is in the body more than once"
        );
        for wrong in ["Credits", "credit", "crédits"] {
            let body = format!("{{\"{wrong}\":1}}");
            let message = format!("Unknown member \"{wrong}\": did you mean \"credits\"?");
            assert_eq!(refused(&body), message);
        }
        assert_eq!(refused(r#"{"typo":1}"#), "Unknown member \"typo\"; known are credits, key, a");
        let body = br#" {"credits": 1e400, "other": {"a":[]}} "#;
        let members = Members::of_body(body, &["credits", "other"]).unwrap();
        assert!(matches!(members.get("credits"), Ok(Json::Number("1e400"))));
        assert!(matches!(members.get("absent"), Ok(Json::Null)));
        assert!(members.has("other") && !members.has("absent"));
        let broken = Members::of_body(br#"{"key":"\ud800"}"#, &["key"]).unwrap();
        assert_eq!(broken.get("key").unwrap_err().message(), "key is not valid Unicode text");
    }

    #[test]
    fn deep_nesting_is_harmless() {
        let body = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(Members::of_body(body.as_bytes(), &["a"]).is_ok());
    }

    #[test]
    fn a_digest_knows_members_by_name_and_value() {
        let digest =
            |body: &str| Members::of_body(body.as_bytes(), &["key", "credits"]).unwrap().digest();
        let one = digest(r#"{"key":"a","credits":5}"#);
        assert_eq!(one, digest(r#"{ "credits" : 5, "key" : "a" }"#));
        assert_ne!(one, digest(r#"{"key":"a","credits":6}"#));
        assert_ne!(one, digest(r#"{"key":"a","credits":"5"}"#));
    }
}
