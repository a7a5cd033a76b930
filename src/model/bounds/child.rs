//! A server that is a child process: what it may have waiting, and how long it may take.

use std::time::Duration;

use super::BODY_BYTES_MAX;

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

/// Rounds in which an orphan is given time to show whose it is: while it becomes another program it has
/// no environment to look at.
pub const DESCENDANT_MARK_ROUNDS: usize = 5;

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

/// How long the child may take to end by itself.
pub const CHILD_STOP_GRACE: Duration = Duration::from_secs(4);

/// How long a child may take to be gone when somebody forces the end.
pub const FORCED_STOP_WAIT: Duration = Duration::from_secs(2);
