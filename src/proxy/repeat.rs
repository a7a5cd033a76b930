//! Requests with an idempotency key: the same one sent again is the same request, is run and
//! charged once, and gets the same answer.
//!
//! While the first one runs, those that repeat it wait for it and are told what it is told. Once
//! its calls were captured, the store has the answer, written by the commit that captured them. In
//! between there is no gap: a request enters the table of running ones before it asks the store,
//! and leaves it after its answer is on disk. If nothing was captured nothing is kept, and the
//! idempotency key is free again.
//!
//! A request that ends before anything was sent for it tells nothing (it was refused, or its client
//! went away), nor does one that is cancelled: then one of those that wait goes on in its place.
//! The gate has judged each of them by then, as it judges every request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

use super::asked::{Answered, Asked, Ended, Outcomes, Told};
use super::identify::{Caller, Identity};
use super::{Proxy, Reply, Shown, batch, fault};
use crate::gate::Charge;
use crate::model::bounds::KEPT_ANSWER_BYTES_MAX;
use crate::model::idempotency::IdempotencyKey;
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::protocol::from_client::{Params, Request};
use crate::protocol::modern;
use crate::protocol::object::string;
use crate::protocol::spelling::IDEMPOTENCY_META;
use crate::protocol::to_client::ErrorObjectOwned;
use crate::store::{Keep, Kept, Once, Store};
use crate::upstream::Failure;

/// What makes a request one that may be repeated: its client's name for it, and what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    key: IdempotencyKey,
    request: Digest,
}

impl Repeat {
    /// Reads the idempotency key of a request from `_meta` or the header. `asked` is what a
    /// repetition must ask for too, beside the method.
    pub(super) fn read<'a>(
        caller: &Caller,
        request: &'a Request<'_>,
        asked: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Self>, ErrorObjectOwned> {
        let named = named(&request.params)?;
        let key = match (named, &caller.idempotency_key) {
            (None, None) => return Ok(None),
            (Some(key), None) => key,
            (None, Some(key)) => key.clone(),
            (Some(key), Some(header)) if key == *header => key,
            (Some(_), Some(_)) => {
                let why = format!("\"{IDEMPOTENCY_META}\" and Idempotency-Key differ");
                return Err(fault::invalid_params(format!("Invalid params: {why}")));
            }
        };
        // An answer is for clients that can read it.
        let reads = match (caller.is_modern(), modern::takes_tasks(request)) {
            (false, _) => "legacy",
            (true, false) => "modern",
            (true, true) => "modern, tasks",
        };
        let parts = [reads, request.method.as_ref()].into_iter().chain(asked);
        Ok(Some(Self { key, request: Digest::of_parts(parts.map(str::as_bytes)) }))
    }

    /// The same within one API key. Nobody finds what another one asked for.
    fn of(&self, key: &KeyId) -> Once {
        let parts = ["call", key.as_str(), self.key.as_str()];
        let id = Digest::of_parts(parts.iter().map(|part| part.as_bytes()));
        Once { id, request: self.request, note: String::new() }
    }
}

/// The idempotency key in `_meta`.
fn named(params: &Params<'_>) -> Result<Option<IdempotencyKey>, ErrorObjectOwned> {
    let Params::Object(params) = params else { return Ok(None) };
    let Some(value) = params.meta.as_ref().and_then(|meta| meta.get(IDEMPOTENCY_META)) else {
        return Ok(None);
    };
    let key = string(value).and_then(|text| IdempotencyKey::parse(text.as_bytes()));
    let rule = IdempotencyKey::RULE;
    let wrong = || fault::invalid_params(format!("Invalid params: \"{IDEMPOTENCY_META}\" {rule}"));
    key.ok_or_else(wrong).map(Some)
}

/// Requests that may be repeated and run now. Bounded by the bodies that are being handled.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    running: Arc<DashMap<Digest, Running>>,
}

#[derive(Debug)]
struct Running {
    request: Digest,
    told: watch::Receiver<Option<Told>>,
}

/// The request that runs. Dropping it makes room for the next one, and lets those go on that wait
/// and were told nothing.
pub(super) struct First {
    repeats: Repeats,
    once: Once,
    tell: watch::Sender<Option<Told>>,
    /// Where it counts as running, once it is known to be new.
    runs_in: Option<Arc<dyn Store>>,
}

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("First").field("once", &self.once).finish_non_exhaustive()
    }
}

enum Place {
    First(First),
    /// The same request runs.
    After(watch::Receiver<Option<Told>>),
    /// Another request of the same name runs.
    Other,
}

impl Repeats {
    fn enter(&self, once: Once) -> Place {
        match self.running.entry(once.id) {
            Entry::Occupied(running) if running.get().request == once.request => {
                Place::After(running.get().told.clone())
            }
            Entry::Occupied(_) => Place::Other,
            Entry::Vacant(vacant) => {
                let (tell, told) = watch::channel(None);
                vacant.insert(Running { request: once.request, told });
                let repeats = self.clone();
                Place::First(First { repeats, once, tell, runs_in: None })
            }
        }
    }
}

impl First {
    /// What the capture of its calls is to keep.
    pub(super) fn keep(&self, charge: &Charge, ran: &Outcomes, ttl: Duration) -> Keep {
        let answer = if charge.in_batch {
            let tools = charge.items.iter().map(|item| item.tool.as_str());
            Some(batch::results(tools, ran))
        } else {
            let outcome = ran.outcomes.first().and_then(|outcome| outcome.as_ref().ok());
            outcome.map(|answer| answer.line().as_bytes().to_vec())
        };
        let answer = answer.filter(|answer| answer.len() <= KEPT_ANSWER_BYTES_MAX);
        Keep { once: self.once.clone(), answer, ttl }
    }

    /// Tells those that wait, now and until this is dropped.
    pub(super) fn tell(&self, told: &Told) {
        let cancelled = |outcome: &_| matches!(outcome, Err(Failure::Cancelled));
        match told {
            // Only one of them was cancelled.
            Told::Ended(ran, _) if ran.outcomes.iter().any(cancelled) => {}
            Told::Ended(..) | Told::Withheld(..) => {
                self.tell.send_replace(Some(told.clone()));
            }
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(store) = &self.runs_in {
            store.run_ended(&self.once);
        }
        self.repeats.running.remove(&self.once.id);
    }
}

/// What a request that the gate has allowed is to do.
pub(super) enum Turn {
    /// Run; it may be the first of several.
    Run(Option<First>),
    /// Be judged once more: the one that it waited for has told nothing.
    Again,
    /// Be answered: it repeats another one.
    Answer(Result<Ended, Reply>),
}

impl Proxy {
    /// Finds out whether a request repeats another one; waits for that if it runs.
    pub(super) async fn turn(
        &self,
        caller: &Caller,
        identity: &Identity,
        asked: &Asked<'_>,
    ) -> Turn {
        let key = identity.usable_key_id();
        let Some((key, repeat)) = key.zip(asked.repeat.as_ref()) else { return Turn::Run(None) };
        let error = match self.repeats.enter(repeat.of(key)) {
            Place::After(told) => {
                return self.join(caller, identity, asked, told).await;
            }
            Place::Other => fault::repeated_otherwise(),
            Place::First(mut first) => {
                let recalled = tokio::select! {
                    biased;
                    recalled = self.store.recall(key, &first.once, identity.now) => Some(recalled),
                    // It may run elsewhere, for long.
                    () = caller.left() => None,
                };
                match recalled {
                    Some(Ok(None)) => {
                        first.runs_in = Some(Arc::clone(&self.store));
                        return Turn::Run(Some(first));
                    }
                    Some(Ok(Some(kept))) => {
                        return Turn::Answer(self.kept(identity, asked, kept).await);
                    }
                    Some(Err(error)) => fault::recall(&error),
                    None => fault::upstream(Failure::Cancelled),
                }
            }
        };
        let shown = self.shown_for(identity, asked).await;
        Turn::Answer(Err(Reply::error(asked.id, &error, shown)))
    }

    async fn join(
        &self,
        caller: &Caller,
        identity: &Identity,
        asked: &Asked<'_>,
        mut told: watch::Receiver<Option<Told>>,
    ) -> Turn {
        let name = caller.name(identity, asked.id);
        let registration = self.calls.enter(name, std::iter::empty(), None);
        let told = tokio::select! {
            biased;
            () = registration.cancelled() => None,
            () = caller.left() => None,
            told = told.wait_for(Option::is_some) => Some(told.ok().and_then(|told| told.clone())),
        };
        let Some(told) = told else {
            let shown = self.shown_for(identity, asked).await;
            let error = fault::upstream(Failure::Cancelled);
            return Turn::Answer(Err(Reply::error(asked.id, &error, shown)));
        };
        let Some(told) = told else { return Turn::Again };
        let shown = self.shown_for(identity, asked).await;
        Turn::Answer(ended(asked, told, shown))
    }

    async fn kept(
        &self,
        identity: &Identity,
        asked: &Asked<'_>,
        kept: Kept,
    ) -> Result<Ended, Reply> {
        let shown = Shown { call: Some(kept.call), ..self.shown_for(identity, asked).await };
        match kept.answer {
            Some(text) => Ok(Ended { answered: Answered::Before(text), shown }),
            None => Err(Reply::error(asked.id, &fault::answer_not_kept(), shown)),
        }
    }
}

/// How a request ends that is told this; `shown` are the numbers that go with it.
pub(super) fn ended(asked: &Asked<'_>, told: Told, shown: Shown) -> Result<Ended, Reply> {
    match told {
        Told::Ended(ran, call) => {
            Ok(Ended { answered: Answered::Now(ran), shown: Shown { call, ..shown } })
        }
        Told::Withheld(error, call) => Err(Reply::error(asked.id, &error, Shown { call, ..shown })),
    }
}

#[cfg(test)]
#[path = "tests/repeat.rs"]
mod tests;
