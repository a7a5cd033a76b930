//! A priced request from its judgement to its end, for single calls, batches and methods alike.
//!
//! Everything from the hold on survives its client: one that disconnects does not take the call
//! with it, because in the legacy era that is no cancellation (design.md, money rule 4).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::asked::{Asked, Ended, Form, Outcomes, Told};
use super::connection::Connection;
use super::ear::Hearing;
use super::hold::{Allowed, Held, NotHeld};
use super::identify::{Caller, Identity};
use super::in_flight::Registration;
use super::parked::{Earlier, ROUND_USED, Rounds, interim};
use super::repeat::{First, Turn};
use super::settle::{Settled, Terms, ends_of};
use super::stream::Outlet;
use super::survive::Survive;
use super::{Proxy, Reply, Shown, entropy, fault, repeat};
use crate::gate::Denied;
use crate::model::ids::CallId;
use crate::protocol::result_kind::ResultKind;
use crate::protocol::to_client::ErrorObjectOwned;
use crate::store::{ItemEnd, Reading, Show, StoreError};
use crate::upstream::{Failure, Link, Outcome, Patience, Pending, Slot};

/// What happened to the hold and to the answer.
enum Ran {
    /// What this request is told, and all that wait for it; and the numbers right after it.
    Told(Told, Option<Reading>),
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
    /// Others may wait for it.
    first: Option<First>,
    /// When the request arrived.
    began: Instant,
}

/// What a server is told of a call whose client has left.
pub(super) const CLIENT_LEFT: &str = "the client has left";

impl Proxy {
    /// Judges, holds, sends and settles. The error is the reply to give instead of a result.
    pub(super) async fn charged(
        self: &Arc<Self>,
        caller: &Caller,
        asked: &Asked<'_>,
    ) -> Result<Ended, Reply> {
        let fails =
            |error: &StoreError| Reply::error(asked.id, &fault::store(error), Shown::default());
        // One id for all attempts: what is told before the answer is told under it.
        let id = entropy::call_id()
            .ok_or_else(|| Reply::error(asked.id, &fault::ours(), Shown::default()))?;
        if let Some(outlet) = &caller.outlet {
            outlet.is_about(asked.earlier_call().unwrap_or(id));
        }
        // A record may change between the judgement and the hold: then both are done once more.
        let (mut was_stale, began) = (false, Instant::now());
        loop {
            let (identity, allowed) = self.allowed(caller, asked, id).await?;
            let first = match self.turn(caller, &identity, asked).await {
                Turn::Run(first) => first,
                Turn::Again => continue,
                Turn::Answer(answer) => return answer,
            };
            let mut run = match self.prepare(caller, allowed, &identity, asked).await {
                Ok(run) => run,
                Err(error) => {
                    let shown = self.shown_for(&identity, asked).await;
                    return Err(Reply::error(asked.id, &error, shown));
                }
            };
            run.first = first;
            run.began = began;
            let (proxy, exchange) = (Arc::clone(self), caller.exchange.clone());
            let ran = Survive::new(async move {
                let _exchange = exchange;
                proxy.run(run).await
            });
            match ran.await {
                Ran::Told(told, reading) => {
                    let charged = told.charged();
                    return repeat::ended(asked, told, Shown { call: None, reading, charged });
                }
                Ran::NotHeld(NotHeld::Stale) if was_stale => {
                    return Err(fails(&StoreError::Conflict));
                }
                Ran::NotHeld(NotHeld::Stale) => was_stale = true,
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
    }

    /// Who asks, and that they may. What was given back a moment ago, on another instance, is not refused
    /// by an old copy of a record.
    async fn allowed(
        &self,
        caller: &Caller,
        asked: &Asked<'_>,
        id: CallId,
    ) -> Result<(Identity, Allowed), Reply> {
        let fails =
            |error: &StoreError| Reply::error(asked.id, &fault::store(error), Shown::default());
        let identity = self.identify(caller).await.map_err(|error| fails(&error))?;
        let denied = match self.allow(&identity, asked, id).await {
            Ok(allowed) => return Ok((identity, allowed)),
            Err(denied) => denied,
        };
        if !self.was_judged_by_old_copies(&identity).await {
            return Err(self.denied(&identity, asked, denied).await);
        }
        let identity = self.identify(caller).await.map_err(|error| fails(&error))?;
        match self.allow(&identity, asked, id).await {
            Ok(allowed) => Ok((identity, allowed)),
            Err(denied) => Err(self.denied(&identity, asked, denied).await),
        }
    }

    async fn allow(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        id: CallId,
    ) -> Result<Allowed, Denied> {
        match asked.rounds.map_or(&Earlier::None, |rounds| &rounds.earlier) {
            Earlier::None => self.judge(identity, asked, id).await,
            Earlier::Held { call, state } => {
                self.judge_round(identity, asked, *call, state.clone())
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
        if let Some(message) = misnamed(link, asked) {
            return Err(fault::invalid_params(message));
        }
        if let Some(index) = self.first_unlisted(link, asked).await {
            if !link.status().is_ready() {
                return Err(fault::upstream(Failure::Unavailable));
            }
            return Err(fault::invalid_params(unknown_tool(asked, index)));
        }
        let customer = self.customer(identity);
        let mut sendings = Vec::with_capacity(asked.calls.len());
        let mut hearings = Vec::new();
        for (index, call) in asked.calls.iter().enumerate() {
            let slot = link.reserve().map_err(fault::upstream)?;
            hearings.extend(caller.listen(slot.id(), (asked.token)(index)));
            let text = (asked.line)(index, slot.id(), customer.as_deref());
            sendings.push((slot, text, self.options.patience_of(asked.form, call.tool)));
        }
        let name = caller.name(identity, asked.id);
        let ours = sendings.iter().map(|(slot, ..)| slot.id());
        Ok(Run {
            allowed,
            registration: self.calls.enter(name, ours, Some(link)),
            hearings,
            connection: caller.connection.clone(),
            show: self.show_for(asked),
            terms: self.terms(asked.in_batch() || asked.rounds.is_some()),
            leaves: caller.leaves.clone(),
            rounds: asked.rounds.cloned(),
            sendings,
            first: None,
            began: Instant::now(),
        })
    }

    /// The first call to a tool that the server does not list, even after its list was fetched again.
    async fn first_unlisted(&self, link: &Link, asked: &Asked<'_>) -> Option<usize> {
        if !self.options.refuse_unlisted_tools || asked.form == Form::Method {
            return None;
        }
        let find = || {
            let listed = link.tools();
            asked.calls.iter().position(|call| !listed.contains(call.tool))
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
                return Ran::Told(Told::Withheld(fault::upstream(Failure::Cancelled), None), None);
            }
            Err(why) => return Ran::NotHeld(why),
        };
        let is_left = run.leaves.as_ref().is_some_and(Outlet::is_left);
        let before = Instant::now();
        let (spent, outcomes) = if run.registration.is_cancelled() || is_left {
            (Spent { held }, vec![Err(Failure::Cancelled); run.sendings.len()])
        } else {
            let (spent, pendings) = send(held, run.sendings);
            Self::sent(&run.registration);
            let takes_tasks = run.rounds.as_ref().is_some_and(Rounds::take_tasks);
            (spent, outcomes(pendings, &run.connection.link, takes_tasks, run.leaves).await)
        };
        drop((run.registration, run.hearings));
        let upstream = before.elapsed();
        let interim = run.rounds.and_then(|rounds| Some((interim(&outcomes, &rounds)?, rounds)));
        if let Some((answer, rounds)) = interim {
            // Rare and large: the future of every call would be twice as large with it.
            let interim = Box::pin(self.interim(spent.held, rounds, answer, run.show));
            let (told, reading) = interim.await;
            if let Some(first) = run.first {
                first.tell(&told);
            }
            return Ran::Told(told, reading);
        }
        let ends = ends_of(&outcomes, &spent.held, run.terms);
        let charge = spent.held.charge();
        let call = charge.map(|charge| charge.call);
        let ran = Arc::new(Outcomes { charged: spent.charged(&ends), outcomes });
        // Only a capture keeps it, so it need not be written down for anything else.
        let first = run.first.as_ref().filter(|_| ends.iter().any(|end| end.paid));
        let keep = first.zip(charge);
        let keep = keep.map(|(first, charge)| first.keep(charge, &ran, self.options.kept_ttl));
        let (told, reading) = match self.settle(spent.held, &ends, run.show, keep).await {
            Settled::Booked(reading) => (Told::Ended(ran, call), reading),
            Settled::TooLate => (Told::Withheld(fault::upstream(Failure::Timeout), call), None),
            Settled::Unbooked(error) => (Told::Withheld(fault::store(&error), call), None),
        };
        self.metrics.took(upstream, run.began.elapsed().saturating_sub(upstream));
        if let Some(first) = run.first {
            first.tell(&told);
        }
        Ran::Told(told, reading)
    }
}

/// What to say of the first call whose name belongs to none of several servers.
fn misnamed(link: &Link, asked: &Asked<'_>) -> Option<String> {
    let mut calls = asked.calls.iter().enumerate().filter(|_| asked.form != Form::Method);
    calls.find_map(|(index, call)| link.misnamed(call.tool, asked.in_batch().then_some(index)))
}

fn unknown_tool(asked: &Asked<'_>, index: usize) -> Cow<'static, str> {
    let tool = asked.calls.get(index).map(|call| call.tool).unwrap_or_default();
    if asked.in_batch() {
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

/// A task is no answer to whoever did not say that tasks are understood: it would not be asked for.
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
