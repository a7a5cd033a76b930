//! `GET /`: what this is and where to go on.

use serde::{Serialize, Serializer};

/// Name and one line of every endpoint that exists.
const ENDPOINTS: &[(&str, &str)] = &[
    ("mcp", "POST /mcp — MCP over HTTP (X-API-Key for what is sold)"),
    (
        "mcpStream",
        "GET /mcp — What a session is told beside its answers (X-API-Key of the session)",
    ),
    ("mcpEnd", "DELETE /mcp — End a session (X-API-Key of the session)"),
    ("balance", "GET /balance — Credits and limits of a key (X-API-Key)"),
    ("health", "GET /health — Health of this server (no auth)"),
    ("status", "GET /status — Keys and usage (X-Admin-Key)"),
    ("createKey", "POST /keys — Create an API key (X-Admin-Key)"),
    ("listKeys", "GET /keys — List API keys (X-Admin-Key)"),
    ("showKey", "GET /keys/{id} — Show an API key (X-Admin-Key)"),
    ("changeKey", "PATCH /keys/{id} — Change an API key (X-Admin-Key)"),
    ("deleteKey", "DELETE /keys/{id} — Delete an API key (X-Admin-Key)"),
    ("suspendKey", "POST /keys/suspend — Close an API key for a while (X-Admin-Key)"),
    ("resumeKey", "POST /keys/resume — Open a suspended API key (X-Admin-Key)"),
    ("revokeKey", "POST /keys/revoke — Revoke an API key (X-Admin-Key)"),
    ("rotateKey", "POST /keys/rotate — Replace the credential of an API key (X-Admin-Key)"),
    ("setAcl", "POST /keys/acl — Set the tools that a key may call (X-Admin-Key)"),
    ("setExpiry", "POST /keys/expiry — Set or remove a key's expiry (X-Admin-Key)"),
    ("topUp", "POST /topup — Add credits to a key (X-Admin-Key)"),
    ("adjustCredits", "POST /credits/adjust — Correct a key's credits (X-Admin-Key)"),
    ("refundCall", "POST /calls/{id}/refund — Give back what a call cost (X-Admin-Key)"),
    ("limits", "POST /limits — Set a key's spending limit (X-Admin-Key)"),
    ("setQuota", "POST /keys/quota — Set a key's daily and monthly quota (X-Admin-Key)"),
    ("setTags", "POST /keys/tags — Set a key's tags (X-Admin-Key)"),
    ("setIpAllowlist", "POST /keys/ip — Set the addresses a key may call from (X-Admin-Key)"),
    ("searchKeys", "POST /keys/search — Find keys by tag (X-Admin-Key)"),
    ("namespaces", "GET /namespaces — List namespaces (X-Admin-Key)"),
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    name: &'a str,
    version: &'static str,
    endpoints: Endpoints,
    shadow_mode: bool,
    oauth: bool,
    redis: bool,
}

struct Endpoints;

impl Serialize for Endpoints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(ENDPOINTS.iter().copied())
    }
}

/// The whole answer; it never changes while Paygate runs.
pub(super) fn text(name: &str, shadow_mode: bool) -> Vec<u8> {
    let about = About {
        name,
        version: env!("CARGO_PKG_VERSION"),
        endpoints: Endpoints,
        shadow_mode,
        oauth: false,
        redis: false,
    };
    serde_json::to_vec(&about).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the admin API's table as it is written, which no other part can see.
    fn admin_routes() -> Vec<String> {
        let table = include_str!("../../admin/routes.rs");
        let rows = table.lines().filter_map(|line| line.trim().strip_prefix("route!("));
        let row = |row: &str| {
            let mut words = row.split(' ');
            let (method, path, access) = (words.next()?, words.next()?, words.next()?);
            let header = if access == "Admin" { "X-Admin-Key" } else { "X-API-Key" };
            Some(format!("{method} {} ({header})", path.trim_matches('"')))
        };
        rows.map(|text| row(text).expect("method, path and access")).collect()
    }

    #[test]
    fn every_endpoint_is_listed_with_its_key_and_no_other() {
        let mut existing = admin_routes();
        assert!(existing.len() > 10, "the table was not read: {existing:?}");
        let fronts_own = [
            "POST /mcp (X-API-Key for what is sold)",
            "GET /mcp (X-API-Key of the session)",
            "DELETE /mcp (X-API-Key of the session)",
            "GET /health (no auth)",
        ];
        existing.extend(fronts_own.map(str::to_owned));
        existing.sort();
        let listed = ENDPOINTS.iter().map(|(_, text)| {
            let (endpoint, about) = text.split_once(" — ").expect("an endpoint and its line");
            format!("{endpoint} {}", about.rfind('(').map_or("", |at| &about[at..]))
        });
        let mut listed: Vec<String> = listed.collect();
        listed.sort();
        assert_eq!(listed, existing);
    }
}
