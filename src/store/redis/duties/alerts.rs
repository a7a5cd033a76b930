//! Alerts on shared books. One instance at a time looks at keys, by its copy of the journals; the others
//! follow it, so that they can take over. What it finds is judged by the numbers that Redis has now, and
//! becomes an alert there, once in its rule's cooldown, whoever finds it.

use std::sync::Arc;

use redis::cmd;
use serde::Deserialize;

use crate::model::alert::{AlertKind, AlertRule, Decimal};
use crate::model::bounds::{
    ALERT_KEYS_PER_LOCK, ALERT_LOOKS_IN_A_ROW, ALERTS_PENDING_MAX, ALERTS_PER_COMMIT,
    REDIS_DUTY_LEASE, REDIS_JOURNAL_ROWS_MAX,
};
use crate::model::time::Time;
use crate::store::local::alerts::{Candidate, Found, Judging, Seen};
use crate::store::redis::books::Books;
use crate::store::redis::names;
use crate::store::redis::records::deeds::audit_text;
use crate::store::{AlertsAsked, Deed, Judge, LookAt, StoreError};

/// What this instance knows of alerts.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Alerting {
    pub(in crate::store::redis) rules: Arc<[AlertRule]>,
    pub(in crate::store::redis) pending: usize,
    pub(in crate::store::redis) fired: u64,
    /// Is it this instance that looks at keys?
    is_looking: bool,
}

/// A rule as Redis has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    threshold: i64,
    cooldown_seconds: Option<i64>,
}

fn rules_text(rules: &[AlertRule]) -> String {
    let rule = |rule: &AlertRule| {
        serde_json::json!({
            "type": rule.kind.word(), "threshold": rule.threshold.thousandths(),
            "cooldownSeconds": rule.cooldown_seconds,
        })
    };
    serde_json::Value::from(rules.iter().map(rule).collect::<Vec<_>>()).to_string()
}

fn read_rules(text: &str) -> Option<Arc<[AlertRule]>> {
    let rules: Vec<Rule> = serde_json::from_str(text).ok()?;
    let rule = |Rule { kind, threshold, cooldown_seconds }: Rule| {
        let threshold = Decimal::from_thousandths(threshold);
        Some(AlertRule { kind: AlertKind::from_word(&kind)?, threshold, cooldown_seconds })
    };
    rules.into_iter().map(rule).collect()
}

impl Books {
    async fn alert_deed<T: redis::FromRedisValue>(&self, args: &[String]) -> Result<T, StoreError> {
        let mut run = cmd("EVAL");
        run.arg(include_str!("../lua/alerts.lua")).arg(4);
        run.arg(&[names::ALERTS, names::COOLING, names::ALERTS_WAITING, names::JOURNAL]).arg(args);
        self.link.ask(&run).await
    }

    /// Reads the rules.
    pub(in crate::store::redis) async fn read_alert_rules(&self) -> Result<(), StoreError> {
        let text: Option<String> =
            self.link.ask(cmd("HGET").arg(names::ALERTS).arg("rules")).await?;
        match text.as_deref().map(read_rules) {
            Some(Some(rules)) => self.memory().alerting.rules = rules,
            Some(None) => tracing::error!(
                target: "store",
                "the rules for alerts in Redis cannot be read; those before go on until they are set again"
            ),
            None => self.memory().alerting.rules = Arc::default(),
        }
        match text {
            Some(text) => self.copy.keep_rules(text).await,
            None => Ok(()),
        }
    }

    /// Replaces the rules, and what the ones before had to say. An instance that only did not know that
    /// they are the rules already changes nothing.
    pub(in crate::store::redis) async fn set_alert_rules(
        &self,
        rules: Vec<AlertRule>,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let _alone = self.alert_turn.lock().await;
        let text = rules_text(&rules);
        let knew = rules_text(&self.memory().alerting.rules) == text;
        let at = deed.audit.as_ref().map_or(0, |event| event.at.ms());
        let audit = deed.audit.as_ref().map_or_else(String::new, audit_text);
        let knew = if knew { "1" } else { "0" }.to_owned();
        let most = REDIS_JOURNAL_ROWS_MAX.to_string();
        let args = ["rules".to_owned(), text, knew, audit, at.to_string(), most];
        let answer: Vec<String> = self.alert_deed(&args).await?;
        self.memory().alerting.rules = rules.into();
        if answer.first().is_some_and(|word| word == "set") {
            self.memory().alerting.pending = 0;
            self.catch_up().await?;
            self.copy.begin_looking_anew().await?;
            self.changed().await?;
            self.tell("rules").await;
        }
        Ok(())
    }

    /// Looks at keys, if it is this instance's turn.
    pub(in crate::store::redis) async fn look_for_alerts(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError> {
        let _alone = self.alert_turn.lock().await;
        let length = REDIS_DUTY_LEASE.as_millis().to_string();
        let asked = ["look".to_owned(), self.name.clone(), length];
        let answer: Vec<String> = self.alert_deed(&asked).await?;
        let number = |index: usize| answer.get(index).and_then(|text| text.parse::<i64>().ok());
        let is_ours = number(0) == Some(1);
        self.memory().alerting.is_looking = is_ours;
        self.note_pending(number(3));
        let (looked, began) = (number(1).unwrap_or(0), number(2).unwrap_or(0));
        self.catch_up().await?;
        let rules = Arc::clone(&self.memory().alerting.rules);
        if !is_ours || rules.is_empty() {
            let looked = if rules.is_empty() { began } else { looked };
            return self.copy.pass_over(Time::from_ms(looked)).await;
        }
        for _ in 0..ALERT_LOOKS_IN_A_ROW {
            let seen = self.copy.look_at_keys(Arc::clone(&rules), look_at, now).await?;
            let is_all = seen.is_all;
            self.look_at(seen, &rules, judge, now).await?;
            if is_all {
                break;
            }
        }
        let looked = ["looked".to_owned(), self.name.clone(), began.to_string()];
        let answer: Vec<i64> = self.alert_deed(&looked).await?;
        self.note_pending(answer.first().copied());
        Ok(())
    }

    async fn look_at(
        &self,
        seen: Seen,
        rules: &[AlertRule],
        judge: Judge,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for candidates in seen.candidates.chunks(ALERT_KEYS_PER_LOCK) {
            found.extend(self.judged(candidates, rules, judge, now).await?);
        }
        for part in found.chunks(ALERTS_PER_COMMIT) {
            self.fire(part, now).await?;
        }
        self.copy.looked(found, seen.place, now).await
    }

    /// What the rules say of some keys.
    async fn judged(
        &self,
        candidates: &[Candidate],
        rules: &[AlertRule],
        judge: Judge,
        now: Time,
    ) -> Result<Vec<Found>, StoreError> {
        let mut ids = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let place = self.place_of(&candidate.key).await?;
            ids.extend(place.map(|place| (place.to_string(), candidate.key.clone())));
        }
        let present = self.read_keys(&ids).await?;
        let ledger = self.ledger_now(now).max(now);
        let judging = Judging { rules, judge, now, ledger };
        let mut found = Vec::new();
        for (key, account) in &present {
            let of_key = |candidate: &&Candidate| candidate.key == key.id;
            if let Some(candidate) = candidates.iter().find(of_key) {
                found.extend(judging.of(candidate, key, account));
            }
        }
        Ok(found)
    }

    /// Makes alerts of what was found, with their entries in the audit log.
    async fn fire(&self, found: &[Found], now: Time) -> Result<(), StoreError> {
        let (most, rows) = (ALERTS_PENDING_MAX.to_string(), REDIS_JOURNAL_ROWS_MAX.to_string());
        let mut args = vec!["fire".to_owned(), now.ms().to_string(), most, rows];
        for Found { alert, until } in found {
            let threshold = alert.threshold.thousandths();
            let record = serde_json::to_string(alert).map_err(|error| {
                StoreError::Read(format!("an alert cannot be written: {error}"))
            })?;
            args.push(format!("{} {} {threshold}", alert.key, alert.kind.word()));
            args.extend([until.ms().to_string(), alert.namespace.clone(), record]);
            args.push(audit_text(&alert.audit_event()));
        }
        let answer: Vec<i64> = self.alert_deed(&args).await?;
        let fired = answer.first().and_then(|fired| u64::try_from(*fired).ok()).unwrap_or(0);
        {
            let mut memory = self.memory();
            memory.alerting.fired = memory.alerting.fired.saturating_add(fired);
        }
        self.note_pending(answer.get(1).copied());
        Ok(())
    }

    fn note_pending(&self, pending: Option<i64>) {
        if let Some(pending) = pending.and_then(|pending| usize::try_from(pending).ok()) {
            self.memory().alerting.pending = pending;
        }
    }

    /// Lets another instance look at keys, if this one did.
    pub(in crate::store::redis) async fn leave_alerts(&self) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.memory().alerting.is_looking) {
            return Ok(());
        }
        let _: redis::Value = self.alert_deed(&["leave".to_owned(), self.name.clone()]).await?;
        Ok(())
    }

    /// The alerts that wait to be read.
    pub(in crate::store::redis) async fn alerts(
        &self,
        asked: AlertsAsked,
    ) -> Result<Vec<String>, StoreError> {
        let AlertsAsked { namespace, by_tenant, clears } = asked;
        let flag = |flag: bool| if flag { "1" } else { "0" }.to_owned();
        let namespace = namespace.unwrap_or_else(|| "*".to_owned());
        let args = ["read".to_owned(), flag(by_tenant), namespace, flag(clears)];
        let (pending, records): (i64, Vec<String>) = self.alert_deed(&args).await?;
        self.note_pending(Some(pending));
        Ok(records)
    }
}
