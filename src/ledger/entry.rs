//! What the journal keeps: every change of the books, in a form that replays to the same numbers.

use super::names::BALANCE;
use super::{Hold, Posting, Refund};
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// One change of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Credits added or corrected.
    Credit {
        /// When.
        at: Time,
        /// Whose balance.
        account: AccountId,
        /// Signed; a grant is positive.
        amount: i64,
        /// Grant or adjustment.
        kind: CreditKind,
    },
    /// Amounts reserved.
    Hold(Hold),
    /// A hold ended.
    Resolution(Resolution),
    /// What a captured call kept was given back.
    Reversal(Reversal),
    /// An account came from other books.
    Opening(Opening),
}

/// The numbers that an account brings from other books: its balance, what it ever spent and called, and
/// what it used up of windows that have not passed. They count at the moment of its coming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// When it came.
    pub at: Time,
    /// Whose account.
    pub account: AccountId,
    /// When it was last called there.
    pub last_call: Option<Time>,
    /// Its numbers; all are on its own account.
    pub postings: Vec<Posting>,
}

impl Opening {
    /// The credits that it brings.
    pub fn credits(&self) -> i64 {
        let brought = self.postings.iter().filter(|posting| posting.counter == BALANCE);
        brought.fold(0, |sum, posting| sum.saturating_add(posting.amount))
    }
}

/// A refund: all that a call kept goes back to where it counted, as if it had been released. A
/// window that has passed gets nothing back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// Which call.
    pub call: CallId,
    /// When.
    pub at: Time,
    /// The moment that the call's amounts count at.
    pub held_at: Time,
    /// What is added now: the opposite of what stayed.
    pub postings: Vec<Posting>,
}

impl Reversal {
    /// Undoes what stayed of a hold; rates stay, as with a release.
    pub fn of(hold: &Hold, resolution: &Resolution, at: Time) -> Self {
        let stayed = hold.postings.iter().zip(&resolution.kept);
        let back = stayed.filter(|(posting, kept)| posting.refund == Refund::Back && **kept != 0);
        let postings = back
            .map(|(posting, kept)| Posting { amount: kept.saturating_neg(), ..posting.clone() });
        Self { call: hold.call, at, held_at: hold.at, postings: postings.collect() }
    }

    /// The credits that it gives back.
    pub fn credits(&self) -> i64 {
        let back = self.postings.iter().filter(|posting| posting.counter == BALANCE);
        back.fold(0, |sum, posting| sum.saturating_add(posting.amount))
    }
}

/// Where credits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditKind {
    /// Creation, top-up or payment.
    Grant,
    /// An operator's correction; the only thing that may take a balance below zero.
    Adjustment,
}

/// The one end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Which hold.
    pub call: CallId,
    /// When.
    pub at: Time,
    /// How it ended.
    pub kind: ResolutionKind,
    /// How much of each posting stays, in their order.
    pub kept: Vec<i64>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolutionKind {
    /// The call was paid for, in whole or in part.
    Captured,
    /// The call was free.
    Released,
    /// Nobody resolved it before its deadline.
    Expired,
    /// Paygate stopped while the call was in flight.
    Recovered,
}

impl ResolutionKind {
    /// The word that the journal uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Captured => "capture",
            Self::Released => "release",
            Self::Expired => "expire",
            Self::Recovered => "recover",
        }
    }

    /// Reads the journal's word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Captured, Self::Released, Self::Expired, Self::Recovered]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}
