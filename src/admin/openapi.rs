//! `GET /openapi.json`: the admin API in OpenAPI 3.1, made from the route table and `schemas.json`. What a
//! body may hold is read from its schema too, so the document cannot say something else.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::routes::{Access, ROUTES, Route, Takes};
use super::wire::answer::{Answer, Problem};
use super::{Admin, Call};

/// Every schema by name.
static SCHEMAS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schemas.json")).unwrap_or_default());

/// The document, which never changes while Paygate runs.
static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

pub(super) async fn show(_admin: Arc<Admin>, _call: Call) -> Result<Answer, Problem> {
    Answer::pretty(&*DOCUMENT)
}

/// The members that a route's body may have.
pub(super) fn known_members(route: &Route) -> Vec<&'static str> {
    let schema = route.takes.body().and_then(|name| SCHEMAS.get(name));
    let members = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    members.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Paygate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": &*SCHEMAS,
            "parameters": parameters(),
            "securitySchemes": {
                "adminKey": {
                    "type": "apiKey", "in": "header", "name": "X-Admin-Key",
                    "description": "The configured admin key, or an admin token.",
                },
                "metricsToken": { "type": "http", "scheme": "bearer" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let content = |name: &str| json!({ "application/json": { "schema": schema(name) } });
    let (status, gives) = route.gives;
    let mut success = match route.access {
        Access::Scraper => json!({ "text/plain": { "schema": schema(gives) } }),
        _ => content(gives),
    };
    if matches!(route.takes, Takes::Query(names) if names.contains(&"format"))
        && let Some(success) = success.as_object_mut()
    {
        success.insert("text/csv".to_owned(), json!({ "schema": { "type": "string" } }));
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "x-paygate-access": access_word(route.access),
        "responses": {
            status.to_string(): { "description": "Success", "content": success },
            "default": { "description": "Nothing was done", "content": content("Error") },
        },
    });
    let mut names: Vec<&str> = match route.takes {
        Takes::Nothing | Takes::Body(_) => Vec::new(),
        Takes::Query(names) => names.to_vec(),
        Takes::Money(_) => vec!["idempotencyKey"],
    };
    names.extend(route.path.contains("{id}").then_some("id"));
    let refs = names.into_iter();
    let refs = refs.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    let refs: Vec<Value> = refs.collect();
    let security = match route.access {
        Access::Public if route.path == "/openapi.json" => json!([]),
        Access::Public => json!([{ "apiKey": [] }]),
        Access::Scraper => json!([{}, { "adminKey": [] }, { "metricsToken": [] }]),
        Access::Viewer | Access::Admin | Access::Owner | Access::Operator | Access::Host => {
            json!([{ "adminKey": [] }])
        }
    };
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("security".to_owned(), security);
        if !refs.is_empty() {
            operation.insert("parameters".to_owned(), refs.into());
        }
        if let Some(body) = route.takes.body() {
            let body = json!({ "required": true, "content": content(body) });
            operation.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

const fn access_word(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Scraper => "scraper",
        Access::Viewer => "viewer",
        Access::Admin => "admin",
        Access::Owner => "owner",
        Access::Operator => "operator",
        Access::Host => "host",
    }
}

fn parameters() -> Value {
    let query = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "query", "schema": schema, "description": description });
    let moment = json!({ "anyOf": [
        { "type": "string", "format": "date-time" },
        { "type": "integer", "minimum": 0 },
    ] });
    json!({
        "id": { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
        "idempotencyKey": {
            "name": "Idempotency-Key", "in": "header",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
            "description": "Applied once in 24 hours: a repetition gets the first answer again.",
        },
        "namespace": query(
            "namespace",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9-]{0,50}$" }),
            "Only of this namespace; of all if it is empty.",
        ),
        "teamId": {
            "name": "teamId", "in": "query", "required": true, "schema": { "type": "string" },
        },
        "types": query("types", json!({ "type": "string" }), "Any of these words, with commas between."),
        "actor": query("actor", json!({ "type": "string" }), "A part of the name, or the id of a token."),
        "since": query("since", moment.clone(), "Not before: RFC 3339, or epoch milliseconds."),
        "until": query("until", moment.clone(), "Not after."),
        "from": query("from", moment.clone(), "In the first hour or day; 24 hours before `to` if absent."),
        "to": query("to", moment.clone(), "In the last hour or day; now if absent."),
        "granularity": query("granularity", json!({ "enum": ["hourly", "daily"] }), "Length of the buckets, which begin with UTC hours or days."),
        "top": query("top", json!({ "type": "integer", "minimum": 1, "maximum": 100 }), "Most tools and keys by name."),
        "key": query("key", json!({ "type": "string" }), "Id of a key."),
        "team": query("team", json!({ "type": "string" }), "Id of a team: the keys that are in it now."),
        "tool": query("tool", json!({ "type": "string" }), "Exact name of a tool."),
        "label": query("label", json!({ "type": "string" }), "Of `/usage`: name, colon and value of a label. Of `/analytics`: the name of a label to sum up by."),
        "outcome": query("outcome", json!({ "type": "string" }), "The word of an outcome or of a reason to refuse; `allowed` or `denied` for all such."),
        "offset": query("offset", json!({ "type": "integer", "minimum": 0 }), "Entries to leave out."),
        "format": query("format", json!({ "enum": ["json", "csv"] }), "How it is written."),
        "limit": query(
            "limit",
            json!({ "type": "integer", "minimum": 1, "maximum": 1000 }),
            "Most entries of the answer.",
        ),
        "cursor": query(
            "cursor",
            json!({ "type": "string", "pattern": "^[0-9]{1,19}$" }),
            "X-Next-Cursor of the answer before: go on behind it.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in the document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(target) if name == "$ref" => found.push(target.clone()),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(entries) => entries.iter().for_each(|entry| references(entry, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_body_is_closed() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        for route in ROUTES {
            let has_body = matches!(route.method.as_str(), "POST" | "PATCH");
            assert_eq!(route.takes.body().is_some(), has_body, "{}", route.path);
            let Some(body) = route.takes.body() else { continue };
            assert_eq!(SCHEMAS[body]["additionalProperties"], json!(false), "{body}");
            assert!(SCHEMAS[body]["example"].is_object(), "{body}");
            assert!(body == "NoMembers" || !known_members(route).is_empty(), "{body}");
        }
    }
}
