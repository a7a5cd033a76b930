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
