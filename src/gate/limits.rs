//! What a call uses up: the one ordered list of counters, from the key's rate to its quotas. A new
//! limit is a new row here; the ledger and the stores only know "add if it stays within bounds".

use super::charge::{Charge, Item, Limit, Measure};
use super::policy::{Policy, ToolPolicy};
use super::request::Request;
use crate::ledger::{Bound, CounterName, Demand, Refund, Window, names};
use crate::model::denial::QuotaKind;
use crate::model::ids::{AccountId, CallId};
use crate::model::key::{Key, Quota};
use crate::model::name_map::NameMap;

/// What some items use up; `entries` has the limits of their own, by name.
pub(super) fn charge(
    policy: &Policy,
    entries: &NameMap<String, ToolPolicy>,
    request: &Request<'_>,
    key: &Key,
    call: CallId,
    items: Vec<Item>,
    total: i64,
) -> Charge {
    let mut rows = Rows {
        account: key.id.account(),
        demands: Vec::with_capacity(10),
        limits: Vec::with_capacity(10),
    };
    let calls = i64::try_from(items.len()).unwrap_or(i64::MAX);

    rows.rate(names::RATE, calls, policy.key_rate, Measure::Calls, Limit::KeyRate);
    for (index, item) in items.iter().enumerate() {
        if let Some(tool) = entries.get(item.tool.as_str()).filter(|tool| tool.rate > 0) {
            let limit = Limit::ToolRate { index };
            rows.rate(tool.rate_counter.clone(), 1, tool.rate, Measure::Item(index), limit);
        }
    }
    rows.credits(total);
    rows.usage(names::SPENT, Window::Lifetime, total, key.spending_limit, Limit::Spending);
    let quota = key.quota.unwrap_or(policy.quota);
    rows.quotas(&quota, calls, total, Limit::Quota);
    rows.usage(names::CALLS, Window::Lifetime, calls, 0, Limit::None);
    if let Some(team) = request.team {
        rows.account = team.id.account();
        rows.usage(names::SPENT, Window::Lifetime, total, team.budget, Limit::TeamBudget);
        rows.quotas(&team.quota.unwrap_or_default(), calls, total, Limit::TeamQuota);
        rows.usage(names::CALLS, Window::Lifetime, calls, 0, Limit::None);
    }

    Charge {
        labels: None,
        call,
        key: key.id.clone(),
        namespace: key.namespace.as_str().into(),
        key_revision: key.revision,
        namespace_revision: request.namespace.map_or(0, |namespace| namespace.revision),
        team: request.team.map(|team| (team.id.clone(), team.revision)),
        in_batch: request.in_batch,
        items,
        total,
        demands: rows.demands,
        limits: rows.limits,
    }
}

struct Rows {
    /// Whose counters.
    account: AccountId,
    demands: Vec<Demand>,
    limits: Vec<(Limit, Measure)>,
}

impl Rows {
    /// Calls of a rolling minute: they count admissions, so a release leaves them.
    fn rate(
        &mut self,
        counter: CounterName,
        amount: i64,
        cap: i64,
        measure: Measure,
        limit: Limit,
    ) {
        self.push(counter, Window::MINUTE, amount, cap_of(cap), Refund::Stays, measure, limit);
    }

    fn credits(&mut self, price: i64) {
        if price != 0 {
            let amount = price.saturating_neg();
            self.push(
                names::BALANCE,
                Window::Lifetime,
                amount,
                Bound::AtLeast(0),
                Refund::Back,
                Measure::Credits,
                Limit::Credits,
            );
        }
    }

    /// Calls and credits of the UTC day and month.
    fn quotas(&mut self, quota: &Quota, calls: i64, total: i64, of: fn(QuotaKind) -> Limit) {
        for (kind, counter, window, amount, cap) in [
            (QuotaKind::DailyCalls, names::CALLS_DAY, Window::Day, calls, quota.daily_call_limit),
            (
                QuotaKind::MonthlyCalls,
                names::CALLS_MONTH,
                Window::Month,
                calls,
                quota.monthly_call_limit,
            ),
            (
                QuotaKind::DailyCredits,
                names::CREDITS_DAY,
                Window::Day,
                total,
                quota.daily_credit_limit,
            ),
            (
                QuotaKind::MonthlyCredits,
                names::CREDITS_MONTH,
                Window::Month,
                total,
                quota.monthly_credit_limit,
            ),
        ] {
            self.usage(counter, window, amount, cap, of(kind));
        }
    }

    /// Calls or credits that count outcomes: a release gives them back.
    fn usage(&mut self, counter: CounterName, window: Window, amount: i64, cap: i64, limit: Limit) {
        let measure = match limit {
            Limit::Spending
            | Limit::TeamBudget
            | Limit::Quota(QuotaKind::DailyCredits | QuotaKind::MonthlyCredits)
            | Limit::TeamQuota(QuotaKind::DailyCredits | QuotaKind::MonthlyCredits) => {
                Measure::Credits
            }
            Limit::None
            | Limit::Quota(QuotaKind::DailyCalls | QuotaKind::MonthlyCalls)
            | Limit::TeamQuota(QuotaKind::DailyCalls | QuotaKind::MonthlyCalls) => Measure::Calls,
            Limit::KeyRate | Limit::ToolRate { .. } | Limit::Credits => return,
        };
        if amount != 0 {
            self.push(counter, window, amount, cap_of(cap), Refund::Back, measure, limit);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one row of a table, written by the three above only"
    )]
    fn push(
        &mut self,
        counter: CounterName,
        window: Window,
        amount: i64,
        bound: Bound,
        refund: Refund,
        measure: Measure,
        limit: Limit,
    ) {
        let account = self.account.clone();
        self.demands.push(Demand { account, counter, window, amount, bound, refund });
        self.limits.push((limit, measure));
    }
}

/// A configured limit of 0 means no limit.
const fn cap_of(limit: i64) -> Bound {
    if limit > 0 { Bound::AtMost(limit) } else { Bound::Free }
}
