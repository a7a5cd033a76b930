//! The five rules for alerts: which of them has something to say about a key. [`judge`] is pure: the
//! record, the account's numbers and the time are arguments, so the numbers in an alert are those of
//! the books.

use std::sync::Arc;

use serde_json::Map;

use crate::ledger::names;
use crate::model::alert::{Alert, AlertKind, AlertRule, Decimal};
use crate::model::audit::AuditEvent;
use crate::model::time::Time;
use crate::store::{LookAt, Store, StoreError, Watched};

/// Looks at keys, by the configured rules if there are any: they take the place of those before.
pub async fn look(
    store: &dyn Store,
    configured: Option<&Arc<[AlertRule]>>,
    look_at: LookAt,
    now: Time,
) -> Result<(), StoreError> {
    if let Some(rules) = configured.filter(|rules| store.alert_rules() != **rules) {
        store.set_alert_rules(rules.to_vec(), configured_by("system", rules, now).into()).await?;
    }
    store.look_for_alerts(judge, look_at, now).await
}

/// What the audit log says of new rules.
pub fn configured_by(actor: &str, rules: &[AlertRule], now: Time) -> AuditEvent {
    let count = rules.len();
    let event = AuditEvent {
        at: now,
        kind: "admin.alerts_configured",
        actor: actor.to_owned(),
        actor_id: None,
        namespace: None,
        target: None,
        message: format!("Alert rules updated ({count} rules)"),
        metadata: Map::new(),
    };
    // Rules have no text that could not be written.
    event.with("ruleCount", count).with("rules", serde_json::to_value(rules).unwrap_or_default())
}

/// What a rule says of a key, if anything. Only of one that may call: of others everything is known.
pub fn judge(rule: &AlertRule, watched: &Watched<'_>) -> Option<Alert> {
    if !watched.key.usable(watched.now) {
        return None;
    }
    match rule.kind {
        AlertKind::SpendingThreshold => spending(rule, watched),
        AlertKind::CreditsLow => credits_low(rule, watched),
        AlertKind::QuotaWarning => quota(rule, watched),
        AlertKind::KeyExpirySoon => expiry(rule, watched),
        AlertKind::RateLimitSpike => denials(rule, watched),
    }
}

fn alert(rule: &AlertRule, of: &Watched<'_>, value: Decimal, message: String) -> Alert {
    Alert::new(rule, of.key, of.now, value, message)
}

fn spending(rule: &AlertRule, of: &Watched<'_>) -> Option<Alert> {
    let credits = of.account.available();
    let spent = of.account.value(&names::SPENT, of.ledger);
    let total = credits.saturating_add(spent);
    let share = Share::reached(rule, spent, total)?;
    let name = &of.key.name;
    let message = format!(
        "Key \"{name}\" has spent {}% of total budget ({spent}/{total} credits)",
        share.percent
    );
    let found = alert(rule, of, share.tenths, message);
    Some(found.with("credits", credits).with("totalSpent", spent).with("totalBudget", total))
}

fn credits_low(rule: &AlertRule, of: &Watched<'_>) -> Option<Alert> {
    let credits = of.account.available();
    let AlertRule { threshold, .. } = rule;
    (Decimal::whole(credits).thousandths() <= threshold.thousandths()).then(|| {
        let name = &of.key.name;
        let message =
            format!("Key \"{name}\" has only {credits} credits remaining (threshold: {threshold})");
        alert(rule, of, Decimal::whole(credits), message).with("credits", credits)
    })
}

/// The calls of the day; if they give no cause, those of the month. Only the key's own quota.
fn quota(rule: &AlertRule, of: &Watched<'_>) -> Option<Alert> {
    let quota = of.key.quota?;
    [
        ("daily", "dailyCalls", quota.daily_call_limit, names::CALLS_DAY),
        ("monthly", "monthlyCalls", quota.monthly_call_limit, names::CALLS_MONTH),
    ]
    .into_iter()
    .find_map(|(which, word, limit, counter)| {
        let used = of.account.value(&counter, of.ledger);
        let share = Share::reached(rule, used, limit)?;
        let name = &of.key.name;
        let message =
            format!("Key \"{name}\" {which} call quota at {}% ({used}/{limit})", share.percent);
        let found = alert(rule, of, share.tenths, message);
        Some(found.with("quotaType", word).with("used", used).with("limit", limit))
    })
}

fn expiry(rule: &AlertRule, of: &Watched<'_>) -> Option<Alert> {
    let end = of.key.expires_at?;
    let left_ms = end.since_ms(of.now);
    if left_ms == 0 || left_ms > rule.threshold.thousandths() {
        return None;
    }
    let seconds = rounded(left_ms, 1, 1000);
    let hours = Decimal::from_thousandths(rounded(left_ms, 10, 3_600_000).saturating_mul(100));
    let message = format!("Key \"{}\" expires in {hours} hours ({end})", of.key.name);
    let found = alert(rule, of, Decimal::whole(seconds), message);
    Some(found.with("expiresAt", end.to_string()).with("remainingSeconds", seconds))
}

fn denials(rule: &AlertRule, of: &Watched<'_>) -> Option<Alert> {
    let count = of.rate_denials;
    if count == 0 || Decimal::whole(count).thousandths() < rule.threshold.thousandths() {
        return None;
    }
    let AlertRule { threshold, .. } = rule;
    let name = &of.key.name;
    let message =
        format!("Key \"{name}\" hit {count} rate limit denials in 5 min (threshold: {threshold})");
    let found = alert(rule, of, Decimal::whole(count), message);
    Some(found.with("denialCount", count).with("windowMinutes", 5))
}

/// A part of a whole that has reached a rule's percentage.
struct Share {
    /// Rounded to whole percents.
    percent: i64,
    /// Rounded to one decimal.
    tenths: Decimal,
}

impl Share {
    fn reached(rule: &AlertRule, part: i64, whole: i64) -> Option<Self> {
        if whole <= 0 {
            return None;
        }
        // In thousandths of a percent of the whole, without a division.
        let reached = i128::from(part).saturating_mul(100_000);
        let asked = i128::from(rule.threshold.thousandths()).saturating_mul(i128::from(whole));
        (reached >= asked).then(|| Self {
            percent: rounded(part, 100, whole),
            tenths: Decimal::from_thousandths(rounded(part, 1000, whole).saturating_mul(100)),
        })
    }
}

/// `part` × `scale` / `whole`, to the nearest whole number.
fn rounded(part: i64, scale: i64, whole: i64) -> i64 {
    let whole = i128::from(whole).max(1);
    let twice = i128::from(part).saturating_mul(i128::from(scale)).saturating_mul(2);
    let nearest = twice.saturating_add(whole).div_euclid(whole.saturating_mul(2));
    i64::try_from(nearest).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::{Account, Book, Bound, CreditKind, Demand, Refund, Window};
    use crate::model::bounds::COUNTER_MAX;
    use crate::model::ids::{CallId, KeyId};
    use crate::model::key::{Key, Quota};
    use crate::model::secret::RawKey;

    const NOW: Time = Time::ZERO;

    fn key() -> Key {
        let quota = Quota { daily_call_limit: 3, monthly_call_limit: 4, ..Quota::default() };
        let raw = RawKey::from_random([7; 24]);
        let key = Key::new(KeyId::from_random([1; 8]), &raw, "Ada", NOW);
        Key { quota: Some(quota), expires_at: Some(Time::from_ms(5_400_000)), ..key }
    }

    /// What is left, was spent, and was called today and this month.
    fn account(credits: i64, spent: i64, day: i64, month: i64) -> Account {
        let id = key().id.account();
        let mut book = Book::default();
        book.insert(id.clone(), Account::default());
        book.credit(NOW, &id, credits, CreditKind::Adjustment).unwrap();
        let demand = |counter, window, amount| Demand {
            account: id.clone(),
            counter,
            window,
            amount,
            bound: Bound::Free,
            refund: Refund::Back,
        };
        let demands = [
            demand(names::SPENT, Window::Lifetime, spent),
            demand(names::CALLS_DAY, Window::Day, day),
            demand(names::CALLS_MONTH, Window::Month, month),
        ];
        book.hold(NOW, CallId::from_random([1; 16]), Time::from_ms(9), &demands).unwrap();
        book.account(&id).unwrap().clone()
    }

    fn said(kind: AlertKind, thousandths: i64, key: &Key, of: &Account, more: (i64, i64)) -> Value {
        let threshold = Decimal::from_thousandths(thousandths);
        let rule = AlertRule { kind, threshold, cooldown_seconds: None };
        let (now, rate_denials) = (Time::from_ms(more.0), more.1);
        let watched = Watched { key, account: of, now, ledger: NOW, rate_denials };
        judge(&rule, &watched)
            .map_or(Value::Null, |alert| json!([alert.current_value, alert.message]))
    }

    #[test]
    fn each_rule_at_its_threshold_and_right_below() {
        use AlertKind::{
            CreditsLow, KeyExpirySoon, QuotaWarning, RateLimitSpike, SpendingThreshold,
        };
        let spent = |percent, share| {
            format!("Key \"Ada\" has spent {percent}% of total budget ({share} credits)")
        };
        let most = COUNTER_MAX;
        // (kind, thousandths, account, (now, denials), value and words)
        let table = [
            (
                SpendingThreshold,
                33_333,
                account(2, 1, 0, 0),
                (0, 0),
                json!([33.3, spent(33, "1/3")]),
            ),
            (SpendingThreshold, 33_334, account(2, 1, 0, 0), (0, 0), Value::Null),
            (SpendingThreshold, 0, account(0, 0, 0, 0), (0, 0), Value::Null),
            (
                SpendingThreshold,
                100_000,
                account(0, 5, 0, 0),
                (0, 0),
                json!([100, spent(100, "5/5")]),
            ),
            (SpendingThreshold, 100_000, account(1, most, 0, 0), (0, 0), Value::Null),
            (SpendingThreshold, 1, account(-5, 5, 0, 0), (0, 0), Value::Null),
            (
                CreditsLow,
                10_000,
                account(10, 0, 0, 0),
                (0, 0),
                json!([10, "Key \"Ada\" has only 10 credits remaining (threshold: 10)"]),
            ),
            (CreditsLow, 9_999, account(10, 0, 0, 0), (0, 0), Value::Null),
            (
                CreditsLow,
                0,
                account(-3, 0, 0, 0),
                (0, 0),
                json!([-3, "Key \"Ada\" has only -3 credits remaining (threshold: 0)"]),
            ),
            (
                QuotaWarning,
                66_666,
                account(0, 0, 2, 4),
                (0, 0),
                json!([66.7, "Key \"Ada\" daily call quota at 67% (2/3)"]),
            ),
            (
                QuotaWarning,
                66_667,
                account(0, 0, 2, 3),
                (0, 0),
                json!([75, "Key \"Ada\" monthly call quota at 75% (3/4)"]),
            ),
            (QuotaWarning, 75_001, account(0, 0, 2, 3), (0, 0), Value::Null),
            (
                KeyExpirySoon,
                5_400_000,
                account(0, 0, 0, 0),
                (0, 0),
                json!([5400, "Key \"Ada\" expires in 1.5 hours (1970-01-01T01:30:00.000Z)"]),
            ),
            (KeyExpirySoon, 5_399_999, account(0, 0, 0, 0), (0, 0), Value::Null),
            (
                KeyExpirySoon,
                5_400_000,
                account(0, 0, 0, 0),
                (5_399_999, 0),
                json!([0, "Key \"Ada\" expires in 0 hours (1970-01-01T01:30:00.000Z)"]),
            ),
            (KeyExpirySoon, 5_400_000, account(0, 0, 0, 0), (5_400_000, 0), Value::Null),
            (
                RateLimitSpike,
                2_000,
                account(0, 0, 0, 0),
                (0, 2),
                json!([2, "Key \"Ada\" hit 2 rate limit denials in 5 min (threshold: 2)"]),
            ),
            (RateLimitSpike, 2_001, account(0, 0, 0, 0), (0, 2), Value::Null),
            (RateLimitSpike, 0, account(0, 0, 0, 0), (0, 0), Value::Null),
        ];
        for (kind, thousandths, account, more, expected) in table {
            let found = said(kind, thousandths, &key(), &account, more);
            assert_eq!(found, expected, "{kind:?} {thousandths} {more:?}");
        }
    }

    #[test]
    fn only_keys_that_may_call_and_only_limits_of_their_own() {
        let rule = |kind, key: &Key| said(kind, 1_000, key, &account(1, 1, 9, 9), (0, 5));
        for closed in [
            Key { active: false, ..key() },
            Key { suspended: true, ..key() },
            Key { expires_at: Some(NOW), ..key() },
        ] {
            for kind in AlertKind::ALL {
                assert_eq!(rule(kind, &closed), Value::Null, "{kind:?}");
            }
        }
        let free = Key { quota: None, expires_at: None, ..key() };
        assert_eq!(rule(AlertKind::QuotaWarning, &free), Value::Null);
        assert_eq!(rule(AlertKind::KeyExpirySoon, &free), Value::Null);
        assert_ne!(rule(AlertKind::CreditsLow, &free), Value::Null);
        let zero = Key { quota: Some(Quota::default()), ..key() };
        assert_eq!(rule(AlertKind::QuotaWarning, &zero), Value::Null);
    }
}
