//! [`Store`] for books in Redis.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::books::RedisStore;
use crate::gate::Charge;
use crate::ledger::{Account, CreditKind, Refusal};
use crate::model::alert::AlertRule;
use crate::model::audit::{AuditEvent, AuditFilter, AuditRow, AuditTotals};
use crate::model::ids::{CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::{Namespace, TenantSum};
use crate::model::secret::{Digest, SealKey};
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::{AdminToken, TokenId};
use crate::model::usage::{Refused, ReportAsked, UsageFilter, UsageReport};
use crate::store::{
    AlertsAsked, Arrival, Assigned, AuditPage, BooksLoad, Creation, Credited, Deed, Durable,
    ExplainedCall, FoundCall, HoldRefused, Judge, Judged, Kept, KeysPage, LookAt, Once, PaidTask,
    Parking, Reading, Resumed, Settlement, Show, SoldBy, Store, StoreError, UsagePage, UsageRow,
};

#[async_trait]
impl Store for RedisStore {
    async fn key_by_digest(
        &self,
        digest: Digest,
        now: Time,
    ) -> Result<Option<Arc<Key>>, StoreError> {
        self.books.key_by_digest(&digest, now).await
    }

    async fn key_by_id(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        self.books.fresh_key(id).await
    }

    async fn recent_key(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        self.books.key(id).await
    }

    async fn namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError> {
        self.books.namespace(name).await
    }

    async fn are_old(&self, key: &Key, tenant: &Namespace) -> Result<bool, StoreError> {
        self.books.are_old(key, tenant).await
    }

    fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let mut tenants: Vec<_> = self.books.memory().namespaces.values().map(Arc::clone).collect();
        tenants.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        tenants
    }

    async fn update_namespace(
        &self,
        tenant: Namespace,
        deed: Deed,
    ) -> Result<Arc<Namespace>, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.update_namespace(tenant, deed).await
    }

    fn token(&self, digest: &Digest) -> Option<Arc<AdminToken>> {
        let token = self.books.memory().tokens.get(digest).map(Arc::clone);
        token.filter(|token| token.digest.same(digest))
    }

    fn tokens(&self) -> Vec<Arc<AdminToken>> {
        let mut tokens: Vec<_> = self.books.memory().tokens.values().map(Arc::clone).collect();
        tokens.sort_unstable_by(|one, other| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        tokens
    }

    async fn has_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.books.has_token(id).await
    }

    async fn create_token(&self, token: AdminToken, deed: Deed) -> Result<(), StoreError> {
        self.books.expect_whole(None).await?;
        self.books.create_token(token, deed).await
    }

    async fn delete_token(&self, id: &TokenId, deed: Deed) -> Result<(), StoreError> {
        self.books.expect_whole(None).await?;
        self.books.delete_token(id, deed).await
    }

    fn team(&self, id: &TeamId) -> Option<Arc<Team>> {
        self.books.memory().teams.get(id).map(Arc::clone)
    }

    fn teams(&self) -> Vec<Arc<Team>> {
        let mut teams: Vec<_> = self.books.memory().teams.values().map(Arc::clone).collect();
        teams.sort_unstable_by(|one, other| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        teams
    }

    async fn team_account(&self, id: &TeamId) -> Result<Account, StoreError> {
        self.books.team_account(id).await
    }

    async fn create_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.create_team(team, deed).await
    }

    async fn update_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.update_team(team, deed).await
    }

    async fn assign_key(
        &self,
        key: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Assigned, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.assign_key(key, team, deed).await
    }

    async fn remove_key(&self, key: &KeyId, team: &TeamId, deed: Deed) -> Result<bool, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.remove_key(key, team, deed).await
    }

    fn note(&self, event: AuditEvent) {
        self.note_later(event);
    }

    async fn record(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.books.note(&event).await
    }

    async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.books.catch_up().await?;
        self.books.copy.audit(filter, page).await
    }

    async fn audit_totals(&self, filter: AuditFilter) -> Result<AuditTotals, StoreError> {
        self.books.catch_up().await?;
        self.books.copy.audit_totals(filter).await
    }

    async fn forget_audit(&self, before: Option<Time>) -> Result<(), StoreError> {
        self.books.copy.forget_audit(before).await
    }

    fn alert_rules(&self) -> Arc<[AlertRule]> {
        Arc::clone(&self.books.memory().alerting.rules)
    }

    async fn set_alert_rules(&self, rules: Vec<AlertRule>, deed: Deed) -> Result<(), StoreError> {
        self.books.expect_whole(None).await?;
        self.books.set_alert_rules(rules, deed).await
    }

    async fn look_for_alerts(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError> {
        self.books.look_for_alerts(judge, look_at, now).await
    }

    async fn alerts(&self, asked: AlertsAsked) -> Result<Vec<String>, StoreError> {
        self.books.alerts(asked).await
    }

    async fn create_key(
        &self,
        key: Key,
        credits: i64,
        deed: Deed,
        now: Time,
    ) -> Result<Creation, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.create_key(key, credits, deed, now).await
    }

    async fn is_unused(&self) -> Result<bool, StoreError> {
        self.books.is_unused().await
    }

    async fn import(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.import(arrivals, deed, now).await
    }

    async fn update_key(&self, key: Key, deed: Deed) -> Result<Arc<Key>, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.update_key(key, deed).await
    }

    async fn delete_key(&self, id: &KeyId, deed: Deed, now: Time) -> Result<(), StoreError> {
        self.books.expect_whole(None).await?;
        self.books.delete_key(id, deed, now).await
    }

    async fn credit(
        &self,
        id: &KeyId,
        amount: i64,
        kind: CreditKind,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError> {
        self.books.expect_whole(None).await?;
        self.books.credit(id, amount, kind, deed, now).await
    }

    async fn find_call(&self, call: CallId) -> Result<Option<FoundCall>, StoreError> {
        self.books.find_call(call).await
    }

    async fn explain_call(&self, call: CallId) -> Result<Option<ExplainedCall>, StoreError> {
        self.books.explain_call(call).await
    }

    async fn refund(&self, call: FoundCall, deed: Deed, now: Time) -> Result<Credited, StoreError> {
        self.books.refund(call, deed, now).await
    }

    async fn repeated(&self, once: &Once, now: Time) -> Result<Option<i64>, StoreError> {
        self.books.repeated(once, now).await
    }

    async fn recall(
        &self,
        key: &KeyId,
        once: &Once,
        now: Time,
    ) -> Result<Option<Kept>, StoreError> {
        self.books.recall(key, once, now).await
    }

    fn run_ended(&self, once: &Once) {
        self.books.run_ended(once);
    }

    async fn hold(&self, charge: &Charge, now: Time, deadline: Time) -> Result<(), HoldRefused> {
        self.books.hold_or_lease(charge, now, deadline).await
    }

    async fn check(&self, charge: &Charge, now: Time) -> Result<Result<(), Refusal>, StoreError> {
        self.books.check(charge, now).await
    }

    async fn settle(
        &self,
        settlement: Settlement,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        if let Some(settled) = self.books.settle_leased(&settlement, now) {
            return settled;
        }
        Ok((self.books.settle(settlement, None, now).await?, Durable::NOW))
    }

    async fn park(
        &self,
        parking: Parking,
        show: Show,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        self.books.is_in_redis(&parking.key, &parking.call)?;
        Ok((self.books.park(parking, show, now).await?, Durable::NOW))
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
        self.books.resume(key, call, (state, judged), now, deadline).await
    }

    async fn settle_task(
        &self,
        settlement: Settlement,
        task: PaidTask,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        self.books.is_in_redis(&settlement.key, &settlement.call)?;
        Ok((self.books.settle(settlement, Some(task), now).await?, Durable::NOW))
    }

    async fn is_task_paid(&self, key: &KeyId, task: PaidTask) -> Result<bool, StoreError> {
        self.books.is_task_paid(key, task).await
    }

    fn seal_key(&self) -> SealKey {
        self.seal_key.clone()
    }

    async fn expire(&self, now: Time) -> Result<usize, StoreError> {
        self.books.sweep(now).await
    }

    async fn read(&self, id: &KeyId, show: Show, now: Time) -> Result<Reading, StoreError> {
        match self.books.read(id, show.clone(), now).await {
            Err(StoreError::Unavailable(why)) => {
                let leased = self.books.leased_reading(id, &show, now);
                leased.ok_or(StoreError::Unavailable(why))
            }
            reading => reading,
        }
    }

    async fn account(&self, id: &KeyId) -> Result<Account, StoreError> {
        self.books.account(id).await
    }

    fn ledger_now(&self, now: Time) -> Time {
        self.books.ledger_now(now)
    }

    async fn keys(&self, namespace: Option<&str>) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        self.books.all_keys(namespace).await
    }

    async fn keys_page(
        &self,
        namespace: Option<&str>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<KeysPage, StoreError> {
        self.books.keys_page(namespace, after, limit).await
    }

    async fn tenant_sums(&self, now: Time) -> Result<Vec<TenantSum>, StoreError> {
        self.books.tenant_sums(now).await
    }

    async fn usage(&self, namespace: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        self.books.catch_up().await?;
        self.books.copy.roll_up().await?;
        self.books.copy.sums(namespace).await
    }

    async fn ended_calls(&self, namespace: Option<&str>) -> Result<i64, StoreError> {
        self.books.catch_up().await?;
        self.books.copy.roll_up().await?;
        self.books.copy.ended_calls(namespace).await
    }

    async fn note_refused(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        self.books.note_refused(refused).await
    }

    async fn roll_up_usage(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        self.books.note_refused(refused).await?;
        self.books.catch_up().await?;
        self.books.copy.roll_up().await
    }

    async fn usage_events(
        &self,
        filter: UsageFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        self.books.copy.events(filter, after, limit).await
    }

    async fn usage_report(&self, asked: ReportAsked) -> Result<UsageReport, StoreError> {
        self.books.copy.report(asked).await
    }

    async fn complete_since(&self, namespace: Option<&str>) -> Result<Option<Time>, StoreError> {
        self.books.complete_since(namespace).await
    }

    fn is_told(&self) -> bool {
        self.books.is_told.load(Ordering::Acquire)
    }

    fn sell_by(&self, sold_by: SoldBy) {
        self.books.memory().peers.put_own(sold_by);
    }

    fn other_configs(&self) -> usize {
        self.books.memory().peers.count_different()
    }

    fn unsettled(&self) -> usize {
        self.books.loose_ends.count()
    }

    fn cursor_mark(&self) -> Option<&str> {
        Some(&self.mark)
    }

    async fn forget_usage(&self, before: Option<Time>) -> Result<(), StoreError> {
        self.books.copy.forget_usage(before).await
    }

    async fn compare_books(&self) -> Result<(), StoreError> {
        self.books.compare().await
    }

    fn load(&self) -> BooksLoad {
        let leased = self.books.leased();
        let memory = self.books.memory();
        BooksLoad {
            open_holds: memory.open.len(),
            waiting: 0,
            moved: memory.moved,
            compared: memory.compared,
            alerts_pending: memory.alerting.pending,
            alerts_fired: memory.alerting.fired,
            leased,
        }
    }

    fn health(&self) -> Result<(), StoreError> {
        self.books.health()
    }

    fn is_connected(&self) -> bool {
        self.books.trouble().is_none()
    }

    fn concern(&self) -> Option<String> {
        self.books.concern()
    }

    fn is_copied(&self) -> Option<bool> {
        Some(self.books.memory().copy_trouble.is_none())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.books.tie_up().await;
        self.books.write_waiting_refusals().await;
        self.books.leave_sweeping().await;
        self.books.leave_runs().await;
        for left in [self.books.leave_outbox().await, self.books.leave_alerts().await] {
            if let Err(error) = left {
                tracing::debug!(target: "store", %error, "another instance takes over a little later");
            }
        }
        self.end().await;
        Ok(())
    }
}
