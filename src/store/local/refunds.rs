//! Refunds: the call that is meant is found in the journal, and all that it kept is given back in one
//! entry that names it. Once: whoever refunds waits until an earlier refund is on disk, and then looks
//! for it.

use std::collections::HashMap;

use rusqlite::Connection;

use super::rows::{COLUMNS, JournalRow, ReadRow};
use super::state::Shared;
use crate::ledger::{Account, Entry, Hold, LedgerError, Resolution, Reversal};
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::time::Time;
use crate::store::{CallEnd, CallState, Credited, Deed, Durable, FoundCall, StoreError};

/// The call as the journal has it. Newest rows first, because most refunds are of late calls.
pub(super) fn find_call(
    connection: &Connection,
    call: CallId,
) -> rusqlite::Result<Option<FoundCall>> {
    let seen = connection.query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))?;
    let seen: i64 = Option::unwrap_or(seen, 0);
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE call = ?1 ORDER BY seq DESC");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([call.bytes().as_slice()])?;
    let (mut found, mut newest) = (Found::new(call), None);
    while let Some(row) = rows.next()? {
        let detail = row.get_ref(6)?.as_str()?.to_owned();
        // A row that cannot be read is for `ledger verify` to tell of.
        let Ok(row) = ReadRow::read(row)? else { continue };
        let Some(whole) = found.row(&row.payer, &detail, row.entries, seen) else { continue };
        if whole.charged > 0 {
            return Ok(Some(whole));
        }
        // Behind the end that was charged may stand another one, for nothing.
        newest.get_or_insert(whole);
    }
    Ok(newest)
}

/// A call that is put together from its rows, the newest first.
struct Found {
    call: CallId,
    end: Option<Resolution>,
    is_refunded: bool,
    tools: Vec<CallEnd>,
}

impl Found {
    const fn new(call: CallId) -> Self {
        Self { call, end: None, is_refunded: false, tools: Vec::new() }
    }

    /// Takes the next row; the call, if that was its hold.
    fn row(
        &mut self,
        payer: &AccountId,
        detail: &str,
        entries: Vec<Entry>,
        seen: i64,
    ) -> Option<FoundCall> {
        if self.tools.is_empty() {
            self.tools = calls_of(detail);
        }
        let mut hold = None;
        for entry in entries {
            match entry {
                Entry::Reversal(_) => self.is_refunded = true,
                Entry::Resolution(found) => self.end = Some(found),
                Entry::Hold(found) => hold = Some(found),
                Entry::Credit { .. } | Entry::Opening(_) => {}
            }
        }
        let (hold, key) = hold.zip(KeyId::parse(payer.as_str()))?;
        let reversal = self.end.take().map(|end| Reversal::of(&hold, &end, Time::ZERO));
        let charged = reversal.as_ref().map_or(0, Reversal::credits);
        let state = match &reversal {
            None => CallState::Open,
            Some(_) if self.is_refunded => CallState::Refunded,
            Some(_) if charged > 0 => CallState::Charged,
            Some(_) => CallState::Free,
        };
        let (call, tools) = (self.call, std::mem::take(&mut self.tools));
        Some(FoundCall { call, key, charged, state, tools, reversal, seen })
    }
}

fn calls_of(detail: &str) -> Vec<CallEnd> {
    #[derive(serde::Deserialize)]
    struct Calls {
        #[serde(default)]
        calls: Vec<(String, i64, i64, String)>,
    }
    let calls = serde_json::from_str(detail).map_or(Vec::new(), |Calls { calls }| calls);
    let back = |(tool, price, charged, _): (String, i64, i64, String)| CallEnd {
        tool: tool.as_str().into(),
        price,
        charged: charged.saturating_neg(),
        outcome: "refund",
    };
    calls.into_iter().map(back).collect()
}

/// Has the call been refunded by a row that was written after `seen`?
pub(super) fn refunded_since(
    connection: &Connection,
    call: CallId,
    seen: i64,
) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM journal WHERE seq > ?1 AND call = ?2 AND kind = 'refund'";
    connection
        .prepare_cached(sql)?
        .query_row((seen, call.bytes().as_slice()), |row| Ok(row.get::<_, i64>(0)? > 0))
}

impl Shared {
    /// Waits for nothing but says when all that was done so far is on disk.
    pub(super) fn flush(&self) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    /// Books a refund. The caller has made sure that it is the first one.
    pub(super) fn refund(
        &self,
        found: FoundCall,
        deed: Deed,
        now: Time,
    ) -> Result<(Credited, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if let Some(before) = state.repeated_balance(deed.once.as_ref(), now)? {
            let durable = state.queue.durable();
            self.nudge(state);
            return Ok((Credited::Repeated(before), durable));
        }
        let FoundCall { key, reversal, tools, .. } = found;
        let reversal = reversal.ok_or(StoreError::NotOpen)?;
        let reversal = match state.book.reverse(now, reversal) {
            Ok(reversal) => reversal,
            Err(LedgerError::NotLoaded) => return Err(StoreError::NotFound),
            Err(LedgerError::OutOfRange) => return Err(StoreError::OutOfRange),
            Err(error @ (LedgerError::HoldMismatch | LedgerError::KeepsTooMuch)) => {
                return Err(state.broken(error));
            }
        };
        state.touch(reversal.postings.iter().map(|posting| &posting.account));
        state.moved.refunded(reversal.credits());
        state.sum_postings(&reversal.postings);
        let payer = key.account();
        let available = state.book.account(&payer).map_or(0, Account::available);
        let reason = deed.reason.as_deref();
        state.queue.journal(|text| JournalRow::refund(text, &reversal, payer, &tools, reason));
        state.remember(deed.once, available, now);
        state.audit(deed.audit.map(|event| event.with("newBalance", available)));
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((Credited::Made(available), durable))
    }
}

/// Checks refunds while the journal is replayed: each gives back exactly what its call kept, once.
#[derive(Default)]
pub(super) struct RefundAudit {
    /// Every call that some row refunds, with what it kept once that is known.
    kept: HashMap<CallId, Option<Reversal>>,
}

impl RefundAudit {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT call FROM journal WHERE kind = 'refund' AND call IS NOT NULL";
        let mut statement = connection.prepare(sql)?;
        let calls = statement.query_map([], |row| {
            let bytes = row.get_ref(0)?.as_blob()?.try_into().ok();
            Ok(bytes.map(|bytes| (CallId::from_random(bytes), None)))
        })?;
        let kept = calls.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
        Ok(Self { kept })
    }

    /// A call ends.
    pub(super) fn ended(&mut self, hold: &Hold, end: &Resolution) {
        if let Some(kept) = self.kept.get_mut(&end.call) {
            *kept = Some(Reversal::of(hold, end, end.at));
        }
    }

    /// A refund: what is wrong with it, if anything.
    pub(super) fn refunded(&mut self, refund: &Reversal) -> Option<String> {
        let Some(kept) = self.kept.get_mut(&refund.call).and_then(Option::take) else {
            return Some(format!("{} was refunded before, or never ended", refund.call));
        };
        let same = kept.postings == refund.postings && kept.held_at == refund.held_at;
        (!same).then(|| format!("the refund of {} is not what the call kept", refund.call))
    }
}

/// The accounts that a refund touches.
pub(super) fn accounts_of(refund: &Reversal) -> Vec<&AccountId> {
    refund.postings.iter().map(|posting| &posting.account).collect()
}
