//! Calls, refusals and credits by tool and key, from the sums of usage.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::model::key::Key;
use crate::store::UsageRow;

/// Totals and where they come from.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Summary<'a> {
    total_calls: i64,
    total_credits_spent: i64,
    total_denied: i64,
    per_tool: BTreeMap<&'a str, Tally>,
    per_key: BTreeMap<String, Tally>,
    deny_reasons: BTreeMap<&'a str, i64>,
}

#[derive(Debug, Default, Serialize)]
struct Tally {
    calls: i64,
    credits: i64,
    denied: i64,
}

impl Tally {
    fn add(&mut self, row: &UsageRow) {
        if !row.reason.is_empty() {
            self.denied = self.denied.saturating_add(row.calls);
            return;
        }
        self.calls = self.calls.saturating_add(row.calls);
        self.credits = self.credits.saturating_add(row.credits);
    }
}

impl<'a> Summary<'a> {
    /// Sums up the rows. `keys` are known by id; what deleted ones used counts too.
    pub(in crate::admin) fn of(rows: &'a [UsageRow], keys: &HashMap<&str, &Key>) -> Self {
        let mut summary = Self::default();
        for row in rows {
            if row.reason.is_empty() {
                summary.total_calls = summary.total_calls.saturating_add(row.calls);
                summary.total_credits_spent =
                    summary.total_credits_spent.saturating_add(row.credits);
            } else {
                summary.total_denied = summary.total_denied.saturating_add(row.calls);
                let of_reason = summary.deny_reasons.entry(&row.reason).or_default();
                *of_reason = of_reason.saturating_add(row.calls);
            }
            if !row.tool.is_empty() {
                summary.per_tool.entry(&row.tool).or_default().add(row);
            }
            if row.key.is_empty() {
                continue;
            }
            let label =
                keys.get(row.key.as_str()).map_or_else(|| row.key.clone(), |key| label(key));
            summary.per_key.entry(label).or_default().add(row);
        }
        summary
    }
}

/// A key's name, or what may be shown of it.
fn label(key: &Key) -> String {
    if key.name.is_empty() { key.ends.prefix() } else { key.name.clone() }
}
