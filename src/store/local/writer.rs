//! The one thread that writes. It takes everything that waits, commits it as one transaction, and
//! tells those who wait. While it waits for the disk the next batch grows, so the group is as large
//! as the disk is slow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

use super::accounts::SavePass;
use super::audit::{forget_audit, write_audit};
use super::compare::Summed;
use super::file::OwnFile;
use super::kept::{self, Deleted};
use super::queue::{Batch, Write};
use super::records::{delete_key, write_key, write_once};
use super::roll_up::{forget_usage, write_labels, write_refused, write_roll_up};
use super::rows::{Effect, inserting};
use super::slow::Committing;
use super::state::{Shared, State, distrusted};
use super::tally::Tally;
use super::teams::write_team;
use super::tokens::{delete_token, write_namespace, write_token};
use super::{outbox, paid, parked};
use crate::model::bounds::{EPHEMERAL_JOURNAL_ROWS_MAX, EPHEMERAL_PAID_TASKS_MAX, HOLD_ROW_DELAY};
use crate::model::id_map::IdMap;
use crate::model::ids::CallId;
use crate::model::time::Time;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<Mutex<Connection>>,
    /// The last journal row that was written.
    pub(super) seq: i64,
    /// Journal rows of holds that are open and have a row of their own.
    pub(super) open_holds: IdMap<CallId, i64>,
    pub(super) saves: SavePass,
    /// What the rows add to the sums of usage.
    pub(super) tally: Tally,
    /// Kept answers that had expired by then are deleted with the commit at hand.
    pub(super) sweep: Option<Time>,
    /// The file; none for an ephemeral store.
    pub(super) own: Option<OwnFile>,
}

/// What one commit writes.
struct Taken {
    writes: Vec<Write>,
    /// What the journal rows are cut from.
    text: String,
    /// Is it the last one?
    stop: bool,
}

impl Writer {
    /// Runs until the store is stopped or a commit fails.
    pub(super) fn run(mut self) {
        let _guard = ClosesOnPanic(Arc::clone(&self.shared));
        while let Some(Taken { writes, text, stop }) = self.next_writes() {
            if self.own.as_ref().is_some_and(|own| !own.is_in_its_place()) {
                let why = "the database file was deleted or replaced while Paygate runs";
                close(&self.shared, why.to_owned());
                return;
            }
            let deleted = match self.commit(&writes, &text) {
                Ok(deleted) => deleted,
                Err(error) => {
                    self.close(&error);
                    return;
                }
            };
            let committed = self.committed(&writes, &deleted);
            for waiter in committed.map(|committed| committed.waiters).unwrap_or_default() {
                if waiter.send(()).is_err() {
                    tracing::trace!(
                        target: "store", "nobody waits for this commit any more; it is written all the same"
                    );
                }
            }
            if stop {
                self.checkpoint();
                return;
            }
        }
    }

    /// Notes in memory what has reached the file. None if the books were closed meanwhile, because
    /// it took too long.
    fn committed(&mut self, writes: &[Write], deleted: &Deleted) -> Option<Committing> {
        let kept_bytes = writes.iter().fold(0_u64, |sum, write| {
            if let Write::Kept(row) = write { sum.saturating_add(row.size()) } else { sum }
        });
        let mut state = self.shared.lock();
        state.kept.written(kept_bytes);
        if let Some(now) = self.sweep.take() {
            state.kept.deleted(deleted, now);
        }
        state.committing.take()
    }

    /// Moves what lies in the log beside the file into the file, so that a copy of the file alone
    /// is a whole copy. Closing the writer's connection would do it, but not while readers are open.
    fn checkpoint(&self) {
        if self.own.is_none() {
            return;
        }
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::warn!(target: "store", %error, "the log stays beside the database; keep both files together");
        }
    }

    /// Sleeps until there is something to write, and takes it. Nothing any more once the books are
    /// closed: what memory says then must not reach the file.
    fn next_writes(&mut self) -> Option<Taken> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut due = false;
        while state.closed.is_none() {
            let saving = self.saves.prepare(&mut state, &self.open_holds);
            let more = state.kept.sweep.is_some() || self.tally.is_writing();
            if due || state.stopping || state.queue.is_urgent() || saving || more {
                let taken = self.take(&mut state);
                drop(state);
                shared.room.notify_waiters();
                return Some(taken);
            }
            state.writer_sleeps = true;
            let nap = shared.wake.wait_timeout(state, HOLD_ROW_DELAY);
            let (mut woken, slept) = nap.unwrap_or_else(|poisoned| {
                let (state, slept) = poisoned.into_inner();
                (distrusted(state), slept)
            });
            woken.writer_sleeps = false;
            due = slept.timed_out() && !woken.queue.is_empty();
            state = woken;
        }
        drop(state.queue.take_waiters());
        None
    }

    fn take(&mut self, state: &mut State) -> Taken {
        let stop = state.stopping;
        self.sweep = state.kept.sweep.take();
        let saving = self.saves.is_running() || stop;
        let Batch { writes, text, waiters } = state.queue.take(&state.book, saving);
        state.committing = Some(Committing { began: Instant::now(), waiters });
        if stop {
            self.saves.take_all(state, &self.open_holds);
        } else {
            self.saves.take_some(state);
        }
        Taken { writes, text, stop }
    }

    fn commit(&mut self, writes: &[Write], text: &str) -> rusqlite::Result<Deleted> {
        let is_idle = !self.saves.has_work() && !self.tally.is_writing() && self.sweep.is_none();
        if writes.is_empty() && is_idle {
            return Ok(Deleted::default());
        }
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let mut seq = self.seq;
        let mut insert = inserting(&transaction)?;
        for write in writes {
            match write {
                Write::Journal(row) => {
                    seq += 1;
                    row.insert(&mut insert, seq, text)?;
                    note_effect(&mut self.open_holds, row.effect(), seq);
                }
                Write::Key(key) => write_key(&transaction, key)?,
                Write::DeletedKey { key, at } => delete_key(&transaction, key, *at)?,
                Write::Once(once) => write_once(&transaction, once)?,
                Write::Parked(parking) => parked::write(&transaction, parking)?,
                Write::Unparked(call) => parked::delete(&transaction, call)?,
                Write::Paid { task, now } => paid::write(&transaction, task, *now)?,
                Write::Kept(kept) => kept.insert(&transaction, seq)?,
                Write::Audit(event) => write_audit(&transaction, event)?,
                Write::ForgetAudit { before } => forget_audit(&transaction, *before)?,
                Write::Labels { call, at, labels } => {
                    write_labels(&transaction, call, *at, labels)?;
                }
                Write::RollUp(more) => write_roll_up(&transaction, more)?,
                Write::FlushUsage => self.tally.flush(&transaction, seq)?,
                Write::Refused(refused) => write_refused(&transaction, refused, seq)?,
                Write::ForgetUsage { before } => forget_usage(&transaction, *before)?,
                Write::Token(token) => write_token(&transaction, token)?,
                Write::DeletedToken(id) => delete_token(&transaction, id)?,
                Write::Namespace(tenant) => write_namespace(&transaction, tenant)?,
                Write::Team(team) => write_team(&transaction, team)?,
                Write::Alert(alert) => alert.write(&transaction)?,
                Write::Summed(summed) => summed.write(&transaction)?,
                Write::Outbox(write) => write.perform(&transaction, seq)?,
            }
            self.tally.note(&transaction, write, seq)?;
        }
        drop(insert);
        self.tally.write(&transaction, seq)?;
        self.saves.write(&transaction, seq)?;
        let deleted = clear_up(&transaction, self.sweep, self.own.is_none().then_some(seq))?;
        transaction.commit()?;
        self.seq = seq;
        self.saves.committed(seq);
        Ok(deleted)
    }

    /// Closes the store: memory is ahead of a file that nobody can vouch for.
    fn close(&self, error: &rusqlite::Error) {
        close(&self.shared, format!("the database could not be written ({error})"));
    }
}

/// Follows which holds have a row and are open.
fn note_effect(open_holds: &mut IdMap<CallId, i64>, effect: Effect, seq: i64) {
    match effect {
        Effect::Opens(call) => drop(open_holds.insert(call, seq)),
        Effect::Ends(call) => drop(open_holds.remove(&call)),
        Effect::Neither => {}
    }
}

fn close(shared: &Shared, why: String) {
    shared.lock().close(why);
}

/// Deletes kept answers whose time has passed and, in an ephemeral store with so many rows, the oldest.
fn clear_up(
    connection: &Connection,
    sweep: Option<Time>,
    ephemeral: Option<i64>,
) -> rusqlite::Result<Deleted> {
    if let Some(seq) = ephemeral {
        trim(connection, seq - EPHEMERAL_JOURNAL_ROWS_MAX)?;
        paid::keep_newest(connection, EPHEMERAL_PAID_TASKS_MAX)?;
    }
    sweep.map_or_else(|| Ok(Deleted::default()), |now| kept::delete_expired(connection, now))
}

/// An ephemeral store forgets its oldest rows, so that it does not grow for ever.
fn trim(connection: &Connection, gone: i64) -> rusqlite::Result<()> {
    if gone > 0 {
        outbox::count_trimmed(connection, gone)?;
        // Accounts are compared with all of the journal, so these still count. A gap shows where it is read.
        if let Some(summed) = Summed::read(connection)?.with_rows_up_to(connection, gone)? {
            summed.write(connection)?;
        }
        connection.prepare_cached("DELETE FROM journal WHERE seq <= ?1")?.execute([gone])?;
        let labels = "DELETE FROM call_labels WHERE at < (SELECT at FROM journal LIMIT 1)";
        connection.prepare_cached(labels)?.execute([])?;
    }
    Ok(())
}

/// Nobody must wait for a writer that is not there any more.
struct ClosesOnPanic(Arc<Shared>);

impl Drop for ClosesOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            close(&self.0, "the writer failed".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LocalOptions, LocalStore};
    use crate::model::time::Time;
    use crate::store::{Store, StoreError};

    #[tokio::test]
    async fn nobody_waits_for_books_that_a_panic_has_left() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        let shared = std::sync::Arc::clone(&store.shared);
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let panicked = std::thread::spawn(move || {
            let mut state = shared.lock();
            sender.send(state.queue.durable()).unwrap();
            panic!("in the middle of a change");
        });
        assert!(panicked.join().is_err());
        let waiting = receiver.recv().unwrap().wait().await;
        assert!(matches!(waiting, Err(StoreError::Closed(_))), "{waiting:?}");
        assert!(matches!(store.health(), Err(StoreError::Closed(_))));
        assert!(matches!(store.close().await, Err(StoreError::Closed(_))));
    }
}
