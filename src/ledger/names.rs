//! The counters of a key's account. The ledger itself only knows [`BALANCE`]; which of the others
//! a call asks for, and in what order, is decided in `gate/limits.rs`.

use super::CounterName;

/// Available credits: grants + adjustments − captures − open holds.
pub const BALANCE: CounterName = CounterName::Fixed("balance");
/// Credits ever spent, open holds included.
pub const SPENT: CounterName = CounterName::Fixed("spent");
/// Calls ever made, open holds included.
pub const CALLS: CounterName = CounterName::Fixed("calls");
/// Calls of the last minute.
pub const RATE: CounterName = CounterName::Fixed("rate");
/// Calls of the UTC day.
pub const CALLS_DAY: CounterName = CounterName::Fixed("calls/day");
/// Calls of the UTC month.
pub const CALLS_MONTH: CounterName = CounterName::Fixed("calls/month");
/// Credits of the UTC day.
pub const CREDITS_DAY: CounterName = CounterName::Fixed("credits/day");
/// Credits of the UTC month.
pub const CREDITS_MONTH: CounterName = CounterName::Fixed("credits/month");

/// Requests of the last minute by one method. No tool's counter has such a name.
pub fn method_rate(method: &str) -> CounterName {
    CounterName::Named(format!("method-rate:{method}").into())
}

/// Calls of the last minute to one tool.
pub fn tool_rate(tool: &str) -> CounterName {
    CounterName::Named(format!("rate:{tool}").into())
}
