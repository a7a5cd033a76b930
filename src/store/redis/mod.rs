//! Books that several instances share: all numbers are in Redis, and only there. See
//! `docs/decisions/006-books-in-redis.md`.
//!
//! Every change is one script in Redis, all checks before all writes. What is decided there is whether
//! a sum of whole numbers stays within its bounds; which counters there are, what they are for and
//! what bounds them comes with the call, from the gate. Records are read into memory and believed for
//! a moment; a hold says which revisions it was judged by, and the script refuses it if one is old.

mod answers;
mod asked;
mod books;
mod calls;
mod counters;
mod duties;
mod fit;
mod format;
mod held;
mod journals;
mod lease;
mod link;
mod loose_ends;
mod memory;
mod names;
mod news;
mod parked;
mod peers;
mod records;
mod runs;
mod store;
mod texts;
mod together;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use books::{RedisOpenError, RedisStore};
pub use lease::{LeaseOptions, LeaseOut, OnUnavailable, SettleAs};
pub use link::RedisStanding;
pub use tools::foreign::{ForeignKey, keys_of_paygate_mcp};
pub use tools::leave::migrate_to_file;
pub use tools::migrate::{MigrateError, Moved, copy_journals, migrate_to_redis};
pub use tools::repair::{RepairError, RepairReport, repair};
pub use tools::verify::verify;

use crate::model::bounds::{REDIS_ANSWER_TIMEOUT, REDIS_CONNECT_TIMEOUT};

/// Where the books are.
#[derive(Debug)]
pub struct RedisOptions {
    /// `redis://[user][:password]@host[:port][/database]`, or with `redis+sentinel` (and the master's name
    /// before the database) or `redis+cluster` and several hosts; `rediss` for TLS.
    pub url: SecretString,
    /// How it is reached, beside that.
    pub reach: RedisReach,
    /// Whose time it is.
    pub clock: RedisClock,
    /// This instance's own copy of the journals, for reports: a file that nobody else has open. `None` for
    /// one that is gone with the process.
    pub copy: Option<PathBuf>,
}

/// How Redis is reached, beside its URL, and what is done while it is not.
#[derive(Clone, Debug)]
pub struct RedisReach {
    /// Certificates in PEM form that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// User, which may be empty, and password of the Sentinels, where they ask for them.
    pub sentinel_login: Option<(String, SecretString)>,
    /// To be let in.
    pub connect_timeout: Duration,
    /// For one answer. What is asked again takes twice as long at most, all together.
    pub answer_timeout: Duration,
    /// What is done while it cannot be reached.
    pub on_unavailable: OnUnavailable,
}

impl Default for RedisReach {
    fn default() -> Self {
        Self {
            ca: None,
            sentinel_login: None,
            connect_timeout: REDIS_CONNECT_TIMEOUT,
            answer_timeout: REDIS_ANSWER_TIMEOUT,
            on_unavailable: OnUnavailable::Refuse,
        }
    }
}

impl RedisOptions {
    /// What is wrong with a URL, if anything, as the end of a sentence that begins with it.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        link::check_url(url)
    }
}

/// A Redis that somebody names who looks at whole books.
#[derive(Clone, Debug)]
pub struct RedisPlace {
    /// As in [`RedisOptions::url`].
    pub url: SecretString,
    /// Certificates in PEM form that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// As in [`RedisReach::sentinel_login`].
    pub sentinel_login: Option<(String, SecretString)>,
}

impl RedisPlace {
    fn reach(&self) -> RedisReach {
        let (ca, sentinel_login) = (self.ca.clone(), self.sentinel_login.clone());
        RedisReach { ca, sentinel_login, ..RedisReach::default() }
    }
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
