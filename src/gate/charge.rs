//! A charge: what the store is asked to hold for a call, and how to read its refusal.

use super::checks::Failed;
use crate::ledger::{Bound, Demand, Hold, Posting, Refund, Refusal, names};
use crate::model::bounds::COUNTER_MAX;
use crate::model::denial::{Denial, QuotaKind};
use crate::model::ids::{CallId, KeyId};
use crate::model::labels::Labels;
use crate::model::team::TeamId;
use crate::model::text::Text;
use crate::model::time::Time;

/// One priced call of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Exact tool name, or the method that has a price.
    pub tool: Text,
    /// The whole price, surcharge included.
    pub price: i64,
}

/// Everything that must be reserved before a call may reach an upstream.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Id of the call and of its hold.
    pub call: CallId,
    /// Who pays.
    pub key: KeyId,
    /// The payer's tenant.
    pub namespace: Text,
    /// Revision of the key's record that was judged.
    pub key_revision: u64,
    /// Revision of the namespace's record that was judged.
    pub namespace_revision: u64,
    /// The key's team, with the revision of its record that was judged.
    pub team: Option<(TeamId, u64)>,
    /// Was it asked for as a batch?
    pub in_batch: bool,
    /// The calls, in order.
    pub items: Vec<Item>,
    /// What the client says that they are for.
    pub labels: Option<Labels>,
    /// Sum of their prices.
    pub total: i64,
    /// What the ledger is asked for, in order of precedence.
    pub demands: Vec<Demand>,
    pub(super) limits: Vec<(Limit, Measure)>,
}

/// Which limit a demand stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    KeyRate,
    ToolRate { index: usize },
    Credits,
    Spending,
    Quota(QuotaKind),
    TeamBudget,
    TeamQuota(QuotaKind),
    None,
}

/// What a demand's amount adds up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    Calls,
    Credits,
    Item(usize),
    /// All that was held, if the one call is paid for.
    Whole,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub denial: Denial,
    /// Which call of a batch it is about; 0 if all of them.
    pub failed_index: usize,
    /// The whole price.
    pub credits_required: i64,
    /// When a retry may succeed, if waiting helps.
    pub opens_at: Option<Time>,
    /// The request alone is larger than the limit: it can never succeed.
    pub exceeds_limit_alone: bool,
}

impl Denied {
    pub(super) fn by_check(failed: Failed, credits_required: i64) -> Self {
        Self {
            denial: failed.denial,
            failed_index: failed.index,
            credits_required,
            opens_at: None,
            exceeds_limit_alone: false,
        }
    }
}

impl Charge {
    /// The same with what its client says that it is for.
    #[must_use]
    pub fn labelled(mut self, labels: Option<Labels>) -> Self {
        self.labels = labels;
        self
    }

    /// One call that is held already, as it is to be settled. What it holds was judged when it was
    /// held, so nothing of it can be refused.
    pub fn of_hold(key: KeyId, item: Item, hold: &Hold) -> Self {
        let demand = |posting: &Posting| Demand {
            account: posting.account.clone(),
            counter: posting.counter.clone(),
            window: posting.window,
            amount: posting.amount,
            bound: Bound::Free,
            refund: posting.refund,
        };
        let limit = |posting: &Posting| {
            let is_credits = posting.counter == names::BALANCE;
            (if is_credits { Limit::Credits } else { Limit::None }, Measure::Whole)
        };
        Self {
            call: hold.call,
            key,
            namespace: "".into(),
            key_revision: 0,
            namespace_revision: 0,
            team: None,
            in_batch: false,
            labels: None,
            total: item.price,
            items: vec![item],
            demands: hold.postings.iter().map(demand).collect(),
            limits: hold.postings.iter().map(limit).collect(),
        }
    }

    /// What a refusal by the ledger means.
    pub fn refused(&self, refusal: &Refusal) -> Denied {
        let limit = self.limits.get(refusal.index).map_or(Limit::None, |(limit, _)| *limit);
        let demand = self.demands.get(refusal.index);
        let amount = demand.map_or(0, |demand| demand.amount);
        let cap = match demand.map(|demand| demand.bound) {
            Some(Bound::AtMost(cap)) => cap,
            Some(Bound::AtLeast(_) | Bound::Free) | None => 0,
        };
        let (denial, failed_index) = match limit {
            Limit::KeyRate => (Denial::RateLimited { limit: cap }, 0),
            Limit::ToolRate { index } => {
                let tool = self.items.get(index).map_or("", |item| item.tool.as_str());
                (Denial::ToolRateLimited { tool: tool.to_owned(), limit: cap }, index)
            }
            Limit::Spending if cap > 0 => {
                let (spent, need) = (refusal.value, self.total);
                (Denial::SpendingLimitExceeded { limit: cap, spent, need }, 0)
            }
            Limit::Quota(quota) if cap > 0 => {
                let (used, need, in_batch) = (refusal.value, amount, self.in_batch);
                (Denial::QuotaExceeded { quota, used, need, limit: cap, in_batch }, 0)
            }
            Limit::TeamBudget if cap > 0 => (Denial::TeamBudgetExceeded, 0),
            Limit::TeamQuota(quota) if cap > 0 => (Denial::TeamQuotaExceeded(quota), 0),
            Limit::Credits => {
                (Denial::InsufficientCredits { need: self.total, have: refusal.value }, 0)
            }
            // A counter without a limit of its own refuses only at the edge of exact numbers.
            Limit::Spending
            | Limit::Quota(_)
            | Limit::TeamBudget
            | Limit::TeamQuota(_)
            | Limit::None => {
                let (spent, need) = (refusal.value, self.total);
                (Denial::SpendingLimitExceeded { limit: COUNTER_MAX, spent, need }, 0)
            }
        };
        let asked = self.asked_of_same_counter(refusal.index);
        Denied {
            denial,
            failed_index,
            credits_required: self.total,
            opens_at: refusal.opens_at.filter(|_| asked <= cap),
            exceeds_limit_alone: cap > 0 && asked > cap,
        }
    }

    /// What stays of each demand when only some of the calls are paid for, and what that costs.
    pub fn kept(&self, paid: &[bool]) -> (Vec<i64>, i64) {
        let is_paid = |index: usize| paid.get(index).copied().unwrap_or(false);
        let calls = paid.iter().filter(|paid| **paid).fold(0_i64, |sum, _| sum.saturating_add(1));
        let items = self.items.iter().enumerate().filter(|(index, _)| is_paid(*index));
        let credits = items.fold(0_i64, |sum, (_, item)| sum.saturating_add(item.price));
        let kept = self.demands.iter().zip(&self.limits).map(|(demand, (_, measure))| {
            if demand.refund == Refund::Stays {
                return demand.amount;
            }
            let kept = match measure {
                Measure::Calls => calls,
                Measure::Credits => credits,
                Measure::Item(index) => i64::from(is_paid(*index)),
                Measure::Whole if is_paid(0) => return demand.amount,
                Measure::Whole => 0,
            };
            if demand.amount < 0 { kept.saturating_neg() } else { kept }
        });
        // A charge that asks for no credits, as in shadow mode, takes none, whatever its prices.
        let asks = self.limits.iter().any(|(limit, _)| matches!(limit, Limit::Credits));
        (kept.collect(), if asks { credits } else { 0 })
    }

    /// In shadow mode calls are counted by their rates and nothing else, and never refused.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        let rates = self.demands.into_iter().zip(self.limits);
        let rates = rates.filter(|(demand, _)| demand.refund == Refund::Stays);
        let free = rates.map(|(demand, limit)| (Demand { bound: Bound::Free, ..demand }, limit));
        (self.demands, self.limits) = free.unzip();
        self
    }

    /// All that this charge asks of the counter of one of its demands.
    fn asked_of_same_counter(&self, index: usize) -> i64 {
        let Some(demand) = self.demands.get(index) else { return 0 };
        let same = self.demands.iter();
        let same =
            same.filter(|other| other.counter == demand.counter && other.account == demand.account);
        same.fold(0_i64, |sum, other| sum.saturating_add(other.amount))
    }
}
