//! `GET /`: what this is and where to go on.

use serde::{Serialize, Serializer};

use crate::admin;

/// Name and one line of the front's own endpoints.
const OWN: [(&str, &str); 4] = [
    ("mcp", "POST /mcp — MCP over HTTP (X-API-Key for what is sold)"),
    (
        "mcpStream",
        "GET /mcp — What a session is told beside its answers (X-API-Key of the session)",
    ),
    ("mcpEnd", "DELETE /mcp — End a session (X-API-Key of the session)"),
    ("health", "GET /health — Health of this server (no auth)"),
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
        let own = OWN.into_iter().map(|(name, text)| (name, text.to_owned()));
        serializer.collect_map(own.chain(admin::endpoints()))
    }
}

/// The whole answer; it never changes while Paygate runs.
pub(super) fn text(name: &str, shadow_mode: bool, redis: bool) -> Vec<u8> {
    let about = About {
        name,
        version: env!("CARGO_PKG_VERSION"),
        endpoints: Endpoints,
        shadow_mode,
        oauth: false,
        redis,
    };
    serde_json::to_vec(&about).unwrap_or_default()
}
