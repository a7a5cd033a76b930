//! Bad input of every kind to every operation that `/openapi.json` names: a 4xx whose `error` names what
//! is wrong, at once, and nothing is changed. Driven by the document, so that a new route is tried too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Operation, Paygate, Request, Response, Setup, operations};

/// Members that name something which is not there, and what the answer says.
const UNKNOWN: [(&str, &str, &str); 2] =
    [("key", "key_ffffffffffffffff", "not found"), ("teamId", "team_ffffffffffffffff", "team")];

/// Its bound is the year 9999, so it moves.
const WITHOUT_MAXIMUM: &str = "expiresIn";

/// A running Paygate with one of everything.
struct Desk {
    paygate: Paygate,
    key: String,
    team: String,
    call: String,
    token: String,
}

impl Desk {
    fn open() -> Self {
        let paygate = Setup::new().ephemeral().without_child_log().start();
        let (raw, key) = paygate.create_key(&json!({"name": "good", "namespace": "acme"}));
        let call = paygate.call(&raw, "instant", &json!({}));
        let call = call.header("x-paygate-call-id").unwrap().to_owned();
        let made = |path: &str, body: Value| {
            let made = paygate.admin_post(path, &body);
            assert_eq!(made.status, 201, "{}", made.text());
            made.json()
        };
        let team = made("/teams", json!({"name": "good", "namespace": "acme"}));
        let team = team["team"]["id"].as_str().unwrap().to_owned();
        let token = made("/admin/tokens", json!({"name": "good", "role": "viewer"}));
        let token = token["id"].as_str().unwrap().to_owned();
        Self { paygate, key, team, call, token }
    }

    /// Everything that could be changed.
    fn state(&self) -> Vec<Value> {
        let paths =
            ["/keys", "/teams", "/namespaces", "/admin/tokens", "/config", "/audit?limit=1000"];
        paths.iter().map(|path| self.paygate.admin_get(path).json()).collect()
    }

    /// The path of an operation about something that is there.
    fn path(&self, operation: &Operation) -> String {
        let id = match operation.path.split('/').nth(1).unwrap() {
            "calls" => &self.call,
            "admin" => &self.token,
            _ => &self.key,
        };
        operation.path.replace("{id}", id)
    }

    /// A body that would be taken.
    fn body(&self, operation: &Operation) -> Value {
        let mut body = operation.body.clone();
        for (name, value) in [("key", &self.key), ("teamId", &self.team)] {
            if body.get(name).is_some() {
                body[name] = json!(value);
            }
        }
        body
    }

    fn send(&self, operation: &Operation, body: impl Into<Vec<u8>>) -> Response {
        let request = Request::new(&operation.method, &self.path(operation));
        self.paygate.send(&request.header("X-Admin-Key", ADMIN_KEY).body(body))
    }

    /// Refused, and the answer says why, with this word in it.
    #[track_caller]
    fn refused(&self, operation: &Operation, body: &Value, status: u16, word: &str) {
        let answer = self.send(operation, body.to_string());
        says(operation, &answer, &body.to_string(), status, word);
    }
}

/// The answer has this status, and its `error` this word.
#[track_caller]
fn says(operation: &Operation, answer: &Response, sent: &str, status: u16, word: &str) {
    let sent: String = sent.chars().take(300).collect();
    let what = format!("{} {} {sent}: {}", operation.method, operation.path, answer.text());
    assert_eq!(answer.status, status, "{what}");
    let error = answer.json()["error"].as_str().unwrap_or_default().to_lowercase();
    assert!(!error.is_empty() && error.contains(&word.to_lowercase()), "no {word:?} in {what}");
}

fn with_bodies(desk: &Desk) -> Vec<Operation> {
    let all = operations(&desk.paygate).into_iter();
    let all: Vec<_> = all.filter(|operation| operation.schema.is_object()).collect();
    assert!(all.len() > 20, "{}", all.len());
    all
}

/// Tries something on every operation with a body; nothing may come of it.
fn nothing_comes_of(attempt: impl Fn(&Desk, &Operation)) {
    let desk = Desk::open();
    let operations = with_bodies(&desk);
    let before = desk.state();
    for operation in &operations {
        attempt(&desk, operation);
    }
    assert_eq!(desk.state(), before, "something was changed by what was refused");
}

#[test]
fn what_is_no_body() {
    nothing_comes_of(|desk, operation| {
        let good = desk.body(operation).to_string();
        let doubled = format!("{{\"{0}\":1,\"{0}\":1}}", some_member(operation));
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
        let bodies: [(&str, Vec<u8>, u16, &str); 12] = [
            ("half", good[..good.len() - 1].into(), 400, "Invalid JSON"),
            ("more behind it", format!("{good} {good}").into(), 400, "Invalid JSON"),
            ("a comma too many", good.replacen('}', ",}", 1).into(), 400, ""),
            ("single quotes", good.replace('"', "'").into(), 400, ""),
            ("not UTF-8", b"{\"a\":\"\xff\"}".to_vec(), 400, "Invalid JSON"),
            ("half a surrogate", b"{\"a\":\"\\ud800\"}".to_vec(), 400, ""),
            ("a list", format!("[{good}]").into(), 400, "must be a JSON object"),
            ("null", "null".into(), 400, "must be a JSON object"),
            ("deep lists", format!("{{\"a\":{}", "[".repeat(100_000)).into(), 400, ""),
            ("deep objects", "{\"a\":".repeat(100_000).into(), 400, ""),
            ("a member twice", doubled.into(), 400, some_member(operation)),
            ("too long", huge.into(), 413, ""),
        ];
        for (what, body, status, word) in bodies {
            // A body without members has none that could be given twice, or be wrong.
            if operation.members.is_empty() && matches!(what, "single quotes" | "a comma too many")
            {
                continue;
            }
            let answer = desk.send(operation, body);
            says(operation, &answer, what, status, word);
        }
        let mut more = desk.body(operation);
        more["surprise"] = json!(1);
        desk.refused(operation, &more, 400, "surprise");
    });
}

fn some_member(operation: &Operation) -> &str {
    operation.members.first().map_or("any", String::as_str)
}

#[test]
fn members_that_are_missing_or_wrong() {
    nothing_comes_of(|desk, operation| {
        let good = desk.body(operation);
        for name in operation.schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name);
            desk.refused(operation, &body, 400, name);
        }
        for name in &operation.members {
            let mut schema = operation.schema["properties"][name].clone();
            if name == WITHOUT_MAXIMUM {
                schema.as_object_mut().unwrap().remove("maximum");
            }
            let schema = &schema;
            for wrong in wrong_values(schema) {
                let mut body = good.clone();
                body[name] = wrong;
                desk.refused(operation, &body, 400, name);
            }
        }
        for (name, unknown, word) in UNKNOWN {
            if operation.members.iter().any(|member| member == name) {
                let mut body = good.clone();
                body[name] = json!(unknown);
                // A team that is not there is one of the faults of `/teams/assign`, and those are 400.
                let is_assign = name == "teamId" && operation.path == "/teams/assign";
                desk.refused(operation, &body, if is_assign { 400 } else { 404 }, word);
            }
        }
    });
}

/// Values of types that a schema does not take, and those just outside of its bounds.
fn wrong_values(schema: &Value) -> Vec<Value> {
    let mut types = Vec::new();
    types_of(schema, &mut types);
    let candidates = [
        ("object", json!({"a": {"b": []}})),
        ("array", json!([[{}]])),
        ("number", json!(7.5)),
        ("boolean", json!(true)),
        ("string", json!("\u{1}?")),
    ];
    let fits =
        |kind: &str| types.iter().any(|one| one == kind || (one == "integer" && kind == "number"));
    let mut wrong: Vec<Value> = candidates
        .into_iter()
        .filter(|(kind, _)| !types.is_empty() && !fits(kind))
        .map(|(_, value)| value)
        .collect();
    bounds_of(schema, &mut wrong);
    if types.iter().any(|kind| kind == "integer") && !types.iter().any(|kind| kind == "number") {
        wrong.extend([json!(1.5), json!(1e300), json!(-9_007_199_254_740_993_i64)]);
    }
    wrong
}

/// Each schema in which one and the same value is judged.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten()
}

fn types_of(schema: &Value, types: &mut Vec<String>) {
    match &schema["type"] {
        Value::String(one) => types.push(one.clone()),
        Value::Array(several) => {
            types.extend(several.iter().map(|one| one.as_str().unwrap().to_owned()));
        }
        _ => {}
    }
    if schema["enum"].is_array() || schema["const"].is_string() {
        types.push("none of these".to_owned());
    }
    alternatives(schema).for_each(|one| types_of(one, types));
}

fn bounds_of(schema: &Value, wrong: &mut Vec<Value>) {
    if let Some(most) = schema["maximum"].as_i64() {
        wrong.push(json!(most + 1));
    }
    if let Some(least) = schema["minimum"].as_i64() {
        wrong.push(json!(least - 1));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        wrong.push(json!("x".repeat(usize::try_from(most).unwrap() + 1)));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let entry = if schema["items"]["type"] == "string" { json!("10.0.0.1") } else { json!({}) };
        wrong.push(json!(vec![entry; usize::try_from(most).unwrap() + 1]));
    }
    alternatives(schema).for_each(|one| bounds_of(one, wrong));
}

#[test]
fn paths_and_parameters_that_are_wrong() {
    let desk = Desk::open();
    let document = desk.paygate.get("/openapi.json").json();
    let before = desk.state();
    for operation in operations(&desk.paygate) {
        if operation.path.contains("{id}") {
            let body =
                if operation.schema.is_object() { desk.body(&operation) } else { Value::Null };
            for id in ["key_ffffffffffffffff", "x", "%00", "%2e%2e", "%ff", &"x".repeat(5000)] {
                let path = operation.path.replace("{id}", id);
                let answer = desk.paygate.admin(&operation.method, &path, &body);
                says(&operation, &answer, &path, 404, "not found");
            }
        }
        for name in &operation.parameters {
            let parameter = &document["components"]["parameters"][name];
            if parameter["in"] != "query" {
                continue;
            }
            for value in wrong_parameters(&parameter["schema"]) {
                let path = format!("{}?{name}={value}", desk.path(&operation));
                let answer = desk.paygate.admin(&operation.method, &path, &Value::Null);
                says(&operation, &answer, &path, 400, name);
            }
            // Whatever it is, there is an answer.
            for value in ["%ff", "%00", "%", "a&a=b", &"x".repeat(5000)] {
                let path = format!("{}?{name}={value}", desk.path(&operation));
                let answer = desk.paygate.admin(&operation.method, &path, &Value::Null);
                assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text());
            }
        }
    }
    assert_eq!(desk.state(), before, "something was changed by what was refused");
}

fn wrong_parameters(schema: &Value) -> Vec<&'static str> {
    let text = schema.to_string();
    if text.contains("date-time") {
        vec!["yesterday", "-1", "2026-13-01T00:00:00Z", "1.5", "99999999999999999999"]
    } else if text.contains("integer") || text.contains("[0-9]") {
        vec!["x", "-1", "1.5", "99999999999999999999"]
    } else if text.contains("enum") {
        vec!["nonsense"]
    } else if text.contains("A-Za-z0-9-") {
        vec!["a_b", "%C3%BC"]
    } else {
        Vec::new()
    }
}
