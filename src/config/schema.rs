//! The JSON Schema of the configuration file, for editors, made from the registry.
//!
//! It says what may stand where. Paygate itself checks more: what must hold across keys, and what
//! texts must look like.

use serde_json::{Map, Value, json};

use super::key::{Fallback, Key, Kind, Read};
use super::keys::TOP_LEVEL;
use super::keys_alerts::ALERT_RULES;
use super::keys_inside::{GLOBAL_QUOTA, METHOD_PRICING, RETENTION, TLS, TOOL_PRICING};
use super::keys_redis::INSIDE as REDIS;
use super::keys_servers::SERVERS;
use crate::model::bounds::{COUNTER_MAX, WEBHOOK_RETRIES_MAX};

/// The text of `docs/reference/config.schema.json`.
pub fn schema() -> String {
    let mut schema = object(TOP_LEVEL);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("Paygate's configuration file"));
    }
    format!("{schema:#}\n")
}

/// An object with these keys and no others.
fn object<T>(keys: &[Key<T>]) -> Value {
    let mut properties = Map::new();
    for key in keys.iter().filter(|key| matches!(key.read, Read::With(_))) {
        let property = property(key);
        if !key.alias.is_empty() {
            properties.insert(key.alias.to_owned(), property.clone());
        }
        properties.insert(key.name.to_owned(), property);
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn property<T>(key: &Key<T>) -> Value {
    let mut schema = value(key.name, key.kind);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(key.about));
        if let Some(fallback) = fallback(key.kind, key.fallback) {
            schema.insert("default".to_owned(), fallback);
        }
    }
    schema
}

/// What may stand behind a key.
fn value(name: &str, kind: Kind) -> Value {
    let whole =
        |least: i64, most: i64| json!({ "type": "integer", "minimum": least, "maximum": most });
    match kind {
        Kind::Text | Kind::Secret | Kind::ServerSecret => json!({ "type": "string" }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Port => whole(0, 65_535),
        Kind::Credits | Kind::Limit => whole(0, COUNTER_MAX),
        Kind::Thousandths => json!({ "type": "number", "minimum": 0, "multipleOf": 0.001 }),
        Kind::Retries => whole(0, WEBHOOK_RETRIES_MAX),
        Kind::Timeout => json!({ "type": "integer", "minimum": 1 }),
        Kind::Within(least, most) => whole(least, most),
        // A word may come from the environment too.
        Kind::OneOf(words) => json!({
            "type": "string", "anyOf": [{ "enum": words() }, { "pattern": "\\$\\{" }],
        }),
        Kind::Shape(words) => shape(name, words),
    }
}

/// What may stand behind a key whose value is no single one. Those without an arm of their own are
/// known by what the reference page says of them.
fn shape(name: &str, words: &str) -> Value {
    let members_of = |member: Value| json!({ "type": "object", "additionalProperties": member });
    match name {
        "servers" => json!({ "type": "array", "items": object(SERVERS) }),
        "toolPricing" => members_of(object(TOOL_PRICING)),
        "methodPricing" => members_of(object(METHOD_PRICING)),
        "globalQuota" => object(GLOBAL_QUOTA),
        "retention" => object(RETENTION),
        "tls" => object(TLS),
        "redis" => object(REDIS),
        "alertRules" => json!({ "type": "array", "items": object(ALERT_RULES) }),
        "importKeys" => members_of(value(name, Kind::Credits)),
        "childEnv" | "upstreamHeaders" => members_of(value(name, Kind::Text)),
        _ if words.starts_with("list") => {
            json!({ "type": "array", "items": { "type": "string" } })
        }
        _ => json!({}),
    }
}

/// The default, if it is a value of its own.
fn fallback(kind: Kind, fallback: Fallback) -> Option<Value> {
    match (kind, fallback) {
        (_, Fallback::Words(_)) => None,
        (Kind::Switch, Fallback::Text(text)) => Some(json!(text == "true")),
        (_, Fallback::Text(text)) => Some(json!(text)),
        (_, Fallback::Number(number)) => Some(json!(number)),
        (_, Fallback::Size(size)) => Some(json!(size)),
        (_, Fallback::Millis(time)) => u64::try_from(time.as_millis()).ok().map(Value::from),
        (_, Fallback::Seconds(time)) => Some(json!(time.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_told() {
        fn told<T>(keys: &[Key<T>]) {
            for key in keys.iter().filter(|key| matches!(key.read, Read::With(_))) {
                let schema = value(key.name, key.kind);
                assert_ne!(schema, json!({}), "give `{}` an arm in `shape`", key.name);
            }
        }
        told(TOP_LEVEL);
        told(SERVERS);
    }
}
