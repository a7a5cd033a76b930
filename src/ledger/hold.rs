//! What a call asks for, and what it holds while it runs.

use super::names::BALANCE;
use super::{CounterName, Window};
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// "Add this amount to that counter if the result stays within its bound."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whose counter.
    pub account: AccountId,
    /// Which counter.
    pub counter: CounterName,
    /// What it counts over.
    pub window: Window,
    /// Signed: a price is negative on a balance, a call is 1 on a rate.
    pub amount: i64,
    /// The condition.
    pub bound: Bound,
    /// What a release does.
    pub refund: Refund,
}

/// The condition on a demand: what the counter's value may be afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Only counted, never refused.
    Free,
    /// Not below.
    AtLeast(i64),
    /// Not above.
    AtMost(i64),
}

impl Bound {
    /// Does a value keep it?
    pub const fn allows(self, value: i64) -> bool {
        match self {
            Self::Free => true,
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// What a release does with an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// Given back, to the window it counted in: money and quotas, which count outcomes.
    Back,
    /// Stays: rates, which count admitted calls.
    Stays,
}

/// An amount that a hold has added to a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose counter.
    pub account: AccountId,
    /// Which counter.
    pub counter: CounterName,
    /// What it counts over.
    pub window: Window,
    /// Signed, as in the demand.
    pub amount: i64,
    /// What a release does.
    pub refund: Refund,
}

/// Amounts reserved for one call or batch until it is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Whose hold: one call id, one hold.
    pub call: CallId,
    /// When it was admitted: the moment that its amounts count at.
    pub at: Time,
    /// After this it can only be released.
    pub deadline: Time,
    /// What it has added.
    pub postings: Vec<Posting>,
}

impl Hold {
    /// Credits that it reserves.
    pub fn credits(&self) -> i64 {
        self.credits_of(self.postings.iter().map(|posting| posting.amount))
    }

    /// Credits that a resolution keeps of it.
    pub fn credits_kept(&self, kept: &[i64]) -> i64 {
        self.credits_of(kept.iter().copied())
    }

    fn credits_of(&self, amounts: impl Iterator<Item = i64>) -> i64 {
        let taken = self.postings.iter().zip(amounts);
        let taken = taken.filter(|(posting, _)| posting.counter == BALANCE);
        taken.fold(0_i64, |sum, (_, amount)| sum.saturating_sub(amount))
    }

    /// How much of each posting stays when the hold is released.
    pub fn kept_by_release(&self) -> Vec<i64> {
        let kept = |posting: &Posting| match posting.refund {
            Refund::Back => 0,
            Refund::Stays => posting.amount,
        };
        self.postings.iter().map(kept).collect()
    }
}
