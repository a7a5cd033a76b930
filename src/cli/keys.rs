//! `paygate keys`.

use serde_json::{Map, Value, json};

use super::client::{self, Ask, encoded};
use super::members::{Given, given, list, object, quota};
use super::table::Shown;
use crate::config::{ChangedKey, KeyTerms, KeysWords, NewKey, OneKey, Operator};

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
    let mut shown = Shown::Members;
    let ask = match &operator.words {
        KeysWords::Create(new) => {
            Ask::post("/keys", Some(created(new)?)).once(new.idempotency_key.as_deref())
        }
        KeysWords::List(of) => {
            shown = Shown::Table("", COLUMNS);
            Ask::get("/keys").query(&[("namespace", of.namespace.as_deref())])
        }
        KeysWords::Search { tag, of } => {
            shown = Shown::Table("/keys", COLUMNS);
            let namespace = given("namespace", of.namespace.as_deref());
            let tags = ("tags", Some(Value::Object(tags(tag, &[])?)));
            Ask::post("/keys/search", Some(object([tags, namespace])))
        }
        KeysWords::Show { id } => Ask::get(format!("/keys/{}", encoded(id))),
        KeysWords::Set(change) => {
            Ask::patch(format!("/keys/{}", encoded(&change.id)), changed(change)?)
        }
        KeysWords::Topup { key, credits, idempotency_key } => {
            Ask::post("/topup", Some(json!({ "key": key, "credits": credits })))
                .once(idempotency_key.as_deref())
        }
        KeysWords::Adjust { key, credits, reason, idempotency_key } => {
            let body = json!({ "key": key, "credits": credits, "reason": reason });
            Ask::post("/credits/adjust", Some(body)).once(idempotency_key.as_deref())
        }
        KeysWords::Revoke(one) => of("/keys/revoke", one),
        KeysWords::Rotate { key, grace_seconds } => {
            let body = json!({ "key": key, "graceSeconds": grace_seconds });
            Ask::post("/keys/rotate", Some(body))
        }
        KeysWords::Suspend(one) => of("/keys/suspend", one),
        KeysWords::Resume(one) => of("/keys/resume", one),
        KeysWords::Delete { id } => Ask::delete(format!("/keys/{}", encoded(id))),
    };
    client::show(&operator.reach, &ask, &shown)
}

fn of(path: &str, OneKey { key }: &OneKey) -> Ask {
    Ask::post(path, Some(json!({ "key": key })))
}

/// What is not given is not sent, so that the defaults are Paygate's own.
fn created(new: &NewKey) -> Result<Value, String> {
    let own = [
        given("name", Some(new.name.as_str())),
        given("credits", new.credits),
        given("namespace", new.namespace.as_deref()),
    ];
    Ok(object(own.into_iter().chain(terms(&new.terms, &[])?)))
}

fn changed(change: &ChangedKey) -> Result<Value, String> {
    let cleared = change.clear.iter().map(|clear| (clear.member(), Some(Value::Null)));
    let own = [given("name", change.name.as_deref())];
    let terms = terms(&change.terms, &change.untag)?;
    let members: Vec<Given> = own.into_iter().chain(terms).collect();
    for clear in &change.clear {
        if members.iter().any(|(name, value)| *name == clear.member() && value.is_some()) {
            return Err(format!(
                "--clear takes {} away, and another flag sets it; give one of them",
                clear.member()
            ));
        }
    }
    let body = object(members.into_iter().chain(cleared));
    if body.as_object().is_some_and(Map::is_empty) {
        return Err("Nothing to change: name what (paygate keys set --help)".to_owned());
    }
    Ok(body)
}

fn terms(terms: &KeyTerms, untag: &[String]) -> Result<[Given; 8], String> {
    let tags = tags(&terms.tag, untag)?;
    Ok([
        list("allowedTools", &terms.allow),
        list("deniedTools", &terms.deny),
        list("ipAllowlist", &terms.ip),
        ("tags", (!tags.is_empty()).then_some(Value::Object(tags))),
        given("spendingLimit", terms.spending_limit),
        given("expiresAt", terms.expires_at.as_deref()),
        given("expiresIn", terms.expires_in),
        quota(&terms.quota),
    ])
}

/// Tags to set, and to remove.
fn tags(set: &[String], remove: &[String]) -> Result<Map<String, Value>, String> {
    let mut tags = Map::new();
    for tag in set {
        let (name, value) = tag
            .split_once('=')
            .ok_or_else(|| format!("--tag {tag:?} has no \"=\"; write --tag name=value"))?;
        tags.insert(name.to_owned(), json!(value));
    }
    tags.extend(remove.iter().map(|name| (name.clone(), Value::Null)));
    Ok(tags)
}
