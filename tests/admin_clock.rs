//! Numbers in reports are those that the gate tests, also while the clock runs behind the books.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use paygate::admin::{self, AdminOptions, Live, Terms};
use paygate::events::metrics::Gauges;
use paygate::events::webhooks::Webhooks;
use paygate::gate::{self, CallFacts, Policy};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::Key;
use paygate::model::namespace::Namespace;
use paygate::model::secret::RawKey;
use paygate::model::usage::Refused;
use paygate::store::local::{LocalOptions, LocalStore};
use paygate::store::{Creation, ItemEnd, Show, Store, clock, settlement};
use serde_json::Value;
use tower::ServiceExt;

/// No proxy runs.
struct Nothing;

impl Live for Nothing {
    fn take_refused(&self) -> Vec<Refused> {
        Vec::new()
    }

    fn refunded(&self, _: &[String]) {}

    fn metrics(&self, _: Gauges) -> String {
        String::new()
    }
}

async fn get(router: &Router, path: &str, header: (&str, &str)) -> Value {
    let request = Request::get(path).header(header.0, header.1).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

fn key(raw: &RawKey) -> Key {
    Key::new(KeyId::from_random([1; 8]), raw, "Ada", clock::now())
}

#[tokio::test]
async fn numbers_are_shown_as_of_ledger_time() {
    let store = Arc::new(LocalStore::open(&LocalOptions::default(), clock::now()).unwrap());
    let raw = RawKey::from_random([1; 24]);
    let made = store.create_key(key(&raw), 10, None.into(), clock::now()).await.unwrap();
    let Creation::Made(key) = made else { panic!("{made:?}") };

    // A call while the clock was 40 days ahead; then it is set right.
    let ahead = clock::now().plus(Duration::from_hours(40 * 24));
    let request = gate::Request {
        now: ahead,
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(&key),
        namespace: Some(&Namespace::unwritten("default")),
        team: None,
        calls: &[CallFacts { tool: "tool", arguments: None }],
        in_batch: false,
    };
    let policy = Policy { default_price: 2, ..Policy::default() };
    let charge = gate::admit(&policy, &request, CallId::from_random([1; 16])).unwrap();
    store.hold(&charge, ahead, ahead.plus(Duration::from_secs(1))).await.unwrap();
    let paid = settlement(&charge, &[ItemEnd { paid: true, outcome: "result" }], Show::BALANCE);
    store.settle(paid, ahead).await.unwrap().1.wait().await.unwrap();

    let options = AdminOptions {
        admin_key: "admin".to_owned().into(),
        name: String::new(),
        terms: Arc::new(
            Arc::new(Terms { policy, refund_on_failure: true, alert_rules: None }).into(),
        ),
        body_bytes_max: 1024,
        config: Arc::new(|| Value::Null),
        reload: Arc::new(|| Err(String::new())),
        metrics_token: None,
        webhooks: Arc::new(Webhooks::new(Arc::clone(&store) as Arc<dyn Store>, None)),
        live: Arc::new(Nothing),
    };
    let router = admin::router(options, Arc::clone(&store) as Arc<dyn Store>);
    let used = &get(&router, "/balance", ("x-api-key", raw.reveal())).await["quotaUsage"];
    assert_eq!((&used["dailyCalls"], &used["monthlyCredits"]), (&1.into(), &2.into()), "{used}");
    let admin = ("x-admin-key", "admin");
    for view in
        [&get(&router, "/keys", admin).await[0], &get(&router, "/status", admin).await["keys"][0]]
    {
        assert_eq!(view["quotaDailyCalls"], 1, "{view}");
        assert_eq!(view["quotaLastResetDay"], ahead.day_text(), "{view}");
    }
    store.close().await.unwrap();
}
