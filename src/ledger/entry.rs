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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Account, Book, CounterName, LedgerError, Window, names};
    use crate::model::bounds::COUNTER_MAX;

    fn opening(postings: &[(CounterName, Window, i64)]) -> Opening {
        let account = AccountId::new("key_1");
        let posting = |(counter, window, amount): &(CounterName, Window, i64)| Posting {
            account: account.clone(),
            counter: counter.clone(),
            window: *window,
            amount: *amount,
            refund: Refund::Back,
        };
        let postings = postings.iter().map(posting).collect();
        let last_call = Some(Time::from_ms(5));
        Opening { at: Time::ZERO, account, last_call, postings }
    }

    #[test]
    fn an_account_brings_its_numbers_and_they_replay() {
        let brings = opening(&[
            (names::BALANCE, Window::Lifetime, 70),
            (names::SPENT, Window::Lifetime, 30),
            (names::CALLS_DAY, Window::Day, 4),
        ]);
        assert_eq!(brings.credits(), 70);
        let (mut book, mut again) = (Book::default(), Book::default());
        let now = Time::from_ms(1_000);
        for book in [&mut book, &mut again] {
            book.insert(brings.account.clone(), Account::default());
        }
        let entry = Entry::Opening(book.take_over(now, brings.clone()).unwrap());
        assert_eq!(again.apply(&entry), Ok(()));
        assert_eq!((again.accounts(), again.now()), (book.accounts(), now));
        let account = book.account(&brings.account).unwrap();
        assert_eq!((account.available(), account.held()), (70, 0));
        assert_eq!(account.last_call(), Some(Time::from_ms(5)));
        let (calls, tomorrow) = (names::CALLS_DAY, now.next_day());
        assert_eq!((account.value(&calls, now), account.value(&calls, tomorrow)), (4, 0));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let mut book = Book::default();
        book.insert(AccountId::new("key_1"), Account::default());
        let much = opening(&[(names::BALANCE, Window::Lifetime, COUNTER_MAX + 1)]);
        assert_eq!(book.take_over(Time::ZERO, much), Err(LedgerError::OutOfRange));
        let mut elsewhere = opening(&[(names::BALANCE, Window::Lifetime, 1)]);
        elsewhere.account = AccountId::new("key_2");
        assert_eq!(book.take_over(Time::ZERO, elsewhere), Err(LedgerError::NotLoaded));
    }
}
