//! A tally of refused calls since the start, by reason and by tool. Bounded: reasons are a fixed
//! set of words, and only tools that a server lists are counted by name, a fixed number of them.

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
    /// By tool, as far as the call named one that a server lists.
    pub by_tool: HashMap<String, u64>,
}

impl Denials {
    /// Counts a refusal. `tool` only if a server lists it.
    pub fn count(&self, word: &'static str, tool: Option<&str>) {
        let mut counted = self.lock();
        raise(&mut counted.total);
        raise(counted.by_reason.entry(word).or_default());
        let Some(tool) = tool else { return };
        if let Some(count) = counted.by_tool.get_mut(tool) {
            raise(count);
        } else if counted.by_tool.len() < bounds::TOOL_NAMES_MAX {
            counted.by_tool.insert(tool.to_owned(), 1);
        }
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
        denials.count("rate_limited", Some("search"));
        denials.count("rate_limited", None);
        denials.count("missing_api_key", Some("search"));
        let counts = denials.snapshot();
        assert_eq!(
            (counts.total, counts.by_reason["rate_limited"], counts.by_tool["search"]),
            (3, 2, 2)
        );
    }
}
