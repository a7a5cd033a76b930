//! Why a call is refused: one closed enum, in order of precedence. The text of each is part of the
//! HTTP API (programs match on it); the bare word before the colon is what metrics and usage use.

use std::fmt;
use std::net::IpAddr;

/// A reason to refuse a call. The order of the variants is the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No credential was shown.
    MissingApiKey,
    /// The credential opens no key, or a revoked one.
    InvalidApiKey,
    /// The key's time has passed.
    ApiKeyExpired,
    /// The key is suspended.
    ApiKeySuspended,
    /// The key's tenant is suspended.
    NamespaceSuspended,
    /// The client's address is not on the key's list.
    IpNotAllowed(IpAddr),
    /// The tool is not among those that the namespace or key may call.
    ToolNotAllowed(String),
    /// The tool is among those that the namespace or key may not call.
    ToolDenied(String),
    /// The key's calls per minute are used up.
    RateLimited {
        /// Calls per minute.
        limit: i64,
    },
    /// The tool's calls per minute are used up for this key.
    ToolRateLimited {
        /// Which tool.
        tool: String,
        /// Calls per minute.
        limit: i64,
    },
    /// The price is more than what is available.
    InsufficientCredits {
        /// The whole price.
        need: i64,
        /// Available credits.
        have: i64,
    },
    /// The key would spend more than it ever may.
    SpendingLimitExceeded {
        /// Most credits it may ever spend.
        limit: i64,
        /// Credits spent, open holds included.
        spent: i64,
        /// The whole price.
        need: i64,
    },
    /// A quota of the UTC day or month is used up.
    QuotaExceeded {
        /// Which one.
        quota: QuotaKind,
        /// Used, open holds included.
        used: i64,
        /// What this call or batch would add.
        need: i64,
        /// The limit.
        limit: i64,
        /// Calls are worded differently in a batch.
        in_batch: bool,
    },
    /// The key's team would spend more than it ever may.
    TeamBudgetExceeded,
    /// A quota of the key's team is used up.
    TeamQuotaExceeded(QuotaKind),
}

/// The four quotas, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// Calls a day.
    DailyCalls,
    /// Calls a month.
    MonthlyCalls,
    /// Credits a day.
    DailyCredits,
    /// Credits a month.
    MonthlyCredits,
}

impl Denial {
    /// The word of each, in their order of precedence; [`Denial::word`].
    pub const WORDS: [&str; 21] = [
        "missing_api_key",
        "invalid_api_key",
        "api_key_expired",
        "api_key_suspended",
        "namespace_suspended",
        "ip_not_allowed",
        "tool_not_allowed",
        "tool_denied",
        "rate_limited",
        "tool_rate_limited",
        "insufficient_credits",
        "spending_limit_exceeded",
        "daily_call_quota_exceeded",
        "monthly_call_quota_exceeded",
        "daily_credit_quota_exceeded",
        "monthly_credit_quota_exceeded",
        "team_budget_exceeded",
        "team_daily_call_limit",
        "team_monthly_call_limit",
        "team_daily_credit_limit",
        "team_monthly_credit_limit",
    ];

    /// The bare word: a fixed set, fit for a metric's label.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidApiKey => "invalid_api_key",
            Self::ApiKeyExpired => "api_key_expired",
            Self::ApiKeySuspended => "api_key_suspended",
            Self::NamespaceSuspended => "namespace_suspended",
            Self::IpNotAllowed(_) => "ip_not_allowed",
            Self::ToolNotAllowed(_) => "tool_not_allowed",
            Self::ToolDenied(_) => "tool_denied",
            Self::RateLimited { .. } => "rate_limited",
            Self::ToolRateLimited { .. } => "tool_rate_limited",
            Self::InsufficientCredits { .. } => "insufficient_credits",
            Self::SpendingLimitExceeded { .. } => "spending_limit_exceeded",
            Self::QuotaExceeded { quota, .. } => match quota {
                QuotaKind::DailyCalls => "daily_call_quota_exceeded",
                QuotaKind::MonthlyCalls => "monthly_call_quota_exceeded",
                QuotaKind::DailyCredits => "daily_credit_quota_exceeded",
                QuotaKind::MonthlyCredits => "monthly_credit_quota_exceeded",
            },
            Self::TeamBudgetExceeded => "team_budget_exceeded",
            Self::TeamQuotaExceeded(quota) => match quota {
                QuotaKind::DailyCalls => "team_daily_call_limit",
                QuotaKind::MonthlyCalls => "team_monthly_call_limit",
                QuotaKind::DailyCredits => "team_daily_credit_limit",
                QuotaKind::MonthlyCredits => "team_monthly_credit_limit",
            },
        }
    }

    /// May the caller be told the balance? Not until key and address have passed.
    pub const fn may_show_balance(&self) -> bool {
        match self {
            Self::MissingApiKey
            | Self::InvalidApiKey
            | Self::ApiKeyExpired
            | Self::ApiKeySuspended
            | Self::NamespaceSuspended
            | Self::IpNotAllowed(_) => false,
            Self::ToolNotAllowed(_)
            | Self::ToolDenied(_)
            | Self::RateLimited { .. }
            | Self::ToolRateLimited { .. }
            | Self::InsufficientCredits { .. }
            | Self::SpendingLimitExceeded { .. }
            | Self::QuotaExceeded { .. }
            | Self::TeamBudgetExceeded
            | Self::TeamQuotaExceeded(_) => true,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::MissingApiKey
            | Self::InvalidApiKey
            | Self::ApiKeyExpired
            | Self::ApiKeySuspended
            | Self::NamespaceSuspended
            | Self::TeamBudgetExceeded
            | Self::TeamQuotaExceeded(_) => f.write_str(word),
            Self::IpNotAllowed(ip) => write!(f, "{word}: {ip} not in allowlist"),
            Self::ToolNotAllowed(tool) => write!(f, "{word}: {tool} not in allowedTools"),
            Self::ToolDenied(tool) => write!(f, "{word}: {tool} is in deniedTools"),
            Self::RateLimited { limit } => write!(f, "{word}: {limit} calls/min exceeded"),
            Self::ToolRateLimited { tool, limit } => {
                write!(f, "{word}: {tool} limited to {limit} calls/min")
            }
            Self::InsufficientCredits { need, have } => {
                write!(f, "{word}: need {need}, have {have}")
            }
            Self::SpendingLimitExceeded { limit, spent, need } => {
                write!(f, "{word}: limit {limit}, spent {spent}, need {need}")
            }
            Self::QuotaExceeded { quota, used, need, limit, in_batch } => {
                let (unit, per, today) = match quota {
                    QuotaKind::DailyCalls => ("calls", "day", "today"),
                    QuotaKind::MonthlyCalls => ("calls", "month", "this month"),
                    QuotaKind::DailyCredits => ("credits", "day", ""),
                    QuotaKind::MonthlyCredits => ("credits", "month", ""),
                };
                if unit == "calls" && !in_batch {
                    write!(f, "{word}: {used}/{limit} calls {today}")
                } else {
                    write!(f, "{word}: {used}+{need} would exceed {limit} {unit}/{per}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_documented() {
        let quota = |quota, in_batch| Denial::QuotaExceeded {
            quota,
            used: 9,
            need: 2,
            limit: 10,
            in_batch,
        };
        let cases = [
            (Denial::MissingApiKey, "missing_api_key"),
            (Denial::IpNotAllowed("::1".parse().unwrap()), "ip_not_allowed: ::1 not in allowlist"),
            (Denial::ToolNotAllowed("t".into()), "tool_not_allowed: t not in allowedTools"),
            (Denial::ToolDenied("t".into()), "tool_denied: t is in deniedTools"),
            (Denial::RateLimited { limit: 3 }, "rate_limited: 3 calls/min exceeded"),
            (
                Denial::ToolRateLimited { tool: "t".into(), limit: 2 },
                "tool_rate_limited: t limited to 2 calls/min",
            ),
            (
                Denial::InsufficientCredits { need: 5, have: 2 },
                "insufficient_credits: need 5, have 2",
            ),
            (
                Denial::SpendingLimitExceeded { limit: 9, spent: 8, need: 2 },
                "spending_limit_exceeded: limit 9, spent 8, need 2",
            ),
            (quota(QuotaKind::DailyCalls, false), "daily_call_quota_exceeded: 9/10 calls today"),
            (
                quota(QuotaKind::MonthlyCalls, false),
                "monthly_call_quota_exceeded: 9/10 calls this month",
            ),
            (
                quota(QuotaKind::DailyCalls, true),
                "daily_call_quota_exceeded: 9+2 would exceed 10 calls/day",
            ),
            (
                quota(QuotaKind::MonthlyCredits, false),
                "monthly_credit_quota_exceeded: 9+2 would exceed 10 credits/month",
            ),
        ];
        for (denial, text) in cases {
            assert_eq!(denial.to_string(), text);
        }
    }
}
