//! Calls and credits by tool and key, from the journal's rows.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::model::key::Key;
use crate::store::UsageRow;

/// Totals and where they come from.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    total_calls: i64,
    total_credits_spent: i64,
    total_denied: u64,
    per_tool: BTreeMap<&'a str, Tally>,
    per_key: BTreeMap<String, Tally>,
    deny_reasons: BTreeMap<&'static str, u64>,
}

/// Denied calls are counted by reason only, not by tool or key.
#[derive(Debug, Default, Serialize)]
struct Tally {
    calls: i64,
    credits: i64,
    denied: u64,
}

impl Tally {
    fn add(&mut self, row: &UsageRow) {
        self.calls = self.calls.saturating_add(row.calls);
        self.credits = self.credits.saturating_add(row.credits);
    }
}

impl<'a> Summary<'a> {
    /// Sums up the rows. `keys` are known by id; what deleted ones used counts too.
    pub(super) fn of(
        rows: &'a [UsageRow],
        keys: &HashMap<&str, &Key>,
        denied: &[(&'static str, u64)],
    ) -> Self {
        let mut summary = Self::default();
        for row in rows {
            summary.total_calls = summary.total_calls.saturating_add(row.calls);
            summary.total_credits_spent = summary.total_credits_spent.saturating_add(row.credits);
            summary.per_tool.entry(&row.tool).or_default().add(row);
            let label =
                keys.get(row.key.as_str()).map_or_else(|| row.key.clone(), |key| label(key));
            summary.per_key.entry(label).or_default().add(row);
        }
        for (reason, count) in denied.iter().filter(|(_, count)| *count > 0) {
            summary.total_denied = summary.total_denied.saturating_add(*count);
            summary.deny_reasons.insert(reason, *count);
        }
        summary
    }
}

/// A key's name, or what may be shown of it.
fn label(key: &Key) -> String {
    if key.name.is_empty() { key.ends.prefix() } else { key.name.clone() }
}
