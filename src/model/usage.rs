//! Usage: what became of calls, one by one and in sums.

use super::time::{DAY_MS, Time};

/// An hour in milliseconds.
pub const HOUR_MS: i64 = DAY_MS / 24;

/// Refusals of one kind that were not written down yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the first of them was.
    pub at: Time,
    /// Id of the key; empty if none was valid.
    pub key: String,
    /// Its tenant; empty without a key.
    pub namespace: String,
    /// The tool, if a server lists it; else empty.
    pub tool: String,
    /// The bare word of the reason.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Which usage is meant. What is not given is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Not before.
    pub since: Option<Time>,
    /// Not after.
    pub until: Option<Time>,
    /// Whose tenant.
    pub namespace: Option<String>,
    /// Any of these key ids.
    pub keys: Option<Vec<String>>,
    /// Exact tool name.
    pub tool: Option<String>,
    /// The word of an outcome or of a refusal's reason; `allowed` and `denied` are all of a kind.
    pub outcome: Option<String>,
    /// Name and value of a label.
    pub label: Option<(String, String)>,
}

/// One call that ended, one refund, or refusals of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// Its place in the list of all: behind it goes on what comes later.
    pub place: i64,
    /// When it ended; the first refusal.
    pub at: Time,
    /// Id of the call; none for refusals.
    pub call: Option<[u8; 16]>,
    /// Key id; empty if there was none.
    pub key: String,
    /// The key's name now; empty if it is deleted.
    pub key_name: String,
    /// The first characters of the raw key; empty if it is deleted.
    pub key_first: String,
    /// The tenant; empty without a key.
    pub namespace: String,
    /// Tool, or method with a price.
    pub tool: String,
    /// The whole price.
    pub price: i64,
    /// Credits charged; below 0 for a refund.
    pub charged: i64,
    /// How it ended, or why it was refused.
    pub outcome: String,
    /// Was it let through?
    pub allowed: bool,
    /// How many refusals; 1 for a call.
    pub count: i64,
    /// What the client said that it was for, as a JSON object.
    pub labels: Option<String>,
}

/// Length of the buckets of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// UTC hours.
    Hour,
    /// UTC days.
    Day,
}

impl Bucket {
    /// In milliseconds.
    pub const fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }

    /// The start of the bucket that a moment lies in.
    pub const fn start(self, at: Time) -> i64 {
        at.ms() - at.ms().rem_euclid(self.ms())
    }
}

/// Sums of some usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were let through.
    pub allowed: i64,
    /// Calls that were refused.
    pub denied: i64,
    /// Credits, refunds taken off.
    pub credits: i64,
}

/// A key that used much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its id.
    pub key: String,
    /// Its name, or what may be shown of it.
    pub name: String,
    /// What it used.
    pub tally: Tally,
    /// The tool that it called most.
    pub top_tool: String,
}

/// A report on whole buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// Sums by the start of their bucket; buckets without usage are left out.
    pub series: Vec<(i64, Tally)>,
    /// Tools by number of calls.
    pub tools: Vec<(String, Tally)>,
    /// Keys by credits.
    pub consumers: Vec<Consumer>,
    /// All of it.
    pub current: Tally,
    /// As many buckets before.
    pub previous: Tally,
    /// How many keys.
    pub keys: i64,
    /// How many tools.
    pub tools_used: i64,
    /// Values of the label that was asked for, by number of calls.
    pub labels: Vec<(String, Tally)>,
}

/// What a report is on.
#[derive(Clone, Debug)]
pub struct ReportAsked {
    /// Start of the first bucket.
    pub from: i64,
    /// Start of the bucket behind the last.
    pub to: i64,
    /// Length of each.
    pub bucket: Bucket,
    /// Whose tenant.
    pub namespace: Option<String>,
    /// The name of a label to sum up by.
    pub label: Option<String>,
    /// Most tools and keys by name.
    pub top: usize,
}
