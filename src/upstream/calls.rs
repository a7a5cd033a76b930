//! The calls in flight on one link: who waits for which id.
//!
//! A plain table behind one lock that is held for some tens of nanoseconds and never over an
//! await. An id names a place in the table and how often that place was used, so a lookup needs
//! no hashing, an id never returns while anybody could remember it, and a late answer to a call
//! that was given up finds nobody. Ids stay within 2^53, because servers in JavaScript read them
//! as doubles.
//!
//! The table is open while the link is ready. What carries the lines (`C`: the queue to the
//! server of this moment) is handed out with the id under the same lock, so a call can never be
//! entered for one life of a server and sent to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Failure;
use crate::model::bounds;
use crate::protocol::from_server::Answer;

/// How a call ended.
pub type Outcome = Result<Answer, Failure>;

/// One entered call: its id and the place where its outcome will arrive.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

#[derive(Debug)]
pub(super) struct Calls<C> {
    table: Mutex<Table<C>>,
    /// Customers' calls at a time.
    customers_max: usize,
    /// Ids are `uses * stride + index`.
    stride: u64,
}

#[derive(Debug)]
struct Table<C> {
    carrier: Option<C>,
    entries: Vec<Entry>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    uses: u64,
    waiter: Option<oneshot::Sender<Outcome>>,
    /// When the server last told of progress.
    progressed_at: Option<Instant>,
}

impl<C: Clone> Calls<C> {
    pub(super) fn new(calls_max: usize) -> Self {
        let customers_max = calls_max.min(bounds::CHILD_CALLS_CEILING);
        let places = (customers_max + bounds::CHILD_OWN_CALLS_MAX).next_power_of_two();
        Self {
            table: Mutex::new(Table { carrier: None, entries: Vec::new(), free: Vec::new() }),
            customers_max,
            stride: u64::try_from(places).unwrap_or(u64::MAX),
        }
    }

    pub(super) const fn customers_max(&self) -> usize {
        self.customers_max
    }

    /// Enters a customer's call, if the link is ready and has room.
    pub(super) fn enter(&self) -> Result<(Ticket, C), Failure> {
        let mut table = self.lock();
        let carrier = table.carrier.clone().ok_or(Failure::Unavailable)?;
        let ticket = self.place(&mut table, self.customers_max)?;
        Ok((ticket, carrier))
    }

    /// Enters a request of Paygate itself: also while the link is not ready yet, and with room
    /// of its own.
    pub(super) fn enter_own(&self) -> Result<Ticket, Failure> {
        self.place(&mut self.lock(), self.customers_max.saturating_add(bounds::CHILD_OWN_CALLS_MAX))
    }

    fn place(&self, table: &mut Table<C>, places_max: usize) -> Result<Ticket, Failure> {
        if table.entries.len() - table.free.len() >= places_max {
            return Err(Failure::Busy);
        }
        let index = table.free.pop().unwrap_or_else(|| {
            table.entries.push(Entry { uses: 0, waiter: None, progressed_at: None });
            table.entries.len() - 1
        });
        let entry = table.entries.get_mut(index).ok_or(Failure::Busy)?;
        // A place starts again from 1 after 2^53 / stride uses; nobody remembers its first by then.
        entry.uses = entry.uses % (bounds::COUNTER_MAX.unsigned_abs() / self.stride - 1) + 1;
        let (sender, outcome) = oneshot::channel();
        entry.waiter = Some(sender);
        entry.progressed_at = None;
        let id = entry.uses * self.stride + u64::try_from(index).unwrap_or_default();
        Ok(Ticket { id, outcome })
    }

    /// Does anybody wait under this id?
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        let table = self.lock();
        let entry = self.index(id).and_then(|index| table.entries.get(index));
        entry.is_some_and(|entry| entry.uses == id / self.stride && entry.waiter.is_some())
    }

    /// Gives a call its outcome and frees its place. False if nobody waits under this id.
    pub(super) fn resolve(&self, id: u64, outcome: Outcome) -> bool {
        self.take(id).is_some_and(|waiter| waiter.send(outcome).is_ok())
    }

    /// Frees the place of a call whose caller is gone. False if it had its outcome already.
    pub(super) fn give_up(&self, id: u64) -> bool {
        self.take(id).is_some()
    }

    /// Notes a word of progress. False if nobody waits under this id.
    pub(super) fn progressed(&self, id: u64, now: Instant) -> bool {
        let mut table = self.lock();
        let entry = self.index(id).and_then(|index| table.entries.get_mut(index));
        let Some(entry) = entry.filter(|entry| entry.uses == id / self.stride) else {
            return false;
        };
        if entry.waiter.is_some() {
            entry.progressed_at = Some(now);
        }
        entry.waiter.is_some()
    }

    /// Takes all calls in flight as alive now.
    pub(super) fn all_progressed(&self, now: Instant) {
        self.lock().entries.iter_mut().for_each(|entry| entry.progressed_at = Some(now));
    }

    /// When the server last told of progress of a call in flight.
    pub(super) fn progressed_at(&self, id: u64) -> Option<Instant> {
        let table = self.lock();
        let entry = self.index(id).and_then(|index| table.entries.get(index));
        entry.filter(|entry| entry.uses == id / self.stride).and_then(|entry| entry.progressed_at)
    }

    fn index(&self, id: u64) -> Option<usize> {
        usize::try_from(id % self.stride).ok()
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Outcome>> {
        let index = self.index(id)?;
        let mut table = self.lock();
        let entry = table.entries.get_mut(index).filter(|entry| entry.uses == id / self.stride)?;
        let waiter = entry.waiter.take()?;
        table.free.push(index);
        Some(waiter)
    }

    /// What carries lines at this moment, if the link is ready.
    pub(super) fn carrier(&self) -> Option<C> {
        self.lock().carrier.clone()
    }

    pub(super) fn open(&self, carrier: C) {
        self.lock().carrier = Some(carrier);
    }

    /// Takes no more calls. Those in flight go on.
    pub(super) fn close(&self) {
        self.lock().carrier = None;
    }

    /// Ends all calls in flight, customers' and our own. Returns how many there were.
    pub(super) fn fail_all(&self, failure: Failure) -> usize {
        let mut waiters = Vec::new();
        {
            let mut table = self.lock();
            let Table { entries, free, .. } = &mut *table;
            for (index, entry) in entries.iter_mut().enumerate() {
                if let Some(waiter) = entry.waiter.take() {
                    free.push(index);
                    waiters.push(waiter);
                }
            }
        }
        let count = waiters.len();
        for waiter in waiters {
            // A caller that has just left needs no outcome.
            waiter.send(Err(failure)).ok();
        }
        count
    }

    /// Calls in flight, our own included.
    pub(super) fn in_flight(&self) -> usize {
        let table = self.lock();
        table.entries.len() - table.free.len()
    }

    /// A panic elsewhere cannot leave the table half changed: nothing under the lock panics.
    fn lock(&self) -> MutexGuard<'_, Table<C>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(calls_max: usize) -> Calls<&'static str> {
        let calls = Calls::new(calls_max);
        calls.open("child");
        calls
    }

    #[test]
    fn places_are_reused_but_ids_are_not() {
        let calls = open(2);
        let (first, carrier) = calls.enter().unwrap();
        assert_eq!(carrier, "child");
        assert!(calls.is_waiting(first.id));
        assert!(calls.resolve(first.id, Err(Failure::Malformed)));
        assert!(!calls.is_waiting(first.id));
        assert!(!calls.resolve(first.id, Err(Failure::Malformed)));
        let (second, _) = calls.enter().unwrap();
        assert_ne!(first.id, second.id);
        assert!(!calls.give_up(first.id));
        assert!(calls.give_up(second.id));
        assert_eq!(calls.in_flight(), 0);
    }

    #[test]
    fn progress_is_noted_for_calls_in_flight_alone() {
        let calls = open(2);
        let (first, _) = calls.enter().unwrap();
        let now = Instant::now();
        assert_eq!(calls.progressed_at(first.id), None);
        assert!(calls.progressed(first.id, now));
        assert_eq!(calls.progressed_at(first.id), Some(now));
        assert!(calls.give_up(first.id));
        let (second, _) = calls.enter().unwrap();
        assert!(!calls.progressed(first.id, now));
        assert_eq!((calls.progressed_at(first.id), calls.progressed_at(second.id)), (None, None));
    }

    #[test]
    fn calls_are_bounded_and_our_own_have_room_beside_them() {
        let calls = open(1);
        let held = calls.enter().unwrap();
        assert_eq!(calls.enter().unwrap_err(), Failure::Busy);
        let own: Vec<_> =
            (0..bounds::CHILD_OWN_CALLS_MAX).map(|_| calls.enter_own().unwrap()).collect();
        assert_eq!(calls.enter_own().unwrap_err(), Failure::Busy);
        assert!(own.iter().all(|ticket| ticket.id != held.0.id));
    }

    #[test]
    fn a_closed_table_takes_nothing_and_ends_what_it_has() {
        let calls = open(4);
        let (mut ticket, _) = calls.enter().unwrap();
        calls.close();
        assert_eq!(calls.enter().unwrap_err(), Failure::Unavailable);
        assert_eq!(calls.fail_all(Failure::Exited), 1);
        assert_eq!(ticket.outcome.try_recv().unwrap().unwrap_err(), Failure::Exited);
        assert_eq!(calls.in_flight(), 0);
    }

    #[test]
    fn ids_that_nobody_gave_out_are_nobodys() {
        let calls = open(4);
        let (ticket, _) = calls.enter().unwrap();
        for id in [0, 1, ticket.id + 1, u64::MAX] {
            assert!(!calls.resolve(id, Err(Failure::Malformed)), "{id}");
        }
        assert!(ticket.id <= bounds::COUNTER_MAX.unsigned_abs());
    }
}
