//! Calls whose end is not known, because Redis did not answer: nobody gets anything for them, so nobody pays
//! for them. They are seen to as soon as Redis is back, instead of waiting for their deadline.
//!
//! A hold may still be under way to Redis when its customer has been refused. The script does not do it after
//! a moment that comes with it; once that has passed, what is not held never will be.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::sleep;

use super::asked::{Asked, AskedHold};
use super::books::Books;
use super::link::Failed;
use super::memory::OpenHold;
use super::names::Names;
use super::together::Answer;
use crate::gate::Charge;
use crate::ledger::ResolutionKind;
use crate::model::bounds::{REDIS_LOOSE_ENDS_LOOK, REDIS_LOOSE_ENDS_MAX};
use crate::model::time::Time;
use crate::store::{CallState, Deed, ItemEnd, Settlement, Show, StoreError, settlement};

/// How its calls ended.
const OUTCOME: &str = "store_unavailable";

/// A call whose end is not known.
enum LooseEnd {
    /// It may be held, or may become so until a moment.
    Hold(Box<Charge>, Option<Time>),
    /// It may have been ended, behind a row of the journal.
    End(Box<Settlement>, i64),
}

/// All of one instance, up to a bound. For those beyond it there is the deadline.
#[derive(Default)]
pub(super) struct LooseEnds {
    list: Mutex<VecDeque<LooseEnd>>,
    /// Is one being seen to, which is not in the list then?
    is_busy: AtomicBool,
}

impl LooseEnds {
    fn list(&self) -> MutexGuard<'_, VecDeque<LooseEnd>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let list = self.list();
        list.len().saturating_add(usize::from(self.is_busy.load(Ordering::Acquire)))
    }

    fn next(&self) -> Option<LooseEnd> {
        let mut list = self.list();
        let next = list.pop_front();
        self.is_busy.store(next.is_some(), Ordering::Release);
        next
    }

    /// The one that was seen to is done, or has to wait.
    fn seen_to(&self, rest: Option<LooseEnd>) {
        let mut list = self.list();
        self.is_busy.store(false, Ordering::Release);
        list.extend(rest);
    }

    fn push(&self, end: LooseEnd) {
        let mut list = self.list();
        if list.len() < REDIS_LOOSE_ENDS_MAX {
            list.push_back(end);
        }
    }
}

/// A hold that is being asked for. Whoever asks may go away before there is an answer.
struct Unheard<'a> {
    books: &'a Books,
    charge: &'a Charge,
    latest: Option<Time>,
    is_heard: bool,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if !self.is_heard {
            self.books.memory().let_go(&self.charge.call);
            let end = LooseEnd::Hold(Box::new(self.charge.clone()), self.latest);
            self.books.loose_ends.push(end);
        }
    }
}

impl Books {
    /// Runs the script of a hold; if nobody hears what came of it, that is seen to later.
    pub(super) async fn run_hold(
        &self,
        charge: &Charge,
        mut ask: AskedHold,
        now: Time,
    ) -> Result<Answer, Failed> {
        let mut is_second = false;
        loop {
            let latest = self.latest();
            ask.latest_ms = latest.map_or(0, Time::ms);
            let mut unheard = Unheard { books: self, charge, latest, is_heard: false };
            let reply = self.together(charge.namespace.as_str(), ask.clone(), now).await;
            unheard.is_heard = match &reply {
                // The one whose answer was lost may come later, and then be held.
                Ok(reply) => !reply.is_repeated || reply.word() == "held",
                Err(failed) => !failed.may_be_done,
            };
            match reply {
                // The clocks differ more than was known. Now it is known.
                Ok(reply) if reply.word() == "late" && !is_second => is_second = true,
                reply => return reply,
            }
        }
    }

    /// A call's end could not be booked; its customer gets no answer, and is to pay nothing.
    pub(super) fn leave_open(&self, settlement: Settlement, before: i64) {
        self.loose_ends.push(LooseEnd::End(Box::new(settlement), before));
    }

    /// Sees to loose ends, for ever.
    pub(super) async fn see_to_loose_ends(self: Arc<Self>) {
        loop {
            sleep(REDIS_LOOSE_ENDS_LOOK).await;
            let count = self.loose_ends.list().len();
            for _ in 0..count {
                let Some(end) = self.loose_ends.next() else { break };
                match self.see_to(&end).await {
                    Ok(is_done) => self.loose_ends.seen_to((!is_done).then_some(end)),
                    Err(error) => {
                        tracing::debug!(target: "store", %error, "a call's end is not known yet");
                        self.loose_ends.seen_to(Some(end));
                        break;
                    }
                }
            }
        }
    }

    /// Releases what is held; is that all there is to do?
    async fn see_to(&self, end: &LooseEnd) -> Result<bool, StoreError> {
        match end {
            LooseEnd::Hold(charge, latest) => self.see_to_hold(charge, *latest).await,
            LooseEnd::End(settlement, before) => self.see_to_end(settlement, *before).await,
        }
    }

    async fn see_to_hold(&self, charge: &Charge, latest: Option<Time>) -> Result<bool, StoreError> {
        let nothing = vec![ItemEnd { paid: false, outcome: OUTCOME }; charge.items.len()];
        let release = settlement(charge, &nothing, Show::BALANCE);
        let namespace = charge.namespace.as_str().to_owned();
        let open = OpenHold { namespace, accounts: Asked::of(charge).accounts, credits: 0 };
        let ended = self.end(&open, &release, None, self.present()).await?;
        Ok(latest.is_none_or(|latest| ended.now > latest))
    }

    async fn see_to_end(&self, asked: &Settlement, before: i64) -> Result<bool, StoreError> {
        let call = asked.call;
        let Some(open) = self.open_hold(&asked.key, call).await? else { return Ok(true) };
        let mut release = asked.clone();
        release.kind = ResolutionKind::Released;
        (release.charged, release.keep) = (0, None);
        for end in &mut release.ends {
            (end.charged, end.outcome) = (0, OUTCOME);
        }
        if let Some(kept) = self.kept_by_release(&open.namespace, call).await? {
            release.kept = kept;
        }
        let ended = self.end(&open, &release, None, self.present()).await?;
        if ended.word() == "done" {
            self.memory().ended(&call, 0);
            return Ok(true);
        }
        let found = self.ended_since(&Names::of(&open.namespace), before, call).await?;
        if found.as_deref() != Some(ResolutionKind::Captured.word()) {
            self.memory().let_go(&call);
            return Ok(true);
        }
        self.memory().ended(&call, asked.charged);
        // Whoever may repeat the call finds the answer.
        if asked.kind == ResolutionKind::Captured && asked.keep.is_none() {
            return self.give_back(asked).await;
        }
        Ok(true)
    }

    /// It was booked after all, and its customer was told otherwise. Is it given back?
    async fn give_back(&self, asked: &Settlement) -> Result<bool, StoreError> {
        self.catch_up().await?;
        let Some(found) = self.copy.find_call(asked.call).await? else { return Ok(false) };
        if found.state != CallState::Charged {
            return Ok(true);
        }
        let reason = Some("its answer was not delivered, because Redis did not answer".to_owned());
        let deed = Deed { reason, ..Deed::default() };
        self.refund(found, deed, self.present()).await.map(|_| true)
    }
}
