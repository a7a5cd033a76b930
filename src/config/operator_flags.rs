//! The command line of those commands that speak to a running Paygate.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::key_flags::QuotaFlags;

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

/// What a list is about.
#[derive(Debug, Clone, Args)]
pub struct OfNamespace {
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
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
    /// Say which tools the keys of a namespace may call; what is not named stays
    Tools {
        /// Which
        name: String,
        /// Tools that they may call, with commas
        #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
        allow: Vec<String>,
        /// Tools that they may not call, with commas
        #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
        deny: Vec<String>,
        /// Take both lists away first: then they may call all
        #[arg(long)]
        clear: bool,
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
        /// Their quota.
        #[command(flatten)]
        quota: QuotaFlags,
        /// Its tenant [default: default]
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// Change a team; what is not named stays
    Set {
        /// Its id
        team: String,
        /// What it is called
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// What its keys may spend together; 0 is unlimited
        #[arg(long, value_name = "CREDITS")]
        budget: Option<u64>,
        /// Their quota.
        #[command(flatten)]
        quota: QuotaFlags,
    },
    /// Show what a team and its keys have used
    Usage {
        /// Its id
        team: String,
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

/// `paygate alerts`.
#[derive(Debug, Clone, Subcommand)]
pub enum AlertsWords {
    /// Show the alerts that wait, and the rules; what an admin has seen is not shown again
    List(OfNamespace),
    /// Replace all rules
    Set {
        /// Rules as TYPE=THRESHOLD or TYPE=THRESHOLD:COOLDOWN (in seconds), such as credits_low=10
        #[arg(value_name = "RULE", required_unless_present = "none", value_parser = alert_rule)]
        rules: Vec<Value>,
        /// Take all rules away
        #[arg(long, conflicts_with = "rules")]
        none: bool,
    },
}

/// Reads a rule. Whether there is such a type, and such a threshold, is for Paygate to say.
fn alert_rule(text: &str) -> Result<Value, String> {
    let wrong = || "write TYPE=THRESHOLD, or TYPE=THRESHOLD:COOLDOWN in seconds".to_owned();
    let (kind, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (threshold, cooldown) = match rest.split_once(':') {
        Some((threshold, cooldown)) => (threshold, Some(cooldown)),
        None => (rest, None),
    };
    let number = |text: &str| serde_json::from_str::<serde_json::Number>(text).map_err(|_| wrong());
    let mut rule = json!({ "type": kind, "threshold": number(threshold)? });
    if let (Some(cooldown), Some(rule)) = (cooldown, rule.as_object_mut()) {
        rule.insert("cooldownSeconds".to_owned(), number(cooldown)?.into());
    }
    Ok(rule)
}

/// `paygate webhooks`.
#[derive(Debug, Clone, Subcommand)]
pub enum WebhooksWords {
    /// Show how webhooks stand
    Stats,
    /// List the batches that the receiver did not take
    DeadLetters,
    /// Send dead letters again, one or all
    Replay {
        /// The id of one; without it all
        id: Option<u64>,
    },
    /// Throw all dead letters away
    Clear,
    /// Send a test event now; exits with 1 if the receiver does not take it
    Test,
}

/// `paygate tokens`.
#[derive(Debug, Clone, Subcommand)]
pub enum TokensWords {
    /// Let another operator in; the answer is the only place where the token is shown
    Create {
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        name: String,
        /// A viewer reads, an admin also changes keys and credits, an owner also lets others in
        #[arg(long, value_name = "viewer|admin|owner")]
        role: String,
        /// The only namespace that it sees [default: all]
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// List all tokens
    List,
    /// End a token
    Revoke {
        /// Its id
        id: String,
    },
}
