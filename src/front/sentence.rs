//! A denial in words that a model can act on: what happened, whether a retry helps, and what a
//! person can do.

use crate::gate::Denied;
use crate::model::denial::Denial;

/// What to tell a model.
pub(super) fn sentence(denied: &Denied, top_up_url: Option<&str>) -> String {
    let buy = match top_up_url {
        Some(url) => format!("credits can be bought at {url}"),
        None => "the operator of this server can add credits".to_owned(),
    };
    match &denied.denial {
        Denial::MissingApiKey => "This tool is sold: it needs an API key, and none was sent. Retrying will not help. \
             Ask the user to send their key in the X-API-Key header of this server's connection."
            .to_owned(),
        Denial::InvalidApiKey => "The API key is unknown or was revoked. Retrying will not help. Ask the user to check \
             the key that is configured for this server."
            .to_owned(),
        Denial::ApiKeyExpired => "The API key has expired. Retrying will not help. Ask the user to get a new one from \
             the operator of this server."
            .to_owned(),
        Denial::ApiKeySuspended => "The API key is suspended. Retrying will not help. Ask the user to talk to the \
             operator of this server."
            .to_owned(),
        Denial::NamespaceSuspended => "The account that this API key belongs to is suspended. Retrying will not help. Ask the \
             user to talk to the operator of this server."
            .to_owned(),
        Denial::IpNotAllowed(address) => format!(
            "This API key may not be used from the address {address}. Retrying will not help. Ask the user to have \
             the address added to the key's list."
        ),
        Denial::ToolNotAllowed(tool) | Denial::ToolDenied(tool) => format!(
            "This API key may not use the tool {tool}. Retrying will not help. Use another tool, or ask the user \
             to have it allowed."
        ),
        Denial::TeamBudgetExceeded => "The budget of the team that this API key belongs to is used up. Retrying will not \
             help. Ask the user to have it raised."
            .to_owned(),
        Denial::TeamQuotaExceeded(_) => format!(
            "A quota of the team that this API key belongs to is used up. {}",
            when(denied)
        ),
        Denial::RateLimited { limit } => {
            format!("The limit of {limit} calls a minute is used up. {}", when(denied))
        }
        Denial::ToolRateLimited { tool, limit } => format!(
            "The limit of {limit} calls a minute of the tool {tool} is used up. {}",
            when(denied)
        ),
        Denial::InsufficientCredits { need, have } => format!(
            "This call costs {need} credits and {have} are left. Retrying will not help until there are more: {buy}."
        ),
        Denial::SpendingLimitExceeded { limit, spent, need } => format!(
            "This call costs {need} credits, and the API key may spend {limit} in all, of which {spent} are spent. \
             Retrying will not help. Ask the user to have the limit raised."
        ),
        Denial::QuotaExceeded { limit, used, .. } => format!(
            "A quota of this API key is used up ({used} of {limit}, {}). {}",
            denied.denial.word(),
            when(denied)
        ),
    }
}

fn when(denied: &Denied) -> String {
    if denied.exceeds_limit_alone {
        return "This request alone is larger than the limit and can never succeed: ask for less at a time."
            .to_owned();
    }
    match denied.opens_at {
        Some(at) => format!("Try again after {at}."),
        None => "Try again later.".to_owned(),
    }
}
