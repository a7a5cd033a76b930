//! A tally of refused calls since the start, by reason, namespace and tool. Bounded: reasons
//! are a fixed set of words, and only namespaces of keys and tools that a server lists are counted by name, a fixed number of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::bounds;

/// The tally.
#[derive(Debug, Default)]
pub struct Denials {
    counted: Mutex<DenialCounts>,
}

/// The tally at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenialCounts {
    /// All refusals.
    pub total: u64,
    /// By the bare word of the reason.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// By namespace of the key and the bare word of the reason.
    pub by_namespace: HashMap<String, BTreeMap<&'static str, u64>>,
    /// By tool, as far as the call named one that a server lists.
    pub by_tool: HashMap<String, u64>,
}

impl Denials {
    /// Counts a refusal. `tool` only if a server lists it, `namespace` only of a key that exists.
    pub fn count(&self, word: &'static str, tool: Option<&str>, namespace: Option<&str>) {
        let mut counted = self.lock();
        raise(&mut counted.total);
        raise(counted.by_reason.entry(word).or_default());
        if let Some(namespace) = namespace {
            if let Some(reasons) = counted.by_namespace.get_mut(namespace) {
                raise(reasons.entry(word).or_default());
            } else if counted.by_namespace.len() < bounds::NAMESPACES_MAX {
                counted.by_namespace.insert(namespace.to_owned(), BTreeMap::from([(word, 1)]));
            }
        }
        let Some(tool) = tool else { return };
        if let Some(count) = counted.by_tool.get_mut(tool) {
            raise(count);
        } else if counted.by_tool.len() < bounds::TOOL_NAMES_MAX {
            counted.by_tool.insert(tool.to_owned(), 1);
        }
    }

    /// By the bare word of the reason, of one namespace or of all.
    pub fn by_reason(&self, namespace: Option<&str>) -> Vec<(&'static str, u64)> {
        let counted = self.lock();
        let reasons = match namespace {
            Some(namespace) => counted.by_namespace.get(namespace),
            None => Some(&counted.by_reason),
        };
        reasons.into_iter().flatten().map(|(word, count)| (*word, *count)).collect()
    }

    /// The numbers of this moment.
    pub fn snapshot(&self) -> DenialCounts {
        self.lock().clone()
    }

    /// Nothing under the lock panics half way.
    fn lock(&self) -> MutexGuard<'_, DenialCounts> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raise(count: &mut u64) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_reason_and_by_listed_tool() {
        let denials = Denials::default();
        denials.count("rate_limited", Some("search"), Some("acme"));
        denials.count("rate_limited", None, Some("zoo"));
        denials.count("missing_api_key", Some("search"), None);
        assert_eq!(denials.by_reason(Some("acme")), [("rate_limited", 1)]);
        assert_eq!(denials.by_reason(Some("none")), []);
        assert_eq!(denials.by_reason(None), [("missing_api_key", 1), ("rate_limited", 2)]);
        let counts = denials.snapshot();
        assert_eq!(
            (counts.total, counts.by_reason["rate_limited"], counts.by_tool["search"]),
            (3, 2, 2)
        );
    }
}
