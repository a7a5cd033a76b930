//! From the file to memory: replays what the saved accounts do not hold yet, and releases the holds
//! of calls that were in flight when Paygate stopped.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::accounts::save;
use super::alerts::Alerting;
use super::kept::KeptUse;
use super::paid;
use super::parked::{self, FoundParked};
use super::records::{forget_once, from_json, read_namespaces, read_once};
use super::rows::{COLUMNS, End, ReadRow, inserting};
use super::schema::{meta, seal_key, set_meta};
use super::state::State;
use super::teams::{read_team_accounts, read_teams};
use super::tokens::read_tokens;
use crate::ledger::{Account, Book, Entry, LedgerError, ResolutionKind, ResolveError};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::secret::SealKey;
use crate::model::time::Time;
use crate::store::{CallEnd, Parking};

/// A hold that is open at the end of the journal.
struct OpenHold {
    payer: AccountId,
    /// Its row.
    seq: i64,
}

/// What a start begins with.
pub(super) struct Recovered {
    pub(super) state: State,
    /// The last journal row.
    pub(super) seq: i64,
    /// Journal rows of the holds that are still open.
    pub(super) open_holds: IdMap<CallId, i64>,
    pub(super) seal_key: SealKey,
}

/// The state to start with, or why the file cannot be believed.
pub(super) fn recover(
    connection: &mut Connection,
    now: Time,
) -> rusqlite::Result<Result<Recovered, String>> {
    let transaction = connection.transaction()?;
    let mut replay =
        Replay { connection: &transaction, book: Book::default(), saved: HashMap::new(), seq: 0 };
    let mut open = match replay.run()? {
        Ok(open) => open,
        Err(reason) => return Ok(Err(reason)),
    };
    let Replay { mut book, mut seq, saved, .. } = replay;
    // Also what the rows before `replay_after` have seen: ledger time never runs backwards.
    book.advance(Time::from_ms(meta(&transaction, "clock")?));
    let mut parked = parked::read(&transaction)?;
    let ended = end_open(&transaction, &mut book, &mut open, &mut parked, (now, &mut seq))?;
    let found = match ended {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    let replayed = saved.keys().filter_map(|id| Some((id, book.account(id)?)));
    for (id, account) in replayed {
        save(&transaction, id, account, seq)?;
    }
    let mut state = State::default();
    state.queue.continue_after(seq);
    for call in parked.keys() {
        parked::delete(&transaction, call)?;
    }
    paid::forget(&transaction, book.now())?;
    parked::note_open(&transaction, &found)?;
    set_meta(&transaction, "replay_after", seq)?;
    set_meta(&transaction, "clock", book.now().ms())?;
    forget_once(&transaction, book.now())?;

    // What is saved loads again on first use; only the time stays.
    state.book.advance(book.now());
    state.namespaces = read_namespaces(&transaction)?
        .into_iter()
        .map(|namespace| (namespace.name.clone(), Arc::new(namespace)))
        .collect();
    state.load_teams(read_teams(&transaction)?, read_team_accounts(&transaction)?);
    state.tokens = read_tokens(&transaction)?;
    state.alerts = Alerting::read(&transaction)?;
    state.once = read_once(&transaction)?.into_iter().map(|once| (once.id, once)).collect();
    let open_holds = found.iter().map(FoundParked::row).collect();
    for waiting in found {
        state.reopen_parked(waiting, &mut book);
    }
    let seal_key = seal_key(&transaction)?;
    state.kept = KeptUse::read(&transaction)?;
    transaction.commit()?;
    Ok(Ok(Recovered { state, seq, open_holds, seal_key }))
}

/// Releases the holds of calls that were in flight; what is left open waits for its customer.
fn end_open(
    connection: &Connection,
    book: &mut Book,
    open: &mut HashMap<CallId, OpenHold>,
    parked: &mut HashMap<CallId, Parking>,
    (now, seq): (Time, &mut i64),
) -> rusqlite::Result<Result<Vec<FoundParked>, String>> {
    let mut found = Vec::new();
    for (call, hold) in open.drain() {
        let calls = calls_of_hold(connection, hold.seq)?;
        let waits = parked.remove(&call).filter(|parking| book.now().max(now) < parking.until);
        if let Some((parking, mut open)) = waits.zip(book.holds().get(&call).cloned()) {
            open.deadline = parking.until;
            found.push(FoundParked { parking, hold: open, calls, seq: hold.seq });
            continue;
        }
        parked::delete(connection, &call)?;
        let resolution = match book.release(now, call, ResolutionKind::Recovered) {
            Ok((_, resolution)) => resolution,
            Err(ResolveError::NotOpen) => continue,
            Err(ResolveError::Broken(error)) => return Ok(Err(error.to_string())),
        };
        *seq += 1;
        let mut text = String::new();
        let end = End { resolution: &resolution, payer: &hold.payer, charged: 0, calls: &calls };
        let mut insert = inserting(connection)?;
        end.row(&mut text).insert(&mut insert, *seq, &text)?;
    }
    Ok(Ok(found))
}

struct Replay<'a> {
    connection: &'a Connection,
    book: Book,
    /// The journal row that each account's saved state is true up to.
    saved: HashMap<AccountId, i64>,
    seq: i64,
}

impl Replay<'_> {
    /// Replays; the holds that are open at the end, with who pays.
    fn run(&mut self) -> rusqlite::Result<Result<HashMap<CallId, OpenHold>, String>> {
        let after = meta(self.connection, "replay_after")?;
        let mut open = HashMap::new();
        let sql = format!(
            "SELECT {COLUMNS} FROM journal WHERE seq IN (SELECT seq FROM open_holds) AND seq <= ?1
             UNION ALL SELECT {COLUMNS} FROM journal WHERE seq > ?1 ORDER BY seq"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            let row = match ReadRow::read(row)? {
                Ok(row) => row,
                Err(reason) => return Ok(Err(reason)),
            };
            self.load_accounts(&row)?;
            for entry in &row.entries {
                match entry {
                    Entry::Hold(hold) => {
                        let payer = row.payer.clone();
                        drop(open.insert(hold.call, OpenHold { payer, seq: row.seq }));
                    }
                    Entry::Resolution(end) => drop(open.remove(&end.call)),
                    Entry::Credit { .. } | Entry::Reversal(_) | Entry::Opening(_) => {}
                }
                if let Err(error) = self.apply(entry, row.seq) {
                    return Ok(Err(format!("journal row {}: {error}", row.seq)));
                }
            }
            self.seq = self.seq.max(row.seq);
        }
        let last: Option<i64> =
            self.connection.query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))?;
        self.seq = self.seq.max(last.unwrap_or(0));
        Ok(Ok(open))
    }

    fn apply(&mut self, entry: &Entry, seq: i64) -> Result<(), LedgerError> {
        let saved = &self.saved;
        self.book.apply_where(entry, &|account| saved.get(account).is_none_or(|saved| seq > *saved))
    }

    fn load_accounts(&mut self, row: &ReadRow) -> rusqlite::Result<()> {
        let accounts = row.entries.iter().flat_map(|entry| match entry {
            Entry::Credit { account, .. } => vec![account.clone()],
            Entry::Hold(hold) => {
                hold.postings.iter().map(|posting| posting.account.clone()).collect()
            }
            Entry::Reversal(reversal) => {
                reversal.postings.iter().map(|posting| posting.account.clone()).collect()
            }
            Entry::Opening(opening) => vec![opening.account.clone()],
            Entry::Resolution(_) => Vec::new(),
        });
        for id in accounts {
            if self.book.account(&id).is_none() {
                let (seq, account) = saved_account(self.connection, &id)?.unwrap_or_default();
                self.saved.insert(id.clone(), seq);
                self.book.insert(id, account);
            }
        }
        Ok(())
    }
}

fn saved_account(
    connection: &Connection,
    id: &AccountId,
) -> rusqlite::Result<Option<(i64, Account)>> {
    connection
        .prepare_cached("SELECT seq, state FROM accounts WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, from_json(row.get_ref(1)?.as_str()?)?)))
        .optional()
}

/// The calls that a hold's row names, as ended by recovery.
fn calls_of_hold(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<CallEnd>> {
    let mut statement = connection.prepare_cached(
        "SELECT item.value ->> 0, item.value ->> 1
         FROM journal, json_each(journal.detail, '$.calls') AS item WHERE journal.seq = ?1",
    )?;
    let calls = statement.query_map([seq], |row| {
        Ok(CallEnd {
            tool: row.get_ref(0)?.as_str()?.into(),
            price: row.get(1)?,
            charged: 0,
            outcome: "recovered",
        })
    })?;
    calls.collect()
}
