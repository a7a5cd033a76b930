//! The command line of `paygate keys`.

use clap::{Args, Subcommand, ValueEnum};

use super::operator_flags::OfNamespace;

/// `paygate keys`.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysWords {
    /// Create a key; the answer is the only place where it is shown whole
    Create(Box<NewKey>),
    /// List all keys
    List(OfNamespace),
    /// List the keys that have all of these tags
    Search {
        /// A tag, as name=value; can be given again
        #[arg(long, value_name = "NAME=VALUE", required = true)]
        tag: Vec<String>,
        /// Whose.
        #[command(flatten)]
        of: OfNamespace,
    },
    /// Show one key
    Show {
        /// Its id
        id: String,
    },
    /// Change a key; what is not named stays
    Set(Box<ChangedKey>),
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
    /// Correct credits, up or down, with a reason that the journal keeps
    Adjust {
        /// The key, or its id
        key: String,
        /// How many; below zero takes away
        #[arg(allow_negative_numbers = true)]
        credits: i64,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
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
    /// Delete a key; its journal and its usage stay under the id
    Delete {
        /// Its id
        id: String,
    },
}

/// One key.
#[derive(Debug, Clone, Args)]
pub struct OneKey {
    /// The key, or its id
    pub key: String,
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
    /// What it may do.
    #[command(flatten)]
    pub terms: KeyTerms,
    /// Makes a repetition of this command harmless
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// `paygate keys set`.
#[derive(Debug, Clone, Args)]
pub struct ChangedKey {
    /// Its id
    pub id: String,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// What it may do.
    #[command(flatten)]
    pub terms: KeyTerms,
    /// Tags to remove, with commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub untag: Vec<String>,
    /// What to take away whole, with commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub clear: Vec<Clear>,
}

/// What a key may do, as far as it is named.
#[derive(Debug, Clone, Args)]
pub struct KeyTerms {
    /// Tools that it may call, with commas
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Tools that it may not call, with commas
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Addresses and networks that it may be used from, with commas
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub ip: Vec<String>,
    /// A note of yours, as name=value; can be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub tag: Vec<String>,
    /// What it may spend in all; 0 is unlimited
    #[arg(long, value_name = "CREDITS")]
    pub spending_limit: Option<u64>,
    /// When it ends, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    pub expires_at: Option<String>,
    /// How long it lives from now on
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u64>,
    /// Its quota.
    #[command(flatten)]
    pub quota: QuotaFlags,
}

/// A quota, as far as it is named.
#[derive(Debug, Clone, Args)]
pub struct QuotaFlags {
    /// Calls in a UTC day; 0 is unlimited
    #[arg(long, value_name = "CALLS")]
    pub daily_calls: Option<u64>,
    /// Calls in a UTC month; 0 is unlimited
    #[arg(long, value_name = "CALLS")]
    pub monthly_calls: Option<u64>,
    /// Credits in a UTC day; 0 is unlimited
    #[arg(long, value_name = "CREDITS")]
    pub daily_credits: Option<u64>,
    /// Credits in a UTC month; 0 is unlimited
    #[arg(long, value_name = "CREDITS")]
    pub monthly_credits: Option<u64>,
}

/// What `paygate keys set --clear` takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clear {
    /// The list of tools that it may call: then all.
    Allow,
    /// The list of tools that it may not call.
    Deny,
    /// The list of addresses: then all.
    Ip,
    /// All tags.
    Tags,
    /// The limit of what it may spend.
    SpendingLimit,
    /// The end.
    Expiry,
    /// Its own quota: then the one for all.
    Quota,
}

impl Clear {
    /// The member that becomes null.
    pub const fn member(self) -> &'static str {
        match self {
            Self::Allow => "allowedTools",
            Self::Deny => "deniedTools",
            Self::Ip => "ipAllowlist",
            Self::Tags => "tags",
            Self::SpendingLimit => "spendingLimit",
            Self::Expiry => "expiresAt",
            Self::Quota => "quota",
        }
    }
}
