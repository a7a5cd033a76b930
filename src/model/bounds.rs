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
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// `maxRequestTimeoutMs`: the hard ceiling that no progress extends.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Buckets of a rolling window: an event may leave late by one of them, a second for a minute.
pub const ROLLING_BUCKETS: i64 = 60;

// ---- store -----------------------------------------------------------------------------------

/// Journal rows that may wait for the disk. Each is a few hundred bytes; beyond it calls are
/// refused as retryable, because a disk that is this far behind is not keeping up.
pub const JOURNAL_QUEUE_ROWS_MAX: usize = 16_384;

/// Journal rows that are worth a commit although nobody waits for it.
pub const JOURNAL_BATCH_ROWS: usize = 1_024;

/// How long a commit waits under load for more answers to join it: about two syncs of a good disk.
pub const COMMIT_GATHER: Duration = Duration::from_micros(200);

/// Rows of the commit before from which on that is worth it. Fewer calls at a time would only wait.
pub const COMMIT_GATHER_FROM: usize = 8;

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

/// What a hold lives longer than the longest call: time to settle an answer that came at the end.
pub const HOLD_MARGIN: Duration = Duration::from_secs(30);
// Upstream children

/// Calls in flight on one child. Far above what one stdio server works on at a time, and small
/// enough that their waiting answers stay a matter of megabytes.
pub const CHILD_CALLS_MAX: usize = 1024;

/// What an operator can raise that to: ids name a place in the table and stay within 2^53.
pub const CHILD_CALLS_CEILING: usize = 1 << 16;

/// Room in the table of calls for Paygate's own requests (initialize, tools/list), so that a
/// child full of customers' calls can still be asked.
pub const CHILD_OWN_CALLS_MAX: usize = 8;

/// Bytes that may wait for a child to read them. One line of the largest body fits several
/// times; beyond it senders wait.
pub const CHILD_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Room beyond the queue for short lines that cannot wait: cancellations and answers to the
/// child's own requests.
pub const CHILD_CONTROL_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(CHILD_QUEUE_BYTES_MAX > BODY_BYTES_MAX);

/// What one read from a child may bring: the size of a Linux pipe.
pub const CHILD_READ_BYTES: usize = 64 << 10;

/// Bytes of the reason that goes with a cancellation.
pub const CANCEL_REASON_BYTES_MAX: usize = 256;

/// How long a child may take to start: until it has answered initialize and listed its tools.
/// Servers started through npx or uvx download themselves first.
pub const CHILD_START_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait before the first restart of a child that died; it doubles from there.
pub const CHILD_RESTART_WAIT_FIRST: Duration = Duration::from_millis(250);

/// The longest wait between two restarts: soon enough once the cause is gone, rare enough to
/// cost nothing while it is not.
pub const CHILD_RESTART_WAIT_MAX: Duration = Duration::from_secs(30);

/// A child that ran this long was healthy: its next restart begins at the first wait again.
pub const CHILD_HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How long a child whose pipes are closed may take to exit by itself.
pub const CHILD_EXIT_WAIT: Duration = Duration::from_millis(500);

/// How long what a child wrote last may take to be read: at most a pipe full, unless somebody
/// else holds the pipe and would make us wait for nothing.
pub const CHILD_DRAIN_WAIT: Duration = Duration::from_millis(100);

/// How long a killed process may take to be gone. Only one that hangs in the kernel takes longer.
pub const CHILD_KILL_WAIT: Duration = Duration::from_secs(5);

/// Rounds of killing descendants that left the process group. Each round kills all it finds;
/// only something that forks all the time needs more than three.
pub const DESCENDANT_KILL_ROUNDS: usize = 50;

/// The pause between two such rounds: the kernel needs a moment to end a process.
pub const DESCENDANT_KILL_PAUSE: Duration = Duration::from_millis(10);

/// How often orphans that ended by themselves are collected.
pub const ORPHAN_REAP_INTERVAL: Duration = Duration::from_secs(10);

/// Pages of tools/list that are fetched: a server that pages forever is cut off.
pub const TOOL_PAGES_MAX: usize = 100;

/// Tools of one server.
pub const TOOL_NAMES_MAX: usize = 10_000;

/// At most one tools/list in this time, however often somebody asks for unknown tools.
pub const TOOLS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long one answer to tools/list may take while the child runs.
pub const TOOLS_LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one line of a child's stderr that are kept; the rest of the line is dropped.
pub const STDERR_LINE_BYTES_MAX: usize = 4096;

/// Last lines of stderr that are kept for error messages.
pub const STDERR_LINES_KEPT: usize = 20;

/// Lines of stderr that are logged in one second; the rest is counted.
pub const STDERR_LINES_PER_SECOND_MAX: u32 = 200;

// ---- front -----------------------------------------------------------------------------------

/// Connections open at a time; more wait in the system's queue. Where the system allows fewer open
/// files, fewer.
pub const CONNECTIONS_MAX: usize = 4096;

/// Open files that are left for everything that is not a client's connection: the database, the
/// child's pipes, logs.
pub const FILES_RESERVED: usize = 64;

/// Bytes of a request's line and headers together.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of a request.
pub const HEADERS_MAX: usize = 100;

/// How long the head of a request may take; so also how long a connection may be idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// How long the body of a request may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take no byte of an answer that waits for it.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted, for instance because files ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long what a client still sends after its answer is read and dropped. Closing earlier would
/// reset the connection, and the answer with it.
pub const LINGER_WAIT: Duration = Duration::from_secs(3);

/// Bytes that are read and dropped meanwhile.
pub const LINGER_BYTES_MAX: usize = 256 << 20;

/// Entries of forwarded-for headers that are looked at, from the right.
pub const FORWARDED_HOPS_MAX: usize = 32;

/// How long calls in flight may take to finish once Paygate is told to stop.
pub const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// How often the drain looks whether it is done.
pub const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// How long the connections may take to write what they have once no call is in flight.
pub const CONNECTIONS_STOP_WAIT: Duration = Duration::from_secs(5);

/// How long the child may take to end by itself.
pub const CHILD_STOP_GRACE: Duration = Duration::from_secs(4);

/// How long a child may take to be gone when somebody forces the end.
pub const FORCED_STOP_WAIT: Duration = Duration::from_secs(2);

/// How often holds whose deadline has passed are released.
pub const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How long `paygate health` waits.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that `paygate health` reads.
pub const HEALTH_BYTES_MAX: usize = 64 << 10;

// ---- proxy -----------------------------------------------------------------------------------

/// Bytes of a tool's name. MCP advises 128 characters at most; names go into rows and messages.
pub const TOOL_NAME_BYTES_MAX: usize = 256;

/// The part of a child's calls that free requests may fill, as a divisor: what costs nothing, some
/// of it for anybody, must leave room for what is paid.
pub const FREE_CALLS_DIVISOR: usize = 8;
// ---- slow disks ------------------------------------------------------------------------------

/// A commit that takes longer means a disk that cannot keep up: new calls are refused as retryable
/// rather than started and left waiting for it.
pub const COMMIT_SLOW: Duration = Duration::from_secs(5);

/// A commit that takes longer is not believed to end any more: the books close, and whoever waits
/// is told so.
pub const COMMIT_HUNG: Duration = Duration::from_secs(30);

const _: () = assert!(COMMIT_SLOW.as_secs() < COMMIT_HUNG.as_secs());

/// How often a stop looks whether the writer has ended.
pub const WRITER_END_LOOK: Duration = Duration::from_millis(5);

// ---- reading beside the writer ---------------------------------------------------------------

/// How long a key lookup or a report waits for others of its kind before it is refused as retryable.
pub const READ_TURN_WAIT: Duration = Duration::from_secs(5);

// ---- the operator's API ----------------------------------------------------------------------

/// Answers to wrong admin keys that wait at once for one address. Beyond it they are refused at
/// once, so that a guesser cannot hold all connections open.
pub const ADMIN_DELAYED_MAX: usize = 64;
