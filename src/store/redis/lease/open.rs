//! A lease in the hand: the ledger's own book, in which the accounts have what was leased and nothing else.
//! No I/O; whoever asks brings the time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::RedisClock;
use super::super::calls::call_text;
use super::terms::{Revisions, Terms, accounts_text};
use crate::gate::Charge;
use crate::ledger::{
    Account, Book, Bound, Counter, CounterName, Demand, Hold, HoldError, ResolutionKind, names,
};
use crate::model::bounds::REDIS_LEASE_MARGIN;
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::time::Time;
use crate::store::detail::{accounts_list, calls_list, postings_list};
use crate::store::{CallEnd, Reading, Settlement, Show, clock};

/// When a lease was granted, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    /// Redis's time.
    pub(super) at: Time,
    /// Redis's time at its end.
    pub(super) until: Time,
    /// When it was asked for, which was not later, by both clocks of this machine.
    pub(super) sent: Instant,
    pub(super) sent_wall: Time,
}

impl Granted {
    /// Redis's time now, or a little later. A clock that stood still while the machine did is not believed.
    fn now(&self, whose: RedisClock, passed: Time) -> Time {
        match whose {
            RedisClock::Passed => self.at.max(passed),
            RedisClock::Server => {
                let wall = u64::try_from(clock::now().since_ms(self.sent_wall)).unwrap_or(0);
                self.at.plus(self.sent.elapsed().max(Duration::from_millis(wall)))
            }
        }
    }

    fn is_over(&self, now: Time) -> bool {
        let margin = self.until.since_ms(self.at).checked_div(REDIS_LEASE_MARGIN).unwrap_or(0);
        now.ms().saturating_add(margin) >= self.until.ms()
    }
}

/// Room of one counter.
#[derive(Clone, Debug)]
struct Room {
    account: AccountId,
    counter: CounterName,
    amount: i64,
}

/// A call that is under way.
struct Call {
    labels: String,
    ends: Vec<CallEnd>,
}

/// A call that has ended, as it is to be reported.
#[derive(Debug)]
pub(super) struct SoldCall {
    pub(super) namespace: String,
    pub(super) lease: String,
    /// Those of the lease, the payer's first.
    pub(super) accounts: String,
    /// JSON, nearly as the script reads it.
    pub(super) text: String,
    /// What is kept for repetitions.
    pub(super) answer: Option<Vec<u8>>,
}

/// A lease.
pub(super) struct Lease {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) payer: KeyId,
    pub(super) accounts: Vec<AccountId>,
    pub(super) version: u64,
    revisions: Revisions,
    rooms: Vec<Room>,
    granted: Granted,
    clock: RedisClock,
    book: Book,
    calls: IdMap<CallId, Call>,
    /// Has anything ever been sold from it?
    pub(super) is_used: bool,
}

impl Lease {
    /// `rooms` are in the order of what the terms want.
    pub(super) fn new(
        id: String,
        terms: &Terms,
        rooms: &[i64],
        granted: Granted,
        clock: RedisClock,
    ) -> Self {
        let wants = terms.wants.iter().zip(rooms);
        let rooms: Vec<Room> = wants
            .filter_map(|(want, amount)| {
                let account = terms.accounts.get(want.place)?.clone();
                Some(Room { account, counter: want.counter.clone(), amount: *amount })
            })
            .collect();
        let mut book = Book::default();
        let credits = rooms.iter().find(|room| room.counter == names::BALANCE);
        let credits = credits.map_or(0, |room| room.amount);
        for (place, account) in terms.accounts.iter().enumerate() {
            let has = if place == 0 {
                let balance = vec![(names::BALANCE, Counter::Lifetime(credits))];
                Account::restored(balance, 0, Time::ZERO)
            } else {
                Account::default()
            };
            book.insert(account.clone(), has);
        }
        Self {
            id,
            namespace: terms.namespace.clone(),
            payer: terms.payer.clone(),
            accounts: terms.accounts.clone(),
            version: terms.version,
            revisions: terms.revisions.clone(),
            rooms,
            granted,
            clock,
            book,
            calls: IdMap::default(),
            is_used: false,
        }
    }

    /// Redis's time now, by this machine's clocks.
    pub(super) fn now(&self, passed: Time) -> Time {
        self.granted.now(self.clock, passed)
    }

    pub(super) fn is_over(&self, passed: Time) -> bool {
        self.granted.is_over(self.now(passed))
    }

    pub(super) fn has(&self, call: &CallId) -> bool {
        self.calls.contains_key(call)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Credits that are left of it, with those of calls under way.
    pub(super) fn credits(&self) -> i64 {
        self.book.account(&self.payer.account()).map_or(0, Account::balance)
    }

    /// Reserves what a charge asks for, of what was leased; why not.
    pub(super) fn hold(
        &mut self,
        charge: &Charge,
        passed: Time,
        length: Duration,
    ) -> Result<(), &'static str> {
        let now = self.now(passed);
        if self.granted.is_over(now) {
            return Err("and the lease for this key has ended");
        }
        if self.revisions != Revisions::of(charge) {
            return Err("and the lease for this key was for other records");
        }
        let demands: Option<Vec<Demand>> =
            charge.demands.iter().map(|demand| self.bounded(demand)).collect();
        let Some(demands) = demands else {
            return Err("and the lease for this key is not for such a call");
        };
        match self.book.hold(now, charge.call, now.plus(length), &demands) {
            Ok(_) => {
                let labels = charge.labels.as_ref().map_or("", |labels| labels.as_str());
                let ends = charge.items.iter().map(CallEnd::open).collect();
                self.calls.insert(charge.call, Call { labels: labels.to_owned(), ends });
                self.is_used = true;
                Ok(())
            }
            Err(HoldError::Refused(_)) => Err("and the lease for this key has no more room"),
            Err(HoldError::Broken(error)) => {
                tracing::error!(target: "store", %error, lease = %self.id, "a lease is broken");
                Err("and the lease for this key is broken")
            }
        }
    }

    /// The same demand, of the room that was leased.
    fn bounded(&self, demand: &Demand) -> Option<Demand> {
        let room = self.room(&demand.account, &demand.counter)?;
        let bound =
            if demand.counter == names::BALANCE { Bound::AtLeast(0) } else { Bound::AtMost(room) };
        Some(Demand { bound, ..demand.clone() })
    }

    fn room(&self, account: &AccountId, counter: &CounterName) -> Option<i64> {
        let of = |room: &&Room| room.account == *account && room.counter == *counter;
        self.rooms.iter().find(of).map(|room| room.amount)
    }

    /// Ends a call; `None` if it is not open any more.
    pub(super) fn settle(&mut self, settlement: &Settlement, passed: Time) -> Option<SoldCall> {
        let now = self.now(passed);
        let Settlement { call, kind, kept, charged, ends, keep, .. } = settlement;
        let (hold, resolution) = self.book.resolve(now, *call, *kind, kept.clone()).ok()?;
        let labels = self.calls.remove(call).map(|call| call.labels).unwrap_or_default();
        let mut text = self.text(&hold, &labels, *kind, &resolution.kept, *charged, ends);
        let mut answer = None;
        if let Some(keep) = keep.as_ref().filter(|_| *kind == ResolutionKind::Captured) {
            answer.clone_from(&keep.answer);
            text["keep"] = json!({
                "id": hex::encode(keep.once.id.bytes()),
                "request": hex::encode(keep.once.request.bytes()),
                "ttl": i64::try_from(keep.ttl.as_millis()).unwrap_or(i64::MAX),
            });
        }
        Some(self.sold(&text, answer))
    }

    /// Releases the calls whose deadline has passed.
    pub(super) fn release_overdue(&mut self, passed: Time) -> Vec<(CallId, SoldCall)> {
        let now = self.now(passed);
        let mut released = Vec::new();
        for call in self.book.overdue(now) {
            let kind = ResolutionKind::Expired;
            let Ok((hold, resolution)) = self.book.release(now, call, kind) else { continue };
            let Some(Call { labels, mut ends }) = self.calls.remove(&call) else { continue };
            for end in &mut ends {
                end.outcome = kind.word();
            }
            let text = self.text(&hold, &labels, kind, &resolution.kept, 0, &ends);
            released.push((call, self.sold(&text, None)));
        }
        released
    }

    fn sold(&self, text: &serde_json::Value, answer: Option<Vec<u8>>) -> SoldCall {
        SoldCall {
            namespace: self.namespace.clone(),
            lease: self.id.clone(),
            accounts: accounts_text(&self.accounts),
            text: text.to_string(),
            answer,
        }
    }

    /// The resolution as `report.lua` reads it, but for its number and where its accounts stand.
    fn text(
        &self,
        hold: &Hold,
        labels: &str,
        kind: ResolutionKind,
        kept: &[i64],
        charged: i64,
        ends: &[CallEnd],
    ) -> serde_json::Value {
        let (payer, mut postings, mut others_text) =
            (self.payer.account(), String::new(), String::new());
        let others = postings_list(&mut postings, &hold.postings, &payer);
        if !others.is_empty() {
            accounts_list(&mut others_text, &others);
        }
        let place = |account: &AccountId| self.accounts.iter().position(|own| own == account);
        let accounts = std::iter::once(&payer).chain(others);
        let accounts: Vec<usize> = accounts.filter_map(place).collect();
        let (at, until) = (hold.at.ms(), hold.deadline.ms());
        let record = format!("{at} {until} -\n\n{payer}\n\n{labels}\n{postings}\n{others_text}");
        let free: Vec<CallEnd> =
            ends.iter().map(|end| CallEnd { charged: 0, ..end.clone() }).collect();
        json!({
            "call": call_text(&hold.call),
            "kind": kind.word(),
            "kept": kept,
            "accounts": accounts,
            "charged": charged,
            "tail": calls_text(ends),
            "free": calls_text(&free),
            "show": "-",
            "record": record,
        })
    }

    /// What an answer shows: what can be sold here.
    pub(super) fn reading(&self, show: &Show, passed: Time) -> Reading {
        let (now, payer) = (self.now(passed), self.payer.account());
        let mut reading = Reading::of(self.book.account(&payer), show, now);
        let rate = reading.rate.as_mut().zip(show.rate.as_ref());
        if let Some((state, (limit, counter))) = rate {
            let room = self.room(&payer, counter).unwrap_or(0);
            let elsewhere = limit.saturating_sub(room).max(0);
            state.remaining = state.remaining.saturating_sub(elsewhere).max(0);
        }
        reading
    }
}

fn calls_text(ends: &[CallEnd]) -> String {
    let mut text = String::new();
    if !ends.is_empty() {
        text.push_str(",\"calls\":");
        calls_list(&mut text, ends);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_clock_is_ahead_is_believed() {
        let ten_minutes = Duration::from_mins(10);
        let at = Time::from_ms(1_000);
        let granted = |sent_wall| Granted {
            at,
            until: at.plus(ten_minutes),
            sent: Instant::now(),
            sent_wall,
        };
        let is_over =
            |granted: &Granted| granted.is_over(granted.now(RedisClock::Server, Time::ZERO));
        let present = clock::now();
        assert!(!is_over(&granted(present)));
        // The machine slept, and with it the clock that cannot be set.
        let slept = Time::from_ms(present.ms() - 10 * 60_000);
        assert!(is_over(&granted(slept)));
        // The other one was set back; how long it was is known all the same.
        let set_back = Time::from_ms(present.ms() + 3_600_000);
        assert!(!is_over(&granted(set_back)));
        if let Some(sent) = Instant::now().checked_sub(ten_minutes) {
            assert!(is_over(&Granted { sent, ..granted(set_back) }));
        }
    }
}
