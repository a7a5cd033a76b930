//! The command line of what is asked of a running Paygate and changes nothing: usage, audit, status
//! and what became of a call; and the refund that may follow.

use clap::{Args, ValueEnum};

use super::operator_flags::Reach;

/// `paygate usage`.
#[derive(Debug, Clone, Args)]
pub struct UsageFlags {
    /// Only from this time on, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only up to this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only of the key with this id
    #[arg(long, value_name = "ID", conflicts_with = "team")]
    pub key: Option<String>,
    /// Only of the keys that are in the team with this id now
    #[arg(long, value_name = "ID")]
    pub team: Option<String>,
    /// Only of this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Only of this tool
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
    /// Only with this outcome or reason of refusal; also allowed, denied
    #[arg(long, value_name = "WORD")]
    pub outcome: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "NAME:VALUE")]
    pub label: Option<String>,
    /// Print it as CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// Length of the buckets of `paygate analytics`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Granularity {
    /// UTC hours.
    Hourly,
    /// UTC days.
    Daily,
}

impl Granularity {
    /// The word of the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
        }
    }
}

/// `paygate analytics`.
#[derive(Debug, Clone, Args)]
pub struct AnalyticsFlags {
    /// From the hour or day of this time on [default: 24 hours before the end]
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// To the hour or day of this time [default: now]
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Hours or days [default: hourly]
    #[arg(long, value_name = "hourly|daily", hide_possible_values = true)]
    pub granularity: Option<Granularity>,
    /// How many tools and keys to name [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub top: Option<u32>,
    /// Sum up by the values of this label, too
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `paygate explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainFlags {
    /// Id of the call: X-PayGate-Call-Id of its answer, or CALL of `paygate usage`
    #[arg(value_name = "CALL_ID")]
    pub call: String,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `paygate refund`.
#[derive(Debug, Clone, Args)]
pub struct RefundFlags {
    /// Id of the call
    #[arg(value_name = "CALL_ID")]
    pub call: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `paygate audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditFlags {
    /// Entries, newest first [default: 100]
    #[arg(long, value_name = "COUNT", conflicts_with = "csv")]
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
    /// Only up to this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only of this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Print all of it as CSV, newest first
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
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
