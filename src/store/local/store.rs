//! [`Store`] for the embedded store: finds what is in memory, loads what is not, and waits for the
//! disk where the contract says so.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use rusqlite::Connection;

use super::audit;
use super::read::{self, KeyAndAccount};
use super::records::was_deleted;
use super::state::LocalStore;
use super::{explain, kept, refunds, report, usage};
use crate::gate::Charge;
use crate::ledger::{Account, CreditKind, Refusal};
use crate::model::alert::AlertRule;
use crate::model::audit::{AuditEvent, AuditFilter, AuditRow, AuditTotals};
use crate::model::bounds::{JOURNAL_ROOM_WAIT, WRITER_END_LOOK};
use crate::model::ids::{CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::{Namespace, TenantSum};
use crate::model::secret::{Digest, SealKey};
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::{AdminToken, TokenId};
use crate::model::usage::{Refused, ReportAsked, UsageFilter, UsageReport};
use crate::store::{
    AlertsAsked, Arrival, Assigned, AuditPage, BooksLoad, CallState, Creation, Credited, Deed,
    Durable, ExplainedCall, FoundCall, HoldRefused, Judge, Judged, Kept, KeysPage, LookAt, Once,
    PaidTask, Parking, Reading, Resumed, Settlement, Show, Store, StoreError, StoredCaller,
    UsagePage, UsageRow,
};

impl LocalStore {
    /// Lets the writer write what waits and end; why the books were closed before, if they were.
    fn stop(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.stopping = true;
        let closed = state.closed.clone();
        self.shared.nudge(state);
        closed
    }

    /// Makes sure that a key and its account are in memory.
    async fn key_loaded(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        if let Some(key) = self.shared.lock().key(id) {
            return Ok(Some(Arc::clone(key)));
        }
        let _loading = self.loads.read().await;
        let wanted = id.clone();
        let found =
            self.lookups.read(move |connection| read::key_by_id(connection, &wanted)).await?;
        Ok(found.map(|(key, account)| self.shared.lock().loaded(key, account)))
    }
}

impl LocalStore {
    /// Memory knows better than the file where it knows anything.
    pub(super) fn as_of_now(
        &self,
        rows: &[KeyAndAccount],
    ) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        let state = self.shared.lock();
        state.open_for_reading()?;
        let newest = rows.iter().map(|(key, account)| {
            let known = state.key(&key.id).map_or_else(|| Arc::new(key.clone()), Arc::clone);
            let present = state.book.account(&key.id.account()).or(account.as_ref());
            (known, present.cloned().unwrap_or_default())
        });
        Ok(newest.collect())
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn key_by_digest(
        &self,
        digest: Digest,
        now: Time,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        let mut key = self.shared.lock().key_with(&digest).map(Arc::clone);
        if key.is_none() {
            let _loading = self.loads.read().await;
            let found = self
                .lookups
                .read(move |connection| read::key_by_digest(connection, &digest))
                .await?;
            key = found.map(|(key, account)| self.shared.lock().loaded(key, account));
        }
        Ok(key.filter(|key| key.opened_by(&digest, now)))
    }

    async fn key_by_id(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        self.key_loaded(id).await
    }

    async fn namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError> {
        Ok(self.shared.lock().namespace(name))
    }

    async fn caller(&self, digest: Digest, now: Time) -> Result<Option<StoredCaller>, StoreError> {
        if let Some(caller) = self.shared.lock().caller(&digest) {
            return Ok(Some(caller).filter(|caller| caller.key.opened_by(&digest, now)));
        }
        let Some(_) = self.key_by_digest(digest, now).await? else { return Ok(None) };
        let loaded = self.shared.lock().caller(&digest);
        Ok(loaded.filter(|caller| caller.key.opened_by(&digest, now)))
    }

    fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.shared.namespaces()
    }

    async fn update_namespace(
        &self,
        tenant: Namespace,
        deed: Deed,
    ) -> Result<Arc<Namespace>, StoreError> {
        let (tenant, durable) = self.shared.update_namespace(tenant, deed)?;
        durable.wait().await?;
        Ok(tenant)
    }

    fn token(&self, digest: &Digest) -> Option<Arc<AdminToken>> {
        self.shared.token(digest)
    }

    fn tokens(&self) -> Vec<Arc<AdminToken>> {
        self.shared.tokens()
    }

    async fn create_token(&self, token: AdminToken, deed: Deed) -> Result<(), StoreError> {
        self.shared.create_token(token, deed)?.wait().await
    }

    async fn delete_token(&self, id: &TokenId, deed: Deed) -> Result<(), StoreError> {
        self.shared.delete_token(id, deed)?.wait().await
    }

    fn team(&self, id: &TeamId) -> Option<Arc<Team>> {
        self.shared.team(id)
    }

    fn teams(&self) -> Vec<Arc<Team>> {
        self.shared.teams()
    }

    async fn team_account(&self, id: &TeamId) -> Result<Account, StoreError> {
        let state = self.shared.lock();
        state.open_for_reading()?;
        Ok(state.book.account(&id.account()).cloned().unwrap_or_default())
    }

    async fn create_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError> {
        let (team, durable) = self.shared.create_team(team, deed)?;
        durable.wait().await?;
        Ok(team)
    }

    async fn update_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError> {
        if !team.active {
            for member in &team.members {
                self.key_loaded(member).await?;
            }
        }
        let (team, durable) = self.shared.update_team(team, deed)?;
        durable.wait().await?;
        Ok(team)
    }

    async fn assign_key(
        &self,
        key: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Assigned, StoreError> {
        self.key_loaded(key).await?.ok_or(StoreError::NotFound)?;
        let (assigned, durable) = self.shared.assign_key(key, team, deed)?;
        durable.wait().await?;
        Ok(assigned)
    }

    async fn remove_key(&self, key: &KeyId, team: &TeamId, deed: Deed) -> Result<bool, StoreError> {
        self.key_loaded(key).await?.ok_or(StoreError::NotFound)?;
        match self.shared.remove_key(key, team, deed)? {
            Some(durable) => durable.wait().await.map(|()| true),
            None => Ok(false),
        }
    }

    fn note(&self, event: AuditEvent) {
        self.shared.note(event);
    }

    async fn record(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.shared.record(event)?.wait().await
    }

    async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.shared.flush()?.wait().await?;
        self.reports.read(move |connection| audit::read_audit(connection, &filter, &page)).await
    }

    async fn audit_totals(&self, filter: AuditFilter) -> Result<AuditTotals, StoreError> {
        self.shared.flush()?.wait().await?;
        self.reports.read(move |connection| audit::audit_totals(connection, &filter)).await
    }

    async fn forget_audit(&self, before: Option<Time>) -> Result<(), StoreError> {
        self.shared.forget_audit(before)?.wait().await
    }

    fn alert_rules(&self) -> Arc<[AlertRule]> {
        self.shared.alert_rules()
    }

    async fn set_alert_rules(&self, rules: Vec<AlertRule>, deed: Deed) -> Result<(), StoreError> {
        self.replace_alert_rules(rules, deed).await
    }

    async fn look_for_alerts(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError> {
        self.watch_keys(judge, look_at, now).await
    }

    async fn alerts(&self, asked: AlertsAsked) -> Result<Vec<String>, StoreError> {
        self.read_alerts(asked).await
    }

    async fn create_key(
        &self,
        key: Key,
        credits: i64,
        deed: Deed,
        now: Time,
    ) -> Result<Creation, StoreError> {
        // A credential that only the file knows must be found before it is given away twice.
        let _loading = self.loads.read().await;
        let (digest, id) = (key.digest, key.id.clone());
        let look = move |connection: &Connection| {
            Ok((read::key_by_digest(connection, &digest)?, was_deleted(connection, &id)?))
        };
        let (known, was_deleted) = self.lookups.read(look).await?;
        if let Some((known, account)) = known {
            self.shared.lock().loaded(known, account);
        }
        if was_deleted {
            return Err(StoreError::Duplicate);
        }
        let (creation, durable) = self.shared.create_key(key, credits, deed, now)?;
        durable.wait().await?;
        Ok(creation)
    }

    async fn is_unused(&self) -> Result<bool, StoreError> {
        self.has_nothing().await
    }

    async fn import(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError> {
        self.take_over(arrivals, deed, now).await
    }

    async fn update_key(&self, key: Key, deed: Deed) -> Result<Arc<Key>, StoreError> {
        self.key_loaded(&key.id).await?.ok_or(StoreError::NotFound)?;
        let (key, durable) = self.shared.update_key(key, deed)?;
        durable.wait().await?;
        Ok(key)
    }

    async fn delete_key(&self, id: &KeyId, deed: Deed, now: Time) -> Result<(), StoreError> {
        self.key_loaded(id).await?.ok_or(StoreError::NotFound)?;
        let alone = Arc::clone(&self.loads).write_owned().await;
        let durable = self.shared.delete_key(id, deed, now)?;
        // Whoever asked for it may go away; nobody may read the key again before it is gone.
        let gone = tokio::spawn(async move {
            let _alone = alone;
            durable.wait().await
        });
        gone.await.unwrap_or_else(|failed| Err(StoreError::Read(failed.to_string())))
    }

    async fn credit(
        &self,
        id: &KeyId,
        amount: i64,
        kind: CreditKind,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError> {
        self.key_loaded(id).await?.ok_or(StoreError::NotFound)?;
        let (credited, durable) = self.shared.credit(id, amount, kind, deed, now)?;
        durable.wait().await?;
        Ok(credited)
    }

    async fn find_call(&self, call: CallId) -> Result<Option<FoundCall>, StoreError> {
        self.shared.flush()?.wait().await?;
        self.reports.read(move |connection| refunds::find_call(connection, call)).await
    }

    async fn explain_call(&self, call: CallId) -> Result<Option<ExplainedCall>, StoreError> {
        self.shared.flush()?.wait().await?;
        self.reports.read(move |connection| explain::explain_call(connection, call)).await
    }

    async fn refund(
        &self,
        found: FoundCall,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError> {
        self.key_loaded(&found.key).await?.ok_or(StoreError::NotFound)?;
        let alone = Arc::clone(&self.refunds).lock_owned().await;
        let (call, seen) = (found.call, found.seen);
        let look = move |connection: &Connection| refunds::refunded_since(connection, call, seen);
        let refunded = found.state == CallState::Refunded || self.lookups.read(look).await?;
        if refunded {
            let available = self.account(&found.key).await?.available();
            return Ok(Credited::Repeated(available));
        }
        let (credited, durable) = self.shared.refund(found, deed, now)?;
        // Whoever asked for it may go away; nobody may look for it before it is on disk.
        let written = tokio::spawn(async move {
            let _alone = alone;
            durable.wait().await
        });
        written.await.unwrap_or_else(|failed| Err(StoreError::Read(failed.to_string())))?;
        Ok(credited)
    }

    async fn repeated(&self, once: &Once, now: Time) -> Result<Option<i64>, StoreError> {
        let Some((available, durable)) = self.shared.repeated(once, now)? else { return Ok(None) };
        durable.wait().await?;
        Ok(Some(available))
    }

    async fn recall(
        &self,
        key: &KeyId,
        once: &Once,
        now: Time,
    ) -> Result<Option<Kept>, StoreError> {
        let (id, now) = (once.id, self.shared.recall_at(now)?);
        let found = self.lookups.read(move |connection| kept::find(connection, &id, now)).await?;
        match found {
            Some((request, kept)) if request == once.request => Ok(Some(kept)),
            Some(_) => Err(StoreError::OnceMismatch),
            None => self.shared.has_room_to_keep(key).map(|()| None),
        }
    }

    async fn hold(&self, charge: &Charge, now: Time, deadline: Time) -> Result<(), HoldRefused> {
        let held = self.shared.hold(charge, now, deadline);
        if !matches!(held, Err(HoldRefused::Unavailable(StoreError::Busy))) {
            return held?.wait().await.map_err(HoldRefused::Unavailable);
        }
        let patience = tokio::time::Instant::now() + JOURNAL_ROOM_WAIT;
        loop {
            // Before the attempt, or room that is made right after it would be missed.
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let held = self.shared.hold(charge, now, deadline);
            // Back-pressure: the call waits for room, within its bound. Others may take it first.
            let waits = matches!(held, Err(HoldRefused::Unavailable(StoreError::Busy)))
                && self.shared.health().is_ok();
            if !waits || tokio::time::timeout_at(patience, room).await.is_err() {
                return held?.wait().await.map_err(HoldRefused::Unavailable);
            }
        }
    }

    async fn check(&self, charge: &Charge, now: Time) -> Result<Result<(), Refusal>, StoreError> {
        let state = self.shared.lock();
        state.open_for_reading()?;
        Ok(state.book.check(now, &charge.demands))
    }

    async fn settle(
        &self,
        settlement: Settlement,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        self.shared.settle(settlement, None, now)
    }

    async fn park(
        &self,
        parking: Parking,
        show: Show,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        self.shared.park(parking, &show, now)
    }

    async fn resume(
        &self,
        key: &KeyId,
        call: CallId,
        state: &str,
        judged: Option<&Judged>,
        now: Time,
        deadline: Time,
    ) -> Result<Resumed, StoreError> {
        self.shared.resume(key, call, (state, judged), now, deadline)
    }

    async fn settle_task(
        &self,
        settlement: Settlement,
        task: PaidTask,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        self.shared.settle(settlement, Some(task), now)
    }

    async fn is_task_paid(&self, _: &KeyId, task: PaidTask) -> Result<bool, StoreError> {
        self.look_for_paid(task).await
    }

    fn seal_key(&self) -> SealKey {
        self.shared.seal_key.clone()
    }

    async fn expire(&self, now: Time) -> Result<usize, StoreError> {
        self.shared.expire(now)
    }

    async fn read(&self, id: &KeyId, show: Show, now: Time) -> Result<Reading, StoreError> {
        self.key_loaded(id).await?;
        let state = self.shared.lock();
        state.open_for_reading()?;
        Ok(Reading::of(state.book.account(&id.account()), &show, state.book.now().max(now)))
    }

    async fn account(&self, id: &KeyId) -> Result<Account, StoreError> {
        self.key_loaded(id).await?.ok_or(StoreError::NotFound)?;
        let state = self.shared.lock();
        state.open_for_reading()?;
        Ok(state.book.account(&id.account()).cloned().unwrap_or_default())
    }

    fn ledger_now(&self, now: Time) -> Time {
        self.shared.lock().book.now().max(now)
    }

    async fn keys(&self, namespace: Option<&str>) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        let namespace = namespace.map(str::to_owned);
        let rows = self
            .reports
            .read(move |connection| read::keys(connection, namespace.as_deref()))
            .await?;
        let mut keys = Vec::with_capacity(rows.len());
        // A chunk at a time, so that no call waits for a long list.
        for rows in rows.chunks(256) {
            keys.extend(self.as_of_now(rows)?);
        }
        Ok(keys)
    }

    async fn keys_page(
        &self,
        namespace: Option<&str>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<KeysPage, StoreError> {
        let namespace = namespace.map(str::to_owned);
        let page = move |connection: &Connection| {
            read::keys_page(connection, namespace.as_deref(), after, limit)
        };
        let (rows, next) = self.reports.read(page).await?;
        Ok(KeysPage { keys: self.as_of_now(&rows)?, next })
    }

    async fn tenant_sums(&self, now: Time) -> Result<Vec<TenantSum>, StoreError> {
        self.tenant_sums(now).await
    }

    async fn usage(&self, namespace: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        // What ended before this question must be in the answer.
        self.catch_up().await?;
        let namespace = namespace.map(str::to_owned);
        self.reports.read(move |connection| usage::sums(connection, namespace.as_deref())).await
    }

    async fn ended_calls(&self, namespace: Option<&str>) -> Result<i64, StoreError> {
        self.catch_up().await?;
        let namespace = namespace.map(str::to_owned);
        let count = move |books: &Connection| usage::ended_calls(books, namespace.as_deref());
        self.reports.read(count).await
    }

    async fn roll_up_usage(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        self.write_refused(refused).await?;
        self.catch_up().await
    }

    async fn note_refused(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        self.write_refused(refused).await
    }

    async fn usage_events(
        &self,
        filter: UsageFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        self.reports
            .read(move |connection| usage::read_usage(connection, &filter, after, limit))
            .await
    }

    async fn usage_report(&self, asked: ReportAsked) -> Result<UsageReport, StoreError> {
        self.reports.read(move |connection| report::report(connection, &asked)).await
    }

    async fn forget_usage(&self, before: Option<Time>) -> Result<(), StoreError> {
        self.shared.forget_usage(before)?.wait().await
    }

    async fn compare_books(&self) -> Result<(), StoreError> {
        self.compare_all().await
    }

    fn load(&self) -> BooksLoad {
        let state = self.shared.lock();
        BooksLoad {
            open_holds: state.book.holds().len(),
            waiting: state.queue.waiting(),
            moved: state.moved,
            compared: state.compared,
            alerts_pending: state.alerts.pending,
            alerts_fired: state.alerts.fired,
            leased: None,
        }
    }

    fn health(&self) -> Result<(), StoreError> {
        self.shared.health()
    }

    async fn close(&self) -> Result<(), StoreError> {
        let closed = self.stop();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            while !thread.is_finished() {
                if self.shared.lock().close_if_hung(Instant::now()) {
                    // It is stuck in the kernel and ends with the process.
                    return Err(StoreError::Closed("the disk does not answer".to_owned()));
                }
                tokio::time::sleep(WRITER_END_LOOK).await;
            }
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(StoreError::Closed("the writer failed".to_owned()));
            }
        }
        let why = closed.or_else(|| self.shared.lock().closed.clone());
        why.map_or(Ok(()), |why| Err(StoreError::Closed(why)))
    }
}

impl Drop for LocalStore {
    /// A store that is dropped without [`Store::close`] lets its writer end by itself.
    fn drop(&mut self) {
        self.stop();
    }
}
