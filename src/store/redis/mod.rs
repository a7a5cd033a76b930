//! Books that several instances share: all numbers are in Redis, and only there. See
//! `docs/decisions/006-books-in-redis.md`.
//!
//! Every change is one script in Redis, all checks before all writes. What is decided there is whether
//! a sum of whole numbers stays within its bounds; which counters there are, what they are for and
//! what bounds them comes with the call, from the gate. Records are read into memory and believed for
//! a moment; a hold says which revisions it was judged by, and the script refuses it if one is old.

mod alerts;
mod answers;
mod books;
mod calls;
mod compare;
mod copy;
mod counters;
mod credits;
mod deeds;
mod epochs;
mod foreign;
mod held;
mod hints;
mod import;
mod journal;
mod keys;
mod link;
mod lists;
mod memory;
mod migrate;
mod names;
mod outbox;
mod put;
mod refusals;
mod repair;
mod sources;
mod store;
mod sums;
mod teams;
mod tenants;
mod unsent;
mod verify;
mod whole;

use std::path::PathBuf;

use secrecy::SecretString;

pub use books::{RedisOpenError, RedisStore};
pub use foreign::{ForeignKey, keys_of_paygate_mcp};
pub use migrate::{MigrateError, Moved, copy_journals, migrate_to_file, migrate_to_redis};
pub use repair::{RepairError, RepairReport, repair};
pub use verify::verify;

/// Where the books are.
#[derive(Debug)]
pub struct RedisOptions {
    /// `redis://[user][:password]@host[:port][/database]`
    pub url: SecretString,
    /// Whose time it is.
    pub clock: RedisClock,
    /// This instance's own copy of the journals, for reports: a file that nobody else has open. `None` for
    /// one that is gone with the process.
    pub copy: Option<PathBuf>,
}

/// Whose time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisClock {
    /// Redis's own, one for all instances.
    #[default]
    Server,
    /// The one that each request brings with it: for tests.
    Passed,
}
