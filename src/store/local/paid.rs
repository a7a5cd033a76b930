//! Tasks whose result is paid: noted by the commit that captures it, on disk only, and found there
//! by their call. So they take no room of the holds that wait, however many there are; the journal
//! has a row for each of them in any case. Whoever asks for a task finds its note for as long as it
//! can be asked for at all.
//!
//! Books in memory have a bound instead. What they forget, oldest first, counts as paid, and so does
//! all that could be asked for no longer than it: rather a result is free than paid twice.

use rusqlite::{Connection, params};

use super::queue::Write;
use super::state::{LocalStore, State};
use crate::model::bounds;
use crate::model::time::Time;
use crate::store::{PaidTask, StoreError};

/// Up to when forgotten tasks could be asked for: a row of `meta`.
const FORGOTTEN: &str = "paid_forgotten";

impl State {
    /// A task's result is paid. Should a hold of its call wait still, it has run out, and must not
    /// be gone on with any more.
    pub(super) fn paid(&mut self, task: PaidTask, now: Time) {
        self.unpark(task.call);
        self.queue.push(Write::Paid { task, now });
    }
}

impl LocalStore {
    /// What is found is on disk. Only what is not found may still be on its way there.
    pub(super) async fn look_for_paid(&self, task: PaidTask) -> Result<bool, StoreError> {
        if self.lookups.read(move |connection| is_paid(connection, task)).await? {
            return Ok(true);
        }
        self.shared.flush()?.wait().await?;
        self.lookups.read(move |connection| is_paid(connection, task)).await
    }
}

fn is_paid(connection: &Connection, task: PaidTask) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM paid_tasks WHERE call = ?1)
                 OR EXISTS (SELECT 1 FROM meta WHERE name = ?2 AND value >= ?3)",
        )?
        .query_row(params![task.call.bytes().as_slice(), FORGOTTEN, task.until.ms()], |row| {
            row.get(0)
        })
}

/// Notes one, and deletes a few that nobody can ask for any more.
pub(super) fn write(connection: &Connection, task: &PaidTask, now: Time) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO paid_tasks (call, until) VALUES (?1, ?2)")?
        .execute(params![task.call.bytes().as_slice(), task.until.ms()])?;
    connection
        .prepare_cached(
            "DELETE FROM paid_tasks WHERE seq IN
                 (SELECT seq FROM paid_tasks WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute(params![now.ms(), bounds::PAID_TASKS_DELETED_PER_NOTE])?;
    Ok(())
}

/// Deletes all that nobody can ask for any more.
pub(super) fn forget(connection: &Connection, now: Time) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM paid_tasks WHERE until <= ?1", [now.ms()])?;
    Ok(())
}

/// Keeps the newest only.
pub(super) fn keep_newest(connection: &Connection, most: i64) -> rusqlite::Result<()> {
    let gone = "FROM paid_tasks WHERE seq <= (SELECT max(seq) FROM paid_tasks) - ?1";
    connection
        .prepare_cached(&format!(
            "INSERT INTO meta (name, value) SELECT ?2, until {gone} ORDER BY until DESC LIMIT 1
             ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
        ))?
        .execute(params![most, FORGOTTEN])?;
    connection.prepare_cached(&format!("DELETE {gone}"))?.execute([most])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::LocalOptions;
    use super::*;
    use crate::model::ids::CallId;

    fn task(number: u8, until: i64) -> PaidTask {
        PaidTask { call: CallId::from_random([number; 16]), until: Time::from_ms(until) }
    }

    #[tokio::test]
    async fn a_task_that_is_forgotten_is_not_paid_again() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        let file = &store.lookups;
        let notes = |it: &Connection| {
            for number in 1..=5 {
                write(it, &task(number, 1_000 + i64::from(number)), Time::ZERO)?;
            }
            keep_newest(it, 3)
        };
        file.read(notes).await.unwrap();
        let paid = async |number, until| store.look_for_paid(task(number, until)).await.unwrap();
        for number in 1..=5 {
            assert!(paid(number, 1_000 + i64::from(number)).await, "{number}");
        }
        assert!(paid(9, 1_002).await, "it may be one that was forgotten");
        assert!(!paid(9, 1_003).await);
        // With time they go, first a few with each note and all at a start.
        file.read(|it| write(it, &task(6, 2_000), Time::from_ms(1_004))).await.unwrap();
        assert!(!paid(4, 1_004).await);
        assert!(paid(5, 1_005).await);
        file.read(|it| forget(it, Time::from_ms(1_005))).await.unwrap();
        assert!(!paid(5, 1_005).await);
        assert!(paid(6, 2_000).await);
        store.shared.lock().paid(task(7, 3_000), Time::ZERO);
        assert!(paid(7, 3_000).await, "also what is on its way to the disk");
    }
}
