//! A JSON object as a list of members whose values stay text, in the order in which they came.
//!
//! Nothing in a value is decoded or changed, so numbers of any length, repeated members of inner
//! objects and unusual escapes go on exactly as they were written. Only names are decoded.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The name as written, with its quotes.
    pub raw_name: &'a str,
    /// The name with escapes resolved.
    pub name: Cow<'a, str>,
    /// The value as written.
    pub value: &'a str,
}

/// A JSON object, one level of it.
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Reads a JSON text that is one object.
    pub fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The members in order.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The value of the first member of this name, as text.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value)
    }

    /// The same object with another value in the place of the first member of this name, or without
    /// that member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&'a str>) -> Self {
        let place = self.members.iter().position(|member| member.name == name);
        match (place.and_then(|place| self.members.get_mut(place)), place, value) {
            (Some(member), _, Some(value)) => member.value = value,
            (Some(_), Some(place), None) => drop(self.members.remove(place)),
            _ => {}
        }
        self
    }

    /// The same object with more members at its end.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = Member<'a>>) -> Self {
        self.members.extend(more);
        self
    }

    /// Is there a member of this name?
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadMembers)
    }
}

struct ReadMembers;

impl<'de> Visitor<'de> for ReadMembers {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(4);
        while let Some((raw_name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let raw_name = raw_name.get();
            // A half of a surrogate pair: readers differ about what it is.
            let name =
                string(raw_name).ok_or_else(|| A::Error::custom("a name that is no text"))?;
            members.push(Member { raw_name, name, value: value.get() });
        }
        Ok(Object { members })
    }
}

/// `text` with `by` in the place of `part`, which is a piece of it, and no other byte changed.
pub fn replaced(text: &str, part: &str, by: &str) -> Vec<u8> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let (before, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let after = rest.get(part.len()..).unwrap_or_default();
    [before, by, after].concat().into_bytes()
}

/// The string that a JSON text is, without a copy unless it has escapes. `None` if it is another
/// kind of value, or a string that is not Unicode.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// The items of a JSON array, as text. `None` if it is another kind of value.
pub fn items(text: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_written_and_names_are_decoded() {
        let text = r#" {"a" : 1.50, "\u0062":{"x":1,"x":2} ,"c":"\ud800"} "#;
        let object = Object::read(text).unwrap();
        let read: Vec<_> =
            object.members().iter().map(|m| (m.raw_name, &*m.name, m.value)).collect();
        let expected = [
            (r#""a""#, "a", "1.50"),
            (r#""\u0062""#, "b", r#"{"x":1,"x":2}"#),
            (r#""c""#, "c", r#""\ud800""#),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let text = r#"{ "x":{"id":1}, "id" : 1 ,"y":1}"#;
        let object = Object::read(text).unwrap();
        let changed = replaced(text, object.get("id").unwrap(), "\"é\"");
        assert_eq!(String::from_utf8(changed).unwrap(), r#"{ "x":{"id":1}, "id" : "é" ,"y":1}"#);
    }

    #[test]
    fn control_characters_in_strings_are_refused() {
        for text in ["{\"a\":\"x\ny\"}", "{\"a\nb\":1}", "{\"a\":[\"\u{1}\"]}", "{\"a\":\"\r\"}"] {
            assert!(Object::read(text).is_err(), "{text:?}");
        }
        assert!(Object::read("{\n\"a\":\r\n[1,\n2]\n}").is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "1", r#""{}""#, "{", r#"{"a":1}x"#, "{1:2}", r#"{"\ud800":1}"#] {
            assert!(Object::read(text).is_err(), "{text}");
        }
    }
}
