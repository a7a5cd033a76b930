//! Webhooks: batches, attempts, dead letters.

use std::time::Duration;

/// Events of one POST.
pub const WEBHOOK_BATCH_EVENTS: usize = 10;

/// How long an event waits for others to fill its batch.
pub const WEBHOOK_FLUSH_WAIT: Duration = Duration::from_secs(5);

/// How often new events are looked for.
pub const WEBHOOK_LOOK: Duration = Duration::from_millis(500);

/// How long a receiver may take, from the connection to the end of its answer.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer's body that are read, so that its connection can be used again. What it says
/// is of no interest; a longer one costs the connection.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 << 10;

/// `webhookMaxRetries`: about half a minute of waiting between attempts.
pub const WEBHOOK_RETRIES: i64 = 5;

/// Most retries: with the longest waits between them about an hour, then the next batch has its turn.
pub const WEBHOOK_RETRIES_MAX: i64 = 50;

/// The wait before the first retry; it doubles from there.
pub const WEBHOOK_RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest such wait.
pub const WEBHOOK_RETRY_WAIT_MAX: Duration = Duration::from_mins(1);

/// Batches that are kept when nobody took them; the oldest gives way, and is counted.
pub const WEBHOOK_DEAD_LETTERS_MAX: usize = 1_000;

/// Dead letters that are read at a time.
pub const WEBHOOK_DEAD_LETTERS_READ: usize = 50;

/// How long webhooks may be switched off before what happened meanwhile is not sent any more: a
/// mistake in the configuration is found by then, and nobody wants the events of last spring.
pub const WEBHOOK_OFF_KEPT: Duration = Duration::from_hours(7 * 24);

/// How long the last attempt may take when Paygate stops. What is not sent then is sent after the next
/// start.
pub const WEBHOOK_LAST_WAIT: Duration = Duration::from_secs(2);
