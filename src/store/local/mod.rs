//! The embedded store: the books in memory behind one lock, an SQLite file behind one writer.
//!
//! Every change is made in memory first, under the lock, and queued in the same breath; the writer
//! takes the whole queue and commits it as one transaction (group commit). An answer waits for the
//! commit that holds its rows; the tool does not. The journal is the truth: the `accounts` table
//! only saves replaying all of it at every start, and each of its rows says up to which journal
//! row it is true.
//!
//! If a commit fails, the store closes: memory is ahead of a file that nobody can vouch for. A
//! restart reads the file, which decides.

mod accounts;
mod alert_turns;
pub(in crate::store) mod alerts;
mod audit;
mod compare;
pub(in crate::store) mod copied;
mod copied_ends;
pub(in crate::store) mod copied_rows;
pub(in crate::store) mod copied_told;
mod copy;
mod explain;
pub(in crate::store) mod file;
mod import;
mod kept;
mod moved;
pub(in crate::store) mod new_file;
mod open;
mod outbox;
mod paid;
mod parked;
mod queue;
mod read;
mod records;
mod recover;
mod refunds;
mod report;
mod roll_up;
mod rows;
mod schema;
mod slow;
mod state;
mod store;
mod tally;
mod teams;
mod tenants;
mod tokens;
mod usage;
mod verify;
pub(in crate::store) mod whole;
mod writer;

pub use accounts::SavePace;
pub use copy::{CopyError, copy};
pub use import::known;
pub use moved::MovedTo;
pub use open::{LocalOptions, OpenError};
pub(super) use rows::entries;
pub use state::LocalStore;
pub use verify::{VerifyError, VerifyReport, verify};

/// When an answer may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When hold and resolution are on disk.
    #[default]
    Answer,
    /// The hold is on disk before the tool starts.
    Call,
    /// At once; a crash loses the last moments.
    None,
}
