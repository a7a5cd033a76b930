//! The keys of paygate-mcp as it keeps them in Redis, in the form of its state file: there all fields are
//! texts, and an empty one is none.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::store::redis::ForeignKey;

/// Fields whose text is JSON.
const JSON: [&str; 5] = ["allowedTools", "deniedTools", "quota", "tags", "ipAllowlist"];

/// Fields that are numbers.
const NUMBERS: [&str; 8] = [
    "credits",
    "totalSpent",
    "totalCalls",
    "spendingLimit",
    "quotaDailyCalls",
    "quotaMonthlyCalls",
    "quotaDailyCredits",
    "quotaMonthlyCredits",
];

/// The text of a state file with these keys, one on each line.
pub(super) fn state(keys: &[ForeignKey]) -> Zeroizing<String> {
    let size = |(key, record): &ForeignKey| {
        let fields = record.iter().map(|(name, text)| name.len().saturating_add(text.len()));
        // Quotes, colons, and some that need an escape.
        fields.fold(key.len(), usize::saturating_add).saturating_mul(2).saturating_add(256)
    };
    let room = keys.iter().map(size).fold(2, usize::saturating_add);
    // Room for all of it at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(room));
    for (index, (key, record)) in keys.iter().enumerate() {
        text.push_str(if index == 0 { "[[" } else { ",\n[" });
        push_text(&mut text, key);
        text.push_str(",{");
        let mut is_first = true;
        for (name, value) in record {
            let Some(value) = member(name, value) else { continue };
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            push_text(&mut text, name);
            text.push(':');
            match value {
                Member::Plain(json) => text.push_str(json),
                Member::Text(value) => push_text(&mut text, value),
            }
        }
        text.push_str("}]");
    }
    text.push_str(if keys.is_empty() { "[]" } else { "]" });
    text
}

/// What a field is in the file.
enum Member<'a> {
    /// JSON as it stands there.
    Plain(&'a str),
    /// A text.
    Text(&'a str),
}

/// A field that is no number or no JSON stays a text, and its record is refused by name.
fn member<'a>(name: &str, value: &'a str) -> Option<Member<'a>> {
    if name == "active" {
        // Only this one word is no.
        return Some(Member::Plain(if value == "0" { "false" } else { "true" }));
    }
    if value.is_empty() {
        return None;
    }
    let is_json = || serde_json::from_str::<&RawValue>(value).is_ok();
    let is_number = || serde_json::from_str::<serde_json::Number>(value).is_ok();
    let is_plain = (JSON.contains(&name) && is_json()) || (NUMBERS.contains(&name) && is_number());
    Some(if is_plain { Member::Plain(value) } else { Member::Text(value) })
}

fn push_text(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            // A text takes all that is written to it.
            control if control.is_control() => drop(write!(text, "\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_the_members_that_the_state_file_has() {
        let field = |name: &str, text: &str| (name.to_owned(), Zeroizing::new(text.to_owned()));
        for (name, text, json) in [
            ("credits", "5", "5"),
            ("credits", "5.5", "5.5"),
            ("credits", "x", "\"x\""),
            ("active", "0", "false"),
            ("active", "1", "true"),
            ("tags", "{\"a\":\"b\"}", "{\"a\":\"b\"}"),
            ("tags", "{", "\"{\""),
            ("name", "a \"b\"\n\\", "\"a \\\"b\\\"\\u000a\\\\\""),
        ] {
            let record = [field(name, text)].into_iter().collect();
            let state = state(&[(Zeroizing::new("k".to_owned()), record)]);
            assert_eq!(*state, format!("[[\"k\",{{\"{name}\":{json}}}]]"));
            serde_json::from_str::<serde_json::Value>(&state).unwrap();
        }
        let record = [field("lastUsedAt", "")].into_iter().collect();
        assert_eq!(*state(&[(Zeroizing::new("k".to_owned()), record)]), "[[\"k\",{}]]");
        assert_eq!(*state(&[]), "[]");
    }
}
