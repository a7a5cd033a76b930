//! Alerts: each once in its cooldown, read by whom they are for; on shared books whichever instance looks.

use paygate::events::alerts::{configured_by, judge};
use paygate::model::alert::{AlertKind, AlertRule, Decimal};
use paygate::model::audit::AuditFilter;
use paygate::model::key::Key;
use paygate::model::usage::Refused;
use paygate::store::redis::RedisClock;
use paygate::store::{AlertsAsked, LookAt, Store, clock};

use super::support::RedisServer;
use super::{PAID, Place, call, instance, key, made, now};

fn rule(kind: AlertKind, threshold: i64) -> AlertRule {
    AlertRule { kind, threshold: Decimal::whole(threshold), cooldown_seconds: Some(3600) }
}

fn rules() -> Vec<AlertRule> {
    vec![
        rule(AlertKind::CreditsLow, 97),
        rule(AlertKind::RateLimitSpike, 5),
        rule(AlertKind::KeyExpirySoon, 60),
    ]
}

async fn set(store: &dyn Store, rules: Vec<AlertRule>) {
    let audit = configured_by("Ada", &rules, now());
    store.set_alert_rules(rules, audit.into()).await.unwrap();
}

async fn refuse(store: &dyn Store, key: &Key, count: u64) {
    let refused = Refused {
        at: now(),
        key: key.id.to_string(),
        namespace: key.namespace.clone(),
        tool: "a".to_owned(),
        reason: "rate_limited",
        count,
    };
    store.note_refused(vec![refused]).await.unwrap();
}

/// The kinds of what waits to be read.
async fn read(
    store: &dyn Store,
    tenant: Option<&str>,
    by_tenant: bool,
    clears: bool,
) -> Vec<String> {
    let asked = AlertsAsked { namespace: tenant.map(str::to_owned), by_tenant, clears };
    let alerts = store.alerts(asked).await.unwrap();
    let kind = |record: &String| {
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        record["type"].as_str().unwrap().to_owned()
    };
    alerts.iter().map(kind).collect()
}

#[tokio::test]
async fn what_rules_say_waits_for_its_readers() {
    for place in Place::all() {
        let store = place.open().await;
        let used = made(&*store, 1, 100).await;
        call(&*store, &used, 1, &["a"], &[PAID]).await;
        call(&*store, &used, 2, &["a"], &[PAID]).await;
        assert!(store.alert_rules().is_empty());
        set(&*store, rules()).await;
        assert_eq!(store.alert_rules()[..], rules());
        let look = async |store: &dyn Store| {
            store.look_for_alerts(judge, LookAt::IdleKeysToo, now()).await.unwrap();
        };
        look(&*store).await;
        assert!(
            read(&*store, None, false, false).await.is_empty(),
            "only what happens from here on"
        );

        call(&*store, &used, 3, &["a"], &[PAID]).await;
        refuse(&*store, &used, 7).await;
        let expires_at = Some(now().plus(std::time::Duration::from_secs(30)));
        let soon = Key { expires_at, namespace: "acme".to_owned(), ..key(2) };
        store.create_key(soon, 1_000, None.into(), now()).await.unwrap();
        look(&*store).await;
        let mut all = read(&*store, None, false, false).await;
        all.sort();
        assert_eq!(all, ["credits_low", "key_expiry_soon", "rate_limit_spike"]);
        assert_eq!(store.load().alerts_pending, 3);

        let store = place.again(store).await;
        assert_eq!(store.alert_rules()[..], rules());
        let used = store.key_by_id(&used.id).await.unwrap().unwrap();
        call(&*store, &used, 4, &["a"], &[PAID]).await;
        look(&*store).await;
        assert_eq!(read(&*store, None, false, false).await.len(), 3, "none is said twice");
        assert_eq!(read(&*store, Some("acme"), true, true).await, ["key_expiry_soon"]);
        assert!(read(&*store, Some("acme"), true, true).await.is_empty());
        assert_eq!(read(&*store, Some("acme"), false, false).await, ["key_expiry_soon"]);
        assert_eq!(read(&*store, None, false, true).await.len(), 3);
        assert!(read(&*store, None, false, true).await.is_empty());
        assert_eq!(store.load().alerts_pending, 0);
        assert_eq!(read(&*store, Some("default"), true, true).await.len(), 2);

        let fired = AuditFilter { kinds: vec!["alert.fired".to_owned()], ..AuditFilter::default() };
        assert_eq!(store.audit_totals(fired).await.unwrap().total, 3);
        // New rules begin anew.
        set(&*store, rules()).await;
        call(&*store, &used, 5, &["a"], &[PAID]).await;
        look(&*store).await;
        assert!(read(&*store, None, false, true).await.contains(&"credits_low".to_owned()));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn instances_that_all_look_say_it_once() {
    let server = RedisServer::start();
    let one = instance(&server, RedisClock::Server).await;
    let other = instance(&server, RedisClock::Server).await;
    set(&one, rules()).await;
    // It may not know of them yet, and has them in its file.
    if *other.alert_rules() != *rules() {
        set(&other, rules()).await;
    }
    let audit = one.audit_totals(AuditFilter::default()).await.unwrap();
    assert_eq!(audit.total, 1, "the same rules are set once");
    let key = made(&one, 1, 10).await;
    let look = async |store: &dyn Store| {
        store.look_for_alerts(judge, LookAt::UsedKeys, clock::now()).await.unwrap();
    };
    look(&one).await;
    call(&other, &key, 1, &["a"], &[PAID]).await;
    for store in [&other, &one, &other, &one] {
        look(store).await;
    }
    assert_eq!(read(&other, None, false, false).await, ["credits_low"]);
    // Whoever looked is gone.
    one.close().await.unwrap();
    drop(one);
    let late = made(&other, 2, 10).await;
    call(&other, &late, 2, &["a"], &[PAID]).await;
    let deadline = std::time::Instant::now() + super::support::PATIENCE;
    while read(&other, None, false, false).await.len() < 2 {
        assert!(std::time::Instant::now() < deadline, "another one looks");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        look(&other).await;
    }
    assert_eq!(read(&other, None, false, true).await, ["credits_low", "credits_low"]);
}
