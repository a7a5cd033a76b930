//! Who may do what, over every endpoint that `/openapi.json` names: roles, and two tenants who try to
//! see and change everything of each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::thread;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Operation, Paygate, Request, Response, Setup, operations};

fn token(paygate: &Paygate, body: &Value) -> (String, String) {
    let made = paygate.admin_post("/admin/tokens", body);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

#[test]
fn the_document_is_the_committed_one() {
    let served = start().get("/openapi.json");
    assert_eq!(served.header("content-type"), Some("application/json"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, served.text() + "\n").unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let hint = "run this test with UPDATE_OPENAPI=1 to write it anew";
    assert!(
        committed == served.text() + "\n",
        "docs/reference/openapi.json is out of date: {hint}"
    );
}

#[test]
fn every_operation_asks_for_its_role() {
    let paygate = start();
    let role =
        |role: &str| token(&paygate, &json!({"name": format!("the {role}"), "role": role})).0;
    let [viewer, admin, owner] = ["viewer", "admin", "owner"].map(role);
    let bound = json!({"name": "bound", "role": "owner", "namespace": "acme"});
    let bound = token(&paygate, &bound).0;
    let operations = operations(&paygate);
    // Wrong keys are answered more and more slowly, so all at once.
    thread::scope(|scope| {
        for operation in &operations {
            let (paygate, admin, owner, viewer, bound) =
                (&paygate, &admin, &owner, &viewer, &bound);
            scope.spawn(move || {
                let Operation { method, path, access, body, .. } = operation;
                let path = path.replace("{id}", "key_0123456789abcdef");
                let status = |key: &str| paygate.admin_as(key, method, &path, body).status;
                // (viewer, admin, owner, an owner bound to a tenant): who gets through.
                let expected = match access.as_str() {
                    "public" => return,
                    "viewer" => [true, true, true, true],
                    "admin" => [false, true, true, true],
                    "owner" => [false, false, true, true],
                    "operator" => [false, true, true, false],
                    "host" => [false, false, true, false],
                    "scraper" => [true, true, true, false],
                    other => panic!("what is {other}?"),
                };
                for (key, may) in [viewer, admin, owner, bound].into_iter().zip(expected) {
                    let status = status(key);
                    assert_eq!(status != 403, may, "{method} {path}: {status}");
                    assert!(status != 401 && status < 500, "{method} {path}: {status}");
                }
                for wrong in ["", "wrong", "pga_", &owner[..owner.len() - 1], &format!("{owner}0")]
                {
                    assert_eq!(status(wrong), 401, "{method} {path} {wrong}");
                }
                let refused = paygate.send(&Request::new(method, &path));
                // Who asks from this machine may scrape.
                let expected = if access == "scraper" { 200 } else { 401 };
                assert_eq!(refused.status, expected, "{method} {path}");
            });
        }
    });
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let made = paygate.admin_post(
        "/admin/tokens",
        &json!({"name": " Desk ", "role": "admin", "namespace": " ACME "}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let (raw, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(raw.starts_with("pga_") && raw.len() == 52, "{raw}");
    assert!(id.starts_with("tok_") && id.len() == 20, "{id}");
    for (member, value) in
        [("name", "Desk"), ("role", "admin"), ("namespace", "acme"), ("createdBy", "admin")]
    {
        assert_eq!(made[member], value, "{member}");
    }
    for (body, error) in [
        (json!({"role": "admin"}), "Missing name"),
        (json!({"name": "  ", "role": "admin"}), "Missing name"),
        (json!({"name": 5, "role": "admin"}), "name must be a string"),
        (json!({"name": "Admin", "role": "admin"}), "configured admin key"),
        (json!({"name": "x".repeat(101), "role": "admin"}), "name is longer than"),
        (json!({"name": "x"}), "Missing role"),
        (json!({"name": "x", "role": "root"}), "role must be viewer"),
        (json!({"name": "x", "role": 5}), "role must be viewer"),
        (json!({"name": "x", "role": "admin", "namespace": "a_b"}), "namespace \\\"a_b\\\""),
        (json!({"name": "x", "role": "admin", "scope": "acme"}), "Unknown member"),
    ] {
        let refused = paygate.admin_post("/admin/tokens", &body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    paygate.kill9();
    let paygate = setup.start();
    let list = paygate.admin_get("/admin/tokens");
    assert_eq!(
        (list.json()["count"].as_i64(), &list.json()["tokens"][0]["id"]),
        (Some(1), &json!(id))
    );
    assert!(!list.text().contains(raw), "a raw token is listed");
    let stored = std::fs::read(setup.database()).unwrap();
    assert!(
        !stored.windows(raw.len()).any(|bytes| bytes == raw.as_bytes()),
        "it is stored in clear"
    );
    assert_eq!(paygate.admin_as(raw, "GET", "/keys", &Value::Null).status, 200);
    let made = paygate.admin_as(raw, "POST", "/keys", &json!({"name": "theirs"}));
    assert_eq!(made.json()["namespace"], "acme", "a tenant's key is the tenant's");
    let revoked = paygate.admin("DELETE", &format!("/admin/tokens/{id}"), &Value::Null);
    assert_eq!(revoked.text(), format!("{{\"message\":\"Admin token revoked\",\"id\":\"{id}\"}}"));
    assert_eq!(paygate.admin_as(raw, "GET", "/keys", &Value::Null).status, 401);
    let again = paygate.admin("DELETE", &format!("/admin/tokens/{id}"), &Value::Null);
    assert_eq!(
        (again.status, again.text().as_str()),
        (404, r#"{"error":"Admin token not found"}"#)
    );
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(paygate.admin_as(raw, "GET", "/keys", &Value::Null).status, 401);
    assert_eq!(paygate.admin_get("/admin/tokens").json()["count"], 0);
}

/// Everything that a tenant has.
struct Tenant {
    name: &'static str,
    admin: String,
    /// Tokens with less rights.
    others: [String; 2],
    token_id: String,
    raw: String,
    key_id: String,
    call_id: String,
    team_id: String,
    /// What nobody else may read.
    secrets: Vec<String>,
}

fn tenant(paygate: &Paygate, name: &'static str, mark: &str, credits: i64) -> Tenant {
    let body = json!({"name": format!("{mark}-token"), "role": "owner", "namespace": name});
    let (admin, token_id) = token(paygate, &body);
    let others = ["admin", "viewer"].map(|role| {
        let body = json!({"name": format!("{mark}-{role}"), "role": role, "namespace": name});
        token(paygate, &body).0
    });
    let body = json!({"name": format!("{mark}-key"), "credits": credits, "namespace": name,
        "tags": {"plan": format!("{mark}-plan")}, "ipAllowlist": ["127.0.0.0/8"]});
    let (raw, key_id) = paygate.create_key(&body);
    let call = paygate.call(&raw, "instant", &json!({}));
    let call_id = call.header("x-paygate-call-id").unwrap().to_owned();
    // One refusal, which is counted.
    let denied = json!({"namespace": name, "credits": 0, "name": format!("{mark}-poor")});
    let (poor, poor_id) = paygate.create_key(&denied);
    assert_eq!(paygate.call(&poor, "instant", &json!({})).error_reason(), "insufficient_credits");
    let body = json!({"namespace": name, "deniedTools": [format!("{mark}-tool")]});
    assert_eq!(paygate.admin_post("/namespaces", &body).status, 200);
    let body = json!({"name": format!("{mark}-team"), "namespace": name, "budget": credits});
    let team = paygate.admin_post("/teams", &body).json();
    let team_id = team["team"]["id"].as_str().unwrap().to_owned();
    let body = json!({"teamId": team_id, "key": key_id});
    assert_eq!(paygate.admin_post("/teams/assign", &body).status, 200);
    let secrets =
        [mark, &admin, &token_id, &raw, &raw[..10], &key_id, &poor_id, &call_id, &team_id]
            .map(str::to_owned)
            .into_iter()
            .chain([credits, credits - 1].map(|credits| credits.to_string()));
    let secrets = secrets.chain(others.clone()).collect();
    Tenant { name, admin, others, token_id, raw, key_id, call_id, team_id, secrets }
}

/// All that the operator sees of a tenant.
fn state(paygate: &Paygate, tenant: &Tenant) -> Vec<Value> {
    let paths =
        ["/keys", "/status", "/namespaces", "/admin/tokens", "/teams", "/usage", "/audit/export"];
    let mut all: Vec<Value> = paths
        .iter()
        .map(|path| paygate.admin_get(&format!("{path}?namespace={}", tenant.name)).json())
        .collect();
    // What is not of one tenant.
    if let Some(status) = all[1].as_object_mut() {
        status.retain(|name, _| matches!(name.as_str(), "keys" | "usage"));
    }
    let tokens = all[3]["tokens"].as_array().unwrap();
    let own = tokens.iter().filter(|token| token["namespace"] == tenant.name).cloned();
    all[3] = own.collect();
    all
}

#[test]
fn two_tenants_see_and_change_nothing_of_each_other() {
    let paygate = start();
    // One of each tenant's every key.
    let rules = json!({"rules": [{"type": "spending_threshold", "threshold": 0}]});
    assert_eq!(paygate.admin_post("/alerts", &rules).status, 200);
    let acme = tenant(&paygate, "acme", "wile-e", 7_654_321);
    let zoo = tenant(&paygate, "zoo", "coyote", 3_456_789);
    // Money of the first, under a key that the second uses too.
    let once = |tenant: &Tenant, path: &str, body: &Value| -> Response {
        let request = Request::new("POST", path).header("X-Admin-Key", &tenant.admin);
        paygate.send(&request.header("Idempotency-Key", "the same").json(body))
    };
    for tenant in [&acme, &zoo] {
        let body = json!({"key": tenant.key_id, "credits": 0, "reason": "none"});
        assert_eq!(once(tenant, "/credits/adjust", &body).status, 400);
        let made = once(tenant, "/keys", &json!({"name": "shared name"}));
        assert_eq!((made.status, made.header("idempotency-replayed")), (201, None));
        assert_eq!(made.json()["namespace"], tenant.name);
    }
    // Reading them waits for a look at all keys, so that none fires in between.
    assert_eq!(paygate.admin_get("/alerts").status, 200);
    let mut tried = 0;
    for (intruder, victim) in [(&acme, &zoo), (&zoo, &acme)] {
        let before = state(&paygate, victim);
        for operation in
            operations(&paygate).iter().filter(|operation| operation.access != "public")
        {
            for token in [&intruder.admin].into_iter().chain(&intruder.others) {
                tried += try_all(&paygate, operation, token, (intruder, victim));
            }
        }
        assert_eq!(state(&paygate, victim), before, "{} was changed", victim.name);
    }
    assert!(tried > 700, "{tried} requests only");
    // It was the bond that refused: the operator gets through with the same words.
    for id in [&acme.key_id, &zoo.key_id] {
        assert_eq!(paygate.admin_get(&format!("/keys/{id}")).status, 200);
    }
}

/// Every way to name the victim in one operation; how many requests that were.
fn try_all(
    paygate: &Paygate,
    operation: &Operation,
    token: &str,
    (intruder, victim): (&Tenant, &Tenant),
) -> usize {
    let requests = attempts(operation, intruder, victim);
    for (path, body, named) in &requests {
        let answer = paygate.admin_as(token, &operation.method, path, body);
        let (who, method, text) = (intruder.name, &operation.method, answer.text());
        let what = format!("{who} on {method} {path} {body}: {} {text}", answer.status);
        assert!(answer.status < 500, "{what}");
        if *named {
            assert!((400..500).contains(&answer.status), "{what}");
        }
        let headers: String = answer.headers.iter().map(|(_, value)| value.as_str()).collect();
        for secret in &victim.secrets {
            assert!(!text.contains(secret) && !headers.contains(secret), "{secret} leaks: {what}");
        }
    }
    requests.len()
}

/// Paths and bodies, and whether they name something of the victim.
fn attempts(
    operation: &Operation,
    intruder: &Tenant,
    victim: &Tenant,
) -> Vec<(String, Value, bool)> {
    let Operation { path, parameters, body, members, .. } = operation;
    let names = [&victim.key_id, &victim.raw, &victim.call_id, &victim.token_id, &victim.team_id];
    let mut targets: Vec<(String, bool)> = if path.contains("{id}") {
        names.iter().map(|name| (path.replace("{id}", name), true)).collect()
    } else {
        vec![(path.clone(), false)]
    };
    for (name, value) in [("namespace", victim.name), ("teamId", &*victim.team_id)] {
        if parameters.iter().any(|parameter| parameter == name) {
            targets.push((format!("{path}?{name}={value}"), true));
        }
    }
    // What only filters finds nothing instead.
    let filters = [
        ("key", &victim.key_id),
        ("team", &victim.team_id),
        ("actor", &victim.token_id),
        ("cursor", &"0".to_owned()),
        ("offset", &"0".to_owned()),
    ];
    for (name, value) in filters {
        if parameters.iter().any(|parameter| parameter == name) {
            targets.push((format!("{path}?{name}={value}"), false));
        }
    }
    // With everything that the body can hold, whether its example has it or not.
    let mut changes: Vec<Vec<(&str, &str)>> = Vec::new();
    changes.extend(names.iter().map(|name| vec![("key", name.as_str())]));
    changes.extend(names.iter().map(|name| vec![("apiKey", name.as_str())]));
    changes.push(vec![("teamId", &intruder.team_id), ("apiKey", &victim.key_id)]);
    changes.push(vec![("namespace", victim.name)]);
    changes.push(vec![("teamId", &victim.team_id)]);
    changes.push(vec![("teamId", &victim.team_id), ("key", &victim.key_id)]);
    changes.push(vec![("teamId", &victim.team_id), ("key", &intruder.key_id)]);
    changes.push(vec![("teamId", &intruder.team_id), ("key", &victim.key_id)]);
    changes.retain(|change| {
        change.iter().all(|(name, _)| members.iter().any(|member| member == name))
    });
    let mut all = Vec::new();
    for (path, named) in targets {
        all.push((path.clone(), body.clone(), named));
        for change in &changes {
            let mut body = body.clone();
            for (name, value) in change {
                body[*name] = json!(value);
            }
            if body.get("apiKey").is_some() {
                // Another name of the same.
                body.as_object_mut().unwrap().remove("key");
            }
            all.push((path.clone(), body, true));
        }
    }
    all
}

/// Whatever names a thing in a path, a parameter or a body.
const NAMING: [&str; 7] =
    ["namespace", "key", "apiKey", "team", "teamId", "actor", "idempotencyKey"];
/// What is in them and names nothing that somebody has.
const PLAIN: [&str; 43] = [
    "active",
    "allowedTools",
    "budget",
    "credits",
    "cursor",
    "dailyCalls",
    "dailyCallLimit",
    "dailyCredits",
    "dailyCreditLimit",
    "deniedTools",
    "description",
    "expiresAt",
    "expiresIn",
    "format",
    "from",
    "graceSeconds",
    "granularity",
    "ipAllowlist",
    "ips",
    "label",
    "limit",
    "monthlyCalls",
    "monthlyCallLimit",
    "monthlyCredits",
    "monthlyCreditLimit",
    "name",
    "offset",
    "outcome",
    "quota",
    "reason",
    "remove",
    "role",
    "rules",
    "since",
    "spendingLimit",
    "suspended",
    "tags",
    "to",
    "tool",
    "tools",
    "top",
    "types",
    "until",
];
/// First segments of paths with an id.
const COLLECTIONS: [&str; 3] = ["keys", "calls", "admin"];

#[test]
fn whatever_names_a_thing_is_tried_with_the_things_of_another() {
    for operation in operations(&start()) {
        let Operation { method, path, parameters, members, .. } = &operation;
        let named = parameters.iter().chain(members).map(String::as_str);
        for name in named.filter(|name| *name != "id") {
            assert!(
                NAMING.contains(&name) || PLAIN.contains(&name),
                "{method} {path}: can {name} name something of another tenant? Then give the tenants \
                 of this test one and try it in `attempts`; else add it to PLAIN"
            );
        }
        if path.contains("{id}") {
            let collection = path.split('/').nth(1).unwrap();
            assert!(
                COLLECTIONS.contains(&collection),
                "{method} {path}: give the tenants of this test one, and try it in `attempts`"
            );
        }
    }
}

#[test]
fn a_tenant_sees_all_of_its_own() {
    let paygate = start();
    let acme = tenant(&paygate, "acme", "wile-e", 500);
    tenant(&paygate, "zoo", "coyote", 700);
    let get = |path: &str| paygate.admin_as(&acme.admin, "GET", path, &Value::Null).json();
    assert_eq!(get("/keys").as_array().unwrap().len(), 2);
    assert_eq!(get("/keys?limit=1").as_array().unwrap().len(), 1);
    let status = get("/status");
    assert_eq!(status["filteredNamespace"], "acme");
    assert_eq!((&status["activeKeys"], &status["eventCount"]), (&json!(2), &json!(1)));
    assert_eq!(status["usage"]["denyReasons"], json!({"insufficient_credits": 1}));
    assert_eq!(status["namespaces"].as_array().unwrap().len(), 1);
    assert_eq!(get("/namespaces")["count"], 1);
    assert_eq!(get("/admin/tokens")["count"], 3);
    let found = paygate.admin_as(&acme.admin, "POST", "/keys/search", &json!({"tags": {}}));
    assert_eq!(found.json()["count"], 2);
    for (path, body) in [
        ("/topup", json!({"key": acme.raw, "credits": 5})),
        ("/keys/suspend", json!({"key": acme.key_id})),
        (&format!("/calls/{}/refund", acme.call_id), json!({})),
    ] {
        let done = paygate.admin_as(&acme.admin, "POST", path, &body);
        assert_eq!(done.status, 200, "{path}: {}", done.text());
    }
    let theirs = json!({"name": "helper", "role": "viewer"});
    let made = paygate.admin_as(&acme.admin, "POST", "/admin/tokens", &theirs).json();
    assert_eq!((&made["namespace"], &made["createdBy"]), (&json!("acme"), &json!("wile-e-token")));
    assert_eq!(paygate.admin_get("/status").json()["usage"]["totalDenied"], 2);
    let of_one = paygate.admin_get("/status?namespace=zoo").json();
    assert_eq!(of_one["usage"]["totalDenied"], 1, "{of_one}");
}

#[test]
fn a_namespace_is_suspended_and_its_tools_are_limited() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, _) = paygate.create_key(&json!({"namespace": "acme"}));
    let (other, _) = paygate.create_key(&json!({"namespace": "zoo"}));
    let call = |paygate: &Paygate, raw: &str, tool: &str| {
        paygate.call(raw, tool, &json!({})).error_reason()
    };
    let set = |paygate: &Paygate, body: Value| {
        let done = paygate.admin_post("/namespaces", &body);
        assert_eq!(done.status, 200, "{}", done.text());
        done.json()
    };
    let said =
        set(&paygate, json!({"namespace": " ACME ", "suspended": true, "deniedTools": ["fail"]}));
    assert_eq!(
        said,
        json!({"namespace": "acme", "suspended": true, "allowedTools": [],
        "deniedTools": ["fail"], "message": "Namespace updated"})
    );
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(call(&paygate, &raw, "instant"), "namespace_suspended");
    assert_eq!(call(&paygate, &other, "instant"), "");
    // What is absent stays.
    assert_eq!(
        set(&paygate, json!({"namespace": "acme", "suspended": null}))["deniedTools"],
        json!(["fail"])
    );
    assert_eq!(call(&paygate, &raw, "instant"), "");
    assert_eq!(call(&paygate, &raw, "fail"), "tool_denied");
    set(&paygate, json!({"namespace": "acme", "deniedTools": null, "allowedTools": ["echo_raw"]}));
    assert_eq!(call(&paygate, &raw, "instant"), "tool_not_allowed");
    // One that has a record and no keys is listed too.
    set(&paygate, json!({"namespace": "new", "suspended": true}));
    let list = paygate.admin_get("/namespaces").json();
    let names: Vec<&str> = list["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["acme", "zoo", "new"]);
    assert_eq!(list["namespaces"][0]["allowedTools"], json!(["echo_raw"]));
    assert_eq!(paygate.admin_get("/namespaces?namespace=New").json()["count"], 1);
    for (body, error) in [
        (json!({}), "Missing namespace"),
        (json!({"namespace": " "}), "Missing namespace"),
        (json!({"namespace": 5}), "namespace must be a string"),
        (json!({"namespace": "a_b"}), "namespace \\\"a_b\\\""),
        (json!({"namespace": "x", "suspended": "yes"}), "suspended must be"),
        (json!({"namespace": "x", "allowedTools": "y"}), "allowedTools"),
        (json!({"namespace": "x", "suspend": true}), "did you mean \\\"suspended\\\"?"),
    ] {
        let refused = paygate.admin_post("/namespaces", &body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    assert_eq!(paygate.admin_get("/namespaces").json()["count"], 3);
    assert_eq!(
        paygate.admin_as(ADMIN_KEY, "GET", "/namespaces?namespace=a_b", &Value::Null).status,
        400
    );
}
