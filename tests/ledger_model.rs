//! The books under random load: random sequences of operations against `ledger::Book` and against
//! a naive model, compared after every step, together with a replay of the journal.
//!
//! The seed is fixed, so a run is reproducible. For longer runs by hand:
//! `PAYGATE_MODEL_CASES=20000 PAYGATE_MODEL_SEED=7 cargo nextest run --test ledger_model`.
#![allow(clippy::expect_used, reason = "a helper that fails a test panics")]

mod support_model;

use paygate::ledger::{
    Account, Book, Bound, CreditKind, Demand, Entry, HoldError, LedgerError, Refusal, Resolution,
    ResolutionKind, ResolveError, Reversal, Window, names,
};
use paygate::model::ids::CallId;
use paygate::model::time::Time;
use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use support_model::naive::{Admitted, Naive, same_counter};
use support_model::operations::{
    ACCOUNTS, Line, Operation, Shape, account_id, counters, operations,
};

type Checked = Result<(), TestCaseError>;

#[test]
fn the_book_agrees_with_the_naive_model_after_every_step() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (cases, seed) = (number("PAYGATE_MODEL_CASES", 512), number("PAYGATE_MODEL_SEED", 1));
    let config = Config {
        cases: u32::try_from(cases).expect("fewer cases"),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/ledger_model.txt",
        ))),
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&operations(), |all| run(&all));
    if let Err(TestError::Fail(reason, all)) = &outcome {
        panic!("seed {seed}: {reason}\nafter {all:#?}");
    }
    outcome.expect("the strategy draws operations");
}

fn run(all: &[Operation]) -> Checked {
    let mut world = World::new();
    for operation in all {
        let before = world.available();
        world.step(operation)?;
        world.compare()?;
        if !matches!(operation, Operation::Adjust { .. }) {
            for (was, is) in before.into_iter().zip(world.available()) {
                prop_assert!(is >= was.min(0), "only an adjustment goes below zero: {was} to {is}");
            }
        }
        world.replay_in_order()?;
        world.replay_with_holds_moved_to_their_ends()?;
        world.roundtrip()?;
    }
    Ok(())
}

/// The book, the model, and what a journal would hold.
struct World {
    clock: Time,
    book: Book,
    naive: Naive,
    journal: Vec<Entry>,
    /// Any number never used before.
    next_call: u8,
}

impl World {
    fn new() -> Self {
        Self {
            clock: Time::parse("2026-01-30T23:58:00Z").expect("a moment"),
            book: empty_book(),
            naive: Naive::default(),
            journal: Vec::new(),
            next_call: 0,
        }
    }

    fn available(&self) -> Vec<i64> {
        (0..ACCOUNTS).map(|account| self.account(account).available()).collect()
    }

    fn account(&self, account: usize) -> &Account {
        self.book.account(&account_id(account)).expect("all are loaded")
    }

    fn step(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Grant { account, amount } => {
                self.credit(*account, *amount, CreditKind::Grant)
            }
            Operation::Adjust { account, amount } => {
                self.credit(*account, *amount, CreditKind::Adjustment)
            }
            Operation::Hold(shape) => self.hold(shape),
            Operation::Capture { pick, paid } => {
                let paid = *paid;
                self.end(*pick, ResolutionKind::Captured, |item| {
                    paid.is_none_or(|bits| bits >> item & 1 == 1)
                })
            }
            Operation::Release { pick } => self.end(*pick, ResolutionKind::Released, |_| false),
            Operation::Refund { pick } => self.refund(*pick),
            Operation::ResolveAgain { pick } => self.resolve_again(*pick),
            Operation::HoldAgain { pick, shape } => self.hold_again(*pick, shape),
            Operation::Expire => self.expire(),
            Operation::Restart => {
                self.restart();
                Ok(())
            }
            Operation::Jump(jump) => {
                self.clock = jump.from(self.clock);
                self.naive.pass(self.clock);
                prop_assert_eq!(self.book.advance(self.clock), self.naive.now);
                Ok(())
            }
        }
    }

    fn credit(&mut self, account: usize, amount: i64, kind: CreditKind) -> Checked {
        let id = account_id(account);
        self.naive.pass(self.clock);
        let result = self.book.credit(self.clock, &id, amount, kind);
        if self.naive.may_credit(&id, amount) {
            let at = self.naive.now;
            let entry = Entry::Credit { at, account: id.clone(), amount, kind };
            prop_assert_eq!(result.as_ref(), Ok(&entry));
            self.naive.credit(id, amount);
            self.journal.push(entry);
        } else {
            prop_assert_eq!(result, Err(LedgerError::OutOfRange));
        }
        Ok(())
    }

    fn hold(&mut self, shape: &Shape) -> Checked {
        self.naive.pass(self.clock);
        self.next_call += 1;
        let call = CallId::from_random([self.next_call; 16]);
        // Asked for by the clock, which may be behind ledger time: the hold keeps its length.
        let asked = Time::from_ms(self.clock.ms() + shape.lasts_ms);
        let deadline = Time::from_ms(self.naive.now.ms() + shape.lasts_ms);
        let lines = shape.lines();
        let demands: Vec<Demand> = lines.iter().map(|line| line.demand.clone()).collect();
        let checked = self.book.check(self.clock, &demands);
        match self.book.hold(self.clock, call, asked, &demands) {
            Ok(hold) => {
                prop_assert_eq!(checked, Ok(()));
                for index in 0..demands.len() {
                    let (must_refuse, _) = self.naive.verdict(&demands, index);
                    prop_assert!(!must_refuse, "admitted beyond {:?}", demands[index]);
                }
                prop_assert_eq!((hold.at, hold.deadline), (self.naive.now, deadline));
                let at = self.naive.now;
                self.naive.calls.push(Admitted { call, at, deadline, lines, end: None });
                self.journal.push(Entry::Hold(hold.clone()));
                Ok(())
            }
            Err(HoldError::Refused(refusal)) => {
                prop_assert_eq!(checked, Err(refusal));
                self.refused(&demands, &refusal)
            }
            Err(HoldError::Broken(error)) => Err(TestCaseError::fail(format!("broken: {error}"))),
        }
    }

    /// The first demand that did not fit must be the one named, and the retry time must be true.
    fn refused(&self, demands: &[Demand], refusal: &Refusal) -> Checked {
        for index in 0..refusal.index {
            let (must_refuse, _) = self.naive.verdict(demands, index);
            prop_assert!(!must_refuse, "{:?} came first", demands[index]);
        }
        let refused = &demands[refusal.index];
        let (_, must_admit) = self.naive.verdict(demands, refusal.index);
        prop_assert!(!must_admit, "refused within {refused:?}");
        let values = self.naive.before(demands, refusal.index);
        prop_assert!(values.contains(refusal.value), "{} not in {values:?}", refusal.value);

        let still_refused = |ms: i64| match self.book.check(Time::from_ms(ms), demands) {
            Ok(()) => None,
            Err(later) => Some(same_counter(&demands[later.index], refused)),
        };
        let asked = Naive::asked(demands, refusal);
        let Bound::AtMost(cap) = refused.bound else {
            prop_assert_eq!(refusal.opens_at, None);
            return Ok(());
        };
        let helps = refused.window != Window::Lifetime && asked <= cap;
        prop_assert_eq!(refusal.opens_at.is_some(), helps, "{:?}, cap {}", refusal, cap);
        if let Some(opens_at) = refusal.opens_at {
            prop_assert!(opens_at > self.naive.now);
            let then = still_refused(opens_at.ms());
            prop_assert_ne!(then, Some(true), "waiting until {} did not help", opens_at);
            prop_assert!(still_refused(opens_at.ms() - 1).is_some(), "could have come earlier");
        }
        Ok(())
    }

    fn end(&mut self, pick: usize, kind: ResolutionKind, paid: impl Fn(usize) -> bool) -> Checked {
        let open = self.naive.open();
        if open.is_empty() {
            return Ok(());
        }
        self.naive.pass(self.clock);
        let index = open[pick % open.len()];
        let now = self.naive.now;
        let admitted = &mut self.naive.calls[index];
        let call = admitted.call;
        let kept: Vec<i64> = admitted.lines.iter().map(|line: &Line| line.kept(&paid)).collect();
        let result = if kind == ResolutionKind::Captured {
            self.book.resolve(self.clock, call, kind, kept.clone())
        } else {
            self.book.release(self.clock, call, kind)
        };
        if kind == ResolutionKind::Captured && now >= admitted.deadline {
            prop_assert_eq!(result, Err(ResolveError::NotOpen));
            return Ok(());
        }
        let resolution = Resolution { call, at: now, kind, kept: kept.clone() };
        let ended = result.map(|(hold, resolution)| (hold.call, resolution));
        prop_assert_eq!(ended, Ok((call, resolution.clone())));
        for (line, kept) in admitted.lines.iter().zip(&kept) {
            let (kept, held) = (kept.abs(), line.demand.amount.abs());
            prop_assert!(kept <= held, "captured {kept} of {held}");
        }
        admitted.end = Some((kind, kept));
        self.journal.push(Entry::Resolution(resolution));
        Ok(())
    }

    /// Afterwards it is as if the call had been released.
    fn refund(&mut self, pick: usize) -> Checked {
        let is_captured =
            |call: &&Admitted| matches!(call.end, Some((ResolutionKind::Captured, _)));
        let captured: Vec<CallId> =
            self.naive.calls.iter().filter(is_captured).map(|call| call.call).collect();
        let Some(call) = captured.get(pick % captured.len().max(1)).copied() else { return Ok(()) };
        let hold = self.journal.iter().find_map(|entry| match entry {
            Entry::Hold(hold) if hold.call == call => Some(hold.clone()),
            _ => None,
        });
        let end = self.journal.iter().find_map(|entry| match entry {
            Entry::Resolution(end) if end.call == call => Some(end.clone()),
            _ => None,
        });
        let (hold, end) = hold.zip(end).expect("a captured call is in the journal");
        let reversal = Reversal::of(&hold, &end, Time::ZERO);
        self.naive.pass(self.clock);
        let result = self.book.reverse(self.clock, reversal.clone());
        let fits = reversal.postings.iter().filter(|posting| posting.counter == names::BALANCE);
        let fits = fits.map(|posting| (&posting.account, posting.amount));
        if !fits.into_iter().all(|(account, amount)| self.naive.may_credit(account, amount)) {
            prop_assert_eq!(result, Err(LedgerError::OutOfRange));
            return Ok(());
        }
        let reversal = Reversal { at: self.naive.now, ..reversal };
        prop_assert_eq!(result, Ok(reversal.clone()));
        self.journal.push(Entry::Reversal(reversal));
        let admitted = self.naive.calls.iter_mut().find(|admitted| admitted.call == call);
        let admitted = admitted.expect("picked from these");
        let kept = admitted.lines.iter().map(|line| line.kept(|_| false)).collect();
        admitted.end = Some((ResolutionKind::Released, kept));
        Ok(())
    }

    fn resolve_again(&mut self, pick: usize) -> Checked {
        let ended: Vec<&Admitted> =
            self.naive.calls.iter().filter(|call| call.end.is_some()).collect();
        if let Some(call) = ended.get(pick % ended.len().max(1)).copied().cloned() {
            self.naive.pass(self.clock);
            let kept: Vec<i64> = call.lines.iter().map(|line| line.demand.amount).collect();
            for kind in [ResolutionKind::Captured, ResolutionKind::Expired] {
                let again = self.book.resolve(self.clock, call.call, kind, kept.clone());
                prop_assert_eq!(again, Err(ResolveError::NotOpen));
            }
            let again = self.book.release(self.clock, call.call, ResolutionKind::Released);
            prop_assert_eq!(again, Err(ResolveError::NotOpen));
        }
        Ok(())
    }

    fn hold_again(&mut self, pick: usize, shape: &Shape) -> Checked {
        let open = self.naive.open();
        if open.is_empty() {
            return Ok(());
        }
        self.naive.pass(self.clock);
        let call = self.naive.calls[open[pick % open.len()]].call;
        let demands: Vec<Demand> = shape.lines().into_iter().map(|line| line.demand).collect();
        let result = self.book.hold(self.clock, call, self.clock, &demands).cloned();
        let expected = match self.book.check(self.clock, &demands) {
            Ok(()) => HoldError::Broken(LedgerError::HoldMismatch),
            Err(refusal) => HoldError::Refused(refusal),
        };
        prop_assert_eq!(result, Err(expected));
        Ok(())
    }

    fn expire(&mut self) -> Checked {
        let now = self.naive.now.max(self.clock);
        let late = |call: &&Admitted| call.end.is_none() && now >= call.deadline;
        let mut expected: Vec<CallId> =
            self.naive.calls.iter().filter(late).map(|call| call.call).collect();
        let mut overdue = self.book.overdue(self.clock);
        overdue.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&overdue, &expected);
        for call in overdue {
            let open = self.naive.open();
            let pick = open.iter().position(|index| self.naive.calls[*index].call == call);
            self.end(pick.expect("it is open"), ResolutionKind::Expired, |_| false)?;
        }
        Ok(())
    }

    fn restart(&mut self) {
        let mut book = Book::default();
        book.advance(self.naive.now);
        for (id, account) in self.book.accounts() {
            let saved = serde_json::to_string(account).expect("serializes");
            book.insert(id.clone(), serde_json::from_str(&saved).expect("reads"));
        }
        for hold in self.book.holds().values() {
            book.reopen(hold.clone());
        }
        self.book = book;
    }

    /// Every number of the book against the sum of what happened.
    fn compare(&self) -> Checked {
        let now = self.naive.now;
        for number in 0..ACCOUNTS {
            let (id, account) = (account_id(number), self.account(number));
            prop_assert_eq!(account.held(), self.naive.held(&id));
            prop_assert_eq!(account.balance(), self.naive.balance(&id));
            prop_assert_eq!(account.available(), account.balance() - account.held());
            prop_assert_eq!(account.last_call(), self.naive.last_call(&id));
            for (counter, window) in counters() {
                let value = account.value(&counter, now);
                let expected = self.naive.value(&id, &counter, window, now);
                prop_assert!(expected.contains(value), "{counter}: {value}, not {expected:?}");
            }
        }
        let mut open: Vec<CallId> = self.book.holds().keys().copied().collect();
        let mut expected: Vec<CallId> =
            self.naive.open().into_iter().map(|index| self.naive.calls[index].call).collect();
        open.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(open, expected);
        Ok(())
    }

    fn replay_in_order(&self) -> Checked {
        self.replay(self.journal.iter())
    }

    /// The journal may write a hold together with its resolution, at the place of the latter.
    fn replay_with_holds_moved_to_their_ends(&self) -> Checked {
        let mut moved: Vec<&Entry> = Vec::new();
        let mut waiting: Vec<&Entry> = Vec::new();
        for entry in &self.journal {
            match entry {
                Entry::Credit { .. } | Entry::Reversal(_) | Entry::Opening(_) => {
                    moved.push(entry);
                }
                Entry::Hold(_) => waiting.push(entry),
                Entry::Resolution(resolution) => {
                    let of_call = |hold: &&Entry| matches!(hold, Entry::Hold(hold) if hold.call == resolution.call);
                    let place = waiting.iter().position(of_call);
                    moved.push(waiting.remove(place.expect("a hold comes first")));
                    moved.push(entry);
                }
            }
        }
        self.replay(moved.into_iter().chain(waiting))
    }

    fn replay<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Checked {
        let mut book = empty_book();
        for entry in entries {
            prop_assert_eq!(book.apply(entry), Ok(()), "{:?}", entry);
        }
        prop_assert_eq!(book.holds(), self.book.holds());
        for (id, account) in self.book.accounts() {
            let now = self.naive.now;
            let replayed = book.account(id).map(|account| account.settled(now));
            prop_assert_eq!(replayed, Some(account.settled(now)));
        }
        Ok(())
    }

    fn roundtrip(&self) -> Checked {
        for account in self.book.accounts().values() {
            let text = serde_json::to_string(account).expect("serializes");
            let read: Account = serde_json::from_str(&text).expect("reads");
            prop_assert_eq!(&read, account);
            prop_assert_eq!(serde_json::to_string(&read).expect("serializes"), text);
        }
        Ok(())
    }
}

fn empty_book() -> Book {
    let mut book = Book::default();
    for account in 0..ACCOUNTS {
        book.insert(account_id(account), Account::default());
    }
    book
}
