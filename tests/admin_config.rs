//! `GET /config`: what holds, and no secret.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Setup};

#[test]
fn what_holds_is_shown_without_secrets() {
    let secret = "hush0123456789abcdef0123456789";
    let config = json!({
        "childEnv": {"TOKEN": "${SECRET}", "OTHER": secret},
        "importKeys": {secret: 7},
        "toolPricing": {"instant": {"creditsPerCall": 3, "creditsPerKbInput": 0.25}},
        "denialStyle": "${STYLE}",
    });
    let setup = Setup::new().config(config).env("SECRET", secret).env("STYLE", "error");
    let paygate = setup.args(["--price", "4"]).start();
    let answer = paygate.admin_get("/config");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = answer.json();
    for (pointer, expected) in [
        ("/defaultCreditsPerCall", json!(4)),
        ("/toolPricing/instant/creditsPerCall", json!(3)),
        ("/toolPricing/instant/creditsPerKbInput", json!(0.25)),
        ("/denialStyle", json!("error")),
        ("/durability", json!("answer")),
        ("/adminKey", json!("***")),
        ("/childEnv", json!({"TOKEN": "***", "OTHER": "***"})),
        ("/importKeys", json!({"hush012345...6789": 7})),
        ("/globalQuota/dailyCallLimit", json!(0)),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer} in {shown}");
    }
    for hidden in [secret, ADMIN_KEY] {
        assert!(!answer.text().contains(hidden), "{}", answer.text());
    }
    // Paygate's own, so not for the owner of a tenant.
    let bound = json!({"name": "theirs", "role": "owner", "namespace": "acme"});
    let token = paygate.admin_post("/admin/tokens", &bound).json();
    let refused =
        paygate.admin_as(token["token"].as_str().unwrap(), "GET", "/config", &Value::Null);
    assert_eq!(refused.status, 403, "{}", refused.text());
}

/// A key that is added must be shown, or a change of it would go unseen by a reload.
#[test]
fn every_key_is_shown() {
    let schema: Value =
        serde_json::from_str(include_str!("../docs/reference/config.schema.json")).unwrap();
    let shown = Setup::new().start().admin_get("/config").json();
    // For editors, another way to give a value, or only there with another kind of server.
    let elsewhere = [
        "$schema",
        "adminKeyFile",
        "metricsTokenFile",
        "remoteUrl",
        "servers",
        "toolSeparator",
        "webhookSecretFile",
    ];
    let keys =
        |object: &Value| -> Vec<String> { object.as_object().unwrap().keys().cloned().collect() };
    for key in keys(&schema["properties"]) {
        assert!(elsewhere.contains(&key.as_str()) || shown.get(&key).is_some(), "{key}");
    }
    for key in keys(&schema["properties"]["retention"]["properties"]) {
        assert!(shown["retention"].get(&key).is_some(), "retention.{key}");
    }
}
