//! Alerts: rules, and looks at keys.

use std::time::Duration;

/// Rules for alerts: each is looked at for every key that was used.
pub const ALERT_RULES_MAX: usize = 50;

/// How long a rule says no more of the same key, if it does not say how long.
pub const ALERT_COOLDOWN: Duration = Duration::from_mins(5);

/// The longest that it may say: a year. What is never to be told again needs no rule.
pub const ALERT_COOLDOWN_SECONDS_MAX: i64 = 365 * 24 * 3600;

/// The time over which refusals by rate limits are counted.
pub const ALERT_DENIALS_WINDOW: Duration = Duration::from_mins(5);

/// How often keys are looked at that were used since.
pub const ALERT_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Each so many looks go through the keys that soon expire too, used or not.
pub const ALERT_LOOKS_PER_IDLE_LOOK: u32 = 15;

/// Alerts that wait to be read. Older ones are then in the audit log only.
pub const ALERTS_PENDING_MAX: usize = 10_000;

/// Journal rows, entries of refusals, and keys that soon expire, of one look: other readers of the
/// database get their turn. What is left comes with the next.
pub const ALERT_ROWS_AT_ONCE: i64 = 20_000;
/// See [`ALERT_ROWS_AT_ONCE`].
pub const ALERT_KEYS_AT_ONCE: usize = 500;

/// Looks in a row before others get to change the rules or to read what was found.
pub const ALERT_LOOKS_IN_A_ROW: usize = 20;

/// Keys whose numbers are copied at a time, so that no call waits for it noticeably.
pub const ALERT_KEYS_PER_LOCK: usize = 64;

/// Alerts that one commit writes, for the same reason.
pub const ALERTS_PER_COMMIT: usize = 100;

/// Cooldowns that have passed and that one commit forgets: more than it adds.
pub const ALERT_COOLDOWNS_FORGOTTEN_AT_ONCE: usize = 1_000;
