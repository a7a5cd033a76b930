//! One page of a list from a page of each server, and the cursor that leads on.
//!
//! The first page holds the first page of every server, so most lists are whole at once. Our cursor
//! names the servers that have more, each with its own cursor.

use std::borrow::Cow;
use std::collections::HashSet;

use super::hello::{least, names, scope};
use super::message::{json, push_changed};
use super::names::Names;
use crate::model::bounds;
use crate::protocol::object::{Object, items, string};
use crate::protocol::to_server::push_name;

/// A list that every server has its own of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Tools,
    Prompts,
    Resources,
    ResourceTemplates,
    Tasks,
}

/// A page that one server gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) server: usize,
    /// The text of its `result`.
    pub(super) result: &'a str,
}

/// Where each server's list goes on; `None` is its beginning.
pub(super) type Cursors = Vec<(usize, Option<String>)>;

impl List {
    pub(super) fn of(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => Self::Tools,
            "prompts/list" => Self::Prompts,
            "resources/list" => Self::Resources,
            "resources/templates/list" => Self::ResourceTemplates,
            "tasks/list" => Self::Tasks,
            _ => return None,
        })
    }

    /// What a server must have said that it can do.
    pub(super) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::ResourceTemplates => "resources",
            Self::Tasks => "tasks",
        }
    }

    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Tasks => "tasks",
        }
    }
}

/// Reads a cursor of ours, given as JSON text.
pub(super) fn read_cursor(text: &str, servers: &Names) -> Option<Cursors> {
    let text = string(text).filter(|text| text.len() <= bounds::MERGED_CURSOR_BYTES_MAX)?;
    let parts: Vec<(String, Option<String>)> = serde_json::from_str(&text).ok()?;
    let mut cursors = Cursors::new();
    for (prefix, cursor) in parts {
        let server = servers.server(&prefix)?;
        if cursors.iter().any(|(known, _)| *known == server) {
            return None;
        }
        cursors.push((server, cursor));
    }
    (!cursors.is_empty()).then_some(cursors)
}

fn write_cursor(cursors: &Cursors, servers: &Names) -> Option<String> {
    let parts: Vec<_> =
        cursors.iter().map(|(server, cursor)| (servers.prefix(*server), cursor)).collect();
    serde_json::to_string(&parts).ok()
}

/// One result from the pages of all servers. `later` are servers that are to be asked for with the
/// next page.
pub(super) fn merged(
    list: List,
    pages: &[Page<'_>],
    mut later: Cursors,
    servers: &Names,
) -> Vec<u8> {
    let objects: Vec<(usize, Object<'_>)> = pages
        .iter()
        .filter_map(|page| Some((page.server, Object::read(page.result).ok()?)))
        .collect();
    let mut text = b"{".to_vec();
    push_name_of(&mut text, list.member());
    push_items(&mut text, list, &objects, servers);
    for (server, object) in &objects {
        let next = object.get("nextCursor").and_then(string).map(Cow::into_owned);
        later.extend(
            next.filter(|next| is_kept(next, servers, *server)).map(|next| (*server, Some(next))),
        );
    }
    later.sort_by_key(|(server, _)| *server);
    if let Some(cursor) = (!later.is_empty()).then(|| write_cursor(&later, servers)).flatten() {
        text.push(b',');
        push_name_of(&mut text, "nextCursor");
        text.extend_from_slice(json(&cursor).as_bytes());
    }
    for name in names(objects.iter().map(|(_, object)| object)) {
        if name == list.member() || name == "nextCursor" {
            continue;
        }
        let values: Vec<_> = objects.iter().filter_map(|(_, object)| object.get(&name)).collect();
        let value = match &*name {
            "ttlMs" => least(&values),
            "cacheScope" => scope(&values),
            _ => values.first().map(|value| (*value).to_owned()).unwrap_or_default(),
        };
        text.push(b',');
        push_name_of(&mut text, &name);
        text.extend_from_slice(value.as_bytes());
    }
    text.push(b'}');
    text
}

/// A cursor that is too long to come back ends its server's list.
fn is_kept(cursor: &str, servers: &Names, server: usize) -> bool {
    let is_short = cursor.len() <= bounds::MEMBER_CURSOR_BYTES_MAX;
    if !is_short {
        let server = servers.prefix(server);
        tracing::warn!(target: "upstream", server, bytes = cursor.len(), "a cursor is too long; the list ends there");
    }
    is_short
}

fn push_items(text: &mut Vec<u8>, list: List, pages: &[(usize, Object<'_>)], servers: &Names) {
    let mut uris = HashSet::new();
    let mut is_first = true;
    text.push(b'[');
    for (server, page) in pages {
        for item in page.get(list.member()).and_then(items).unwrap_or_default() {
            let object = Object::read(item).ok();
            let uri = object.as_ref().and_then(|object| object.get("uri")).and_then(string);
            if list == List::Resources && uri.is_some_and(|uri| !uris.insert(uri.into_owned())) {
                // Who asks for it gets the first server's.
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                text.push(b',');
            }
            match object {
                Some(object) => push_item(text, list, &object, *server, servers),
                None => text.extend_from_slice(item.as_bytes()),
            }
        }
    }
    text.push(b']');
}

fn push_item(text: &mut Vec<u8>, list: List, item: &Object<'_>, server: usize, servers: &Names) {
    let named = match list {
        List::Tools | List::Prompts => "name",
        List::Tasks => "taskId",
        List::Resources | List::ResourceTemplates => "",
    };
    push_changed(text, item, |text, member| {
        let own = if member.name == named { string(member.value) } else { None };
        let Some(own) = own else { return false };
        push_name(text, member);
        text.extend_from_slice(json(&servers.full(server, &own)).as_bytes());
        true
    });
}

fn push_name_of(text: &mut Vec<u8>, name: &str) {
    text.extend_from_slice(json(name).as_bytes());
    text.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Names {
        Names::new(":", ["a", "b", "c"])
    }

    fn merge(list: List, pages: &[(usize, &str)], later: Cursors) -> String {
        let pages: Vec<_> =
            pages.iter().map(|(server, result)| Page { server: *server, result }).collect();
        String::from_utf8(merged(list, &pages, later, &servers())).unwrap()
    }

    #[test]
    fn names_get_prefixes_and_everything_else_stays() {
        let pages = [
            (
                0,
                r#"{"tools":[{"n\u0061me":"x\u0021","inputSchema":{"name":1.50}},{"title":"no name"},5],"_meta":{"k":1}}"#,
            ),
            (2, r#"{"tools":[{"name":"x"}],"ttlMs":9,"_meta":{"k":2}}"#),
        ];
        assert_eq!(
            merge(List::Tools, &pages, vec![]),
            concat!(
                r#"{"tools":[{"n\u0061me":"a:x!","inputSchema":{"name":1.50}},{"title":"no name"},5,{"name":"c:x"}],"#,
                r#""_meta":{"k":1},"ttlMs":9}"#
            )
        );
        assert_eq!(
            merge(List::Tasks, &[(1, r#"{"tasks":[{"taskId":"1"}]}"#)], vec![]),
            r#"{"tasks":[{"taskId":"b:1"}]}"#
        );
        assert_eq!(merge(List::Prompts, &[], vec![]), r#"{"prompts":[]}"#);
    }

    #[test]
    fn a_uri_is_listed_once_and_stays_as_it_is() {
        let pages = [
            (0, r#"{"resources":[{"uri":"x:1","name":"first"}]}"#),
            (1, r#"{"resources":[{"uri":"x:\u0031","name":"second"},{"uri":"x:2","name":"x"}]}"#),
        ];
        assert_eq!(
            merge(List::Resources, &pages, vec![]),
            r#"{"resources":[{"uri":"x:1","name":"first"},{"uri":"x:2","name":"x"}]}"#
        );
    }

    #[test]
    fn the_cursor_names_who_has_more() {
        let pages =
            [(0, r#"{"tools":[],"nextCursor":"p\"2"}"#), (1, r#"{"tools":[],"nextCursor":null}"#)];
        let text = merge(List::Tools, &pages, vec![(2, None)]);
        let result: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cursor = result["nextCursor"].to_string();
        let expected = vec![(0, Some("p\"2".to_owned())), (2, None)];
        assert_eq!(read_cursor(&cursor, &servers()), Some(expected));

        for wrong in
            ["5", "\"x\"", r#""[]""#, r#""[[\"d\",null]]""#, r#""[[\"a\",null],[\"a\",null]]""#]
        {
            assert_eq!(read_cursor(wrong, &servers()), None, "{wrong}");
        }
        let long = format!(
            r#"{{"tools":[],"nextCursor":"{}"}}"#,
            "x".repeat(bounds::MEMBER_CURSOR_BYTES_MAX + 1)
        );
        assert_eq!(merge(List::Tools, &[(0, &long)], vec![]), r#"{"tools":[]}"#);
    }
}
