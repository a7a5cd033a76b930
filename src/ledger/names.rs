//! The counters of a key's account. The ledger itself only knows [`BALANCE`]; which of the others
//! a call asks for, and in what order, is decided in `gate/limits.rs`.

use super::CounterName;
use super::counter::Fixed;

/// Available credits: grants + adjustments − captures − open holds.
pub const BALANCE: CounterName = CounterName::fixed(Fixed::Balance);
/// Credits ever spent, open holds included.
pub const SPENT: CounterName = CounterName::fixed(Fixed::Spent);
/// Calls ever made, open holds included.
pub const CALLS: CounterName = CounterName::fixed(Fixed::Calls);
/// Calls of the last minute.
pub const RATE: CounterName = CounterName::fixed(Fixed::Rate);
/// Calls of the UTC day.
pub const CALLS_DAY: CounterName = CounterName::fixed(Fixed::CallsDay);
/// Calls of the UTC month.
pub const CALLS_MONTH: CounterName = CounterName::fixed(Fixed::CallsMonth);
/// Credits of the UTC day.
pub const CREDITS_DAY: CounterName = CounterName::fixed(Fixed::CreditsDay);
/// Credits of the UTC month.
pub const CREDITS_MONTH: CounterName = CounterName::fixed(Fixed::CreditsMonth);

/// Requests of the last minute by one method. No tool's counter has such a name.
pub fn method_rate(method: &str) -> CounterName {
    CounterName::new(&format!("method-rate:{method}"))
}

/// Calls of the last minute to one tool.
pub fn tool_rate(tool: &str) -> CounterName {
    CounterName::new(&format!("rate:{tool}"))
}
