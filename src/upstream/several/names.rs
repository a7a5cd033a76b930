//! Names of several servers' tools: `prefix`, separator, own name.
//!
//! No prefix with its separator may begin another one, so a name belongs to one server at most,
//! whatever characters the separator shares with prefixes and names.

use crate::model::bounds::ACCEPTED_NAME_BYTES_MAX;

/// The prefixes of several servers and what follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    separator: Box<str>,
    prefixes: Vec<Box<str>>,
}

impl Names {
    /// Prefixes in the order of their servers.
    pub fn new<'a>(separator: &str, prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            separator: separator.into(),
            prefixes: prefixes.into_iter().map(Into::into).collect(),
        }
    }

    /// Do model vendors accept a tool of this name? Their rules differ; what all of them take is
    /// 1 to 64 letters, digits, `_` and `-`.
    pub fn is_accepted(name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !name.is_empty() && name.len() <= ACCEPTED_NAME_BYTES_MAX && name.bytes().all(is_plain)
    }

    /// Two prefixes that leave open whose a name is, by their places.
    pub fn ambiguous(&self) -> Option<(usize, usize)> {
        let starts: Vec<_> = self.prefixes.iter().map(|prefix| self.given(prefix, "")).collect();
        let pairs = starts.iter().enumerate().flat_map(|(later, one)| {
            starts.iter().enumerate().take(later).map(move |(earlier, other)| {
                ((earlier, later), one.starts_with(&**other) || other.starts_with(&**one))
            })
        });
        pairs.filter(|(_, is_ambiguous)| *is_ambiguous).map(|(pair, _)| pair).next()
    }

    /// The prefix of a server.
    pub(super) fn prefix(&self, server: usize) -> &str {
        self.prefixes.get(server).map(AsRef::as_ref).unwrap_or_default()
    }

    /// The server that has this prefix.
    pub(super) fn server(&self, prefix: &str) -> Option<usize> {
        self.prefixes.iter().position(|known| **known == *prefix)
    }

    /// What clients call what the server calls `own`.
    pub(super) fn full(&self, server: usize, own: &str) -> String {
        self.given(self.prefix(server), own)
    }

    /// The server that a name belongs to, and what that server calls it.
    pub(super) fn owner<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        self.prefixes.iter().enumerate().find_map(|(server, prefix)| {
            let own = name.strip_prefix(&**prefix)?.strip_prefix(&*self.separator)?;
            Some((server, own))
        })
    }

    /// What to tell whoever used a tool's name that is no server's; `None` if it is one's.
    pub fn misnamed(&self, name: &str, batch_index: Option<usize>) -> Option<String> {
        if self.owner(name).is_some() {
            return None;
        }
        let available = self.prefixes.join(", ");
        let separator = &self.separator;
        Some(match (name.split_once(&**separator), batch_index) {
            (None, None) => format!(
                "Invalid tool name: \"{name}\" — must be prefixed (e.g., \"server{separator}tool\"). \
                 Available prefixes: {available}"
            ),
            (None, Some(index)) => {
                format!("Invalid tool name in batch[{index}]: \"{name}\" — must be prefixed")
            }
            (Some((prefix, _)), None) => {
                format!("Unknown server prefix: \"{prefix}\". Available: {available}")
            }
            (Some((prefix, _)), Some(index)) => format!(
                "Unknown server prefix in batch[{index}]: \"{prefix}\". Available: {available}"
            ),
        })
    }

    fn given(&self, prefix: &str, own: &str) -> String {
        format!("{prefix}{}{own}", self.separator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_server() {
        let names = Names::new(":", ["fs", "f"]);
        assert_eq!(names.owner("fs:read"), Some((0, "read")));
        assert_eq!(names.owner("f:a:b"), Some((1, "a:b")));
        assert_eq!(names.owner("f:"), Some((1, "")));
        for nobodys in ["read", "fsread", "x:read", "", ":", "FS:read"] {
            assert_eq!(names.owner(nobodys), None, "{nobodys}");
        }
        assert_eq!(names.full(0, "read"), "fs:read");
    }

    #[test]
    fn prefixes_that_leave_a_name_open_are_found() {
        for (separator, prefixes, expected) in [
            (":", ["a", "b", "ab"], None),
            ("_", ["a", "b", "ab"], None),
            ("_", ["a_b", "x", "a"], Some((0, 2))),
            ("_", ["x", "a", "a_b"], Some((1, 2))),
            ("__", ["a", "a_", "b"], Some((0, 1))),
            ("-", ["a", "b", "a"], Some((0, 2))),
        ] {
            assert_eq!(Names::new(separator, prefixes).ambiguous(), expected, "{prefixes:?}");
        }
    }

    #[test]
    fn a_wrong_name_is_explained() {
        let names = Names::new(":", ["fs", "time"]);
        assert_eq!(names.misnamed("fs:any", None), None);
        for (name, index, expected) in [
            (
                "read",
                None,
                "Invalid tool name: \"read\" — must be prefixed (e.g., \"server:tool\"). Available prefixes: fs, time",
            ),
            ("read", Some(2), "Invalid tool name in batch[2]: \"read\" — must be prefixed"),
            ("x:y:z", None, "Unknown server prefix: \"x\". Available: fs, time"),
            ("x:y", Some(0), "Unknown server prefix in batch[0]: \"x\". Available: fs, time"),
        ] {
            assert_eq!(names.misnamed(name, index).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_vendors_accept() {
        for name in ["a", "fs__read-1", &"x".repeat(64)] {
            assert!(Names::is_accepted(name), "{name}");
        }
        for name in ["", "fs:read", "a.b", "é", "a b", &"x".repeat(65)] {
            assert!(!Names::is_accepted(name), "{name}");
        }
    }
}
