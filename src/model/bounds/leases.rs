//! What an instance may sell while Redis is away.

use std::time::Duration;

use super::CONNECTIONS_MAX;

/// How long an instance may sell from a lease that it could not renew: an outage that lasts longer is one
/// that an operator looks after.
pub const REDIS_LEASE_LENGTH: Duration = Duration::from_mins(10);

/// How often a lease that nobody has used is renewed, and a key asked for again that had no room for one.
pub const REDIS_LEASE_RENEWAL: Duration = Duration::from_mins(1);

/// A key that was not used for so long needs no lease.
pub const REDIS_LEASE_IDLE: Duration = Duration::from_mins(5);

/// How often leases are looked after.
pub const REDIS_LEASE_LOOK: Duration = Duration::from_secs(1);

/// Keys of which one instance has leases: each is renewed by a script of its own.
pub const REDIS_LEASES_MAX: usize = 1_000;

/// Calls that a lease is good for, where there is room for so many.
pub const REDIS_LEASE_CALLS: i64 = 1_000;

/// A lease takes at most this part of what is left (one of so many), so that others have something to sell
/// while it is out.
pub const REDIS_LEASE_SHARE: i64 = 4;

/// Counters that one lease has room of: a key that uses more tools with limits of their own is sold the
/// others only by Redis.
pub const REDIS_LEASE_COUNTERS_MAX: usize = 64;

/// A lease is not used in the last part of its length (one of so many): no two clocks run apart by more.
pub const REDIS_LEASE_MARGIN: i64 = 50;

/// Starts of an instance whose leases it knows for its own: each gives back those of the one before.
pub const REDIS_LEASE_RUNS_MAX: i64 = 100;

/// Calls sold from leases that are not on disk yet.
pub const REDIS_LEASE_ROWS_WAITING_MAX: usize = 2 * CONNECTIONS_MAX;

/// Calls sold from leases that one commit writes.
pub const REDIS_LEASE_ROWS_PER_COMMIT: usize = 512;

/// Calls sold from a lease that one script books: others get their turn in between.
pub const REDIS_LEASE_ROWS_AT_ONCE: i64 = 100;
