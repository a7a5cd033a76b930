//! `paygate keys`.

use serde_json::{Map, Value, json};

use super::client::{self, Ask, encoded};
use super::table::Shown;
use crate::config::{KeysWords, NewKey, OneKey, Operator};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("NAMESPACE", "namespace"),
    ("CREDITS", "credits"),
    ("HELD", "held"),
    ("SPENT", "totalSpent"),
    ("CALLS", "totalCalls"),
    ("ACTIVE", "active"),
    ("SUSPENDED", "suspended"),
    ("LAST USED", "lastUsedAt"),
];

pub(super) fn run(operator: &Operator<KeysWords>) -> Result<(), String> {
    let of = |OneKey { key }: &OneKey| Some(json!({ "key": key }));
    let mut shown = Shown::Members;
    let ask = match &operator.words {
        KeysWords::Create(new) => {
            Ask::post("/keys", Some(body(new)?)).once(new.idempotency_key.as_deref())
        }
        KeysWords::List(of) => {
            shown = Shown::Table("", COLUMNS);
            Ask::get("/keys").query(&[("namespace", of.namespace.as_deref())])
        }
        KeysWords::Show { id } => Ask::get(format!("/keys/{}", encoded(id))),
        KeysWords::Topup { key, credits, idempotency_key } => {
            Ask::post("/topup", Some(json!({ "key": key, "credits": credits })))
                .once(idempotency_key.as_deref())
        }
        KeysWords::Revoke(one) => Ask::post("/keys/revoke", of(one)),
        KeysWords::Rotate { key, grace_seconds } => {
            let body = json!({ "key": key, "graceSeconds": grace_seconds });
            Ask::post("/keys/rotate", Some(body))
        }
        KeysWords::Suspend(one) => Ask::post("/keys/suspend", of(one)),
        KeysWords::Resume(one) => Ask::post("/keys/resume", of(one)),
    };
    client::show(&operator.reach, &ask, &shown)
}

/// What is not given is not sent, so that the defaults are Paygate's own.
fn body(new: &NewKey) -> Result<Value, String> {
    let mut tags = Map::new();
    for tag in &new.tag {
        let (name, value) = tag
            .split_once('=')
            .ok_or_else(|| format!("--tag {tag:?} has no \"=\"; write --tag name=value"))?;
        tags.insert(name.to_owned(), json!(value));
    }
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let members = [
        ("name", Some(json!(new.name))),
        ("credits", new.credits.map(Value::from)),
        ("namespace", new.namespace.as_ref().map(|name| json!(name))),
        ("allowedTools", list(&new.allow)),
        ("deniedTools", list(&new.deny)),
        ("ipAllowlist", list(&new.ip)),
        ("tags", (!tags.is_empty()).then_some(Value::Object(tags))),
        ("spendingLimit", new.spending_limit.map(Value::from)),
        ("expiresAt", new.expires_at.as_ref().map(|time| json!(time))),
    ];
    Ok(Value::Object(
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
    ))
}
