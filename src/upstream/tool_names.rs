//! The names of the tools that a server lists.
//!
//! A name is compared byte for byte with what the list says after JSON's escapes are resolved:
//! no case folding, no trimming, no Unicode normalisation. A tool that is not here is refused
//! before anything is charged.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failure;
use crate::model::bounds;
use crate::protocol::modern::ParamHeaders;

/// All tool names of one server, from all pages of its list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ToolNames {
    names: HashSet<Box<str>>,
    /// Those tools whose arguments are repeated in headers.
    headers: HashMap<Box<str>, ParamHeaders>,
}

impl ToolNames {
    /// Does the server list a tool of exactly this name?
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Which headers repeat arguments of this tool; nothing if none do.
    pub fn param_headers(&self, name: &str) -> Option<&ParamHeaders> {
        self.headers.get(name)
    }

    /// How many tools the server lists.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Does the server list no tools at all?
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Adds another server's tools under the names that `full` gives them, as far as there is room.
    pub(super) fn add(&mut self, other: &Self, full: impl Fn(&str) -> String) {
        for name in &other.names {
            if self.names.len() < bounds::TOOL_NAMES_MAX {
                let full: Box<str> = full(name).into();
                let headers = other.headers.get(name).cloned();
                self.headers.extend(headers.map(|headers| (full.clone(), headers)));
                self.names.insert(full);
            }
        }
    }

    /// Adds one page, given as the text of the `result` of tools/list. Returns the cursor of the
    /// next page, as JSON text.
    pub(super) fn add_page(&mut self, result: &str) -> Result<Option<String>, ToolsFault> {
        let page: Page<'_> =
            serde_json::from_str(result).map_err(|error| ToolsFault::NoList(error.to_string()))?;
        for tool in page.tools {
            let headers = tool.input_schema.map(|schema| ParamHeaders::of_schema(schema.get()));
            if let Some(headers) = headers.filter(|headers| !headers.is_empty()) {
                self.headers.insert(tool.name.as_ref().into(), headers);
            }
            self.names.insert(tool.name.into());
            if self.names.len() > bounds::TOOL_NAMES_MAX {
                return Err(ToolsFault::TooMany);
            }
        }
        page.next_cursor
            .map(|cursor| serde_json::to_string(&cursor))
            .transpose()
            .map_err(|error| ToolsFault::NoList(error.to_string()))
    }
}

/// Why a list of tools cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolsFault {
    #[error("its tools/list is not a list of tools: {0}")]
    NoList(String),
    #[error("it lists more than {} tools", bounds::TOOL_NAMES_MAX)]
    TooMany,
    #[error("its tools/list has more than {} pages", bounds::TOOL_PAGES_MAX)]
    TooManyPages,
    #[error("it answered tools/list with an error: {0}")]
    Refused(String),
    #[error("it gave no answer to tools/list ({})", .0.reason())]
    NoAnswer(Failure),
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
    #[serde(rename = "nextCursor", borrow, default)]
    next_cursor: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "inputSchema", borrow, default)]
    input_schema: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_byte_for_byte_over_all_pages() {
        let mut names = ToolNames::default();
        let next = names.add_page(r#"{"tools":[{"name":"a","x":{"name":"inner"}},{"name":"\u00e9 "}],"nextCursor":"p\"2"}"#);
        assert_eq!(next.unwrap().as_deref(), Some(r#""p\"2""#));
        assert_eq!(names.add_page(r#"{"tools":[{"name":"A"}],"nextCursor":null}"#).unwrap(), None);
        assert_eq!(names.len(), 3);
        assert!(names.contains("a") && names.contains("A") && names.contains("é "));
        assert!(!names.contains("é") && !names.contains("inner"));
    }

    #[test]
    fn what_is_no_list_is_said() {
        let mut names = ToolNames::default();
        for result in
            ["{}", "[]", r#"{"tools":[{"name":"a","name":"b"}]}"#, r#"{"tools":[{"title":"a"}]}"#]
        {
            assert!(matches!(names.add_page(result), Err(ToolsFault::NoList(_))), "{result}");
        }
    }
}
