//! The part of a configuration that decides about money, as a hash: instances that share books compare it.

use serde_json::{Map, Value};

use super::settings::Config;
use super::show::show;
use crate::model::secret::Digest;

/// What must be the same on all instances, so that a call costs the same and is refused alike on each. No
/// secret is among it.
const DECIDES: &[&str] = &[
    "defaultCreditsPerCall",
    "toolPricing",
    "methodPricing",
    "globalRateLimitPerMin",
    "globalQuota",
    "refundOnFailure",
    "shadowMode",
    "requireKey",
    "unlistedTools",
    "idempotencyTtlSeconds",
    "requestTimeoutMs",
    "maxRequestTimeoutMs",
    "maxBatchCalls",
    "forwardIdentity",
];

/// Characters of the hash: enough to tell some configurations apart, and nobody gains from a false one.
const LENGTH: usize = 16;

/// The hash.
pub fn fingerprint(config: &Config) -> String {
    let shown = show(config);
    let mut decides: Map<String, Value> = DECIDES
        .iter()
        .map(|key| ((*key).to_owned(), shown.get(key).cloned().unwrap_or_default()))
        .collect();
    let rule = shown.pointer("/redis/onUnavailable").cloned().unwrap_or_default();
    decides.insert("onUnavailable".to_owned(), rule);
    let whole = Digest::of(Value::Object(decides).to_string().as_bytes());
    hex::encode(whole.bytes()).chars().take(LENGTH).collect()
}
