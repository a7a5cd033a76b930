//! Usage: refusals, sums, reports.

use std::time::Duration;

/// Kinds of refusals (key, tool and reason) that are told apart between two looks of the writer; the
/// rest is counted by its reason alone, so that no flood makes rows without end.
pub const REFUSED_KINDS_MAX: usize = 1_000;

/// Refusals in a list of usage: older ones are then only in the sums.
pub const REFUSED_ROWS_MAX: i64 = 1_000_000;

/// How often refusals are written down. A crash loses those since.
pub const REFUSED_INTERVAL: Duration = Duration::from_secs(2);

/// So many times as seldom usage is rolled up where nobody asks for it: the longer, the fewer sums are
/// written for the same calls. After a crash the rows since are read once more.
pub const USAGE_ROLL_EVERY: u32 = 8;

/// Sums of usage that the writer notes before it writes them, whoever asks: 100 bytes each, and as much
/// again while they are written. The more of them, the more calls there are to one sum.
pub const USAGE_GROUPS_MAX: usize = 100_000;

/// Sums of usage written with one commit, unless there is no room for more: what that takes is what an
/// answer may have to wait.
pub const USAGE_SUMS_PER_COMMIT: usize = 256;

/// The same where somebody waits for all of them.
pub const USAGE_SUMS_AWAITED: usize = 1_000;

/// Calls with labels that are open at a time and whose labels the writer remembers; those of others it
/// reads again.
pub const USAGE_LABELS_OPEN_MAX: usize = 10_000;

/// How far reports step back from calls, from 0 (not at all) to 19. At 10 a report gets a tenth of one
/// processor that calls keep busy.
pub const REPORTS_NICENESS: i32 = 10;

/// Keys that are read at a time to count what the tenants have: no call waits for more than these.
pub const TENANT_KEYS_AT_ONCE: usize = 256;

/// Journal rows that one commit adds to the sums of usage, so that no answer waits for it noticeably.
pub const USAGE_ROLLED_AT_ONCE: i64 = 2_000;

/// Journal rows that one read of usage looks at, whatever it finds: other reports get their turn.
pub const USAGE_SCANNED_AT_ONCE: i64 = 20_000;

/// Reads for one page of usage: so many rows are looked at, then the page ends with what was found.
pub const USAGE_READS_MAX: usize = 50;

/// Rows of usage that one commit forgets.
pub const USAGE_FORGOTTEN_AT_ONCE: usize = 5_000;

/// How old the sums over all keys may be that a scrape of the metrics shows.
pub const METRICS_SUMS_AGE: Duration = Duration::from_secs(15);

/// Hours or days of one report.
pub const ANALYTICS_BUCKETS_MAX: usize = 1_000;

/// Tools and keys that one report names.
pub const ANALYTICS_TOP_MAX: usize = 100;
