//! One text for all the ways in which the same JSON can be written, so that two of them can be
//! compared by a digest. Members are sorted and strings are written in one way; a number stays as it
//! was spelled, because a reader may keep more of it than another.

use super::object::{Member, Object, items, string};
use super::to_client::push_json;
use crate::model::bounds::CANONICAL_DEPTH_MAX;

/// Appends the one text of a JSON value. What is no JSON is taken as it is.
pub fn push(text: &mut Vec<u8>, json: &str) {
    push_at(text, json, 0);
}

fn push_at(text: &mut Vec<u8>, json: &str, depth: usize) {
    if depth > CANONICAL_DEPTH_MAX {
        return text.extend_from_slice(json.as_bytes());
    }
    let json = json.trim_matches([' ', '\t', '\r', '\n']);
    match json.as_bytes().first() {
        Some(b'{') => match Object::read(json) {
            Ok(object) => push_members_at(text, object.members().iter(), depth),
            Err(_) => text.extend_from_slice(json.as_bytes()),
        },
        Some(b'[') => match items(json) {
            Some(items) => {
                text.push(b'[');
                for item in items {
                    push_at(text, item, depth + 1);
                    text.push(b',');
                }
                text.push(b']');
            }
            None => text.extend_from_slice(json.as_bytes()),
        },
        Some(b'"') => match string(json) {
            Some(string) => push_json(text, string.as_ref()),
            None => text.extend_from_slice(json.as_bytes()),
        },
        _ => text.extend_from_slice(json.as_bytes()),
    }
}

/// Appends the one text of an object with these members.
pub fn push_members<'a, 'b: 'a>(text: &mut Vec<u8>, members: impl Iterator<Item = &'a Member<'b>>) {
    push_members_at(text, members, 0);
}

fn push_members_at<'a, 'b: 'a>(
    text: &mut Vec<u8>,
    members: impl Iterator<Item = &'a Member<'b>>,
    depth: usize,
) {
    let mut members: Vec<_> = members.collect();
    // The sort keeps the order of members that are named alike.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    text.push(b'{');
    for member in members {
        push_json(text, member.name.as_ref());
        text.push(b':');
        push_at(text, member.value, depth + 1);
        text.push(b',');
    }
    text.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut text = Vec::new();
        push(&mut text, json);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_same_value_has_one_text() {
        let one = canonical(r#"{"b": [1, {"y":2,"x":"\u00e9"}], "a":null}"#);
        assert_eq!(one, canonical("{\"a\":null,\r\n\"b\":[1,{\"x\":\"é\",\"y\":2}]}"));
        for other in [
            r#"{"b":[1,{"y":2,"x":"e"}],"a":null}"#,
            r#"{"b":[1,{"y":2.0,"x":"é"}],"a":null}"#,
            r#"{"b":[{"y":2,"x":"é"},1],"a":null}"#,
            r#"{"b":[1,{"y":2,"x":"é"}]}"#,
        ] {
            assert_ne!(one, canonical(other), "{other}");
        }
        assert_ne!(canonical(r#"{"a":1,"a":2}"#), canonical(r#"{"a":2,"a":1}"#));
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_ne!(canonical(&deep(100_000)), canonical(&deep(99_999)));
        assert_ne!(canonical(r#"["a,b"]"#), canonical(r#"["a","b"]"#));
    }
}
