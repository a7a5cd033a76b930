//! What `/openapi.json` says of each operation, for tests that go over all of them: a route that is
//! added is tried without anybody thinking of it.

use serde_json::Value;

use super::Paygate;

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: String,
    pub path: String,
    /// Who may call it.
    pub access: String,
    pub parameters: Vec<String>,
    /// The example of its body.
    pub body: Value,
    /// The schema of its body, whole.
    pub schema: Value,
    /// Every member that the body may have.
    pub members: Vec<String>,
}

/// All of them.
pub fn operations(paygate: &Paygate) -> Vec<Operation> {
    let document = paygate.get("/openapi.json").json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let schema = resolved(&document, schema);
            let names = operation["parameters"].as_array().into_iter().flatten();
            let names = names.map(|name| name["$ref"].as_str().unwrap());
            let members = schema["properties"].as_object();
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                access: operation["x-paygate-access"].as_str().unwrap().to_owned(),
                parameters: names.map(|name| name.rsplit('/').next().unwrap().to_owned()).collect(),
                body: schema["example"].clone(),
                members: members.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
                schema,
            });
        }
    }
    assert!(found.len() > 25, "{found:?}");
    found
}

/// A schema with what it refers to in its place.
fn resolved(document: &Value, schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                return resolved(document, document.pointer(&target[1..]).unwrap());
            }
            let members = members.iter();
            let members = members.map(|(name, value)| (name.clone(), resolved(document, value)));
            Value::Object(members.collect())
        }
        Value::Array(entries) => entries.iter().map(|entry| resolved(document, entry)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}
