//! A namespace: the tenant that keys belong to.

use serde::{Deserialize, Serialize};

use super::key::ToolList;

/// The namespace of keys that name none.
pub const DEFAULT: &str = "default";

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 50;

/// A tenant's record. A namespace without one is open and unrestricted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Normalised name.
    pub name: String,
    /// Refuse every call of its keys.
    pub suspended: bool,
    /// Tools its keys may call; empty means all.
    pub allowed_tools: ToolList,
    /// Tools its keys may not call.
    pub denied_tools: ToolList,
    /// Raised by every change.
    pub revision: u64,
}

impl Namespace {
    /// The state of a namespace that nobody has written a record for.
    pub fn unwritten(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            suspended: false,
            allowed_tools: ToolList::default(),
            denied_tools: ToolList::default(),
            revision: 0,
        }
    }
}

/// What the keys of a namespace come to, revoked ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSum {
    /// Its name.
    pub namespace: String,
    /// How many keys.
    pub keys: usize,
    /// How many of them can be used now.
    pub usable: usize,
    /// Credits that they can spend.
    pub available: i64,
    /// Credits that they have spent, open holds included.
    pub spent: i64,
}

impl TenantSum {
    /// Of a namespace without keys.
    pub fn empty(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), keys: 0, usable: 0, available: 0, spent: 0 }
    }
}

/// Normalises case and outer spaces. `None` for a name that would lose other characters, because
/// `acme_1` and `acme1` are not one tenant. An empty name is the default namespace.
pub fn normalise(name: &str) -> Option<String> {
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        return Some(DEFAULT.to_owned());
    }
    let fits = name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        assert_eq!(normalise(" Acme-1 ").as_deref(), Some("acme-1"));
        assert_eq!(normalise("  ").as_deref(), Some(DEFAULT));
        for wrong in ["acme_1", "foo bar", "ünï", &"a".repeat(51)] {
            assert_eq!(normalise(wrong), None, "{wrong}");
        }
    }
}
