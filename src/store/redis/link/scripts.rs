//! The scripts, and what they answer.

use redis::{Script, Value};

use crate::model::time::Time;

/// Every script, loaded where it is missing.
#[derive(Debug)]
pub(in crate::store::redis) struct Scripts {
    pub(in crate::store::redis) hold: Script,
    pub(in crate::store::redis) check: Script,
    pub(in crate::store::redis) resolve: Script,
    pub(in crate::store::redis) park: Script,
    pub(in crate::store::redis) sweep: Script,
    pub(in crate::store::redis) deed: Script,
    pub(in crate::store::redis) lease: Script,
    pub(in crate::store::redis) report: Script,
}

const COMMON: &str = include_str!("../lua/common.lua");

/// At its limit of memory Redis refuses a script with this first line before it runs, not half way. What only
/// people read stays here; every line keeps its number, for errors.
fn script(own: &str) -> Script {
    let mut text = String::from("#!lua\n");
    for line in COMMON.lines().chain(own.lines()) {
        let line = line.trim_start();
        text.push_str(if line.starts_with("--") { "" } else { line });
        text.push('\n');
    }
    Script::new(&text)
}

impl Scripts {
    pub(super) fn new() -> Self {
        let hold = include_str!("../lua/hold.lua");
        let resolve = include_str!("../lua/resolve.lua");
        Self {
            hold: script(&format!("local is_check = false\n{hold}")),
            check: script(&format!("local is_check = true\n{hold}")),
            resolve: script(&format!("local lease = nil\n{resolve}")),
            park: script(include_str!("../lua/park.lua")),
            sweep: script(include_str!("../lua/sweep.lua")),
            deed: script(include_str!("../lua/deed.lua")),
            lease: script(include_str!("../lua/lease.lua")),
            report: script(&format!("{}\n{resolve}", include_str!("../lua/report.lua"))),
        }
    }
}

/// What a script answered.
#[derive(Debug)]
pub(in crate::store::redis) struct Reply {
    pub(in crate::store::redis) status: String,
    /// The tenant's ledger time at which this was decided.
    pub(in crate::store::redis) now: Time,
    /// The last moment that the tenant's books have seen.
    pub(in crate::store::redis) saved: Time,
    /// The newest row of the tenant's journal.
    pub(in crate::store::redis) seq: i64,
    /// What tells that row from any other with its number.
    pub(in crate::store::redis) mark: String,
    pub(in crate::store::redis) epoch: String,
    pub(in crate::store::redis) rest: Vec<Value>,
    /// It may have run before: an answer was lost.
    pub(in crate::store::redis) is_repeated: bool,
}

impl Reply {
    pub(super) fn read(value: Value, is_repeated: bool) -> Option<Self> {
        let Value::Array(values) = value else { return None };
        let mut values = values.into_iter();
        let mut next = || values.next().and_then(text);
        let status = next()?;
        let mut time = || Some(Time::from_ms(next()?.parse().ok()?));
        let (now, saved) = (time()?, time()?);
        let (row, epoch) = (next()?, next()?);
        let (seq, mark) = row.split_once(' ')?;
        let (seq, mark) = (seq.parse().ok()?, mark.to_owned());
        let rest = values.collect();
        Some(Self { status, now, saved, seq, mark, epoch, rest, is_repeated })
    }

    /// One of the values behind the head, as text.
    pub(in crate::store::redis) fn text(&self, index: usize) -> &str {
        match self.rest.get(index) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    pub(in crate::store::redis) fn number(&self, index: usize) -> i64 {
        self.text(index).parse().unwrap_or(0)
    }
}

/// A value that is a text.
pub(in crate::store::redis) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
