//! The embedded store: what waits for the disk, what one commit does, what is remembered.

use std::time::Duration;

/// Journal rows that may wait for the disk. Each is a few hundred bytes; beyond it calls are
/// refused as retryable, because a disk that is this far behind is not keeping up.
pub const JOURNAL_QUEUE_ROWS_MAX: usize = 16_384;

/// Journal rows that are worth a commit although nobody waits for it.
pub const JOURNAL_BATCH_ROWS: usize = 1_024;

/// How long a call waits for room in the journal's queue before it is refused as retryable.
pub const JOURNAL_ROOM_WAIT: Duration = Duration::from_secs(5);

/// How long a hold may wait for its resolution before the journal gets it as a row of its own.
/// A call that ends sooner costs one row instead of two. A crash loses at most the rate counts of
/// calls younger than this, none of which were charged.
pub const HOLD_ROW_DELAY: Duration = Duration::from_millis(25);

/// Rows behind which the saved accounts may lag: what a restart after a crash has to replay.
pub const REPLAY_ROWS_MAX: i64 = 500_000;

/// Time after which lagging accounts are saved even if there were few rows.
pub const ACCOUNTS_SAVE_EVERY: Duration = Duration::from_mins(1);

/// Accounts saved with one commit: small enough that no answer waits for it noticeably.
pub const ACCOUNTS_SAVED_PER_COMMIT: usize = 64;

/// Journal rows that an ephemeral store remembers; there is no disk to put more on.
pub const EPHEMERAL_JOURNAL_ROWS_MAX: i64 = 100_000;

/// Idempotency keys remembered for 24 hours, about 200 bytes each.
pub const ONCE_MAX: usize = 100_000;

/// How long an idempotency key is remembered.
pub const ONCE_TTL: Duration = Duration::from_hours(24);

/// `idempotencyTtlSeconds`: how long the answer to a call that carries an idempotency key is kept.
pub const KEPT_TTL: Duration = ONCE_TTL;

/// The longest answer that is kept for a repetition of its call, in bytes.
pub const KEPT_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Kept answers, and the bytes of them: they are on disk, not in memory. From there on a new
/// idempotency key is refused; calls in flight may still go past it by what they answer.
pub const KEPT_ANSWERS_MAX: u64 = 1_000_000;
/// See [`KEPT_ANSWERS_MAX`].
pub const KEPT_BYTES_MAX: u64 = 4 << 30;

/// The same in an ephemeral store, where they are in memory.
pub const EPHEMERAL_KEPT_ANSWERS_MAX: u64 = 10_000;
/// See [`EPHEMERAL_KEPT_ANSWERS_MAX`].
pub const EPHEMERAL_KEPT_BYTES_MAX: u64 = 64 << 20;

/// The part of all kept answers that one API key may fill, as a divisor: no customer takes the
/// idempotency keys of all others.
pub const KEPT_SHARE_DIVISOR: u64 = 4;

/// Bytes of answers that may wait for the disk to be kept; beyond it calls with an idempotency key
/// are refused as retryable before they are held.
pub const KEPT_WAITING_BYTES_MAX: u64 = 64 << 20;

/// Expired answers that one commit deletes, and bytes of them: no answer waits for it noticeably.
pub const KEPT_DELETED_PER_COMMIT: usize = 256;
/// See [`KEPT_DELETED_PER_COMMIT`].
pub const KEPT_BYTES_DELETED_PER_COMMIT: u64 = 4 << 20;

/// What a hold lives longer than the longest call: time to settle an answer that came at the end.
pub const HOLD_MARGIN: Duration = Duration::from_secs(30);

/// How long the books may take to write down what waits. A disk that does not answer must not keep
/// the process for ever; the next start replays what it has.
pub const CLOSE_BOOKS_WAIT: Duration = Duration::from_secs(10);

/// How often holds whose deadline has passed are released.
pub const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// A commit that takes longer means a disk that cannot keep up: new calls are refused as retryable
/// rather than started and left waiting for it.
pub const COMMIT_SLOW: Duration = Duration::from_secs(5);

/// A commit that takes longer is not believed to end any more: the books close, and whoever waits
/// is told so.
pub const COMMIT_HUNG: Duration = Duration::from_secs(30);

const _: () = assert!(COMMIT_SLOW.as_secs() < COMMIT_HUNG.as_secs());

/// How often a stop looks whether the writer has ended.
pub const WRITER_END_LOOK: Duration = Duration::from_millis(5);

/// How long a key lookup or a report waits for others of its kind before it is refused as retryable.
pub const READ_TURN_WAIT: Duration = Duration::from_secs(5);

/// How often all accounts are compared with the journal.
pub const COMPARE_INTERVAL: Duration = Duration::from_mins(1);

/// Accounts of one read of a comparison, and how many of them are read under the books' lock at a time:
/// no call waits for it noticeably.
pub const COMPARED_AT_ONCE: usize = 512;
/// See [`COMPARED_AT_ONCE`].
pub const COMPARED_PER_LOCK: usize = 64;

/// Journal rows of one read of a comparison.
pub const COMPARE_ROWS_AT_ONCE: i64 = 10_000;

/// Of those, so many are added up by one statement: SQLite adds in 64 bits, and an amount has up to 53.
pub const COMPARE_ROWS_SUMMED: i64 = 1_000;

/// The pause after each such read, so that others get their turn and the whole takes little of a core.
pub const COMPARE_PAUSE: Duration = Duration::from_millis(10);

/// Reads of accounts that may be in vain because keys were made meanwhile; the next comparison tries anew.
pub const COMPARE_TRIES_MAX: usize = 10_000;

/// Between two lines of the log about requests that are refused because the books are not available.
pub const OUTAGE_LINE_PAUSE: Duration = Duration::from_secs(1);
