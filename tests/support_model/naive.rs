//! The naive model: it keeps every event with its moment, has no counters, and adds everything up
//! from scratch whenever a number is asked for.

use paygate::ledger::{Bound, CounterName, Demand, Refusal, ResolutionKind, Window, names};
use paygate::model::bounds::COUNTER_MAX;
use paygate::model::ids::{AccountId, CallId};
use paygate::model::time::Time;

use super::operations::Line;

/// One call ever admitted.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) call: CallId,
    pub(crate) at: Time,
    pub(crate) deadline: Time,
    pub(crate) lines: Vec<Line>,
    /// How it ended and what stayed of each line.
    pub(crate) end: Option<(ResolutionKind, Vec<i64>)>,
}

/// Everything that ever happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    pub(crate) now: Time,
    credits: Vec<(AccountId, i64)>,
    pub(crate) calls: Vec<Admitted>,
}

/// What a rolling window may count: an event stays at least the whole length, both ends included,
/// and at most a sixtieth longer. Every other number is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Range {
    pub(crate) fn contains(self, value: i64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl Naive {
    pub(crate) fn pass(&mut self, clock: Time) {
        if clock > self.now {
            self.now = clock;
        }
    }

    pub(crate) fn credited(&self, account: &AccountId) -> i64 {
        self.credits.iter().filter(|(whose, _)| whose == account).map(|(_, amount)| amount).sum()
    }

    /// Could these credits be added without any number leaving the exact range?
    pub(crate) fn may_credit(&self, account: &AccountId, amount: i64) -> bool {
        if !(-COUNTER_MAX..=COUNTER_MAX).contains(&amount) {
            return false;
        }
        let Some(balance) = self.balance(account).checked_add(amount) else { return false };
        balance <= COUNTER_MAX && balance - self.held(account) >= -COUNTER_MAX
    }

    pub(crate) fn credit(&mut self, account: AccountId, amount: i64) {
        self.credits.push((account, amount));
    }

    pub(crate) fn captured(&self, account: &AccountId) -> i64 {
        let ended = self.calls.iter().filter_map(|call| Some((call, call.end.as_ref()?)));
        let lines = ended.flat_map(|(call, (_, kept))| call.lines.iter().zip(kept));
        let paid = lines.filter(|(line, _)| is_balance(&line.demand, account));
        paid.map(|(_, kept)| -kept).sum()
    }

    pub(crate) fn held(&self, account: &AccountId) -> i64 {
        let open = self.calls.iter().filter(|call| call.end.is_none());
        let lines = open.flat_map(|call| &call.lines);
        lines.filter(|line| is_balance(&line.demand, account)).map(|line| -line.demand.amount).sum()
    }

    pub(crate) fn balance(&self, account: &AccountId) -> i64 {
        self.credited(account) - self.captured(account)
    }

    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.calls.len()).filter(|index| self.calls[*index].end.is_none()).collect()
    }

    pub(crate) fn last_call(&self, account: &AccountId) -> Option<Time> {
        let touches =
            |call: &&Admitted| call.lines.iter().any(|line| line.demand.account == *account);
        self.calls.iter().filter(touches).map(|call| call.at).max()
    }

    /// A counter's value at a moment.
    pub(crate) fn value(
        &self,
        account: &AccountId,
        counter: &CounterName,
        window: Window,
        now: Time,
    ) -> Range {
        if *counter == names::BALANCE {
            let available = self.balance(account) - self.held(account);
            return Range { low: available, high: available };
        }
        let sum = |counts: &dyn Fn(Time) -> bool| -> i64 {
            let calls = self.calls.iter().filter(|call| counts(call.at));
            calls.map(|call| call.share_of(account, counter)).sum()
        };
        let exact = |value| Range { low: value, high: value };
        match window {
            Window::Lifetime => exact(sum(&|_| true)),
            Window::Day => exact(sum(&|at| at.day_text() == now.day_text())),
            Window::Month => exact(sum(&|at| at.month_text() == now.month_text())),
            Window::Rolling(length_ms) => {
                // A sixtieth in whole milliseconds, rounded up.
                let late = (length_ms + 59) / 60;
                Range {
                    low: sum(&|at| at.ms() >= now.ms() - length_ms),
                    high: sum(&|at| at.ms() > now.ms() - 61 * late),
                }
            }
        }
    }

    /// What the demands before one have asked of the same counter.
    pub(crate) fn before(&self, demands: &[Demand], index: usize) -> Range {
        let demand = &demands[index];
        let value = self.value(&demand.account, &demand.counter, demand.window, self.now);
        let asked: i64 = demands[..index]
            .iter()
            .filter(|other| same_counter(other, demand))
            .map(|other| other.amount)
            .sum();
        Range { low: value.low + asked, high: value.high + asked }
    }

    /// Must a demand be refused? Must it be met? Between the two the book may do either.
    pub(crate) fn verdict(&self, demands: &[Demand], index: usize) -> (bool, bool) {
        let value = self.before(demands, index);
        let amount = demands[index].amount;
        let fits = |value: i64| {
            let after = value.saturating_add(amount);
            let within = (-COUNTER_MAX..=COUNTER_MAX).contains(&after);
            within
                && match demands[index].bound {
                    Bound::Free => true,
                    Bound::AtLeast(least) => after >= least,
                    Bound::AtMost(most) => after <= most,
                }
        };
        (!fits(value.low), fits(value.high))
    }

    /// The whole amount that demands ask of the counter that one of them is about.
    pub(crate) fn asked(demands: &[Demand], refusal: &Refusal) -> i64 {
        let refused = &demands[refusal.index];
        demands.iter().filter(|other| same_counter(other, refused)).map(|other| other.amount).sum()
    }
}

impl Admitted {
    fn share_of(&self, account: &AccountId, counter: &CounterName) -> i64 {
        let mut sum = 0;
        for (index, line) in self.lines.iter().enumerate() {
            if line.demand.account == *account && line.demand.counter == *counter {
                sum += self.end.as_ref().map_or(line.demand.amount, |(_, kept)| kept[index]);
            }
        }
        sum
    }
}

pub(crate) fn same_counter(one: &Demand, other: &Demand) -> bool {
    one.account == other.account && one.counter == other.counter
}

fn is_balance(demand: &Demand, account: &AccountId) -> bool {
    demand.account == *account && demand.counter == names::BALANCE
}
