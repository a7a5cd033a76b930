//! Flags of the commands that look after whole books: what `paygate ledger` and `paygate migrate` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::named::place;

/// How Sentinels let a command in that looks at books in Redis.
#[derive(Debug, Clone, Args)]
pub struct SentinelFlags {
    /// Name by which the Sentinels know us, where they ask for one
    #[arg(long, value_name = "NAME", requires = "sentinel_password")]
    pub sentinel_user: Option<String>,
    /// Password of the Sentinels, where they ask for one
    #[arg(long, value_name = "PASSWORD")]
    pub sentinel_password: Option<SecretString>,
}

impl SentinelFlags {
    /// User, which may be empty, and password.
    pub fn login(&self) -> Option<(String, SecretString)> {
        Some((self.sentinel_user.clone().unwrap_or_default(), self.sentinel_password.clone()?))
    }
}

/// Words behind `paygate ledger`.
#[derive(Debug, Subcommand)]
pub(super) enum LedgerWords {
    /// Replay the journal against every balance and counter; any difference exits with 1
    #[command(args_override_self = true)]
    Verify(VerifyFlags),
    /// Bring a Redis that has come back with less up to the journal that instances have copied
    Repair(RepairFlags),
    /// List what instances may sell while Redis is away
    Leases(LeasesFlags),
    /// Settle a lease that has ended and whose instance will not report any more
    SettleLease(SettleLeaseFlags),
}

/// `paygate ledger verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyFlags {
    /// File that keeps the books [default: paygate.db]; with --redis an instance's copy of its journal
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Verify books in Redis: redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", value_parser = place)]
    pub redis: Option<SecretString>,
    /// Certificates in PEM form that are trusted for that Redis beside the system's
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub redis_ca: Option<PathBuf>,
    /// How Sentinels let us in
    #[command(flatten)]
    pub sentinel: SentinelFlags,
}

/// `paygate ledger repair`.
#[derive(Debug, Clone, Args)]
pub struct RepairFlags {
    /// Redis that keeps the books: redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", value_parser = place)]
    pub redis: SecretString,
    /// Certificates in PEM form that are trusted for that Redis beside the system's
    #[arg(long, value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// How Sentinels let us in
    #[command(flatten)]
    pub sentinel: SentinelFlags,
    /// An instance's copy of the journals; name those of all instances, with one --db each
    #[arg(long, value_name = "COPY", required = true)]
    pub db: Vec<PathBuf>,
    /// Write what is proposed; without it nothing is changed
    #[arg(long)]
    pub apply: bool,
}

/// `paygate ledger leases`.
#[derive(Debug, Clone, Args)]
pub struct LeasesFlags {
    /// Redis that keeps the books: redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", value_parser = place)]
    pub redis: SecretString,
}

/// `paygate ledger settle-lease`.
#[derive(Debug, Clone, Args)]
pub struct SettleLeaseFlags {
    /// Which lease, as `paygate ledger leases` names it
    #[arg(value_name = "LEASE")]
    pub lease: String,
    /// Redis that keeps the books: redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", value_parser = place)]
    pub redis: SecretString,
    /// Its credits were spent
    #[arg(long, required_unless_present = "returned", conflicts_with = "returned")]
    pub spent: bool,
    /// Its credits go back to the customer
    #[arg(long)]
    pub returned: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `paygate migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateFlags {
    /// Where the books are: a file, or redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "FILE|URL", value_parser = place)]
    pub from: SecretString,
    /// Where they are to be: a new file, or an empty Redis
    #[arg(long, value_name = "FILE|URL", value_parser = place)]
    pub to: SecretString,
    /// Certificates in PEM form that are trusted for that Redis beside the system's
    #[arg(long, value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// How Sentinels let us in
    #[command(flatten)]
    pub sentinel: SentinelFlags,
    /// Out of Redis: an instance's copy of the journals, for what has left Redis. Into Redis: a new file for
    /// the copy that an instance will keep
    #[arg(long, value_name = "COPY")]
    pub db: Vec<PathBuf>,
}
