//! Alerts: five rules, what they say and when, who reads it, and that a kill loses none of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{Paygate, Request, Setup, eventually};

/// A rule, a key, and how many calls of the tool it takes until the rule has something to say.
struct Case {
    rule: Value,
    key: Value,
    tool: &'static str,
    calls: usize,
    current: Value,
    message: &'static str,
    metadata: Value,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            rule: json!({"type": "spending_threshold", "threshold": 50}),
            key: json!({"name": "Ada", "credits": 4}),
            tool: "instant",
            calls: 2,
            current: json!(50),
            message: r#"Key "Ada" has spent 50% of total budget (2/4 credits)"#,
            metadata: json!({"credits": 2, "totalSpent": 2, "totalBudget": 4}),
        },
        Case {
            rule: json!({"type": "credits_low", "threshold": 2.5, "cooldownSeconds": 0}),
            key: json!({"name": "Bob \"B\"", "credits": 4}),
            tool: "instant",
            calls: 2,
            current: json!(2),
            message: r#"Key "Bob "B"" has only 2 credits remaining (threshold: 2.5)"#,
            metadata: json!({"credits": 2}),
        },
        Case {
            rule: json!({"type": "quota_warning", "threshold": 66.6, "cooldownSeconds": 60}),
            key: json!({"name": "Cy", "quota": {"dailyCallLimit": 3, "monthlyCallLimit": 2}}),
            tool: "instant",
            calls: 2,
            current: json!(66.7),
            message: r#"Key "Cy" daily call quota at 67% (2/3)"#,
            metadata: json!({"quotaType": "dailyCalls", "used": 2, "limit": 3}),
        },
        Case {
            rule: json!({"type": "quota_warning", "threshold": 100}),
            key: json!({"name": "Di", "quota": {"dailyCallLimit": 9, "monthlyCallLimit": 3}}),
            tool: "instant",
            calls: 3,
            current: json!(100),
            message: r#"Key "Di" monthly call quota at 100% (3/3)"#,
            metadata: json!({"quotaType": "monthlyCalls", "used": 3, "limit": 3}),
        },
        Case {
            rule: json!({"type": "rate_limit_spike", "threshold": 2}),
            key: json!({"name": "Ed"}),
            tool: "limited",
            calls: 3,
            current: json!(2),
            message: r#"Key "Ed" hit 2 rate limit denials in 5 min (threshold: 2)"#,
            metadata: json!({"denialCount": 2, "windowMinutes": 5}),
        },
    ]
}

fn start() -> Paygate {
    Setup::new()
        .ephemeral()
        .without_child_log()
        .config(json!({"toolPricing": {"limited": {"rateLimitPerMin": 1}},
            "unlistedTools": "allow"}))
        .start()
}

fn configure(paygate: &Paygate, rules: &Value) {
    let set = paygate.admin_post("/alerts", &json!({"rules": rules}));
    assert_eq!(set.status, 200, "{}", set.text());
    let count = rules.as_array().unwrap().len();
    let message = format!("{count} alert rule(s) configured");
    assert_eq!(set.json(), json!({"rules": rules, "message": message}));
}

fn read(paygate: &Paygate) -> Vec<Value> {
    let answer = paygate.admin_get("/alerts");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let alerts = answer["alerts"].as_array().unwrap().clone();
    assert_eq!(answer["count"], json!(alerts.len()));
    alerts
}

fn pending(paygate: &Paygate) -> u64 {
    let page = paygate.get("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix("paygate_pending_alerts_total "));
    line.unwrap().parse().unwrap()
}

#[test]
fn every_rule_fires_at_its_threshold_and_once_in_its_cooldown() {
    let paygate = start();
    let mut expected = Vec::new();
    for (index, case) in cases().into_iter().enumerate() {
        let Case { rule, key, tool, calls, current, message, metadata } = case;
        configure(&paygate, &json!([rule]));
        let (raw, id) = paygate.create_key(&key);
        for _ in 1..calls {
            paygate.call(&raw, tool, &json!({}));
        }
        assert_eq!(read(&paygate), Vec::<Value>::new(), "{rule}: not before");
        paygate.call(&raw, tool, &json!({}));
        if index.is_multiple_of(4) {
            // Nobody asked: it is found all the same.
            eventually("the alert waits", || pending(&paygate) == 1);
        }
        let alerts = read(&paygate);
        assert_eq!((alerts.len(), pending(&paygate)), (1, 0), "{alerts:?}");
        let alert = &alerts[0];
        for (member, value) in [
            ("type", &rule["type"]),
            ("keyPrefix", &json!(format!("{}...", &raw[..10]))),
            ("keyName", &key["name"]),
            ("threshold", &rule["threshold"]),
            ("currentValue", &current),
            ("message", &json!(message)),
            ("metadata", &metadata),
            ("keyId", &json!(id)),
            ("namespace", &json!("default")),
        ] {
            assert_eq!(&alert[member], value, "{rule}: {member}");
        }
        assert_eq!(alert["timestamp"].as_str().unwrap().len(), 24, "{alert}");
        paygate.call(&raw, tool, &json!({}));
        assert_eq!(read(&paygate), Vec::<Value>::new(), "{rule}: not again");
        let mut told = metadata.as_object().unwrap().clone();
        for (name, member) in [
            ("alertType", "type"),
            ("keyPrefix", "keyPrefix"),
            ("keyName", "keyName"),
            ("message", "message"),
            ("threshold", "threshold"),
            ("currentValue", "currentValue"),
        ] {
            told.insert(name.to_owned(), alert[member].clone());
        }
        expected.push((message, told, id));
        let all = [paygate.admin_get("/alerts"), paygate.admin_get("/audit?limit=1000")];
        assert!(all.iter().all(|answer| !answer.text().contains(&raw)), "a raw key is shown");
    }
    let log = paygate.admin_get("/audit/export?types=alert.fired").json();
    let log = log["events"].as_array().unwrap();
    assert_eq!(log.len(), expected.len(), "{log:#?}");
    for (event, (message, metadata, id)) in log.iter().zip(expected) {
        assert_eq!(
            (&event["actor"], &event["message"], &event["metadata"], &event["target"]),
            (&json!("system"), &json!(message), &Value::from(metadata), &json!(id))
        );
    }
    let set = paygate.admin_get("/audit?types=admin.alerts_configured&limit=1").json();
    let (set, last) = (&set["events"][0], cases().pop().unwrap().rule);
    assert_eq!(set["message"], "Alert rules updated (1 rules)");
    assert_eq!(set["metadata"], json!({"ruleCount": 1, "rules": [last]}));
}

#[test]
fn a_key_that_soon_expires_needs_no_call() {
    let paygate = start();
    configure(&paygate, &json!([{"type": "key_expiry_soon", "threshold": 7200}]));
    let late = json!({"name": "Flo", "expiresIn": 7300});
    let (raw, id) = paygate.create_key(&late);
    paygate.call(&raw, "instant", &json!({}));
    for (gone, change) in [("/keys/revoke", json!({})), ("/keys/suspend", json!({}))] {
        let (_, id) = paygate.create_key(&json!({"expiresIn": 60, "name": gone}));
        let mut body = change;
        body["key"] = json!(id);
        assert_eq!(paygate.admin_post(gone, &body).status, 200);
    }
    assert_eq!(read(&paygate), Vec::<Value>::new(), "not before, and not of one that is closed");
    let sooner = json!({"key": id, "expiresIn": 5400});
    let expires = paygate.admin_post("/keys/expiry", &sooner).json()["expiresAt"].clone();
    let alerts = read(&paygate);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let (alert, date) = (&alerts[0], expires.as_str().unwrap());
    let left = alert["currentValue"].as_i64().unwrap();
    assert!((5300..=5400).contains(&left), "{alert}");
    assert_eq!(alert["message"], format!("Key \"Flo\" expires in 1.5 hours ({date})"));
    assert_eq!(alert["metadata"], json!({"expiresAt": date, "remainingSeconds": left}));
    assert_eq!(read(&paygate), Vec::<Value>::new(), "once in its cooldown");
}

#[test]
fn a_kill_loses_no_rule_no_alert_and_no_cooldown() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let rules = json!([
        {"type": "credits_low", "threshold": 100, "cooldownSeconds": 3600},
        {"type": "credits_low", "threshold": 8},
        {"type": "credits_low", "threshold": 1}
    ]);
    configure(&paygate, &rules);
    let (raw, _) = paygate.create_key(&json!({"name": "Gil", "credits": 9}));
    paygate.call(&raw, "instant", &json!({}));
    // Most likely before anybody has looked.
    paygate.kill9();
    let paygate = setup.start();
    eventually("both alerts wait", || pending(&paygate) == 2);
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(pending(&paygate), 2);
    let answer = paygate.admin_get("/alerts").json();
    assert_eq!(answer["rules"], rules);
    let of: Vec<_> = answer["alerts"].as_array().unwrap().iter().collect();
    let of: Vec<_> = of.iter().map(|alert| (&alert["threshold"], &alert["currentValue"])).collect();
    assert_eq!(of, [(&json!(100), &json!(8)), (&json!(8), &json!(8))]);
    paygate.kill9();
    let paygate = setup.start();
    paygate.call(&raw, "instant", &json!({}));
    assert_eq!(read(&paygate), Vec::<Value>::new(), "read before, and too soon to be said again");
    assert_eq!(paygate.admin_get("/audit/stats").json()["eventsByType"]["alert.fired"], 2);
    // New rules begin anew, with what happens from then on.
    configure(&paygate, &json!([{"type": "credits_low", "threshold": 100, "cooldownSeconds": 1}]));
    assert_eq!(read(&paygate), Vec::<Value>::new());
    for round in ["first", "after the cooldown"] {
        eventually(round, || {
            paygate.call(&raw, "instant", &json!({}));
            read(&paygate).len() == 1
        });
    }
    configure(&paygate, &json!([]));
    paygate.call(&raw, "instant", &json!({}));
    assert_eq!(read(&paygate), Vec::<Value>::new());
    paygate.stop();
    let verified = setup.verify();
    assert_eq!(verified.code(), Some(0), "{}", verified.stdout);
}

#[test]
fn nobody_takes_an_alert_from_another_and_no_tenant_sees_anothers() {
    let paygate = start();
    configure(&paygate, &json!([{"type": "credits_low", "threshold": 50}]));
    let token = |name: &str, role: &str, namespace: &Value| {
        let body = json!({"name": name, "role": role, "namespace": namespace});
        let made = paygate.admin_post("/admin/tokens", &body).json();
        made["token"].as_str().unwrap().to_owned()
    };
    let admins = ["acme", "zoo"].map(|tenant| token(tenant, "owner", &json!(tenant)));
    let viewer = token("viewer", "viewer", &Value::Null);
    for tenant in ["acme", "zoo"] {
        let body = json!({"name": format!("{tenant}-key"), "namespace": tenant, "credits": 9});
        let (raw, _) = paygate.create_key(&body);
        paygate.call(&raw, "instant", &json!({}));
    }
    let names = |token: &str, query: &str| {
        let answer = paygate.admin_as(token, "GET", &format!("/alerts{query}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut names: Vec<_> = answer.json()["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| alert["keyName"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let none: [&str; 0] = [];
    for _ in 0..2 {
        assert_eq!(names(&viewer, ""), ["acme-key", "zoo-key"], "who only looks takes nothing");
    }
    let head = Request::new("HEAD", "/alerts").header("X-Admin-Key", support::ADMIN_KEY);
    assert_eq!(paygate.send(&head).status, 200);
    assert_eq!(names(&admins[0], ""), ["acme-key"]);
    assert_eq!(names(&admins[0], "?namespace=acme"), none);
    assert_eq!(names(support::ADMIN_KEY, "?namespace=zoo"), ["zoo-key"]);
    assert_eq!(names(support::ADMIN_KEY, ""), ["acme-key"]);
    assert_eq!(names(support::ADMIN_KEY, ""), none);
    assert_eq!(names(&admins[1], ""), ["zoo-key"]);
    assert_eq!(names(&viewer, ""), none);
    let foreign = paygate.admin_as(&admins[0], "GET", "/alerts?namespace=zoo", &Value::Null);
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    for token in [&admins[0], &viewer] {
        let refused = paygate.admin_as(token, "POST", "/alerts", &json!({"rules": []}));
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    assert_eq!(paygate.admin_get("/alerts").json()["rules"].as_array().unwrap().len(), 1);
}

#[test]
fn rules_of_the_configuration_hold_until_it_changes() {
    let rules = |threshold: i64| json!([{"type": "credits_low", "threshold": threshold}]);
    let config = |threshold| json!({"alertRules": rules(threshold)});
    let setup = Setup::new().without_child_log().config(config(9));
    let paygate = setup.start();
    let (raw, _) = paygate.create_key(&json!({"credits": 10}));
    assert_eq!(paygate.admin_get("/alerts").json()["rules"], rules(9));
    assert_eq!(paygate.admin_get("/config").json()["alertRules"], rules(9));
    paygate.call(&raw, "instant", &json!({}));
    assert_eq!(read(&paygate).len(), 1);
    let refused = paygate.admin_post("/alerts", &json!({"rules": []}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("alertRules"), "{}", refused.text());
    paygate.kill9();
    // The same rules: what cools goes on cooling.
    let paygate = setup.start();
    paygate.call(&raw, "instant", &json!({}));
    assert_eq!(read(&paygate), Vec::<Value>::new());
    let file = |config: &Value| {
        let path = setup.dir().file("paygate.json");
        let mut whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        match config.get("alertRules") {
            Some(rules) => whole["alertRules"] = rules.clone(),
            None => drop(whole.as_object_mut().unwrap().remove("alertRules")),
        }
        std::fs::write(path, whole.to_string()).unwrap();
        paygate.admin("POST", "/config/reload", &Value::Null)
    };
    let taken = file(&config(7));
    assert_eq!(taken.json()["changed"], json!(["alertRules"]), "{}", taken.text());
    eventually("the new rules", || paygate.admin_get("/alerts").json()["rules"] == rules(7));
    paygate.call(&raw, "instant", &json!({}));
    assert_eq!(
        read(&paygate)[0]["message"],
        "Key \"unnamed\" has only 7 credits remaining (threshold: 7)"
    );
    for (wrong, says) in [
        (json!({}), "Must be a list of objects"),
        (json!([5]), "Must be an object"),
        (json!([{}]), "Needs `type`"),
        (json!([{"type": "credits_low"}]), "Needs `threshold`"),
        (json!([{"type": "low", "threshold": 1}]), "Must be one of"),
        (json!([{"type": "credits_low", "threshold": -1}]), "threshold of alertRules[0]"),
        (json!([{"type": "credits_low", "threshold": 0.0001}]), "threshold of alertRules[0]"),
        (json!([{"type": "credits_low", "treshold": 1}]), "Did you mean"),
        (json!([{"type": "credits_low", "threshold": 1, "cooldownSeconds": 1e9}]), "31536000"),
        (json!(vec![json!({}); 51]), "at most 50"),
    ] {
        let refused = file(&json!({"alertRules": wrong}));
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text());
        assert!(refused.json()["error"].as_str().unwrap().contains(says), "{}", refused.text());
    }
    // Without the key the rules stay, and are the operator's again.
    assert_eq!(file(&json!({})).status, 200);
    assert_eq!(paygate.admin_get("/alerts").json()["rules"], rules(7));
    configure(&paygate, &json!([]));
}

#[test]
fn a_bad_rule_is_named_and_changes_nothing() {
    let paygate = start();
    let kept = json!([{"type": "credits_low", "threshold": 0.001}]);
    configure(&paygate, &kept);
    let rule = |more: Value| {
        let mut rule = json!({"type": "credits_low", "threshold": 1});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"rules": [rule]}).to_string()
    };
    let valid = "spending_threshold, credits_low, quota_warning, key_expiry_soon, rate_limit_spike";
    let number = "Invalid threshold for credits_low: must be a non-negative number";
    let seconds = "Invalid cooldownSeconds for credits_low: must be a whole number from 0 to";
    let many = json!({"rules": vec![kept[0].clone(); 51]}).to_string();
    for (body, error) in [
        ("{}", "Missing or invalid rules array"),
        (r#"{"rules":null}"#, "Missing or invalid rules array"),
        (r#"{"rules":{}}"#, "Missing or invalid rules array"),
        (r#"{"rules":"all"}"#, "Missing or invalid rules array"),
        (r#"{"rules":[5]}"#, "rules[0] must be an object"),
        (r#"{"rules":[null]}"#, "rules[0] must be an object"),
        (r#"{"rule":[]}"#, "Unknown member \\\"rule\\\": did you mean \\\"rules\\\"?"),
        (&*rule(json!({"treshold": 2})), "did you mean \\\"threshold\\\"?"),
        (r#"{"rules":[{"threshold":1}]}"#, &format!("Invalid alert type: none. Valid: {valid}")),
        (&*rule(json!({"type": "low"})), &format!("Invalid alert type: low. Valid: {valid}")),
        (&*rule(json!({"type": 7})), "Invalid alert type: not a string. Valid: "),
        (&*rule(json!({"threshold": null})), number),
        (&*rule(json!({"threshold": "5"})), number),
        (&*rule(json!({"threshold": -1})), number),
        (&*rule(json!({"threshold": -0.0001})), number),
        (
            r#"{"rules":[{"type":"credits_low","threshold":1e400}]}"#,
            &format!("{number} up to 9007199254740991"),
        ),
        (r#"{"rules":[{"type":"credits_low","threshold":NaN}]}"#, "Invalid JSON"),
        (r#"{"rules":[{"type":"credits_low","threshold":1,"threshold":2}]}"#, "more than once"),
        (&*rule(json!({"cooldownSeconds": -1})), seconds),
        (&*rule(json!({"cooldownSeconds": 1.5})), seconds),
        (&*rule(json!({"cooldownSeconds": 31_536_001})), seconds),
        (&*rule(json!({"cooldownSeconds": []})), seconds),
        (&*many, "rules has 51 entries; at most 50"),
    ] {
        let request = Request::new("POST", "/alerts").header("X-Admin-Key", support::ADMIN_KEY);
        let request = request.header("Content-Type", "application/json").body(body);
        let refused = paygate.send(&request);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    let bad = paygate.admin_get("/alerts?namespace=a_b");
    assert_eq!(bad.status, 400, "{}", bad.text());
    assert_eq!(paygate.admin_get("/alerts").json()["rules"], kept);
}
