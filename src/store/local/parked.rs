//! Parked holds: those that outlive their call's answer, because the customer is to bring more or to
//! ask again. Each has a row in `parked`, so that a restart keeps it and its deadline; going on with
//! it takes the row away, so that it is gone on with once.
//!
//! The row only says that a hold waits. What is reserved is in the journal, as for every hold.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::Durability;
use super::queue::Write;
use super::state::{Shared, State};
use crate::ledger::{Book, Hold};
use crate::model::bounds::{PARKED_MAX, PARKED_PER_KEY_MAX};
use crate::model::id_map::IdMap;
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::{CallEnd, Durable, Judged, Parking, Reading, Resumed, Show, StoreError};

/// All holds that wait, and how many each customer has.
#[derive(Debug, Default)]
pub(super) struct Lot {
    waiting: IdMap<CallId, Parking>,
    by_key: IdMap<KeyId, usize>,
}

impl Lot {
    fn has_room(&self, key: &KeyId) -> bool {
        let own = self.by_key.get(key).copied().unwrap_or(0);
        self.waiting.len() < PARKED_MAX && own < PARKED_PER_KEY_MAX
    }

    fn put(&mut self, parking: Parking) {
        let own = self.by_key.entry(parking.key.clone()).or_default();
        *own = own.saturating_add(1);
        self.waiting.insert(parking.call, parking);
    }

    fn take(&mut self, call: &CallId) -> Option<Parking> {
        let parking = self.waiting.remove(call)?;
        if let Some(own) = self.by_key.get_mut(&parking.key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_key.remove(&parking.key);
            }
        }
        Some(parking)
    }
}

impl Shared {
    pub(super) fn park(
        &self,
        parking: Parking,
        show: &Show,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if !state.parked.has_room(&parking.key) {
            return Err(StoreError::ParkedFull);
        }
        // `until` is ledger time, so the distance of the clock from that is in it already.
        let now = state.book.now().max(now);
        let Some(hold) = state.book.keep_until(now, parking.call, parking.until) else {
            return Err(StoreError::NotOpen);
        };
        state.queue.write_hold(&hold);
        state.queue.push(Write::Parked(parking.clone()));
        let account = parking.key.account();
        state.parked.put(parking);
        let reading = Reading::of(state.book.account(&account), show, now);
        if self.durability == Durability::None {
            return Ok((reading, Durable::NOW));
        }
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((reading, durable))
    }

    pub(super) fn resume(
        &self,
        key: &KeyId,
        call: CallId,
        (expected, judged): (&str, Option<&Judged>),
        now: Time,
        deadline: Time,
    ) -> Result<Resumed, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let waits = |parking: &Parking| parking.key == *key && parking.state == expected;
        if !state.parked.waiting.get(&call).is_some_and(waits) {
            return Err(StoreError::NotOpen);
        }
        if judged.is_some_and(|judged| !state.is_present(key, judged)) {
            return Err(StoreError::Conflict);
        }
        let Some(hold) = state.book.keep_until(now, call, deadline) else {
            return Err(StoreError::NotOpen);
        };
        state.unpark(call);
        let (tool, price) = state.queue.single_call(&call).ok_or(StoreError::NotOpen)?;
        Ok(Resumed { hold, tool, price })
    }
}

impl State {
    /// Are the records still those by which the owner of a hold was judged?
    fn is_present(&self, key: &KeyId, judged: &Judged) -> bool {
        let Some(key) = self.keys.get(key) else { return false };
        let namespace = self.namespaces.get(&key.namespace).map_or(0, |tenant| tenant.revision);
        key.revision == judged.key
            && namespace == judged.namespace
            && self.judged_by_present_team(key, judged.team.as_ref())
    }

    /// A hold waits no longer, if it did.
    pub(super) fn unpark(&mut self, call: CallId) {
        if self.parked.take(&call).is_some() {
            self.queue.push(Write::Unparked(call));
        }
    }

    /// Puts back a hold that waited when Paygate stopped. Its amounts are in the accounts already.
    pub(super) fn reopen_parked(&mut self, found: FoundParked, book: &mut Book) {
        let FoundParked { parking, hold, calls, .. } = found;
        for posting in &hold.postings {
            // What a hold reserves must be there when it ends.
            if let Some(account) = book.remove(&posting.account) {
                self.book.insert(posting.account.clone(), account);
            }
        }
        self.queue.reopened(parking.call, parking.key.account(), calls);
        self.moved.opened(hold.credits());
        self.book.reopen(hold);
        self.parked.put(parking);
    }
}

/// A hold that recovery leaves open.
pub(super) struct FoundParked {
    pub(super) parking: Parking,
    pub(super) hold: Hold,
    pub(super) calls: Vec<CallEnd>,
    /// Its journal row.
    pub(super) seq: i64,
}

impl FoundParked {
    /// The call and its journal row.
    pub(super) fn row(&self) -> (CallId, i64) {
        (self.hold.call, self.seq)
    }
}

/// Notes the rows of the holds that a start leaves open.
pub(super) fn note_open(connection: &Connection, found: &[FoundParked]) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM open_holds", [])?;
    for waiting in found {
        connection.execute("INSERT INTO open_holds (seq) VALUES (?1)", [waiting.seq])?;
    }
    Ok(())
}

pub(super) fn write(connection: &Connection, parking: &Parking) -> rusqlite::Result<()> {
    let Parking { call, key, state, until } = parking;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO parked (call, key, state, until) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![call.bytes().as_slice(), key.as_str(), state, until.ms()])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, call: &CallId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM parked WHERE call = ?1")?
        .execute([call.bytes().as_slice()])?;
    Ok(())
}

/// All rows, by call.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<HashMap<CallId, Parking>> {
    let mut statement = connection.prepare("SELECT call, key, state, until FROM parked")?;
    let rows = statement.query_map([], |row| {
        let strange = || rusqlite::Error::InvalidColumnName("parked".into());
        let call = row.get_ref(0)?.as_blob()?.try_into().map_err(|_| strange())?;
        let call = CallId::from_random(call);
        let key = KeyId::parse(row.get_ref(1)?.as_str()?).ok_or_else(strange)?;
        let parking = Parking { call, key, state: row.get(2)?, until: Time::from_ms(row.get(3)?) };
        Ok((call, parking))
    })?;
    rows.collect()
}
