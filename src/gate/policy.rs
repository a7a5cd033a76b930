//! Prices and limits that hold for everybody.

use crate::ledger::{CounterName, names};
use crate::model::key::Quota;
use crate::model::name_map::NameMap;

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
    pub tools: NameMap<String, ToolPolicy>,
    /// Methods other than calls of tools that have a price, by exact name. They are no tools: a
    /// tool of the same name is something else, and lists of tools say nothing about them.
    pub methods: NameMap<String, ToolPolicy>,
}

/// What differs for one tool, or holds for one method.
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

    /// A method's policy. It is counted apart from a tool of the same name.
    pub fn of_method(method: &str, price: i64, rate: i64) -> Self {
        let rate_counter = names::method_rate(method);
        Self { price: Some(price), rate, milli_credits_per_kb: 0, rate_counter }
    }
}

impl Policy {
    /// The limit whose state answers show: the tool's own if it has one, else the key's.
    pub fn shown_rate(&self, tool: Option<&str>) -> Option<(i64, CounterName)> {
        self.shown_rate_of(tool.and_then(|tool| self.tools.get(tool)))
    }

    /// The same for a method.
    pub fn shown_rate_of_method(&self, method: &str) -> Option<(i64, CounterName)> {
        self.shown_rate_of(self.methods.get(method))
    }

    fn shown_rate_of(&self, own: Option<&ToolPolicy>) -> Option<(i64, CounterName)> {
        match own.filter(|own| own.rate > 0) {
            Some(own) => Some((own.rate, own.rate_counter.clone())),
            None => (self.key_rate > 0).then_some((self.key_rate, names::RATE)),
        }
    }
}
