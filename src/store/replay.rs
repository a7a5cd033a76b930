//! A tenant's books put together again from the rows of its journal: money through the ledger, records as
//! the last row about each has them.

use std::collections::{BTreeMap, HashSet};

use super::image::{Image, KeptAnswer, OnceDone, OpenCall, Record};
use super::local::{VerifyReport, entries};
use super::told::Told;
use crate::ledger::{Account, Book, Entry, Reversal};
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// A replay under way.
#[derive(Default)]
pub(super) struct Replay {
    book: Book,
    image: Image,
    ended: HashSet<CallId>,
    /// Number of the last row.
    row: i64,
    /// What was found on the way.
    pub(super) report: VerifyReport,
}

impl Replay {
    /// Number of the last row.
    pub(super) const fn row(&self) -> i64 {
        self.row
    }

    /// Has a call ended?
    pub(super) fn has_ended(&self, call: &str) -> bool {
        call_id(call).is_some_and(|call| self.ended.contains(&call))
    }

    /// Keys that are gone.
    pub(super) fn deleted(&self) -> Vec<AccountId> {
        self.image.deleted.keys().cloned().collect()
    }

    /// Takes the next row.
    pub(super) fn take(&mut self, told: &Told) {
        let expected = self.row.saturating_add(1);
        if told.row != expected {
            let last = told.row.saturating_sub(1);
            self.report.differs(format!("journal rows {expected} to {last} are missing"));
        }
        self.row = told.row;
        self.report.rows = self.report.rows.saturating_add(1);
        self.image.now = self.image.now.max(told.at);
        let is_read = if told.is_money() { self.money(told) } else { self.record(told).is_some() };
        if !is_read {
            let Told { row, kind, .. } = told;
            self.report.differs(format!("journal row {row} (kind {kind}) cannot be read"));
        }
    }

    fn money(&mut self, told: &Told) -> bool {
        let (payer, call) = (AccountId::new(&told.account), call_id(&told.call));
        let bytes = call.as_ref().map(|call| call.bytes().as_slice());
        let read = entries(told.at, &told.kind, bytes, &payer, told.amount, &told.detail);
        let Some((entries, calls_charged)) = read else { return false };
        let row = told.row;
        for entry in &entries {
            for id in accounts_of(entry) {
                if self.book.account(id).is_none() {
                    self.book.insert(id.clone(), Account::default());
                }
            }
            match entry {
                Entry::Credit { amount, .. } => {
                    self.report.granted = self.report.granted.saturating_add(*amount);
                }
                Entry::Opening(opening) => {
                    self.says(row, told.amount, opening.credits());
                    self.report.granted = self.report.granted.saturating_add(opening.credits());
                }
                Entry::Hold(hold) => {
                    let is_first = self.ended.insert(hold.call);
                    // Releases of earlier versions, which nobody has paid for, stand behind captures.
                    if !is_first && told.amount == 0 {
                        self.report.held_again = self.report.held_again.saturating_add(1);
                    } else if !is_first {
                        self.report
                            .differs(format!("journal row {row}: {} ended before", hold.call));
                    }
                }
                Entry::Resolution(end) => {
                    let hold = self.book.holds().get(&end.call);
                    let charged = hold.map_or(0, |hold| hold.credits_kept(&end.kept));
                    self.says(row, told.amount, charged);
                    self.says(row, calls_charged, charged);
                    self.report.captured = self.report.captured.saturating_add(charged);
                }
                Entry::Reversal(reversal) => self.refund(told, reversal),
            }
            if let Err(error) = self.book.apply(entry) {
                self.report.differs(format!("journal row {row}: {error}"));
            }
        }
        self.remembered(told, &payer);
        true
    }

    fn says(&mut self, row: i64, said: i64, is: i64) {
        if said != is {
            self.report.differs(format!("journal row {row}: says {said} credits, moves {is}"));
        }
    }

    fn refund(&mut self, told: &Told, reversal: &Reversal) {
        let row = told.row;
        self.says(row, told.amount, reversal.credits());
        self.report.refunded = self.report.refunded.saturating_add(reversal.credits());
        let is_first = self.image.refunded.insert(told.call.clone(), told.at).is_none();
        if !is_first || !self.ended.contains(&reversal.call) {
            let wrong = format!("{} was refunded before, or never ended", reversal.call);
            self.report.differs(format!("journal row {row}: {wrong}"));
        }
    }

    /// What is remembered of a captured call beside its money.
    fn remembered(&mut self, told: &Told, payer: &AccountId) {
        let mut words = told.more.split_whitespace();
        while let Some(word) = words.next() {
            let mut next = || words.next().map(str::to_owned);
            match word {
                "kept" => {
                    let (Some(id), Some(request), Some(until)) = (next(), next(), next()) else {
                        return;
                    };
                    let (call, payer) = (told.call.clone(), payer.clone());
                    let kept =
                        KeptAnswer { until: time(&until), request, call, payer, answer: None };
                    self.image.kept.insert(id, kept);
                }
                "paid" => {
                    let (Some(call), Some(until)) = (next(), next()) else { return };
                    self.image.paid.insert(call, time(&until));
                }
                _ => return,
            }
        }
    }

    fn record(&mut self, told: &Told) -> Option<()> {
        let (id, mut words) = (AccountId::new(&told.account), told.more.split(' '));
        let text = told.detail.clone();
        let image = &mut self.image;
        match told.kind.as_str() {
            "key" => {
                let revision = words.next()?.parse().ok()?;
                let digest = words.next()?.to_owned();
                let old = words.next().filter(|old| *old != "-").unwrap_or_default().to_owned();
                let place = words.next().and_then(|place| place.parse().ok());
                let before = image.keys.get(&id).map(|(place, _)| *place);
                // Told when it is made, and where a repair gives it another one.
                let place = place.or(before)?;
                image.keys.insert(id.clone(), (place, Record { revision, text, digest, old }));
                image.accounts.entry(id).or_default();
            }
            "team" => {
                let revision = words.next()?.parse().ok()?;
                let record = Record { revision, text, ..Record::default() };
                image.teams.insert(id.clone(), record);
                image.accounts.entry(id).or_default();
            }
            "namespace" => {
                let revision = words.next()?.parse().ok()?;
                image.record = Some(Record { revision, text, ..Record::default() });
            }
            "deleted" => {
                image.keys.remove(&id);
                image.deleted.insert(id, told.at);
            }
            "once" => {
                let (id, request) = (words.next()?.to_owned(), words.next()?.to_owned());
                let until = time(words.next()?);
                let (balance, note) = (told.amount, text);
                image.once.insert(id, OnceDone { until, request, balance, note });
            }
            // Of what was done, and of what was refused: neither changes the books.
            _ => {}
        }
        Some(())
    }

    /// The books at the last row, with those open calls that have not ended by then.
    pub(super) fn finish(mut self, open: &BTreeMap<String, OpenCall>) -> (Image, VerifyReport) {
        for (id, call) in open {
            if self.has_ended(id) {
                continue;
            }
            for posting in &call.hold.postings {
                if self.book.account(&posting.account).is_none() {
                    self.book.insert(posting.account.clone(), Account::default());
                }
            }
            if let Err(error) = self.book.apply(&Entry::Hold(call.hold.clone())) {
                self.report.differs(format!("open call call_{id}: {error}"));
            }
            self.image.calls.insert(id.clone(), call.clone());
        }
        for (id, account) in self.book.accounts() {
            let (is_key, is_team) =
                (self.image.keys.contains_key(id), self.image.teams.contains_key(id));
            if !is_key && !is_team && !self.image.deleted.contains_key(id) {
                self.report.differs(format!("{id}: has moved credits, but no row makes it"));
            }
            self.image.accounts.insert(id.clone(), account.clone());
        }
        self.image.now = self.image.now.max(self.book.now());
        self.report.accounts = self.image.accounts.len();
        self.report.open_holds = self.image.calls.len();
        (self.image, self.report)
    }
}

fn time(text: &str) -> Time {
    Time::from_ms(text.parse().unwrap_or(0))
}

pub(super) fn call_id(hex: &str) -> Option<CallId> {
    CallId::parse(&format!("call_{hex}"))
}

fn accounts_of(entry: &Entry) -> Vec<&AccountId> {
    match entry {
        Entry::Credit { account, .. } => vec![account],
        Entry::Hold(hold) => hold.postings.iter().map(|posting| &posting.account).collect(),
        Entry::Reversal(back) => back.postings.iter().map(|posting| &posting.account).collect(),
        Entry::Opening(opening) => vec![&opening.account],
        Entry::Resolution(_) => Vec::new(),
    }
}
