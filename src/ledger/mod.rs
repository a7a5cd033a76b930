//! The books: counters, holds and journal entries as a deterministic state machine. No I/O, no
//! clock: time is an argument, so the same entries always give the same numbers.
//!
//! Everything that can be used up is a [`Counter`] of an account. A hold is a list of [`Demand`]s,
//! "add this amount if the result stays within that bound", applied all or none. It ends once, by
//! a resolution that says how much of each amount stays. Entries are what the journal keeps;
//! [`Book::apply`] replays them, and is the same code that changes the books in the first place.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod account;
mod book;
mod counter;
mod entry;
mod hold;
pub mod names;
mod words;

pub use account::Account;
pub use book::{Book, HoldError, LedgerError, Refusal, ResolveError};
pub use counter::{Counter, CounterName, Window};
pub use entry::{CreditKind, Entry, Opening, Resolution, ResolutionKind, Reversal};
pub use hold::{Bound, Demand, Hold, Posting, Refund};
