//! A tally of refused calls since the start, and the refusals that are not in the database yet. Both
//! are bounded: reasons are a fixed set of words, keys and tools are those that exist, and of all
//! their combinations only so many are told apart at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::bounds;
use crate::model::key::Key;
use crate::model::time::Time;
use crate::model::usage::Refused;

/// The tally.
#[derive(Debug, Default)]
pub struct Denials {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    since_start: DenialCounts,
    unwritten: HashMap<Kind, (Time, u64)>,
}

/// Refusals that are counted together.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Kind {
    key: String,
    namespace: String,
    tool: String,
    reason: &'static str,
}

/// The tally since the start at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenialCounts {
    /// All refusals.
    pub total: u64,
    /// By the bare word of the reason.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// By tool, as far as the call named one that a server lists.
    pub by_tool: HashMap<String, u64>,
    /// Those by tool that a rate has refused.
    pub rates_by_tool: HashMap<String, u64>,
}

impl Denials {
    /// Counts a refusal. `tool` only if a server lists it, `key` only if it exists.
    pub fn count(&self, word: &'static str, tool: Option<&str>, key: Option<&Key>, now: Time) {
        let mut counted = self.lock();
        let all = &mut counted.since_start;
        raise(&mut all.total);
        raise(all.by_reason.entry(word).or_default());
        if let Some(tool) = tool {
            raise_of(&mut all.by_tool, tool);
            if matches!(word, "rate_limited" | "tool_rate_limited") {
                raise_of(&mut all.rates_by_tool, tool);
            }
        }
        let mut kind = Kind {
            key: key.map_or_else(String::new, |key| key.id.as_str().to_owned()),
            namespace: key.map_or_else(String::new, |key| key.namespace.clone()),
            tool: tool.unwrap_or_default().to_owned(),
            reason: word,
        };
        let is_new = !counted.unwritten.contains_key(&kind);
        if is_new && counted.unwritten.len() >= bounds::REFUSED_KINDS_MAX {
            kind = Kind { reason: word, ..Kind::default() };
        }
        raise(&mut counted.unwritten.entry(kind).or_insert((now, 0)).1);
    }

    /// Takes what is to be written down.
    pub fn take(&self) -> Vec<Refused> {
        let unwritten = std::mem::take(&mut self.lock().unwritten);
        let refused = unwritten.into_iter().map(|(kind, (at, count))| {
            let Kind { key, namespace, tool, reason } = kind;
            Refused { at, key, namespace, tool, reason, count }
        });
        let mut refused: Vec<_> = refused.collect();
        refused.sort_by_key(|refused| refused.at);
        refused
    }

    /// The numbers of this moment.
    pub fn snapshot(&self) -> DenialCounts {
        self.lock().since_start.clone()
    }

    /// Nothing under the lock panics half way.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raise(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn raise_of(counts: &mut HashMap<String, u64>, tool: &str) {
    if let Some(count) = counts.get_mut(tool) {
        raise(count);
    } else if counts.len() < bounds::TOOL_NAMES_MAX {
        counts.insert(tool.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_reason_and_by_listed_tool() {
        let denials = Denials::default();
        let now = Time::from_ms(5);
        denials.count("rate_limited", Some("search"), None, now);
        denials.count("rate_limited", None, None, now);
        denials.count("missing_api_key", Some("search"), None, now);
        denials.count("missing_api_key", Some("search"), None, Time::from_ms(6));
        let counts = denials.snapshot();
        assert_eq!(
            (counts.total, counts.by_reason["rate_limited"], counts.by_tool["search"]),
            (4, 2, 3)
        );
        assert_eq!(counts.rates_by_tool["search"], 1);
        let mut taken: Vec<_> =
            denials.take().into_iter().map(|one| (one.reason, one.tool, one.count)).collect();
        taken.sort();
        let search = || "search".to_owned();
        assert_eq!(
            taken,
            [
                ("missing_api_key", search(), 2),
                ("rate_limited", String::new(), 1),
                ("rate_limited", search(), 1)
            ]
        );
        assert_eq!(denials.take(), []);
    }

    #[test]
    fn no_flood_makes_kinds_without_end() {
        let denials = Denials::default();
        for number in 0..bounds::REFUSED_KINDS_MAX + 50 {
            denials.count("tool_not_allowed", Some(&number.to_string()), None, Time::ZERO);
        }
        let taken = denials.take();
        assert_eq!(taken.len(), bounds::REFUSED_KINDS_MAX + 1);
        let rest = taken.iter().find(|one| one.tool.is_empty()).map(|one| one.count);
        assert_eq!(rest, Some(50));
    }
}
