//! What waits for the disk, in the order of its changes, and who waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::alerts::AlertWrite;
use super::compare::Summed;
use super::kept::KeptRow;
use super::outbox::OutboxWrite;
use super::records::OnceRecord;
use super::roll_up::RollUp;
use super::rows::{End, JournalRow};
use crate::ledger::{Book, Hold, Resolution};
use crate::model::audit::AuditEvent;
use crate::model::bounds::{HOLD_ROW_DELAY, JOURNAL_BATCH_ROWS, JOURNAL_QUEUE_ROWS_MAX};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::key::Key;
use crate::model::labels::Labels;
use crate::model::namespace::Namespace;
use crate::model::team::Team;
use crate::model::text::Text;
use crate::model::time::Time;
use crate::model::token::{AdminToken, TokenId};
use crate::model::usage::Refused;
use crate::store::{CallEnd, Durable, PaidTask, Parking};

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    Journal(JournalRow),
    Key(Arc<Key>),
    DeletedKey {
        key: Arc<Key>,
        at: Time,
    },
    Once(OnceRecord),
    Parked(Parking),
    Unparked(CallId),
    /// Deletes some of those that are too old at this moment of ledger time.
    Paid {
        task: PaidTask,
        now: Time,
    },
    /// Right after the journal row that captured its call.
    Kept(KeptRow),
    Audit(Box<AuditEvent>),
    ForgetAudit {
        before: Option<Time>,
    },
    Labels {
        call: CallId,
        at: Time,
        labels: Labels,
    },
    RollUp(Box<RollUp>),
    /// Adds to the sums what was written in this life so far.
    FlushUsage,
    Refused(Vec<Refused>),
    ForgetUsage {
        before: Option<Time>,
    },
    Token(Arc<AdminToken>),
    DeletedToken(TokenId),
    Namespace(Arc<Namespace>),
    Team(Arc<Team>),
    Alert(Box<AlertWrite>),
    /// How far the journal was summed up.
    Summed(Summed),
    Outbox(Box<OutboxWrite>),
}

/// A call whose hold is open.
#[derive(Debug)]
struct OpenCall {
    payer: AccountId,
    calls: Vec<CallEnd>,
    written: bool,
}

/// Everything that one commit writes, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// What the journal rows are cut from.
    pub(super) text: String,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// The queue. It lives under the same lock as the book, so its order is the order of the changes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batch: Batch,
    open: IdMap<CallId, OpenCall>,
    /// Holds without a row yet, oldest first. Resolved ones are skipped when they come up.
    young: VecDeque<(Instant, CallId)>,
    /// The number that the last journal row has, or will have when it is written.
    seq: i64,
    #[cfg(test)]
    pretends_full: bool,
}

impl Queue {
    pub(super) fn is_full(&self) -> bool {
        #[cfg(test)]
        if self.pretends_full {
            return true;
        }
        self.batch.writes.len().max(self.young.len()) >= JOURNAL_QUEUE_ROWS_MAX
    }

    #[cfg(test)]
    pub(super) fn pretend_full(&mut self, is_full: bool) {
        self.pretends_full = is_full;
    }

    /// Does somebody wait, or is there a good batch to write?
    pub(super) fn is_urgent(&self) -> bool {
        !self.batch.waiters.is_empty() || self.batch.writes.len() >= JOURNAL_BATCH_ROWS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.writes.is_empty() && self.young.is_empty()
    }

    /// Changes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.batch.writes.len()
    }

    pub(super) fn push(&mut self, write: Write) {
        self.batch.writes.push(write);
    }

    /// New rows come after this one.
    pub(super) fn continue_after(&mut self, seq: i64) {
        self.seq = seq;
    }

    /// The journal row that the book is true up to: balances do not change without one.
    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    fn push_row(&mut self, row: JournalRow) {
        self.seq = self.seq.saturating_add(1);
        self.batch.writes.push(Write::Journal(row));
    }

    /// Queues a journal row, which is written down in the text of the batch.
    pub(super) fn journal(&mut self, row: impl FnOnce(&mut String) -> JournalRow) {
        let row = row(&mut self.batch.text);
        self.push_row(row);
    }

    /// Takes those who wait, because nothing will be written any more.
    pub(super) fn take_waiters(&mut self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.batch.waiters)
    }

    /// A promise for everything pushed so far.
    pub(super) fn durable(&mut self) -> Durable {
        let (sender, receiver) = oneshot::channel();
        self.batch.waiters.push(sender);
        Durable::after(receiver)
    }

    /// Remembers a new hold. It gets a row of its own only if it is not resolved soon.
    pub(super) fn opened(
        &mut self,
        call: CallId,
        payer: AccountId,
        calls: Vec<CallEnd>,
        now: Instant,
    ) {
        self.open.insert(call, OpenCall { payer, calls, written: false });
        self.young.push_back((now, call));
    }

    /// Remembers a hold that a restart has found waiting; it has its row.
    pub(super) fn reopened(&mut self, call: CallId, payer: AccountId, calls: Vec<CallEnd>) {
        self.open.insert(call, OpenCall { payer, calls, written: true });
    }

    /// Tool and price of an open hold that is for one call.
    pub(super) fn single_call(&self, call: &CallId) -> Option<(Text, i64)> {
        match self.open.get(call)?.calls.as_slice() {
            [one] => Some((one.tool.clone(), one.price)),
            _ => None,
        }
    }

    /// Writes the row of a hold now, because its tool may only start after it.
    pub(super) fn write_hold(&mut self, hold: &Hold) {
        if let Some(open) = self.open.get_mut(&hold.call).filter(|open| !open.written) {
            open.written = true;
            let row = JournalRow::hold(&mut self.batch.text, hold, &open.payer, &open.calls);
            self.push_row(row);
        }
    }

    /// Queues the end of a hold: together with the hold itself if that has no row yet.
    pub(super) fn ended(
        &mut self,
        hold: &Hold,
        resolution: &Resolution,
        charged: i64,
        calls: Option<Vec<CallEnd>>,
    ) {
        let open = self.open.remove(&hold.call);
        let written = open.as_ref().is_none_or(|open| open.written);
        let (payer, known_calls) = match open {
            Some(open) => (open.payer, open.calls),
            None => match hold.postings.first() {
                Some(posting) => (posting.account.clone(), Vec::new()),
                None => return,
            },
        };
        let calls = calls.unwrap_or_else(|| unanswered(known_calls, resolution.kind.word()));
        let text = &mut self.batch.text;
        let end = End { resolution, payer: &payer, charged, calls: &calls };
        let row = if written { end.row(text) } else { end.row_with_hold(text, hold) };
        self.push_row(row);
    }

    /// Takes what is to be written now; with `all`, also the holds that might still end soon, so
    /// that the rows say everything that the book says.
    pub(super) fn take(&mut self, book: &Book, all: bool) -> Batch {
        while let Some((since, call)) = self.young.front().copied() {
            let open = self.open.get(&call).is_some_and(|open| !open.written);
            if open && !all && since.elapsed() < HOLD_ROW_DELAY {
                break;
            }
            self.young.pop_front();
            if let Some(hold) = book.holds().get(&call) {
                self.write_hold(hold);
            }
        }
        std::mem::take(&mut self.batch)
    }
}

/// The calls of a hold that nobody settled.
fn unanswered(calls: Vec<CallEnd>, outcome: &'static str) -> Vec<CallEnd> {
    calls.into_iter().map(|call| CallEnd { charged: 0, outcome, ..call }).collect()
}
