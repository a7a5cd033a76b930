//! The members that several endpoints take, each read in one way. A wrong one is named.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::admin::wire::answer::Problem;
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::number::{NotWhole, whole};
use crate::model::bounds::{COUNTER_MAX, TOOL_NAME_BYTES_MAX};
use crate::model::ids::KeyId;
use crate::model::key::{IpAllowlist, Quota, ToolList};
use crate::model::namespace;
use crate::model::secret::{Digest, RawKey};
use crate::model::time::Time;

/// Longest list of tags, and longest name and value of one in characters.
const TAGS_MAX: usize = 50;
const TAG_CHARS_MAX: usize = 100;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// How a request names a key.
#[derive(Clone, Debug)]
pub(in crate::admin) enum KeyRef {
    Id(KeyId),
    Credential(Digest),
    /// It begins like an id and is none.
    Nothing,
}

/// `key`: the raw key or the id. `None` if it is missing.
pub(in crate::admin) fn key(members: &Members<'_>) -> Result<Option<KeyRef>, Problem> {
    key_named(members, "key")
}

/// The same under another name.
pub(in crate::admin) fn key_named(
    members: &Members<'_>,
    name: &str,
) -> Result<Option<KeyRef>, Problem> {
    match members.get(name)? {
        Json::Null | Json::Bool(false) => Ok(None),
        Json::Text(text) if text.is_empty() => Ok(None),
        Json::Text(text) => Ok(Some(key_of(&text))),
        Json::Bool(true) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::bad(format!("{name} must be a string: a raw key or the id of a key")))
        }
    }
}

fn key_of(text: &str) -> KeyRef {
    match (KeyId::parse(text), RawKey::parse(text)) {
        (Some(id), _) => KeyRef::Id(id),
        (None, Some(raw)) => KeyRef::Credential(raw.digest()),
        (None, None) => KeyRef::Nothing,
    }
}

/// The same where nothing else is required.
pub(in crate::admin) fn key_required(members: &Members<'_>) -> Result<KeyRef, Problem> {
    key(members)?.ok_or_else(|| Problem::bad("Missing key"))
}

/// A whole number, or a string that is one; `None` if absent or `null`.
pub(in crate::admin) fn whole_number(value: &Json<'_>) -> Option<Result<i64, NotWhole>> {
    match value {
        Json::Null => None,
        Json::Number(text) => Some(whole(text)),
        Json::Text(text) => Some(whole(text)),
        Json::Bool(_) | Json::List(_) | Json::Object(_) => Some(Err(NotWhole::NotANumber)),
    }
}

/// A limit: 0 or more, 0 meaning none. `None` if absent or `null`.
pub(in crate::admin) fn limit(name: &str, value: &Json<'_>) -> Result<Option<i64>, Problem> {
    match whole_number(value) {
        None => Ok(None),
        Some(Ok(limit)) if limit >= 0 => Ok(Some(limit)),
        Some(_) => {
            Err(Problem::bad(format!("{name} must be a whole number from 0 to {COUNTER_MAX}")))
        }
    }
}

/// A list of tool names; `null` empties it. Names are exact: one that would be trimmed would allow
/// or deny another tool than the one it says.
pub(in crate::admin) fn tools(members: &Members<'_>, name: &str) -> Result<ToolList, Problem> {
    let names = strings(&members.get(name)?, name, ToolList::ENTRIES_MAX)?.unwrap_or_default();
    for (index, tool) in names.iter().enumerate() {
        if tool.trim() != tool {
            let message = format!("{name}[{index}] must not begin or end with white space");
            return Err(Problem::bad(message));
        }
        if tool.len() > TOOL_NAME_BYTES_MAX {
            let message = format!("{name}[{index}] is longer than {TOOL_NAME_BYTES_MAX} bytes");
            return Err(Problem::bad(message));
        }
    }
    Ok(ToolList::from_names(names.iter().map(String::as_str)))
}

/// A list of addresses and networks.
pub(in crate::admin) fn addresses(entries: &[String], name: &str) -> Result<IpAllowlist, Problem> {
    IpAllowlist::parse(entries.iter().map(String::as_str)).map_err(|entry| {
        Problem::bad(format!(
            "{name}: \"{entry}\" is neither an address nor a network such as 203.0.113.0/24"
        ))
    })
}

/// A list of strings; `None` for `null`. A list that is cut could allow or deny the wrong thing, so
/// one that is too long is refused.
pub(in crate::admin) fn strings(
    value: &Json<'_>,
    name: &str,
    entries_max: usize,
) -> Result<Option<Vec<String>>, Problem> {
    let raw = match value {
        Json::Null => return Ok(None),
        Json::List(raw) => raw,
        Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => {
            return Err(Problem::bad(format!("{name} must be an array of strings")));
        }
    };
    let entries: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| Problem::bad("Invalid JSON"))?;
    if entries.len() > entries_max {
        let count = entries.len();
        return Err(Problem::bad(format!("{name} has {count} entries; at most {entries_max}")));
    }
    let mut strings = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        match Json::of(entry, &format!("{name}[{index}]"))? {
            Json::Text(text) => strings.push(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
                return Err(Problem::bad(format!("{name}[{index}] must be a string")));
            }
        }
    }
    Ok(Some(strings))
}

/// Changes labels: `null` removes one.
pub(in crate::admin) fn merge_tags(
    tags: &mut BTreeMap<String, String>,
    changes: &Members<'_>,
) -> Result<(), Problem> {
    for (name, raw) in changes.iter() {
        let short = short_tag(name);
        if short.is_empty() {
            continue;
        }
        match tag_value(name, raw)? {
            Some(value) => tags.insert(short.to_owned(), value),
            None => tags.remove(short),
        };
    }
    if tags.len() > TAGS_MAX {
        let count = tags.len();
        return Err(Problem::bad(format!("tags would be {count}; a key has at most {TAGS_MAX}")));
    }
    Ok(())
}

/// Labels to look for.
pub(in crate::admin) fn wanted_tags(tags: &Members<'_>) -> Result<Vec<(String, String)>, Problem> {
    let read = |(name, raw): (&str, &RawValue)| match tag_value(name, raw)? {
        Some(value) => Ok((short_tag(name).to_owned(), value)),
        None => Err(Problem::bad(format!("tags.{name} must be a string"))),
    };
    tags.iter().map(read).collect()
}

/// One label's value as text; `None` for `null`.
fn tag_value(name: &str, raw: &RawValue) -> Result<Option<String>, Problem> {
    let value = match Json::of(raw, &format!("tags.{name}"))? {
        Json::Null => return Ok(None),
        Json::Text(text) => text,
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => script_number(text),
        Json::List(_) | Json::Object(_) => {
            return Err(Problem::bad(format!("tags.{name} must be a string")));
        }
    };
    Ok(Some(short_tag(&value).to_owned()))
}

/// A label's name or value as it is kept.
fn short_tag(text: &str) -> &str {
    cut(text.trim(), TAG_CHARS_MAX).trim_end()
}

/// A number as a script would print it: `1.0` is `1`.
fn script_number(text: &str) -> String {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.map_or_else(|| text.to_owned(), |value| ryu_js::Buffer::new().format(value).to_owned())
}

/// A tenant's name; `None` if absent or empty.
pub(in crate::admin) fn namespace(members: &Members<'_>) -> Result<Option<String>, Problem> {
    match members.get("namespace")? {
        Json::Null => Ok(None),
        Json::Text(text) if text.trim().is_empty() => Ok(None),
        Json::Text(text) => namespace_of(&text).map(Some),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::bad("namespace must be a string"))
        }
    }
}

/// A tenant's name as it is stored.
pub(in crate::admin) fn namespace_of(text: &str) -> Result<String, Problem> {
    namespace::normalise(text).ok_or_else(|| {
        Problem::bad(format!(
            "namespace \"{text}\" may hold only letters a-z, digits and \"-\", at most 50 of them"
        ))
    })
}

/// When a key ends: `expiresIn` in seconds wins over `expiresAt`; without either never.
pub(in crate::admin) fn expiry(members: &Members<'_>, now: Time) -> Result<Option<Time>, Problem> {
    // Both are read: what is wrong is said also of the one that does not count.
    let (span, end) =
        (expires_in(&members.get("expiresIn")?, now)?, expires_at(&members.get("expiresAt")?)?);
    Ok(span.or(end))
}

fn expires_in(value: &Json<'_>, now: Time) -> Result<Option<Time>, Problem> {
    let text: &str = match value {
        Json::Null => return Ok(None),
        Json::Number(text) => text,
        Json::Text(text) => text,
        Json::Bool(_) | Json::List(_) | Json::Object(_) => "",
    };
    let wrong = || Problem::bad("expiresIn must be a number of seconds, 0 for none");
    let seconds: f64 = text.trim().parse().map_err(|_| wrong())?;
    if seconds == 0.0 {
        return Ok(None);
    }
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    let end = now.plus(span);
    let fits = u128::try_from(end.since_ms(now)).is_ok_and(|ms| ms == span.as_millis());
    fits.then_some(Some(end)).ok_or_else(|| Problem::bad("expiresIn ends after the year 9999"))
}

fn expires_at(value: &Json<'_>) -> Result<Option<Time>, Problem> {
    let text: &str = match value {
        Json::Null => return Ok(None),
        Json::Text(text) if text.trim().is_empty() => return Ok(None),
        Json::Number(text) => text,
        Json::Text(text) => text,
        Json::Bool(_) | Json::List(_) | Json::Object(_) => "",
    };
    time(text).map(Some).ok_or_else(|| {
        Problem::bad("expiresAt must be a time such as 2030-12-31T23:59:59Z or epoch milliseconds")
    })
}

/// A time as text: RFC 3339, or epoch milliseconds.
pub(in crate::admin) fn time(text: &str) -> Option<Time> {
    let of_ms = whole(text).ok().map(|ms| (ms, Time::from_ms(ms)));
    let of_ms = of_ms.filter(|(ms, time)| time.ms() == *ms).map(|(_, time)| time);
    of_ms.or_else(|| Time::parse(text))
}

/// A quota: at least one of the four limits, under either of its names.
pub(in crate::admin) fn quota(members: &Members<'_>) -> Result<Option<Quota>, Problem> {
    quota_over(Quota::default(), members)
}

/// The same over another quota: what is absent stays, `null` is no limit.
pub(in crate::admin) fn quota_over(
    mut quota: Quota,
    members: &Members<'_>,
) -> Result<Option<Quota>, Problem> {
    let mut is_given = false;
    for (name, short, limit_of) in [
        ("dailyCallLimit", "dailyCalls", &mut quota.daily_call_limit),
        ("monthlyCallLimit", "monthlyCalls", &mut quota.monthly_call_limit),
        ("dailyCreditLimit", "dailyCredits", &mut quota.daily_credit_limit),
        ("monthlyCreditLimit", "monthlyCredits", &mut quota.monthly_credit_limit),
    ] {
        if members.has(name) && members.has(short) {
            return Err(Problem::bad(format!("{name} and {short} are the same; give one of them")));
        }
        let given = if members.has(short) { short } else { name };
        if members.has(given) {
            is_given = true;
            *limit_of = limit(given, &members.get(given)?)?.unwrap_or(0);
        }
    }
    Ok(is_given.then_some(quota))
}

/// The names that [`quota`] reads.
pub(in crate::admin) const QUOTA_FIELDS: [&str; 8] = [
    "dailyCallLimit",
    "monthlyCallLimit",
    "dailyCreditLimit",
    "monthlyCreditLimit",
    "dailyCalls",
    "monthlyCalls",
    "dailyCredits",
    "monthlyCredits",
];

/// What to say when there is none of them.
pub(in crate::admin) const QUOTA_EMPTY: &str = "Missing quota: give dailyCallLimit, monthlyCallLimit, \
     dailyCreditLimit or monthlyCreditLimit";

/// `reason`: why, in the operator's words. It goes into the journal, so a long one is refused, not cut.
pub(in crate::admin) fn reason(members: &Members<'_>) -> Result<Option<String>, Problem> {
    let text = match members.get("reason")? {
        Json::Null => return Ok(None),
        Json::Text(text) => text,
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            return Err(Problem::bad("reason must be a string"));
        }
    };
    let text = text.trim();
    if text.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::bad(format!("reason is longer than {REASON_CHARS_MAX} characters")));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The first so many characters.
pub(in crate::admin) fn cut(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
