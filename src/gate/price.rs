//! What a call costs: the tool's price or the default, plus a surcharge by size of its arguments.
//!
//! The surcharge is `⌈bytes ÷ 1024 × creditsPerKbInput⌉`, where bytes is the length that the
//! arguments have after a JavaScript program has parsed and written them again: without white
//! space, with numbers in their shortest form. It is what paygate-mcp computes, so that nobody's
//! bill changes on the way over.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::charge::Item;
use super::policy::Policy;
use super::request::CallFacts;

pub(super) fn items(policy: &Policy, calls: &[CallFacts<'_>]) -> Vec<Item> {
    calls.iter().map(|call| Item { tool: call.tool.into(), price: of(policy, call) }).collect()
}

pub(super) fn total(items: &[Item]) -> i64 {
    items.iter().fold(0, |sum, item| sum.saturating_add(item.price))
}

fn of(policy: &Policy, call: &CallFacts<'_>) -> i64 {
    let Some(tool) = policy.tools.get(call.tool) else { return policy.default_price };
    let price = tool.price.unwrap_or(policy.default_price);
    match call.arguments {
        Some(arguments) if tool.milli_credits_per_kb > 0 && arguments != "null" => {
            price.saturating_add(surcharge(script_length(arguments), tool.milli_credits_per_kb))
        }
        _ => price,
    }
}

fn surcharge(bytes: u64, milli_credits_per_kb: i64) -> i64 {
    let exact = u128::from(bytes).saturating_mul(u128::try_from(milli_credits_per_kb).unwrap_or(0));
    i64::try_from(exact.div_ceil(1024 * 1000)).unwrap_or(i64::MAX)
}

/// Length in bytes that a JSON text has after JavaScript's `JSON.stringify(JSON.parse(text))`.
pub fn script_length(json: &str) -> u64 {
    let mut reader = serde_json::Deserializer::from_str(json);
    match reader.deserialize_any(Length) {
        Ok(length) => length,
        // A lone surrogate or a number beyond a double: legal JSON that Rust's types cannot hold.
        Err(_) => length_without_space(json),
    }
}

fn length_without_space(json: &str) -> u64 {
    let (mut length, mut in_string, mut escaped) = (0_u64, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        length += 1;
    }
    length
}

fn string_length(text: &str) -> u64 {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 2,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum::<u64>() + 2
}

/// Adds up the length while serde reads, without building a value.
struct Length;

impl<'de> serde::de::DeserializeSeed<'de> for Length {
    type Value = u64;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Length {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(4)
    }
    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(if value { 4 } else { 5 })
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "JavaScript has only doubles"
    )]
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
        self.visit_f64(value as f64)
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "JavaScript has only doubles"
    )]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
        self.visit_f64(value as f64)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        let length = ryu_js::Buffer::new().format(value).len();
        u64::try_from(length).map_err(E::custom)
    }
    fn visit_str<E>(self, value: &str) -> Result<u64, E> {
        Ok(string_length(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let (mut length, mut count) = (2_u64, 0_u64);
        while let Some(item) = items.next_element_seed(Length)? {
            length += item;
            count += 1;
        }
        Ok(length + count.saturating_sub(1))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<u64, A::Error> {
        // A later member of the same name replaces the earlier one.
        let mut lengths: HashMap<String, u64> = HashMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Length)?;
            lengths.insert(name, value);
        }
        let count = u64::try_from(lengths.len()).map_err(A::Error::custom)?;
        let members: u64 =
            lengths.iter().map(|(name, value)| string_length(name) + 1 + value).sum();
        Ok(2 + members + count.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ToolPolicy;

    #[test]
    fn lengths_as_javascript_writes_them() {
        let cases = [
            (r#"{ "a" : 1.0 }"#, r#"{"a":1}"#.len()),
            (r#"{"a":1,"a":22}"#, r#"{"a":22}"#.len()),
            (r"[1e2, -0, 12345678901234567890]", "[100,0,12345678901234567000]".len()),
            (r#""A\/\u0007\n""#, r#""A/\u0007\n""#.len()),
            ("\"\u{20ac}\"", 5),
            ("[true, false, null, {}, []]", "[true,false,null,{},[]]".len()),
            ("[1e400, 2]", "[1e400,2]".len()),
            (r#"["\ud800 x"]"#, r#"["\ud800 x"]"#.len()),
        ];
        for (json, expected) in cases {
            assert_eq!(script_length(json), u64::try_from(expected).unwrap(), "{json}");
        }
    }

    #[test]
    fn the_surcharge_is_rounded_up_once() {
        let mut policy = Policy { default_price: 2, ..Policy::default() };
        policy.tools.insert("kb".into(), ToolPolicy::new("kb", None, 0, 5_000));
        policy.tools.insert("fine".into(), ToolPolicy::new("fine", Some(0), 0, 1));
        let price = |tool, arguments| of(&policy, &CallFacts { tool, arguments });
        assert_eq!(price("kb", None), 2);
        assert_eq!(price("kb", Some("null")), 2);
        assert_eq!(price("kb", Some(r#"{"a":1}"#)), 3, "7 bytes at 5 per KB add 1");
        let kib = format!("\"{}\"", "x".repeat(1022));
        assert_eq!(price("kb", Some(&kib)), 7);
        assert_eq!(price("fine", Some(&kib)), 1);
        assert_eq!(price("other", Some(&kib)), 2);
    }
}
