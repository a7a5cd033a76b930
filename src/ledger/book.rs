//! The book: accounts and open holds, and the only functions that change them.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::names::BALANCE;
use super::{
    Account, Bound, Counter, CounterName, CreditKind, Demand, Entry, Hold, Opening, Posting,
    Resolution, ResolutionKind, Reversal, Window,
};
use crate::model::bounds::COUNTER_MAX;
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// Accounts and open holds. The shell loads an account before it is used here.
#[derive(Clone, Debug, Default)]
pub struct Book {
    accounts: IdMap<AccountId, Account>,
    holds: IdMap<CallId, Hold>,
    /// Open holds by deadline, so that those whose time has come are found without looking at all.
    deadlines: BTreeSet<(Time, CallId)>,
    now: Time,
}

/// Which demand could not be met, and how far it was from its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index into the demands.
    pub index: usize,
    /// The counter's value without this demand, with those before it.
    pub value: i64,
    /// When waiting would help, if ever.
    pub opens_at: Option<Time>,
}

impl Refusal {
    /// The refusal of one of some demands, with the state of its counter.
    pub fn of(
        demands: &[Demand],
        index: usize,
        value: i64,
        counter: Option<&Counter>,
        now: Time,
    ) -> Self {
        let opens_at = demands.get(index).and_then(|demand| {
            let asked = demands.iter().filter(|other| asks_the_same(other, demand));
            let asked = asked.fold(0_i64, |sum, other| sum.saturating_add(other.amount));
            opens_at(demand.bound, asked, counter, now)
        });
        Self { index, value, opens_at }
    }
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldError {
    /// A demand was not met.
    Refused(Refusal),
    /// The books contradict themselves; nothing that they say may be trusted.
    Broken(LedgerError),
}

impl From<LedgerError> for HoldError {
    fn from(error: LedgerError) -> Self {
        Self::Broken(error)
    }
}

/// Why a hold cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It was resolved before, expired, or never was.
    #[error("the hold is not open: it was resolved before or its deadline has passed")]
    NotOpen,
    /// The books contradict themselves; nothing that they say may be trusted.
    #[error(transparent)]
    Broken(#[from] LedgerError),
}

/// The books contradict themselves, or a number left the range that everybody can represent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A counter would leave ±(2^53 − 1).
    #[error("a counter would leave the range of exact numbers, ±(2^53 − 1)")]
    OutOfRange,
    /// An entry names a hold that is not open, or one that is open already.
    #[error("an entry does not fit the holds that are open")]
    HoldMismatch,
    /// A resolution keeps more than was held, or of the other sign.
    #[error("a resolution keeps more than was held")]
    KeepsTooMuch,
    /// The account was not loaded.
    #[error("an account was used before it was loaded")]
    NotLoaded,
}

impl Book {
    /// Ledger time: the later of the clock and the last moment seen, so it never runs backwards.
    pub fn advance(&mut self, clock: Time) -> Time {
        self.now = self.now.max(clock);
        self.now
    }

    /// The last moment that the books have seen.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Puts an account in, as loaded or new.
    pub fn insert(&mut self, id: AccountId, account: Account) {
        self.accounts.insert(id, account);
    }

    /// Takes an account out again, for example because memory is short.
    pub fn remove(&mut self, id: &AccountId) -> Option<Account> {
        self.accounts.remove(id)
    }

    /// An account, if it is loaded.
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// All loaded accounts.
    pub fn accounts(&self) -> &IdMap<AccountId, Account> {
        &self.accounts
    }

    /// All open holds.
    pub fn holds(&self) -> &IdMap<CallId, Hold> {
        &self.holds
    }

    /// Puts back a hold that was open when the accounts were saved: its amounts are in them already.
    pub fn reopen(&mut self, hold: Hold) {
        if let Some(before) = self.holds.get(&hold.call) {
            self.deadlines.remove(&(before.deadline, before.call));
        }
        self.deadlines.insert((hold.deadline, hold.call));
        self.holds.insert(hold.call, hold);
    }

    /// Would these demands be met now? Changes nothing.
    pub fn check(&self, clock: Time, demands: &[Demand]) -> Result<(), Refusal> {
        let now = self.now.max(clock);
        let mut last: Option<(&AccountId, Option<&Account>)> = None;
        let mut asked = Asked::new(demands.len());
        for (index, demand) in demands.iter().enumerate() {
            // Demands on one account mostly stand together: it is looked up once.
            let account = match last {
                Some((id, account)) if *id == demand.account => account,
                Some(_) | None => self.accounts.get(&demand.account),
            };
            last = Some((&demand.account, account));
            let counter = account.and_then(|account| account.counter(&demand.counter));
            let value = counter.map_or(0, |counter| counter.value(now));
            let value = value.saturating_add(asked.before(demand));
            let after = value.saturating_add(demand.amount);
            let representable = (-COUNTER_MAX..=COUNTER_MAX).contains(&after)
                && counter.is_none_or(|counter| counter.window() == demand.window);
            if !representable || !demand.bound.allows(after) {
                return Err(Refusal::of(demands, index, value, counter, now));
            }
        }
        Ok(())
    }

    /// Reserves all demands or none. The hold is what the journal keeps. If the clock is behind
    /// ledger time, the deadline moves on with it: a hold keeps its length.
    pub fn hold(
        &mut self,
        clock: Time,
        call: CallId,
        deadline: Time,
        demands: &[Demand],
    ) -> Result<&Hold, HoldError> {
        let now = self.advance(clock);
        self.check(now, demands).map_err(HoldError::Refused)?;
        let deadline = deadline.plus(Duration::from_millis(now.since_ms(clock).unsigned_abs()));
        let hold =
            Hold { call, at: now, deadline, postings: demands.iter().map(posting).collect() };
        Ok(self.open(hold, &|_| true)?)
    }

    /// Moves the deadline of an open hold that has not passed it; the hold as it is then.
    pub fn keep_until(&mut self, clock: Time, call: CallId, deadline: Time) -> Option<Hold> {
        let now = self.advance(clock);
        let hold = self.holds.get_mut(&call).filter(|hold| now < hold.deadline)?;
        self.deadlines.remove(&(hold.deadline, call));
        hold.deadline = deadline.plus(Duration::from_millis(now.since_ms(clock).unsigned_abs()));
        self.deadlines.insert((hold.deadline, call));
        Some(hold.clone())
    }

    /// Ends a hold with what stays of each posting.
    pub fn resolve(
        &mut self,
        clock: Time,
        call: CallId,
        kind: ResolutionKind,
        kept: Vec<i64>,
    ) -> Result<(Hold, Resolution), ResolveError> {
        let now = self.advance(clock);
        let hold = self.holds.get(&call).ok_or(ResolveError::NotOpen)?;
        if kind == ResolutionKind::Captured && now >= hold.deadline {
            return Err(ResolveError::NotOpen);
        }
        let resolution = Resolution { call, at: now, kind, kept };
        let hold = self.close(&resolution, &|_| true)?;
        Ok((hold, resolution))
    }

    /// Releases a hold: money and quotas go back, rates stay.
    pub fn release(
        &mut self,
        clock: Time,
        call: CallId,
        kind: ResolutionKind,
    ) -> Result<(Hold, Resolution), ResolveError> {
        let kept = self.holds.get(&call).ok_or(ResolveError::NotOpen)?.kept_by_release();
        self.resolve(clock, call, kind, kept)
    }

    /// Open holds whose deadline has passed.
    pub fn overdue(&self, clock: Time) -> Vec<CallId> {
        let now = self.now.max(clock);
        let due = self.deadlines.iter().take_while(|(deadline, _)| now >= *deadline);
        due.map(|(_, call)| *call).collect()
    }

    /// Adds credits, or takes them away. Only an adjustment may go below zero.
    pub fn credit(
        &mut self,
        clock: Time,
        account: &AccountId,
        amount: i64,
        kind: CreditKind,
    ) -> Result<Entry, LedgerError> {
        let at = self.advance(clock);
        let entry = Entry::Credit { at, account: account.clone(), amount, kind };
        self.apply(&entry)?;
        Ok(entry)
    }

    /// Gives back what a call kept. That it is done once is up to the caller, who has the journal.
    pub fn reverse(&mut self, clock: Time, reversal: Reversal) -> Result<Reversal, LedgerError> {
        let reversal = Reversal { at: self.advance(clock), ..reversal };
        self.apply(&Entry::Reversal(reversal.clone()))?;
        Ok(reversal)
    }

    /// Takes over an account that other books kept. It must be new here.
    pub fn take_over(&mut self, clock: Time, opening: Opening) -> Result<Opening, LedgerError> {
        let opening = Opening { at: self.advance(clock), ..opening };
        self.apply(&Entry::Opening(opening.clone()))?;
        Ok(opening)
    }

    /// Replays one entry. Everything above changes the books through the same code.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        self.apply_where(entry, &|_| true)
    }

    /// Replays one entry on those accounts only whose saved state does not hold it yet. Which holds
    /// are open is followed whatever the accounts.
    pub fn apply_where(
        &mut self,
        entry: &Entry,
        takes: &dyn Fn(&AccountId) -> bool,
    ) -> Result<(), LedgerError> {
        match entry {
            Entry::Credit { at, account, amount, kind } => {
                self.advance(*at);
                let is_exact = (-COUNTER_MAX..=COUNTER_MAX).contains(amount);
                if !is_exact || (*kind == CreditKind::Grant && *amount < 0) {
                    return Err(LedgerError::OutOfRange);
                }
                if !takes(account) {
                    return Ok(());
                }
                let account = self.account_mut(account)?;
                // What open holds reserve may come back, so it needs its room in the range too.
                if account.balance().saturating_add(*amount) > COUNTER_MAX {
                    return Err(LedgerError::OutOfRange);
                }
                account.add(&BALANCE, Window::Lifetime, *at, *amount).ok_or(LedgerError::OutOfRange)
            }
            Entry::Hold(hold) => {
                self.advance(hold.at);
                self.open(hold.clone(), takes).map(|_| ())
            }
            Entry::Resolution(resolution) => {
                self.advance(resolution.at);
                self.close(resolution, takes).map(|_| ())
            }
            Entry::Reversal(reversal) => {
                self.advance(reversal.at);
                self.give_back(reversal, takes)
            }
            Entry::Opening(opening) => {
                self.advance(opening.at);
                if takes(&opening.account) { self.begin(opening) } else { Ok(()) }
            }
        }
    }

    fn begin(&mut self, opening: &Opening) -> Result<(), LedgerError> {
        let account = self.account_mut(&opening.account)?;
        for posting in &opening.postings {
            if posting.account != opening.account {
                return Err(LedgerError::NotLoaded);
            }
            account
                .add(&posting.counter, posting.window, opening.at, posting.amount)
                .ok_or(LedgerError::OutOfRange)?;
        }
        if let Some(at) = opening.last_call {
            account.called(at);
        }
        Ok(())
    }

    fn open(
        &mut self,
        hold: Hold,
        takes: &dyn Fn(&AccountId) -> bool,
    ) -> Result<&Hold, LedgerError> {
        let Self { accounts, holds, deadlines, .. } = self;
        let MapEntry::Vacant(place) = holds.entry(hold.call) else {
            return Err(LedgerError::HoldMismatch);
        };
        for postings in by_account(&hold.postings) {
            let Some(first) = postings.first().filter(|first| takes(&first.account)) else {
                continue;
            };
            let account = accounts.get_mut(&first.account).ok_or(LedgerError::NotLoaded)?;
            account.called(hold.at);
            for posting in postings {
                account
                    .add(&posting.counter, posting.window, hold.at, posting.amount)
                    .ok_or(LedgerError::OutOfRange)?;
                if posting.counter == BALANCE {
                    let reserved = posting.amount.checked_neg().ok_or(LedgerError::OutOfRange)?;
                    account.change_held(reserved).ok_or(LedgerError::OutOfRange)?;
                }
            }
        }
        deadlines.insert((hold.deadline, hold.call));
        Ok(place.insert(hold))
    }

    fn close(
        &mut self,
        resolution: &Resolution,
        takes: &dyn Fn(&AccountId) -> bool,
    ) -> Result<Hold, LedgerError> {
        let hold = self.holds.remove(&resolution.call).ok_or(LedgerError::HoldMismatch)?;
        self.deadlines.remove(&(hold.deadline, hold.call));
        if resolution.kept.len() != hold.postings.len() {
            return Err(LedgerError::KeepsTooMuch);
        }
        let mut all_kept = resolution.kept.iter();
        for postings in by_account(&hold.postings) {
            let Some(first) = postings.first().filter(|first| takes(&first.account)) else {
                all_kept.by_ref().take(postings.len()).for_each(|_| {});
                continue;
            };
            let account = self.account_mut(&first.account)?;
            for (posting, kept) in postings.iter().zip(all_kept.by_ref()) {
                let (low, high) = (posting.amount.min(0), posting.amount.max(0));
                if *kept < low || *kept > high {
                    return Err(LedgerError::KeepsTooMuch);
                }
                let given_back = kept.checked_sub(posting.amount).ok_or(LedgerError::OutOfRange)?;
                if given_back != 0 {
                    account
                        .add(&posting.counter, posting.window, hold.at, given_back)
                        .ok_or(LedgerError::OutOfRange)?;
                }
                if posting.counter == BALANCE {
                    account.change_held(posting.amount).ok_or(LedgerError::OutOfRange)?;
                }
            }
        }
        Ok(hold)
    }

    fn give_back(
        &mut self,
        reversal: &Reversal,
        takes: &dyn Fn(&AccountId) -> bool,
    ) -> Result<(), LedgerError> {
        let theirs = || reversal.postings.iter().filter(|posting| takes(&posting.account));
        // First what could fail for a reason: after that all of it is done.
        for posting in theirs().filter(|posting| posting.counter == BALANCE) {
            let balance = self.account_mut(&posting.account)?.balance();
            if balance.saturating_add(posting.amount) > COUNTER_MAX {
                return Err(LedgerError::OutOfRange);
            }
        }
        for posting in theirs() {
            let account = self.account_mut(&posting.account)?;
            account
                .add(&posting.counter, posting.window, reversal.held_at, posting.amount)
                .ok_or(LedgerError::HoldMismatch)?;
        }
        Ok(())
    }

    fn account_mut(&mut self, id: &AccountId) -> Result<&mut Account, LedgerError> {
        self.accounts.get_mut(id).ok_or(LedgerError::NotLoaded)
    }
}

/// Runs of postings to one account, which is then looked up once.
fn by_account(postings: &[Posting]) -> impl Iterator<Item = &[Posting]> {
    postings.chunk_by(|one, next| one.account == next.account)
}

fn posting(demand: &Demand) -> Posting {
    Posting {
        account: demand.account.clone(),
        counter: demand.counter.clone(),
        window: demand.window,
        amount: demand.amount,
        refund: demand.refund,
    }
}

fn asks_the_same(one: &Demand, other: &Demand) -> bool {
    one.counter == other.counter && one.account == other.account
}

/// What a list of demands has asked of each counter so far. A few are compared one by one, which is
/// faster than hashing; a large batch must not cost its square.
struct Asked<'a> {
    sums: Sums<'a>,
    /// The account that most demands are about, and the bits of its counters that were asked.
    first: Option<&'a AccountId>,
    bits: u8,
}

enum Sums<'a> {
    Few(Vec<(&'a Demand, i64)>),
    Many(HashMap<(&'a AccountId, &'a CounterName), i64>),
}

impl<'a> Asked<'a> {
    const FEW: usize = 16;

    fn new(demands: usize) -> Self {
        let sums = if demands <= Self::FEW {
            Sums::Few(Vec::with_capacity(demands))
        } else {
            Sums::Many(HashMap::new())
        };
        Self { sums, first: None, bits: 0 }
    }

    /// Is it surely the first demand on its counter?
    fn is_new(&mut self, demand: &'a Demand) -> bool {
        let Some(bit) = demand.counter.bit() else { return false };
        if **self.first.get_or_insert(&demand.account) != demand.account {
            return false;
        }
        let is_new = self.bits & bit == 0;
        self.bits |= bit;
        is_new
    }

    /// What was asked of this demand's counter before it; adds it.
    fn before(&mut self, demand: &'a Demand) -> i64 {
        let is_new = self.is_new(demand);
        let sum = match &mut self.sums {
            Sums::Few(sums) if is_new => {
                sums.push((demand, demand.amount));
                return 0;
            }
            Sums::Few(sums) => {
                let known = sums.iter().position(|(other, _)| asks_the_same(other, demand));
                let place = known.unwrap_or_else(|| {
                    sums.push((demand, 0));
                    sums.len().saturating_sub(1)
                });
                sums.get_mut(place).map(|(_, sum)| sum)
            }
            Sums::Many(sums) => Some(sums.entry((&demand.account, &demand.counter)).or_default()),
        };
        let Some(sum) = sum else { return 0 };
        let before = *sum;
        *sum = sum.saturating_add(demand.amount);
        before
    }
}

/// When could all that is asked of a counter be met, if nothing else happens?
fn opens_at(bound: Bound, asked: i64, counter: Option<&Counter>, now: Time) -> Option<Time> {
    match bound {
        Bound::AtMost(most) => {
            let target = most.checked_sub(asked).filter(|target| *target >= 0)?;
            counter?.falls_to(target, now)
        }
        Bound::Free | Bound::AtLeast(_) => None,
    }
}
