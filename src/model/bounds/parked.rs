//! Calls that wait for their next round, or for their task.

use std::time::Duration;

/// How long a call waits for its customer to bring what it asked for.
pub const ROUND_WAIT: Duration = Duration::from_mins(10);

/// Times that one call may ask its customer for more.
pub const ROUNDS_MAX: u32 = 10;

/// Calls of one key that wait for their next round or for their task.
pub const PARKED_PER_KEY_MAX: usize = 1_000;

/// The same of all keys; each is some hundred bytes in memory and on disk.
pub const PARKED_MAX: usize = 100_000;

/// Tasks that are settled at once. Each belongs to a request, and takes as long as a commit.
pub const TASK_TURNS_MAX: usize = 10_000;

/// Notes of paid tasks that books in memory keep; what comes before those counts as paid.
pub const EPHEMERAL_PAID_TASKS_MAX: i64 = 100_000;

/// Old notes of paid tasks that are deleted with each new one: more than one, so that they become fewer.
pub const PAID_TASKS_DELETED_PER_NOTE: i64 = 16;

/// Tasks that one session of the legacy era knows; those that are over give way.
pub const SESSION_TASKS_MAX: usize = PARKED_PER_KEY_MAX;

/// Holds of tasks whose session has ended and that wait to be released. Beyond it their deadline
/// releases them.
pub const LOST_TASKS_MAX: usize = PARKED_MAX;

/// The longest that a hold waits for its task.
pub const TASK_HOLD_MAX: Duration = Duration::from_hours(24);

/// How long a task can be asked for, and how long it is remembered that its result is paid.
pub const TASK_ASK_MAX: Duration = Duration::from_hours(7 * 24);
