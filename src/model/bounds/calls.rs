//! Requests and calls: what one may be and bring, and how long it may take.

use std::time::Duration;

/// Largest magnitude of any counter: JSON readers everywhere and Redis' Lua hold it exactly.
pub const COUNTER_MAX: i64 = (1 << 53) - 1;

/// `maxBodyBytes`: a request body, in bytes. The size that paygate-mcp accepted.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// `maxAnswerBytes`: one line from an upstream, in bytes. Room for a picture as base64.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// `maxBatchCalls`: calls in one batch.
pub const BATCH_CALLS_MAX: usize = 100;

/// Entries of one array that are worked on at a time, so that one body does not crowd out others.
pub const ARRAY_ENTRIES_AT_A_TIME: usize = 16;

/// Levels of a JSON value that are written in the one way in which two are compared. What lies deeper
/// is taken as it is written.
pub const CANONICAL_DEPTH_MAX: usize = 32;

/// How deep in a tool's schema an annotation is looked for: deeper than any real form, and no endless
/// walk.
pub const SCHEMA_DEPTH_MAX: usize = 16;

/// The longest name of a tool that every model vendor accepts.
pub const ACCEPTED_NAME_BYTES_MAX: usize = 64;

/// `requestTimeoutMs`: how long a call may take before it is answered with a timeout.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// `maxRequestTimeoutMs`: the hard ceiling that no progress extends.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Buckets of a rolling window: an event may leave late by one of them, a second for a minute.
pub const ROLLING_BUCKETS: i64 = 60;

/// Bytes of a tool's name. MCP advises 128 characters at most; names go into rows and messages.
pub const TOOL_NAME_BYTES_MAX: usize = 256;

/// The part of a child's calls that free requests may fill, as a divisor: what costs nothing, some
/// of it for anybody, must leave room for what is paid.
pub const FREE_CALLS_DIVISOR: usize = 8;

/// The part of these that one key may fill, or one address without a key, as a divisor: what hangs
/// for one customer must not keep the others from what is free, such as the results of their tasks.
pub const FREE_SHARE_DIVISOR: usize = 4;

/// Bytes of an id that is remembered as it was written. Longer ones would make tables of ids a place to
/// store things.
pub const RAW_ID_BYTES_MAX: usize = 128;

/// Labels of one request: what a call is for, not a record of it.
pub const LABELS_MAX: usize = 8;

/// Length of a label's name.
pub const LABEL_NAME_CHARS_MAX: usize = 40;

/// Length of a label's value: an id or a word.
pub const LABEL_VALUE_CHARS_MAX: usize = 100;
