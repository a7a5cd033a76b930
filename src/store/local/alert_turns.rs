//! The turns of alerts: a look at keys, new rules, and reading what was found, one at a time.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::alerts::{
    AlertWrite, Candidate, Fired, Found, Judging, Seen, count_pending, new_ones, read_alerts,
};
use super::queue::Write;
use super::read;
use super::state::{LocalStore, Shared};
use crate::ledger::Account;
use crate::model::alert::AlertRule;
use crate::model::bounds::{ALERT_KEYS_PER_LOCK, ALERT_LOOKS_IN_A_ROW, ALERTS_PER_COMMIT};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::time::Time;
use crate::store::{AlertsAsked, Deed, Judge, LookAt, StoreError};

impl Shared {
    pub(super) fn alert_rules(&self) -> Arc<[AlertRule]> {
        Arc::clone(&self.lock().alerts.rules)
    }
}

impl LocalStore {
    pub(super) async fn replace_alert_rules(
        &self,
        rules: Vec<AlertRule>,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let _alone = self.turns.alerting.lock().await;
        let durable = {
            let mut state = self.shared.lock();
            state.open_for_writing()?;
            state.alerts.rules = rules.into();
            let rules = Arc::clone(&state.alerts.rules);
            state.queue.push(Write::Alert(Box::new(AlertWrite::Rules(rules))));
            state.audit(deed.audit);
            state.alerts.pending = 0;
            let durable = state.queue.durable();
            self.shared.nudge(state);
            durable
        };
        durable.wait().await
    }

    pub(super) async fn watch_keys(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError> {
        let _alone = self.turns.alerting.lock().await;
        let rules = self.shared.alert_rules();
        if rules.is_empty() {
            return Ok(());
        }
        for _ in 0..ALERT_LOOKS_IN_A_ROW {
            // What has ended is to be seen, and what was found before is not to be found again.
            self.shared.flush()?.wait().await?;
            let asked = Arc::clone(&rules);
            let look = move |connection: &Connection| Seen::read(connection, &asked, look_at, now);
            let seen = self.reports.read(look).await?;
            let mut found = Vec::new();
            for candidates in seen.candidates.chunks(ALERT_KEYS_PER_LOCK) {
                found.extend(self.judged(candidates, &rules, judge, now).await?);
            }
            if !found.is_empty() {
                let look = move |connection: &Connection| new_ones(connection, found, now);
                found = self.reports.read(look).await?;
            }
            self.write_found(found, &seen, now).await?;
            if seen.is_all {
                break;
            }
        }
        Ok(())
    }

    /// What the rules say of some keys.
    async fn judged(
        &self,
        candidates: &[Candidate],
        rules: &[AlertRule],
        judge: Judge,
        now: Time,
    ) -> Result<Vec<Found>, StoreError> {
        let present = self.present(candidates).await?;
        let ledger = self.shared.lock().book.now().max(now);
        let judging = Judging { rules, judge, now, ledger };
        let mut found = Vec::new();
        for candidate in candidates {
            if let Some((key, account)) = present.get(&candidate.key) {
                found.extend(judging.of(candidate, key, account));
            }
        }
        Ok(found)
    }

    /// Records and numbers as they are now. Keys that are not in memory stay out of it.
    async fn present(
        &self,
        candidates: &[Candidate],
    ) -> Result<HashMap<KeyId, (Arc<Key>, Account)>, StoreError> {
        let (mut present, mut missing) = (HashMap::new(), Vec::new());
        {
            let state = self.shared.lock();
            state.open_for_reading()?;
            for Candidate { key: id, .. } in candidates {
                match state.key(id).zip(state.book.account(&id.account())) {
                    Some((key, account)) => {
                        present.insert(id.clone(), (Arc::clone(key), account.clone()));
                    }
                    None => missing.push(id.clone()),
                }
            }
        }
        if !missing.is_empty() {
            let look = move |connection: &Connection| {
                let mut rows = Vec::with_capacity(missing.len());
                for id in &missing {
                    rows.extend(read::key_by_id(connection, id)?);
                }
                Ok(rows)
            };
            let rows = self.reports.read(look).await?;
            for (key, account) in self.as_of_now(&rows)? {
                present.insert(key.id.clone(), (key, account));
            }
        }
        Ok(present)
    }

    async fn write_found(
        &self,
        mut found: Vec<Found>,
        seen: &Seen,
        now: Time,
    ) -> Result<(), StoreError> {
        if found.is_empty() && seen.place == seen.before {
            return Ok(());
        }
        let any = !found.is_empty();
        loop {
            let rest = found.split_off(found.len().min(ALERTS_PER_COMMIT));
            let part = std::mem::replace(&mut found, rest);
            let place = found.is_empty().then_some(seen.place);
            let durable = {
                let mut state = self.shared.lock();
                state.open_for_writing()?;
                let count = u64::try_from(part.len()).unwrap_or(0);
                state.alerts.fired = state.alerts.fired.saturating_add(count);
                let events: Vec<_> = part.iter().map(|one| one.alert.audit_event()).collect();
                let fired = AlertWrite::Fired(Fired { found: part, place, now });
                state.queue.push(Write::Alert(Box::new(fired)));
                for event in events {
                    state.audit(Some(event));
                }
                let durable = state.queue.durable();
                self.shared.nudge(state);
                durable
            };
            durable.wait().await?;
            if found.is_empty() {
                break;
            }
        }
        if any { self.note_pending().await } else { Ok(()) }
    }

    pub(super) async fn read_alerts(&self, asked: AlertsAsked) -> Result<Vec<String>, StoreError> {
        let _alone = self.turns.alerting.lock().await;
        self.shared.flush()?.wait().await?;
        let wanted = asked.clone();
        let rows = self.reports.read(move |connection| read_alerts(connection, &wanted)).await?;
        let last = rows.last().map(|(id, _)| *id).filter(|_| asked.clears);
        if let Some(up_to) = last {
            let durable = {
                let mut state = self.shared.lock();
                state.open_for_writing()?;
                state.queue.push(Write::Alert(Box::new(AlertWrite::Read { asked, up_to })));
                let durable = state.queue.durable();
                self.shared.nudge(state);
                durable
            };
            durable.wait().await?;
            self.note_pending().await?;
        }
        Ok(rows.into_iter().map(|(_, record)| record).collect())
    }

    async fn note_pending(&self) -> Result<(), StoreError> {
        let pending = self.reports.read(count_pending).await?;
        self.shared.lock().alerts.pending = pending;
        Ok(())
    }
}
