//! Prices and limits that hold for everybody.

use std::collections::HashMap;

use crate::ledger::{CounterName, names};
use crate::model::key::Quota;

/// What calls cost and how many are allowed, as configured.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Credits for a call to a tool without a price of its own.
    pub default_price: i64,
    /// Calls per minute and key; 0 means no limit.
    pub key_rate: i64,
    /// Quota of keys without one of their own.
    pub quota: Quota,
    /// Judge and record, but never refuse and never charge.
    pub shadow: bool,
    /// By exact tool name.
    pub tools: HashMap<String, ToolPolicy>,
}

/// What differs for one tool.
#[derive(Clone, Debug)]
pub struct ToolPolicy {
    /// Credits per call; `None` for the default.
    pub price: Option<i64>,
    /// Calls per minute and key; 0 means no limit of its own.
    pub rate: i64,
    /// Thousandths of a credit per KiB of arguments.
    pub milli_credits_per_kb: i64,
    /// The counter of its rate.
    pub rate_counter: CounterName,
}

impl ToolPolicy {
    /// A tool's policy by name and numbers.
    pub fn new(tool: &str, price: Option<i64>, rate: i64, milli_credits_per_kb: i64) -> Self {
        Self { price, rate, milli_credits_per_kb, rate_counter: names::tool_rate(tool) }
    }
}

impl Policy {
    /// The limit whose state answers show: the tool's own if it has one, else the key's.
    pub fn shown_rate(&self, tool: Option<&str>) -> Option<(i64, CounterName)> {
        let tool = tool.and_then(|tool| self.tools.get(tool)).filter(|tool| tool.rate > 0);
        match tool {
            Some(tool) => Some((tool.rate, tool.rate_counter.clone())),
            None => (self.key_rate > 0).then_some((self.key_rate, names::RATE)),
        }
    }
}
