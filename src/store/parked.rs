//! Holds that wait for their customer: between two rounds of a call, or until a task ends.

use crate::ledger::Hold;
use crate::model::ids::{CallId, KeyId};
use crate::model::team::TeamId;
use crate::model::text::Text;
use crate::model::time::Time;

/// What to keep open, and until when.
#[derive(Clone, Debug)]
pub struct Parking {
    /// The call.
    pub call: CallId,
    /// Who pays.
    pub key: KeyId,
    /// What whoever goes on with it must know: a short text of the caller's.
    pub state: String,
    /// When it is released if nobody has gone on, in ledger time.
    pub until: Time,
}

/// The revisions of the records by which somebody was judged who goes on with a hold.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Of the key's record.
    pub key: u64,
    /// Of its tenant's.
    pub namespace: u64,
    /// Of its team's.
    pub team: Option<(TeamId, u64)>,
}

/// A task whose result is to be paid once, however often it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PaidTask {
    /// The call that made it.
    pub call: CallId,
    /// When nobody can ask for it any more.
    pub until: Time,
}

/// A hold that somebody goes on with.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// What it has reserved.
    pub hold: Hold,
    /// The tool that was called.
    pub tool: Text,
    /// Its price at the time.
    pub price: i64,
}
