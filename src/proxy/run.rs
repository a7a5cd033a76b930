//! A priced request from its judgement to its end, for single calls and batches alike.
//!
//! Everything from the hold on survives its client: one that disconnects does not take the call
//! with it, because in the legacy era that is no cancellation (design.md, money rule 4).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::Connection;
use super::ear::Hearing;
use super::hold::{Allowed, Held, NotHeld};
use super::identify::{Caller, Identity};
use super::in_flight::{Name, Registration};
use super::parked::{Earlier, ROUND_USED, Rounds, interim};
use super::settle::{Settled, Terms, ends_of};
use super::stream::Outlet;
use super::survive::Survive;
use super::{Proxy, Reply, Shown, entropy, fault};
use crate::gate::{CallFacts, Denied};
use crate::model::ids::CallId;
use crate::protocol::result_kind::ResultKind;
use crate::protocol::to_client::ErrorObjectOwned;
use crate::store::{ItemEnd, Reading, Show, StoreError};
use crate::upstream::{Failure, Link, Outcome, Patience, Pending, Slot};

/// A request for priced calls, as the client wrote it.
pub(super) struct Asked<'a> {
    /// The client's id.
    pub(super) id: &'a str,
    /// The calls in order.
    pub(super) calls: &'a [CallFacts<'a>],
    pub(super) in_batch: bool,
    /// Writes the line of a call (by index) with our id.
    pub(super) line: &'a (dyn Fn(usize, u64) -> Vec<u8> + Sync),
    /// The progress token of a call (by index), as JSON text.
    pub(super) token: &'a (dyn Fn(usize) -> Option<&'a str> + Sync),
    /// What may come before and after this answer; only for single calls of the modern era.
    pub(super) rounds: Option<&'a Rounds>,
}

/// How a request's calls ended.
pub(super) struct Ended {
    pub(super) outcomes: Vec<Outcome>,
    /// What each cost.
    pub(super) charged: Vec<i64>,
    pub(super) shown: Shown,
}

/// What happened to the hold and to the answer.
pub(super) enum Ran {
    Ended(Ended),
    /// The tools ran, but their answers must not be delivered.
    Withheld(ErrorObjectOwned, Shown),
    NotHeld(NotHeld),
}

/// All that the task needs, owned.
struct Run {
    allowed: Allowed,
    /// Taken before the hold, so that a cancellation finds the request from then on.
    registration: Registration,
    /// Listened for until the outcomes are there.
    hearings: Vec<Hearing>,
    connection: Connection,
    show: Show,
    terms: Terms,
    /// Whose end cancels all of it.
    leaves: Option<Outlet>,
    rounds: Option<Rounds>,
    sendings: Vec<(Slot, Vec<u8>, Patience)>,
}

/// What a server is told of a call whose client has left.
pub(super) const CLIENT_LEFT: &str = "the client has left";

impl Asked<'_> {
    /// The call that this is a later round of.
    fn earlier_call(&self) -> Option<CallId> {
        match self.rounds?.earlier {
            Earlier::Held { call, .. } => Some(call),
            Earlier::None | Earlier::Unheld => None,
        }
    }

    /// The tool whose numbers the answer shows.
    pub(super) fn shown_tool(&self) -> Option<&str> {
        self.calls.first().filter(|_| !self.in_batch).map(|call| call.tool)
    }
}

impl Proxy {
    /// Judges, holds, sends and settles. The error is the reply to give instead of a result.
    pub(super) async fn charged(
        self: &Arc<Self>,
        caller: &Caller,
        asked: &Asked<'_>,
    ) -> Result<Ended, Reply> {
        // A record may change between the judgement and the hold: then both are done once more.
        for _ in 0..2 {
            let fails =
                |error: &StoreError| Reply::error(asked.id, &fault::store(error), Shown::default());
            let identity = self.identify(caller).await.map_err(|error| fails(&error))?;
            let id = entropy::call_id()
                .ok_or_else(|| Reply::error(asked.id, &fault::ours(), Shown::default()))?;
            let allowed = match self.allow(&identity, asked, id).await {
                Ok(allowed) => allowed,
                Err(denied) => return Err(self.denied(&identity, asked, denied).await),
            };
            if let Some(outlet) = &caller.outlet {
                outlet.is_about(asked.earlier_call().unwrap_or(id));
            }
            let run = match self.prepare(caller, allowed, &identity, asked).await {
                Ok(run) => run,
                Err(error) => {
                    return Err(Reply::error(
                        asked.id,
                        &error,
                        self.shown(&identity, asked.shown_tool()).await,
                    ));
                }
            };
            let (proxy, exchange) = (Arc::clone(self), caller.exchange.clone());
            let ran = Survive::new(async move {
                let _exchange = exchange;
                proxy.run(run).await
            });
            match ran.await {
                Ran::Ended(ended) => return Ok(ended),
                Ran::Withheld(error, shown) => {
                    return Err(Reply::error(asked.id, &error, shown));
                }
                Ran::NotHeld(NotHeld::Stale) => {}
                Ran::NotHeld(NotHeld::Used) => {
                    let error = fault::invalid_params(ROUND_USED);
                    return Err(Reply::error(asked.id, &error, Shown::default()));
                }
                Ran::NotHeld(NotHeld::Refused(denied)) => {
                    return Err(self.denied(&identity, asked, *denied).await);
                }
                Ran::NotHeld(NotHeld::Unavailable(error)) => return Err(fails(&error)),
            }
        }
        Err(Reply::error(asked.id, &fault::store(&StoreError::Conflict), Shown::default()))
    }

    async fn allow(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        id: CallId,
    ) -> Result<Allowed, Denied> {
        match asked.rounds.map_or(&Earlier::None, |rounds| &rounds.earlier) {
            Earlier::None => self.judge(identity, asked.calls, asked.in_batch, id).await,
            Earlier::Held { call, state } => {
                self.judge_round(identity, asked.calls, *call, state.clone())
            }
            Earlier::Unheld => Ok(Allowed::unheld()),
        }
    }

    /// What can be refused without touching any counter: tools that do not exist and a server
    /// that is not there.
    async fn prepare(
        &self,
        caller: &Caller,
        allowed: Allowed,
        identity: &Identity,
        asked: &Asked<'_>,
    ) -> Result<Run, ErrorObjectOwned> {
        let link = &caller.connection.link;
        if let Some(index) = self.first_unlisted(link, asked.calls).await {
            if !link.status().is_ready() {
                return Err(fault::upstream(Failure::Unavailable));
            }
            return Err(fault::invalid_params(unknown_tool(asked, index)));
        }
        let mut sendings = Vec::with_capacity(asked.calls.len());
        let mut hearings = Vec::new();
        for (index, call) in asked.calls.iter().enumerate() {
            let slot = link.reserve().map_err(fault::upstream)?;
            hearings.extend(caller.listen(slot.id(), (asked.token)(index)));
            let line = (asked.line)(index, slot.id());
            sendings.push((slot, line, self.options.patience(Some(call.tool))));
        }
        let key = identity.usable_key_id();
        let name = key.and_then(|key| Name::new(key, asked.id));
        let ours = sendings.iter().map(|(slot, ..)| slot.id());
        Ok(Run {
            allowed,
            registration: self.calls.enter(name, ours),
            hearings,
            connection: caller.connection.clone(),
            show: self.show(asked.shown_tool()),
            terms: Terms { refund_on_failure: self.options.refund_on_failure },
            leaves: caller.leaves.clone(),
            rounds: asked.rounds.cloned(),
            sendings,
        })
    }

    /// The first call to a tool that the server does not list, even after its list was fetched again.
    async fn first_unlisted(&self, link: &Link, calls: &[CallFacts<'_>]) -> Option<usize> {
        if !self.options.refuse_unlisted_tools {
            return None;
        }
        let find = || {
            let listed = link.tools();
            calls.iter().position(|call| !listed.contains(call.tool))
        };
        find()?;
        link.refresh_tools().await;
        find()
    }

    async fn run(&self, run: Run) -> Ran {
        let held = match self.hold(run.allowed).await {
            Ok(held) => held,
            // It would be held once more, but nobody wants it any more.
            Err(NotHeld::Stale) if run.registration.is_cancelled() => {
                return withheld(fault::upstream(Failure::Cancelled), None);
            }
            Err(why) => return Ran::NotHeld(why),
        };
        let is_left = run.leaves.as_ref().is_some_and(Outlet::is_left);
        let (spent, outcomes) = if run.registration.is_cancelled() || is_left {
            (Spent { held }, vec![Err(Failure::Cancelled); run.sendings.len()])
        } else {
            let (spent, pendings) = send(held, run.sendings);
            self.sent(&run.registration);
            let takes_tasks = run.rounds.as_ref().is_some_and(|rounds| rounds.takes_tasks);
            (spent, outcomes(pendings, &run.connection.link, takes_tasks, run.leaves).await)
        };
        drop((run.registration, run.hearings));
        if let Some((rounds, answer)) = run.rounds.zip(interim(&outcomes)) {
            return self.interim(spent.held, rounds, answer, run.show).await;
        }
        let ends = ends_of(&outcomes, &spent.held, run.terms);
        let call = spent.held.charge().map(|charge| charge.call);
        let charged = spent.charged(&ends);
        match self.settle(spent.held, &ends, run.show).await {
            Settled::Booked(reading) => {
                Ran::Ended(Ended { outcomes, charged, shown: Shown { call, reading } })
            }
            Settled::TooLate => withheld(fault::upstream(Failure::Timeout), call),
            Settled::Unbooked(error) => withheld(fault::store(&error), call),
        }
    }
}

pub(super) fn withheld(error: ErrorObjectOwned, call: Option<CallId>) -> Ran {
    Ran::Withheld(error, Shown { call, reading: None::<Reading> })
}

fn unknown_tool(asked: &Asked<'_>, index: usize) -> Cow<'static, str> {
    let tool = asked.calls.get(index).map(|call| call.tool).unwrap_or_default();
    if asked.in_batch {
        format!("Invalid batch: calls[{index}] names an unknown tool: {tool}").into()
    } else {
        format!("Unknown tool: {tool}").into()
    }
}

/// A hold whose calls were sent, or never will be: it can only be settled.
struct Spent {
    held: Held,
}

/// Sends the calls of a hold. The permit is used up.
fn send(held: Held, sendings: Vec<(Slot, Vec<u8>, Patience)>) -> (Spent, Vec<Pending>) {
    let pendings = sendings.into_iter().map(|(slot, line, patience)| slot.send(line, patience));
    let pendings = pendings.collect();
    (Spent { held }, pendings)
}

impl Spent {
    /// What each call costs.
    fn charged(&self, ends: &[ItemEnd]) -> Vec<i64> {
        let Some(charge) = self.held.charge() else { return vec![0; ends.len()] };
        let items = charge.items.iter().zip(ends);
        items.map(|(item, end)| if end.paid { item.price } else { 0 }).collect()
    }
}

/// A task is no answer: nobody could ask for its result.
fn without_task(outcome: Outcome) -> Outcome {
    outcome.and_then(|answer| match answer.result_text().map(ResultKind::of) {
        Some(ResultKind::Task) => Err(Failure::Task),
        _ => Ok(answer),
    })
}

/// Waits for all outcomes. A client of the modern era that leaves cancels what is still under way.
async fn outcomes(
    pendings: Vec<Pending>,
    link: &Link,
    takes_tasks: bool,
    leaves: Option<Outlet>,
) -> Vec<Outcome> {
    let ids: Vec<u64> = pendings.iter().map(Pending::id).collect();
    let answers = answers(pendings, link.answer_bytes_max(), takes_tasks);
    let Some(outlet) = leaves else { return answers.await };
    tokio::pin!(answers);
    tokio::select! {
        biased;
        outcomes = &mut answers => return outcomes,
        () = outlet.left() => {}
    }
    for id in ids {
        link.cancel(id, CLIENT_LEFT);
    }
    answers.await
}

/// Waits for all outcomes, in the order of the calls. All answers together may be as long as
/// `bytes_max`; one that would go past it is dropped when it arrives, so that no batch makes
/// Paygate hold more than that.
async fn answers(mut pendings: Vec<Pending>, bytes_max: usize, takes_tasks: bool) -> Vec<Outcome> {
    if pendings.len() <= 1 {
        return match pendings.pop() {
            Some(one) if takes_tasks => vec![one.answer().await],
            Some(one) => vec![without_task(one.answer().await)],
            None => Vec::new(),
        };
    }
    // Each waits by itself, so that one that found the queue to the server full is not kept
    // waiting by those before it.
    let room = Arc::new(AtomicUsize::new(bytes_max));
    let tasks: Vec<_> = pendings
        .into_iter()
        .map(|pending| {
            let room = Arc::clone(&room);
            tokio::spawn(async move { within(&room, without_task(pending.answer().await)) })
        })
        .collect();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(fault::joined(task.await));
    }
    outcomes
}

/// The outcome, if there is room left for it.
fn within(room: &AtomicUsize, outcome: Outcome) -> Outcome {
    let answer = outcome?;
    let take = |left: usize| left.checked_sub(answer.line().len());
    match room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        Ok(_) => Ok(answer),
        Err(_) => Err(Failure::TooLarge),
    }
}
