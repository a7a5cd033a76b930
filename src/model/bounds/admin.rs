//! The operator's API: its records, the audit log, and whoever guesses.

use std::time::Duration;

/// Entries of the audit log: some hundred bytes each. Beyond it the oldest are forgotten.
pub const AUDIT_ROWS_MAX: i64 = 5_000_000;

/// Entries about refusals among them, which strangers can cause.
pub const AUDIT_REFUSALS_MAX: usize = 10_000;

/// Entries that are forgotten with one commit, so that no answer waits for it noticeably.
pub const AUDIT_FORGOTTEN_AT_ONCE: usize = 5_000;

/// How often old entries are looked for.
pub const AUDIT_FORGET_INTERVAL: Duration = Duration::from_mins(1);

/// Admin tokens: all are in memory. Far more than there are operators of one Paygate.
pub const ADMIN_TOKENS_MAX: usize = 10_000;

/// Teams, deleted ones included: all are in memory with their accounts, about a kilobyte each.
pub const TEAMS_MAX: usize = 50_000;

/// Namespaces with a record of their own: all are in memory, about 200 bytes each without lists.
pub const NAMESPACES_MAX: usize = 100_000;

/// Answers to wrong admin keys that wait at once for one address. Beyond it they are refused at
/// once, so that a guesser cannot hold all connections open.
pub const ADMIN_DELAYED_MAX: usize = 64;

/// Wrong guesses of the admin key that are answered at once: a typing error should not feel like a
/// fault.
pub const ADMIN_FREE_GUESSES: u32 = 3;

/// The first delay of an answer to a wrong guess; it doubles from there.
pub const ADMIN_DELAY_FIRST: Duration = Duration::from_millis(25);

/// The longest such delay: enough against guessing, and a wrong request holds its connection no
/// longer.
pub const ADMIN_DELAY_MAX: Duration = Duration::from_secs(1);

/// A client that has guessed wrong and been quiet this long starts afresh.
pub const ADMIN_GUESSES_FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// Clients remembered that have guessed wrong, about 100 bytes each. Beyond it the quietest are
/// forgotten.
pub const ADMIN_GUESSERS_MAX: usize = 4096;
