//! The command line of those commands that speak to a running Paygate.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::SecretString;

/// Where the running Paygate is, and how answers are shown.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Where the running Paygate is [default: PAYGATE_URL, or http://127.0.0.1:3402]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// Its admin key or an admin token [default: PAYGATE_ADMIN_KEY]
    #[arg(long, value_name = "KEY", global = true)]
    pub admin_key: Option<SecretString>,
    /// File with the authority of its certificate, in PEM form [default: PAYGATE_CA]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Print the answer as JSON, as the HTTP API gives it
    #[arg(long, global = true)]
    pub json: bool,
}

/// A command for a running Paygate, and where that is.
#[derive(Debug, Clone, Args)]
pub struct Operator<W: Subcommand> {
    /// What to do.
    #[command(subcommand)]
    pub words: W,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `paygate keys`.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysWords {
    /// Create a key; the answer is the only place where it is shown whole
    Create(Box<NewKey>),
    /// List all keys
    List(OfNamespace),
    /// Show one key
    Show {
        /// Its id
        id: String,
    },
    /// Add credits
    Topup {
        /// The key, or its id
        key: String,
        /// How many
        credits: u64,
        /// Makes a repetition of this command harmless
        #[arg(long, value_name = "TEXT")]
        idempotency_key: Option<String>,
    },
    /// Close a key for good
    Revoke(OneKey),
    /// Replace the credential of a key
    Rotate {
        /// The key, or its id
        key: String,
        /// How long the old credential goes on working
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        grace_seconds: u64,
    },
    /// Close a key for a while
    Suspend(OneKey),
    /// Open a suspended key
    Resume(OneKey),
}

/// One key.
#[derive(Debug, Clone, Args)]
pub struct OneKey {
    /// The key, or its id
    pub key: String,
}

/// What a list is about.
#[derive(Debug, Clone, Args)]
pub struct OfNamespace {
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// `paygate keys create`.
#[derive(Debug, Clone, Args)]
pub struct NewKey {
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it can spend [default: 100]
    #[arg(long, value_name = "CREDITS")]
    pub credits: Option<u64>,
    /// Its tenant [default: default]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Tools that it may call, with commas [default: all]
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Tools that it may not call, with commas
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Addresses and networks that it may be used from, with commas [default: all]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub ip: Vec<String>,
    /// A note of yours, as name=value; can be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub tag: Vec<String>,
    /// What it may spend in all; 0 is unlimited
    #[arg(long, value_name = "CREDITS")]
    pub spending_limit: Option<u64>,
    /// When it ends, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
    /// Makes a repetition of this command harmless
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// `paygate namespaces`.
#[derive(Debug, Clone, Subcommand)]
pub enum NamespacesWords {
    /// List all namespaces
    List,
    /// Refuse all calls of a namespace
    Suspend {
        /// Which
        name: String,
    },
    /// Let a suspended namespace call again
    Resume {
        /// Which
        name: String,
    },
}

/// `paygate teams`.
#[derive(Debug, Clone, Subcommand)]
pub enum TeamsWords {
    /// List all teams
    List(OfNamespace),
    /// Create a team
    Create {
        /// What it is called
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What its keys may spend together; 0 is unlimited
        #[arg(long, value_name = "CREDITS")]
        budget: Option<u64>,
        /// Its tenant [default: default]
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// Delete a team; its keys stay
    Delete {
        /// Its id
        team: String,
    },
    /// Put a key into a team
    Assign {
        /// The team's id
        team: String,
        /// The key, or its id
        key: String,
    },
    /// Take a key out of a team
    Remove {
        /// The team's id
        team: String,
        /// The key, or its id
        key: String,
    },
}

/// `paygate audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditFlags {
    /// Entries, newest first [default: 100]
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u32>,
    /// Only these types, with commas, such as key.created
    #[arg(long, value_name = "TYPES")]
    pub types: Option<String>,
    /// Only of this actor
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Only from this time on, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only of this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `paygate status`.
#[derive(Debug, Clone, Args)]
pub struct StatusFlags {
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}
