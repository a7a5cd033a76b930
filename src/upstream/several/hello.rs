//! The first result of several servers together: what they can do, who they are, how to use them.

use std::borrow::Cow;

use crate::protocol::lists::LISTS;
use crate::protocol::object::{Object, items, string};

use super::message::json;

/// Who answers for all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) title: &'a str,
    /// Is one of the servers missing? Then nobody knows yet what it can do.
    pub(super) is_incomplete: bool,
}

/// One result of `initialize` or `server/discover` from those of all servers, given with their
/// prefixes. What only one of them says stays as it wrote it.
pub(super) fn merged(host: Host<'_>, results: &[(&str, &str)]) -> String {
    let objects: Vec<(&str, Object<'_>)> = results
        .iter()
        .filter_map(|(prefix, result)| Some((*prefix, Object::read(result).ok()?)))
        .collect();
    let values = |name: &str| -> Vec<&str> {
        objects.iter().filter_map(|(_, object)| object.get(name)).collect()
    };
    let mut members = Vec::new();
    for name in names(objects.iter().map(|(_, object)| object)) {
        let values = values(&name);
        let value = match &*name {
            "protocolVersion" => oldest(&values),
            "supportedVersions" => common(&values),
            "capabilities" => capabilities(host, &values),
            "serverInfo" => server_info(host),
            "instructions" => instructions(&objects),
            "ttlMs" => least(&values),
            "cacheScope" => scope(&values),
            "_meta" => meta(host, &values),
            _ => values.first().map(|value| (*value).to_owned()).unwrap_or_default(),
        };
        members.push(format!("{}:{value}", json(&name)));
    }
    format!("{{{}}}", members.join(","))
}

/// All names of members, each once, in the order in which they come up.
pub(super) fn names<'o, 'a: 'o>(
    objects: impl Iterator<Item = &'o Object<'a>>,
) -> Vec<Cow<'a, str>> {
    let mut names = Vec::new();
    for member in objects.flat_map(Object::members) {
        if !names.contains(&member.name) {
            names.push(member.name.clone());
        }
    }
    names
}

/// Versions are dates, so the oldest comes first.
fn oldest(values: &[&str]) -> String {
    values.iter().min().map(|value| (*value).to_owned()).unwrap_or_default()
}

/// What all of them support, in the order of the first.
fn common(values: &[&str]) -> String {
    let lists: Vec<Vec<&str>> = values.iter().filter_map(|value| items(value)).collect();
    let Some((first, others)) = lists.split_first() else { return "[]".to_owned() };
    let in_all = |version: &&&str| others.iter().all(|list| list.contains(*version));
    let common: Vec<&str> = first.iter().filter(in_all).copied().collect();
    format!("[{}]", common.join(","))
}

/// The smallest of numbers.
pub(super) fn least(values: &[&str]) -> String {
    let numbers = values.iter().filter_map(|value| value.parse::<u64>().ok());
    numbers.min().unwrap_or_default().to_string()
}

/// For everybody only if each of them is.
pub(super) fn scope(values: &[&str]) -> String {
    let all = values.iter().all(|value| *value == "\"public\"");
    if all { r#""public""# } else { r#""private""# }.to_owned()
}

fn server_info(host: Host<'_>) -> String {
    format!(r#"{{"name":{},"version":{}}}"#, json(host.title), json(env!("CARGO_PKG_VERSION")))
}

/// Modern results say in `_meta` who answers.
fn meta(host: Host<'_>, values: &[&str]) -> String {
    const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    let merged = values.iter().skip(1).fold(
        values.first().map(|first| (*first).to_owned()).unwrap_or_default(),
        |merged, value| union(&merged, value),
    );
    with_member(&merged, SERVER_INFO, |_| server_info(host), Absent::Stays)
}

/// Each server's own words under its prefix, because they speak of its names without it.
fn instructions(objects: &[(&str, Object<'_>)]) -> String {
    let said = objects.iter().filter_map(|(prefix, object)| {
        let text = object.get("instructions").and_then(string)?;
        Some(format!("{prefix}: {text}"))
    });
    json(&said.collect::<Vec<_>>().join("\n\n"))
}

fn capabilities(host: Host<'_>, values: &[&str]) -> String {
    let merged = values.iter().fold("{}".to_owned(), |merged, value| union(&merged, value));
    // Clients are told that all lists may change: a server may go or come at any time.
    LISTS.iter().map(|list| list.capability).fold(merged, |merged, list| {
        // Tools are what is sold: a client must look for them even if there are none yet.
        let absent =
            if host.is_incomplete || list == "tools" { Absent::Added } else { Absent::Stays };
        let listed = |own: Option<&str>| {
            with_member(own.unwrap_or("{}"), "listChanged", |_| "true".to_owned(), Absent::Added)
        };
        with_member(&merged, list, listed, absent)
    })
}

/// What becomes of a member that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Added,
    Stays,
}

/// An object with one member changed.
fn with_member(
    object: &str,
    name: &str,
    value: impl Fn(Option<&str>) -> String,
    absent: Absent,
) -> String {
    let Ok(read) = Object::read(object) else { return object.to_owned() };
    let mut members: Vec<String> = read
        .members()
        .iter()
        .map(|member| {
            let own = member.value;
            let value = if member.name == name { value(Some(own)) } else { own.to_owned() };
            format!("{}:{value}", member.raw_name)
        })
        .collect();
    if !read.has(name) && absent == Absent::Added {
        members.push(format!("{}:{}", json(name), value(None)));
    }
    format!("{{{}}}", members.join(","))
}

/// Two values as one: objects are joined, of two booleans `true` counts, else the first stays.
fn union(one: &str, other: &str) -> String {
    let (Ok(first), Ok(second)) = (Object::read(one), Object::read(other)) else {
        return if other == "true" && one == "false" { other } else { one }.to_owned();
    };
    let members = names([&first, &second].into_iter()).into_iter().map(|name| {
        let value = match (first.get(&name), second.get(&name)) {
            (Some(one), Some(other)) => union(one, other),
            (one, other) => one.or(other).unwrap_or("null").to_owned(),
        };
        format!("{}:{value}", json(&name))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host<'_> = Host { title: "My \"servers\"", is_incomplete: false };

    fn merge(host: Host<'_>, results: &[(&str, &str)]) -> serde_json::Value {
        serde_json::from_str(&merged(host, results)).unwrap()
    }

    #[test]
    fn handshakes_become_one() {
        let a = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{},"experimental":{"a":1.0}},
            "serverInfo":{"name":"a","version":"1"},"instructions":"Use x.","more":1}"#;
        let b = r#"{"protocolVersion":"2025-03-26","capabilities":{"prompts":{"listChanged":false},
            "experimental":{"b":2},"resources":{"subscribe":true}},"serverInfo":{"name":"b"},"instructions":"é"}"#;
        let expected = serde_json::json!({
            "protocolVersion": "2025-03-26",
            "capabilities": {
                "tools": {"listChanged": true}, "logging": {}, "experimental": {"a": 1.0, "b": 2},
                "prompts": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
            },
            "serverInfo": {"name": "My \"servers\"", "version": env!("CARGO_PKG_VERSION")},
            "instructions": "a: Use x.\n\nb: é",
            "more": 1,
        });
        assert_eq!(merge(HOST, &[("a", a), ("b", b)]), expected);
        assert!(merged(HOST, &[("a", a)]).contains(r#""experimental":{"a":1.0}"#));
    }

    #[test]
    fn while_a_server_is_missing_everything_may_still_come() {
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#;
        let complete = merge(HOST, &[("a", result)]);
        assert_eq!(complete["capabilities"], serde_json::json!({"tools": {"listChanged": true}}));
        let incomplete = merge(Host { is_incomplete: true, ..HOST }, &[("a", result)]);
        for list in LISTS.map(|list| list.capability) {
            assert_eq!(incomplete["capabilities"][list]["listChanged"], true, "{list}");
        }
    }

    #[test]
    fn discoveries_become_one() {
        let a = r#"{"resultType":"complete","supportedVersions":["2026-07-28","2027-01-01"],"capabilities":{"tools":{}},
            "ttlMs":500,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"a"},"k":1}}"#;
        let b = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{},"ttlMs":300,"cacheScope":"private"}"#;
        let both = merge(HOST, &[("a", a), ("b", b)]);
        assert_eq!(both["supportedVersions"], serde_json::json!(["2026-07-28"]));
        assert_eq!((&both["ttlMs"], &both["cacheScope"]), (&300.into(), &"private".into()));
        assert_eq!(both["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], HOST.title);
        assert_eq!(both["_meta"]["k"], 1);
    }
}
