//! Saving accounts, so that a restart need not replay the whole journal.
//!
//! A pass saves, a few with each commit, every account that had changed when the pass began. Each
//! saved row carries the journal row that it is true up to: commits that save accounts write every
//! open hold too, so the rows say all that memory says. When the pass ends, what lies before its
//! beginning need never be replayed again, except for the holds that were open at its beginning:
//! `open_holds` lists them. (Not those open at its end: a hold that ended during the pass ends in a
//! row that is replayed.)

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::records::{forget_once, to_json};
use super::schema::set_meta;
use super::state::State;
use crate::ledger::Account;
use crate::model::bounds::{ACCOUNTS_SAVE_EVERY, ACCOUNTS_SAVED_PER_COMMIT, REPLAY_ROWS_MAX};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// How often accounts are saved, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub struct SavePace {
    /// A pass begins after so many journal rows …
    pub rows: i64,
    /// … or after so long, whichever comes first.
    pub every: Duration,
    /// Accounts saved with one commit.
    pub accounts_per_commit: usize,
}

impl Default for SavePace {
    fn default() -> Self {
        Self {
            rows: REPLAY_ROWS_MAX,
            every: ACCOUNTS_SAVE_EVERY,
            accounts_per_commit: ACCOUNTS_SAVED_PER_COMMIT,
        }
    }
}

#[derive(Debug)]
pub(super) struct SavePass {
    pace: SavePace,
    /// Accounts still to save, the next ones last.
    left: Vec<AccountId>,
    /// Copies to write with the commit at hand.
    copies: Vec<(AccountId, Account)>,
    /// All are copied: the commit at hand ends the pass.
    finishing: bool,
    running: bool,
    sorted: bool,
    /// The last journal row when the pass began: everything before it will be saved by its end.
    began_after: i64,
    /// Journal rows of the holds that were open then.
    open_before: Vec<i64>,
    /// Ledger time when the last account was copied.
    clock: Time,
    last_row: i64,
    last_pass: Instant,
}

impl SavePass {
    pub(super) fn new(last_row: i64, pace: SavePace) -> Self {
        Self {
            pace,
            left: Vec::new(),
            copies: Vec::new(),
            finishing: false,
            running: false,
            sorted: false,
            began_after: last_row,
            open_before: Vec::new(),
            clock: Time::ZERO,
            last_row,
            last_pass: Instant::now(),
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn has_work(&self) -> bool {
        !self.copies.is_empty() || self.finishing
    }

    /// Begins a pass if one is due; whether one is running. `open_holds` are the journal rows of
    /// open holds, as of the last commit.
    pub(super) fn prepare(&mut self, state: &mut State, open_holds: &IdMap<CallId, i64>) -> bool {
        let many_rows = self.last_row - self.began_after >= self.pace.rows;
        let due = many_rows || self.last_pass.elapsed() >= self.pace.every;
        if !self.running && due {
            if state.dirty.is_empty() {
                self.last_pass = Instant::now();
            } else {
                self.begin(state, open_holds);
            }
        }
        self.running
    }

    fn begin(&mut self, state: &mut State, open_holds: &IdMap<CallId, i64>) {
        self.running = true;
        self.sorted = false;
        self.began_after = self.last_row;
        self.open_before = open_holds.values().copied().collect();
        self.left = state.dirty.drain().collect();
    }

    /// Copies the next few accounts.
    pub(super) fn take_some(&mut self, state: &State) {
        if self.running {
            self.copy(state, self.pace.accounts_per_commit);
        }
    }

    /// Copies everything, for the last commit of a clean stop.
    pub(super) fn take_all(&mut self, state: &mut State, open_holds: &IdMap<CallId, i64>) {
        let left = std::mem::take(&mut self.left);
        state.dirty.extend(left);
        self.begin(state, open_holds);
        self.copy(state, usize::MAX);
    }

    fn copy(&mut self, state: &State, most: usize) {
        let from = self.left.len().saturating_sub(most);
        for id in self.left.drain(from..) {
            if let Some(account) = state.book.account(&id) {
                let account = account.clone();
                self.copies.push((id, account));
            }
        }
        self.finishing = self.left.is_empty();
        self.clock = state.book.now();
    }

    /// Writes the copies, true up to `seq`.
    pub(super) fn write(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        for (id, account) in &self.copies {
            save(connection, id, account, seq)?;
        }
        if self.finishing {
            connection.execute("DELETE FROM open_holds", [])?;
            let mut insert =
                connection.prepare_cached("INSERT INTO open_holds (seq) VALUES (?1)")?;
            for row in &self.open_before {
                insert.execute([row])?;
            }
            set_meta(connection, "replay_after", self.began_after)?;
            set_meta(connection, "clock", self.clock.ms())?;
            forget_once(connection, self.clock)?;
        }
        Ok(())
    }

    /// The commit that held the copies is durable.
    pub(super) fn committed(&mut self, seq: i64) {
        self.last_row = seq;
        self.copies.clear();
        if self.running && !std::mem::replace(&mut self.sorted, true) {
            // Accounts that are neighbours in the file share its pages: a commit writes fewer of
            // them. Done here, because nobody waits for a lock of ours here.
            self.left.sort_unstable();
        }
        if std::mem::take(&mut self.finishing) {
            self.running = false;
            self.last_pass = Instant::now();
        }
    }
}

pub(super) fn save(
    connection: &Connection,
    id: &AccountId,
    account: &Account,
    seq: i64,
) -> rusqlite::Result<()> {
    let state = to_json(account)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO accounts (id, seq, state) VALUES (?1, ?2, ?3)")?
        .execute((id.as_str(), seq, state))?;
    Ok(())
}
