//! Calls whose end is not known, because Redis did not answer: nobody gets anything for them, so nobody pays
//! for them. They are seen to as soon as Redis is back, instead of waiting for their deadline.
//!
//! A hold may still be under way to Redis when its customer has been refused, or when another attempt has held
//! it. The script does not do it after a moment that comes with it; once that has passed, what is not held
//! never will be.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::asked::{Asked, AskedHold, Which};
use super::books::Books;
use super::link::Failed;
use super::memory::OpenHold;
use super::names::Names;
use super::together::Answer;
use crate::gate::Charge;
use crate::ledger::ResolutionKind;
use crate::model::bounds::{
    REDIS_CLOSE_WAIT, REDIS_LOOSE_ENDS_AT_ONCE, REDIS_LOOSE_ENDS_LOOK, REDIS_LOOSE_ENDS_MAX,
    REDIS_LOOSE_ENDS_NAMED,
};
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::{CallState, Deed, ItemEnd, Settlement, Show, StoreError, settlement};

/// How its calls ended.
const OUTCOME: &str = "store_unavailable";

/// A call whose end is not known.
pub(super) enum LooseEnd {
    /// It may be held, or may become so until a moment.
    Hold {
        charge: Box<Charge>,
        latest: Option<Time>,
        /// Since when it is rightly held, if it is: then it may be held once more when it has ended.
        rightly: Option<String>,
    },
    /// It may be gone on with, or may become so until a moment, and nobody knows.
    Resumed { key: KeyId, call: CallId, turn: String, latest: Option<Time> },
    /// It may have been ended, behind a row of the journal.
    End(Box<Settlement>, i64),
    /// The same, of an earlier run of this program.
    Left { key: KeyId, call: CallId },
}

/// Was it to be paid, without an answer that whoever repeats the call finds?
fn is_for_nothing(asked: &Settlement) -> bool {
    let is_kept = asked.keep.as_ref().is_some_and(|keep| keep.answer.is_some());
    asked.kind == ResolutionKind::Captured && !is_kept
}

impl LooseEnd {
    fn key(&self) -> &KeyId {
        match self {
            Self::Hold { charge, .. } => &charge.key,
            Self::Resumed { key, .. } | Self::Left { key, .. } => key,
            Self::End(settlement, _) => &settlement.key,
        }
    }

    fn call(&self) -> CallId {
        match self {
            Self::Hold { charge, .. } => charge.call,
            Self::Resumed { call, .. } | Self::Left { call, .. } => *call,
            Self::End(settlement, _) => settlement.call,
        }
    }
}

/// All of one instance, up to a bound. For those beyond it there is the deadline.
#[derive(Default)]
pub(super) struct LooseEnds {
    list: Mutex<Vec<LooseEnd>>,
    /// Those that are being seen to, which are not in the list then.
    in_hand: AtomicUsize,
}

impl LooseEnds {
    fn list(&self) -> MutexGuard<'_, Vec<LooseEnd>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let list = self.list();
        list.len().saturating_add(self.in_hand.load(Ordering::Acquire))
    }

    fn take(&self) -> Vec<LooseEnd> {
        let mut list = self.list();
        self.in_hand.fetch_add(list.len(), Ordering::AcqRel);
        std::mem::take(&mut *list)
    }

    /// One that was taken is done, or has to wait.
    fn seen_to(&self, rest: Option<LooseEnd>) {
        let mut list = self.list();
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
        list.extend(rest);
    }

    fn push(&self, end: LooseEnd) {
        let mut list = self.list();
        if list.len() < REDIS_LOOSE_ENDS_MAX {
            list.push(end);
        }
    }
}

/// Something that is being asked for. Whoever asks may go away before there is an answer.
pub(super) struct Unheard<'a, F: Fn() -> LooseEnd> {
    pub(super) books: &'a Books,
    /// What is to be seen to then.
    pub(super) end: F,
    pub(super) is_heard: bool,
}

impl<F: Fn() -> LooseEnd> Drop for Unheard<'_, F> {
    fn drop(&mut self) {
        if !self.is_heard {
            let end = (self.end)();
            self.books.memory().let_go(&end.call());
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
            let end =
                |rightly| LooseEnd::Hold { charge: Box::new(charge.clone()), latest, rightly };
            let mut unheard = Unheard { books: self, end: || end(None), is_heard: false };
            let reply = self.together(charge.namespace.as_str(), ask.clone(), now).await;
            unheard.is_heard = match &reply {
                // The one whose answer was lost may come later, and then be held; but not after this moment.
                Ok(reply) => !reply.is_repeated || matches!(reply.word(), "held" | "late"),
                Err(failed) => !failed.may_be_done,
            };
            if let Ok(reply) = &reply
                && reply.is_repeated
                && reply.word() == "held"
            {
                self.loose_ends.push(end(Some(reply.line(1).to_owned())));
            }
            match reply {
                // The clocks differ more than was known. Now it is known.
                Ok(reply) if reply.word() == "late" && !is_second => is_second = true,
                reply => return reply,
            }
        }
    }

    /// A call's end could not be booked; its customer gets no answer, and is to pay nothing. That outlives
    /// this process, because it may have been booked all the same.
    pub(super) async fn leave_open(&self, settlement: Settlement, before: i64) {
        if is_for_nothing(&settlement)
            && let Err(error) = self.copy.leave_end(settlement.call, &settlement.key).await
        {
            tracing::warn!(
                target: "store", %error, call = %settlement.call,
                "that a call may have to be given back could not be written down"
            );
        }
        self.loose_ends.push(LooseEnd::End(Box::new(settlement), before));
    }

    /// Goes on with what an earlier run of this program has left.
    pub(super) async fn take_up_loose_ends(&self) -> Result<(), StoreError> {
        let left = self.copy.left_ends().await?;
        if !left.is_empty() {
            tracing::info!(target: "store", calls = left.len(), "calls of an earlier run are seen to");
        }
        for (call, key) in left {
            self.loose_ends.push(LooseEnd::Left { key, call });
        }
        Ok(())
    }

    /// Nothing is left to do for one.
    async fn tied(&self, end: &LooseEnd) -> Result<(), StoreError> {
        match end {
            LooseEnd::Hold { .. } | LooseEnd::Resumed { .. } => Ok(()),
            LooseEnd::End(..) | LooseEnd::Left { .. } => self.copy.tied_end(end.call()).await,
        }
    }

    /// Sees to loose ends, for ever.
    pub(super) async fn see_to_loose_ends(self: Arc<Self>) {
        loop {
            sleep(REDIS_LOOSE_ENDS_LOOK).await;
            let away = Mutex::default();
            let mut ends = self.loose_ends.take().into_iter().peekable();
            while ends.peek().is_some() {
                let some = ends.by_ref().take(REDIS_LOOSE_ENDS_AT_ONCE);
                join_all(some.map(|end| self.try_end(end, &away))).await;
            }
        }
    }

    /// Sees to one, unless the books that it is in have just not answered: in a cluster others may.
    async fn try_end(&self, end: LooseEnd, away: &Mutex<HashSet<Option<Arc<str>>>>) {
        let away = || away.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.memory().place(end.key());
        if away().contains(&place) {
            self.loose_ends.seen_to(Some(end));
            return;
        }
        let seen_to = match self.see_to(&end).await {
            Ok(true) => self.tied(&end).await.map(|()| true),
            other => other,
        };
        match seen_to {
            Ok(is_done) => self.loose_ends.seen_to((!is_done).then_some(end)),
            Err(error) => {
                tracing::debug!(target: "store", %error, "a call's end is not known yet");
                away().insert(place);
                self.loose_ends.seen_to(Some(end));
            }
        }
    }

    /// Releases what is held; is that all there is to do?
    async fn see_to(&self, end: &LooseEnd) -> Result<bool, StoreError> {
        match end {
            LooseEnd::Hold { charge, latest, rightly } => {
                self.see_to_hold(charge, *latest, rightly.clone()).await
            }
            LooseEnd::Resumed { key, call, turn, latest } => {
                self.see_to_resumed(key, *call, turn, *latest).await
            }
            LooseEnd::End(settlement, before) => self.see_to_end(settlement, *before).await,
            LooseEnd::Left { key, call } => self.see_to_left(key, *call).await,
        }
    }

    async fn see_to_hold(
        &self,
        charge: &Charge,
        latest: Option<Time>,
        rightly: Option<String>,
    ) -> Result<bool, StoreError> {
        let nothing = vec![ItemEnd { paid: false, outcome: OUTCOME }; charge.items.len()];
        let release = settlement(charge, &nothing, Show::BALANCE);
        let namespace = charge.namespace.as_str().to_owned();
        let (accounts, turn) = (Asked::of(charge).accounts, "-".to_owned());
        let open = OpenHold { namespace, accounts, credits: 0, turn };
        let which = rightly.map_or(Which::Any, Which::Second);
        let ended = self.end_one(&open, &release, which, self.present()).await?;
        Ok(latest.is_none_or(|latest| ended.now > latest))
    }

    /// Its customer was told that the books are away: nobody goes on with it. Whoever asked again meanwhile,
    /// and was heard, has it in another turn.
    async fn see_to_resumed(
        &self,
        key: &KeyId,
        call: CallId,
        turn: &str,
        latest: Option<Time>,
    ) -> Result<bool, StoreError> {
        let Some(namespace) = self.place_of(key).await? else { return Ok(true) };
        // What is not so now never will be, if the moment has passed before it was looked for.
        let is_last = match latest {
            Some(latest) => self.ledger_time(&namespace).await? > latest,
            None => true,
        };
        let Some(record) = self.record_of(&namespace, call).await? else { return Ok(is_last) };
        if record.turn != turn {
            return Ok(is_last);
        }
        let (open, release) = (record.open(&namespace), record.release(key, OUTCOME));
        let which = Which::InTurn(turn.to_owned());
        self.end_one(&open, &release, which, self.present()).await.map(|_| true)
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
        if is_for_nothing(asked) {
            return self.give_back(call).await;
        }
        Ok(true)
    }

    /// Of an earlier run of this program, which does not know more of it than that its customer was refused.
    async fn see_to_left(&self, key: &KeyId, call: CallId) -> Result<bool, StoreError> {
        let Some(namespace) = self.place_of(key).await? else { return Ok(true) };
        if let Some(record) = self.record_of(&namespace, call).await? {
            let (open, release) = (record.open(&namespace), record.release(key, OUTCOME));
            self.end_one(&open, &release, Which::Any, self.present()).await?;
        }
        self.give_back(call).await
    }

    /// It was booked after all, and its customer was told otherwise. Is it given back?
    async fn give_back(&self, call: CallId) -> Result<bool, StoreError> {
        self.catch_up().await?;
        // What is not copied yet will be: every call that ends has its row.
        let Some(found) = self.copy.find_call(call).await? else { return Ok(false) };
        if found.state != CallState::Charged {
            return Ok(true);
        }
        let reason = Some("its answer was not delivered, because Redis did not answer".to_owned());
        let deed = Deed { reason, ..Deed::default() };
        match self.refund(found, deed, self.present()).await {
            // The key was deleted, with all that it had.
            Ok(_) | Err(StoreError::NotFound) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Waits until the ends of all calls are known, but not for long: an instance that stops takes them with
    /// it, and their deadline is far.
    pub(super) async fn tie_up(&self) {
        let until = Instant::now() + REDIS_CLOSE_WAIT;
        while self.loose_ends.count() > 0 && Instant::now() < until {
            sleep(REDIS_LOOSE_ENDS_LOOK / 5).await;
        }
        match self.copy.left_ends().await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                let named = left.iter().take(REDIS_LOOSE_ENDS_NAMED);
                let calls: Vec<String> = named.map(|(call, _)| call.to_string()).collect();
                tracing::warn!(
                    target: "store", count = left.len(), calls = calls.join(" "),
                    "it is not known whether calls were charged whose customers got an error; they are given \
                     back when this instance starts again with its file"
                );
            }
            Err(error) => {
                tracing::warn!(target: "store", %error, "loose ends cannot be read");
            }
        }
    }
}
