//! The one table of endpoints: routing, rights and the tests that cover them all come from it.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::Method;

use super::access::actor::Actor;
use super::wire::answer::{Answer, Problem};
use super::{
    Admin, Call, access, alerts, audit, config, credits, keys, namespaces, openapi, reports, teams,
    webhooks,
};
use crate::model::token::Role;
use Takes::{Body, Money, Nothing, Query};

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody; the handler looks at the API key itself.
    Public,
    /// A program on this machine, one that has the token for it, or whoever may read everything.
    Scraper,
    /// Whoever may read.
    Viewer,
    /// Whoever may change keys and credits.
    Admin,
    /// Whoever may let others in.
    Owner,
    /// An admin who is bound to no tenant: what a tenant must not decide for itself.
    Operator,
    /// An owner who is bound to no tenant: what is Paygate's own.
    Host,
}

impl Access {
    /// May this one?
    pub(super) fn check(self, actor: &Actor) -> Result<(), Problem> {
        let least = match self {
            Self::Public => return Ok(()),
            Self::Viewer | Self::Scraper => Role::Viewer,
            Self::Admin | Self::Operator => Role::Admin,
            Self::Owner | Self::Host => Role::Owner,
        };
        if actor.role < least {
            let (least, role) = (least.word(), actor.role.word());
            return Err(Problem::forbidden(&format!(
                "This needs the role {least}; yours is {role}"
            )));
        }
        match &actor.namespace {
            Some(own) if matches!(self, Self::Operator | Self::Host | Self::Scraper) => {
                let message = format!(
                    "This needs a token that is bound to no namespace; yours is bound to \"{own}\""
                );
                Err(Problem::forbidden(&message))
            }
            Some(_) | None => Ok(()),
        }
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// One endpoint.
pub(super) struct Route {
    pub(super) method: Method,
    /// Matched byte for byte; `{id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) handler: fn(Arc<Admin>, Call) -> Reply,
    /// Its name in `GET /` and its id in the OpenAPI document.
    pub(super) name: &'static str,
    /// One line for people.
    pub(super) summary: &'static str,
    pub(super) takes: Takes,
    /// Status and schema of a success.
    pub(super) gives: (u16, &'static str),
}

/// What a request brings beside its path.
pub(super) enum Takes {
    Nothing,
    /// Parameters of the query string.
    Query(&'static [&'static str]),
    /// The schema of its body. Members that are not there are refused.
    Body(&'static str),
    /// The same for what moves money: it takes an Idempotency-Key.
    Money(&'static str),
}

impl Takes {
    /// The schema of the body.
    pub(super) const fn body(&self) -> Option<&'static str> {
        match self {
            Self::Body(schema) | Self::Money(schema) => Some(schema),
            Self::Nothing | Self::Query(_) => None,
        }
    }
}

/// One row: method, path, access, handler; name and summary; what it takes -> what it gives. Names of
/// schemas are those of `schemas.json`.
macro_rules! route {
    ($method:ident $path:literal $access:ident $handler:path, $name:literal $summary:literal,
     $takes:expr => $status:literal $schema:literal) => {
        Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            handler: |admin, call| Box::pin($handler(admin, call)),
            name: $name,
            summary: $summary,
            takes: $takes,
            gives: ($status, $schema),
        }
    };
}

/// Every endpoint, in the order of the documentation.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    route!(GET "/openapi.json" Public openapi::show, "openApi" "This description of the admin API", Nothing => 200 "Document"),
    route!(GET "/balance" Public credits::balance::show, "balance" "Credits and limits of a key", Nothing => 200 "Balance"),
    route!(POST "/keys" Admin keys::create::create, "createKey" "Create an API key", Money("NewKey") => 201 "CreatedKey"),
    route!(GET "/keys" Viewer keys::list::list, "listKeys" "List API keys", Query(&["namespace", "limit", "cursor"]) => 200 "Keys"),
    route!(GET "/keys/{id}" Viewer keys::one::show, "showKey" "Show an API key", Nothing => 200 "Key"),
    route!(PATCH "/keys/{id}" Admin keys::one::patch, "changeKey" "Change an API key", Body("ChangedKey") => 200 "Key"),
    route!(DELETE "/keys/{id}" Admin keys::one::delete, "deleteKey" "Delete an API key", Nothing => 200 "DoneWithId"),
    route!(POST "/topup" Admin credits::topup::add, "topUp" "Add credits to a key", Money("TopUp") => 200 "NewBalance"),
    route!(POST "/credits/adjust" Admin credits::adjust::adjust, "adjustCredits" "Correct a key's credits", Money("Adjustment") => 200 "NewBalance"),
    route!(GET "/calls/{id}" Viewer reports::explain::show, "explainCall" "What was decided of a call, charged, and why", Nothing => 200 "ExplainedCall"),
    route!(POST "/calls/{id}/refund" Admin credits::refund::refund, "refundCall" "Give back what a call cost", Money("Refund") => 200 "Refunded"),
    route!(POST "/keys/revoke" Admin keys::revoke::revoke, "revokeKey" "Revoke an API key", Body("OneKey") => 200 "Done"),
    route!(POST "/keys/suspend" Admin keys::suspend::suspend, "suspendKey" "Close an API key for a while", Body("OneKey") => 200 "Done"),
    route!(POST "/keys/resume" Admin keys::suspend::resume, "resumeKey" "Open a suspended API key", Body("OneKey") => 200 "Done"),
    route!(POST "/keys/rotate" Admin keys::rotate::rotate, "rotateKey" "Replace the credential of an API key", Body("Rotation") => 200 "Rotated"),
    route!(POST "/keys/acl" Admin keys::acl::set, "setAcl" "Set the tools that a key may call", Body("KeyTools") => 200 "SetTools"),
    route!(POST "/keys/expiry" Admin keys::expiry::set, "setExpiry" "Set or remove a key's expiry", Body("KeyExpiry") => 200 "SetExpiry"),
    route!(POST "/keys/quota" Admin keys::quota::set, "setQuota" "Set a key's daily and monthly quota", Body("KeyQuota") => 200 "SetQuota"),
    route!(POST "/keys/tags" Admin keys::tags::merge, "setTags" "Set a key's tags", Body("KeyTags") => 200 "SetTags"),
    route!(POST "/keys/ip" Admin keys::ip::set, "setIpAllowlist" "Set the addresses a key may call from", Body("KeyAddresses") => 200 "SetAddresses"),
    route!(POST "/keys/search" Viewer keys::search::search, "searchKeys" "Find keys by tag", Body("KeySearch") => 200 "FoundKeys"),
    route!(POST "/limits" Admin keys::limits::set, "limits" "Set a key's spending limit", Body("KeyLimit") => 200 "SetLimit"),
    route!(GET "/status" Viewer reports::status::show, "status" "Keys and usage", Query(&["namespace"]) => 200 "Status"),
    route!(GET "/namespaces" Viewer namespaces::list, "namespaces" "List namespaces", Query(&["namespace"]) => 200 "Namespaces"),
    route!(POST "/namespaces" Operator namespaces::set, "setNamespace" "Suspend a namespace, or set its tools", Body("NamespaceChange") => 200 "SetNamespace"),
    route!(GET "/teams" Viewer teams::list, "teams" "List teams", Query(&["namespace"]) => 200 "Teams"),
    route!(POST "/teams" Admin teams::create, "createTeam" "Create a team", Body("NewTeam") => 201 "WrittenTeam"),
    route!(POST "/teams/update" Admin teams::update, "teamsUpdate" "Change a team", Body("ChangedTeam") => 200 "WrittenTeam"),
    route!(POST "/teams/delete" Admin teams::delete, "teamsDelete" "Delete a team", Body("OneTeam") => 200 "Done"),
    route!(POST "/teams/assign" Admin teams::assign, "teamsAssign" "Put a key into a team", Body("TeamKey") => 200 "Done"),
    route!(POST "/teams/remove" Admin teams::remove, "teamsRemove" "Take a key out of a team", Body("TeamKey") => 200 "Done"),
    route!(GET "/teams/usage" Viewer teams::usage, "teamsUsage" "What a team and its keys have used", Query(&["teamId"]) => 200 "TeamUsage"),
    route!(GET "/usage" Viewer reports::usage_list::list, "usage" "What became of calls, oldest first", Query(&["namespace", "since", "until", "key", "team", "tool", "outcome", "label", "limit", "cursor", "format"]) => 200 "UsageList"),
    route!(GET "/analytics" Viewer reports::analytics::show, "analytics" "Usage by hour or day, by tool and by key", Query(&["namespace", "from", "to", "granularity", "label", "top"]) => 200 "Analytics"),
    route!(GET "/metrics" Scraper reports::metrics::show, "metrics" "Counters for Prometheus", Nothing => 200 "Metrics"),
    route!(GET "/audit" Viewer audit::log::list, "audit" "What operators did, newest first", Query(&["namespace", "types", "actor", "since", "until", "limit", "offset", "cursor"]) => 200 "AuditPage"),
    route!(GET "/audit/export" Viewer audit::log::export, "auditExport" "The audit log as JSON or CSV", Query(&["namespace", "types", "actor", "since", "until", "format"]) => 200 "AuditExport"),
    route!(GET "/audit/stats" Viewer audit::log::stats, "auditStats" "Numbers of the audit log", Query(&["namespace", "types", "actor", "since", "until"]) => 200 "AuditStats"),
    route!(GET "/alerts" Viewer alerts::list, "alerts" "What the rules for alerts had to say, since it was last read", Query(&["namespace"]) => 200 "Alerts"),
    route!(POST "/alerts" Operator alerts::configure, "setAlerts" "Replace the rules for alerts", Body("AlertRules") => 200 "SetAlertRules"),
    route!(GET "/webhooks/stats" Operator webhooks::stats, "webhookStats" "How webhooks stand", Nothing => 200 "WebhookStats"),
    route!(GET "/webhooks/dead-letter" Operator webhooks::list, "webhookDeadLetters" "Batches that the receiver of webhooks did not take, oldest first", Nothing => 200 "DeadLetters"),
    route!(DELETE "/webhooks/dead-letter" Operator webhooks::clear, "clearDeadLetters" "Throw all dead letters away", Nothing => 200 "ClearedLetters"),
    route!(POST "/webhooks/dead-letter/replay" Operator webhooks::replay, "replayDeadLetters" "Send dead letters again: one by its id, or all", Body("Replay") => 200 "Replaying"),
    route!(POST "/webhooks/test" Operator webhooks::test, "testWebhook" "Send a test event at once, and say what came back", Body("NoMembers") => 200 "WebhookTest"),
    route!(GET "/config" Host config::show, "showConfig" "The configuration that holds, without its secrets", Nothing => 200 "Config"),
    route!(POST "/config/reload" Host config::reload, "reloadConfig" "Read the configuration file anew", Body("NoMembers") => 200 "Reloaded"),
    route!(POST "/admin/tokens" Owner access::tokens::create, "createAdminToken" "Let another operator in", Body("NewAdminToken") => 201 "AdminToken"),
    route!(GET "/admin/tokens" Owner access::tokens::list, "listAdminTokens" "List admin tokens", Nothing => 200 "AdminTokens"),
    route!(DELETE "/admin/tokens/{id}" Owner access::tokens::revoke, "revokeAdminToken" "Revoke an admin token", Nothing => 200 "DoneWithId"),
];

/// The route that a path belongs to.
pub fn route_of(path: &str) -> Option<&'static str> {
    let fits = |route: &str| {
        let (mut pattern, mut given) = (route.split('/'), path.split('/'));
        loop {
            match (pattern.next(), given.next()) {
                (None, None) => return true,
                (Some("{id}"), Some(id)) if !id.is_empty() => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    };
    ROUTES.iter().map(|route| route.path).find(|route| fits(route))
}

/// Name and one line of each endpoint, for `GET /`.
pub fn endpoints() -> impl Iterator<Item = (&'static str, String)> {
    ROUTES.iter().map(|route| {
        let Route { method, path, summary, name, .. } = route;
        let header = match route.access {
            Access::Public if *path == "/openapi.json" => "no auth",
            Access::Public => "X-API-Key",
            Access::Scraper => "X-Admin-Key or the metrics token",
            Access::Viewer | Access::Admin | Access::Owner | Access::Operator | Access::Host => {
                "X-Admin-Key"
            }
        };
        (*name, format!("{method} {path} — {summary} ({header})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_needs_an_admin_key_but_two_and_is_tried_without_it() {
        let tried = include_str!("../../tests/admin_access.rs");
        for (index, route) in ROUTES.iter().enumerate() {
            let Route { method, path, access, .. } = route;
            let is_public = matches!(*path, "/balance" | "/openapi.json");
            assert_eq!(*access == Access::Public, is_public, "{method} {path}");
            assert!(tried.contains(&format!("(\"{path}\", \"")), "add {path} to ENDPOINTS there");
            let mut earlier = ROUTES.iter().take(index);
            let is_twice = earlier.any(|other| other.path == *path && other.method == *method);
            assert!(!is_twice, "{method} {path} is in the table twice");
        }
    }
}
