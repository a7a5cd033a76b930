//! Which URIs a server lists, and which match a template of its.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use crate::model::bounds;

/// The URIs and templates that one server lists.
#[derive(Debug, Default)]
pub(super) struct Uris {
    listed: HashSet<Box<str>>,
    templates: Vec<Box<str>>,
}

/// How well a URI is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// It, or the template of this text, is listed.
    Listed,
    /// A template matches it.
    Matches,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    resources: Vec<Resource<'a>>,
    #[serde(borrow, default, rename = "resourceTemplates")]
    templates: Vec<Template<'a>>,
    #[serde(borrow, default, rename = "nextCursor")]
    next_cursor: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    uri: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Template<'a> {
    #[serde(borrow, rename = "uriTemplate")]
    template: Cow<'a, str>,
}

impl Uris {
    /// Adds a page of either list, given as the text of its `result`, and gives the next cursor as
    /// JSON text. What is no list adds nothing.
    pub(super) fn add_page(&mut self, result: &str) -> Option<String> {
        let page: Page<'_> = serde_json::from_str(result).ok()?;
        for resource in page.resources {
            if self.listed.len() < bounds::MEMBER_URIS_MAX {
                self.listed.insert(resource.uri.into());
            }
        }
        for template in page.templates {
            if self.templates.len() < bounds::MEMBER_URIS_MAX {
                self.templates.push(template.template.into());
            }
        }
        page.next_cursor.and_then(|cursor| serde_json::to_string(&cursor).ok())
    }

    /// Is this URI the server's?
    pub(super) fn claim(&self, uri: &str) -> Option<Claim> {
        if self.listed.contains(uri) || self.templates.iter().any(|template| **template == *uri) {
            return Some(Claim::Listed);
        }
        self.templates.iter().any(|template| matches(template, uri)).then_some(Claim::Matches)
    }
}

/// May the template have become this URI? An expression in braces stands for any text, also for
/// none: what exactly it may become is the server's business.
fn matches(template: &str, uri: &str) -> bool {
    let Some((first, mut expressions)) = template.split_once('{') else { return template == uri };
    let Some(mut rest) = uri.strip_prefix(first) else { return false };
    while let Some((_, after)) = expressions.split_once('}') {
        let Some((literal, next)) = after.split_once('{') else { return rest.ends_with(after) };
        let Some((_, left)) = rest.split_once(literal) else { return false };
        (rest, expressions) = (left, next);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_what_they_may_have_become() {
        for (template, uri, expected) in [
            ("file:///{path}", "file:///a/b", true),
            ("file:///{path}", "file://x", false),
            ("a://{x}/b/{y}.txt", "a://1/b/2.txt", true),
            ("a://{x}/b/{y}.txt", "a://1/c/2.txt", false),
            ("a://{x}/b/{y}.txt", "a://1/b/2.md", false),
            ("a://{x}{?q}", "a://1?q=2", true),
            ("a://x", "a://x", true),
            ("a://x", "a://xy", false),
            ("a://{x", "a://1", false),
            ("{+uri}", "anything", true),
            ("{x}", "", true),
        ] {
            assert_eq!(matches(template, uri), expected, "{template} {uri}");
        }
    }

    #[test]
    fn both_lists_are_read_page_by_page() {
        let mut uris = Uris::default();
        let next = uris.add_page(r#"{"resources":[{"uri":"a:\/1","x":1}],"nextCursor":"n"}"#);
        assert_eq!(next.as_deref(), Some("\"n\""));
        assert_eq!(uris.add_page(r#"{"resourceTemplates":[{"uriTemplate":"t://{x}"}]}"#), None);
        assert_eq!(uris.add_page("[]"), None);
        assert_eq!(uris.claim("a:/1"), Some(Claim::Listed));
        assert_eq!(uris.claim("t://{x}"), Some(Claim::Listed));
        assert_eq!(uris.claim("t://1"), Some(Claim::Matches));
        assert_eq!(uris.claim("a:/2"), None);
    }
}
