//! Every bound of the product, each with its reason. A queue, map, wait or body that is not
//! bounded here is a bug. What an operator may change is named after its config key and is only
//! the default here.

use std::time::Duration;

/// Largest magnitude of any counter: JSON readers everywhere and Redis' Lua hold it exactly.
pub const COUNTER_MAX: i64 = (1 << 53) - 1;

/// `maxBodyBytes`: a request body, in bytes. The size that paygate-mcp accepted.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// `maxAnswerBytes`: one line from an upstream, in bytes. Room for a picture as base64.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// `maxBatchCalls`: calls in one batch.
pub const BATCH_CALLS_MAX: usize = 100;

/// `requestTimeoutMs`: how long a call may take before it is answered with a timeout.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(60_000);

/// `maxRequestTimeoutMs`: the hard ceiling that no progress extends.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_millis(600_000);

/// Buckets of a rolling window: an event may leave late by one of them, a second for a minute.
pub const ROLLING_BUCKETS: i64 = 60;

// ---- store -----------------------------------------------------------------------------------

/// Journal rows that may wait for the disk. Each is a few hundred bytes; beyond it calls are
/// refused as retryable, because a disk that is this far behind is not keeping up.
pub const JOURNAL_QUEUE_ROWS_MAX: usize = 16_384;

/// How long a hold may wait for its resolution before the journal gets it as a row of its own.
/// A call that ends sooner costs one row instead of two. A crash loses at most the rate counts of
/// calls younger than this, none of which were answered.
pub const HOLD_ROW_DELAY: Duration = Duration::from_millis(25);

/// Rows behind which the saved accounts may lag: what a restart after a crash has to replay.
pub const REPLAY_ROWS_MAX: i64 = 500_000;

/// Time after which lagging accounts are saved even if there were few rows.
pub const ACCOUNTS_SAVE_EVERY: Duration = Duration::from_secs(60);

/// Accounts saved with one commit: small enough that no answer waits for it noticeably.
pub const ACCOUNTS_SAVED_PER_COMMIT: usize = 64;

/// Journal rows that an ephemeral store remembers; there is no disk to put more on.
pub const EPHEMERAL_JOURNAL_ROWS_MAX: i64 = 100_000;

/// Idempotency keys remembered for 24 hours, about 200 bytes each.
pub const ONCE_MAX: usize = 100_000;

/// How long an idempotency key is remembered.
pub const ONCE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections that read beside the writer: one for key lookups, one for a report.
pub const READERS: usize = 2;

/// What a hold lives longer than the longest call: time to settle an answer that came at the end.
pub const HOLD_MARGIN: Duration = Duration::from_secs(30);
