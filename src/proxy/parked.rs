//! Answers that are not the end of their call: the server wants more of the customer
//! (`input_required`), or will have the result later (a task). The hold stays open meanwhile, and
//! what the client gets to go on with is sealed by us.

use std::sync::Arc;

use super::asked::{Outcomes, Told};
use super::hold::Held;
use super::session::Session;
use super::{Proxy, fault};
use crate::model::bounds;
use crate::model::ids::{CallId, KeyId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::protocol::from_client::Request;
use crate::protocol::from_server::Answer;
use crate::protocol::object::{Object, string};
use crate::protocol::result_kind::ResultKind;
use crate::protocol::sealed::{self, Round};
use crate::protocol::to_client::{ErrorObjectOwned, push_json};
use crate::protocol::to_server::{push_member, push_object};
use crate::store::{ItemEnd, Parking, Reading, Show, StoreError, clock};
use crate::upstream::Outcome;

/// What a retry is told whose round was gone on with already.
pub(super) const ROUND_USED: &str = "Invalid params: this requestState was used before, or its call has ended; start the call again";

/// What a retry is told whose state is none of ours: changed, of another customer, or for something else.
const NOT_OURS: &str = "Invalid params: this requestState does not belong to this request";

const TOO_LATE: &str =
    "Invalid params: the time to bring what was asked for is over; start the call again";

/// What may come before and after one answer to a call.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    /// Whose call it is; nobody's in shadow mode without a key.
    pub(super) key: Option<KeyId>,
    /// What is asked for, in every round alike.
    pub(super) asked: Digest,
    /// Rounds that went before.
    pub(super) before: u32,
    pub(super) earlier: Earlier,
    pub(super) tasks: TaskForm,
}

/// How a client takes a task in the place of a result.
#[derive(Clone, Debug)]
pub(super) enum TaskForm {
    /// Not at all.
    Not,
    /// Under an id that we seal: the modern era's extension.
    Extension,
    /// As its session's own server made it: 2025-11-25.
    OfSession(Arc<Session>),
}

impl Rounds {
    /// Can the client deal with a task?
    pub(super) const fn take_tasks(&self) -> bool {
        !matches!(self.tasks, TaskForm::Not)
    }

    /// A call that its session's own server is asked to run as a task.
    pub(super) fn as_task(key: Option<KeyId>, session: Arc<Session>) -> Self {
        let (tasks, asked) = (TaskForm::OfSession(session), Digest::of(b""));
        Self { key, asked, before: 0, earlier: Earlier::None, tasks }
    }
}

/// What an earlier round has left.
#[derive(Clone, Debug)]
pub(super) enum Earlier {
    /// There was none.
    None,
    /// A hold that waits in this state.
    Held { call: CallId, state: String },
    /// Nothing: in shadow mode nothing is held.
    Unheld,
}

/// What is told of an answer that is not the end, and the numbers that go with it.
pub(super) type Interim = (Told, Option<Reading>);

/// What is told of a call that goes on.
pub(super) fn not_the_end(answer: Answer, call: Option<CallId>) -> Told {
    Told::Ended(Arc::new(Outcomes { outcomes: vec![Ok(answer)], charged: vec![0] }), call)
}

/// The answer that is not the end, if the one outcome is one.
pub(super) fn interim(outcomes: &[Outcome], rounds: &Rounds) -> Option<Answer> {
    let [Ok(answer)] = outcomes else { return None };
    match (ResultKind::of(answer.result_text()?), &rounds.tasks) {
        // The legacy era asks by requests of the server.
        (ResultKind::InputRequired, TaskForm::OfSession(_)) | (ResultKind::Complete, _) => None,
        (ResultKind::InputRequired | ResultKind::Task, _) => Some(answer.clone()),
    }
}

/// The state in which a hold waits for a round.
fn waiting(number: u32) -> String {
    format!("round {number}")
}

impl Proxy {
    /// What a request's `requestState` says about earlier rounds, and what the server is to get in
    /// its place (JSON text). The error is for the client.
    pub(super) fn earlier_round(
        &self,
        request: &Request<'_>,
        key: Option<&KeyId>,
        asked: Digest,
    ) -> Result<Option<Round>, ErrorObjectOwned> {
        let Some(state) = request.param("requestState") else { return Ok(None) };
        let round = string(state).and_then(|state| Round::open(&self.seal_key, &state));
        let owner = key.map_or("", KeyId::as_str);
        let round = round.filter(|round| round.key == owner && round.asked.same(&asked));
        let round = round.ok_or_else(|| fault::invalid_params(NOT_OURS))?;
        if self.store.ledger_now(clock::now()) >= round.until {
            return Err(fault::invalid_params(TOO_LATE));
        }
        Ok(Some(round))
    }

    /// The rounds of a call; the second is what the server is to get as its state.
    pub(super) fn rounds(
        &self,
        request: &Request<'_>,
        params: &Object<'_>,
        key: Option<&KeyId>,
        tasks: TaskForm,
    ) -> Result<(Rounds, Option<String>), ErrorObjectOwned> {
        let asked = sealed::digest(&request.method, params);
        let key = key.cloned();
        let Some(round) = self.earlier_round(request, key.as_ref(), asked)? else {
            return Ok((Rounds { key, asked, before: 0, earlier: Earlier::None, tasks }, None));
        };
        let earlier = match round.call {
            Some(call) => Earlier::Held { call, state: waiting(round.number) },
            None if self.options.policy.shadow => Earlier::Unheld,
            // It was not held in shadow mode, which has ended since.
            None => return Err(fault::invalid_params(ROUND_USED)),
        };
        Ok((Rounds { key, asked, before: round.number, earlier, tasks }, round.inner))
    }

    /// Answers with what is not the end yet, and keeps the hold open.
    pub(super) async fn interim(
        &self,
        held: Held,
        rounds: Rounds,
        answer: Answer,
        show: Show,
    ) -> Interim {
        let kind = answer.result_text().map_or(ResultKind::Complete, ResultKind::of);
        if kind == ResultKind::Task {
            return self.task_made(held, rounds, answer, show).await;
        }
        let number = rounds.before.saturating_add(1);
        if number > bounds::ROUNDS_MAX {
            return self.ends_free(held, "too_many_rounds", show, &too_many_rounds()).await;
        }
        let until = self.store.ledger_now(clock::now()).plus(bounds::ROUND_WAIT);
        let Rounds { key: owner, asked, .. } = rounds;
        let call = held.waits_for(owner.as_ref());
        let key = owner.as_ref().map_or_else(String::new, |key| key.as_str().to_owned());
        let result = answer.result_text().and_then(|result| Object::read(result).ok());
        let inner = result.as_ref().and_then(|result| result.get("requestState"));
        let inner = inner.map(str::to_owned);
        let state = Round { call, key, asked, number, until, inner }.seal(&self.seal_key);
        let text = result.map(|result| with_state(&result, &state));
        let Some(answer) = text.and_then(|text| answer.with_result(&text)) else {
            return self.ends_free(held, "not_kept", show, &fault::ours()).await;
        };
        match self.park(held, owner.as_ref(), waiting(number), until, show).await {
            Ok(reading) => (not_the_end(answer, call), reading),
            Err(told) => (told, None),
        }
    }

    /// Keeps a hold open, durably; what the interim answer shows. What holds nothing is settled.
    /// The answer must be ready: nobody could go on with a hold whose answer cannot be made.
    pub(super) async fn park(
        &self,
        held: Held,
        key: Option<&KeyId>,
        state: String,
        until: Time,
        show: Show,
    ) -> Result<Option<Reading>, Told> {
        let (Some(call), Some(key)) = (held.waits_for(key), key) else {
            return Ok(self.release(held, "input_required", show).await);
        };
        let parking = Parking { call, key: key.clone(), state, until };
        let parked = match self.store.park(parking, show.clone(), clock::now()).await {
            Ok((reading, durable)) => durable.wait().await.map(|()| reading),
            Err(error) => Err(error),
        };
        match parked {
            Ok(reading) => Ok(Some(reading)),
            Err(error) => {
                self.release(held, "not_kept", show).await;
                Err(Told::Withheld(not_kept(&error), Some(call)))
            }
        }
    }

    /// Ends a call free of charge, with an error for its client.
    pub(super) async fn ends_free(
        &self,
        held: Held,
        outcome: &'static str,
        show: Show,
        error: &ErrorObjectOwned,
    ) -> Interim {
        let call = held.charge().map(|charge| charge.call);
        let reading = self.release(held, outcome, show).await;
        (Told::Withheld(error.clone(), call), reading)
    }

    async fn release(&self, held: Held, outcome: &'static str, show: Show) -> Option<Reading> {
        let outcome = held.shadow().unwrap_or(outcome);
        let ends = [ItemEnd { paid: false, outcome }];
        match self.settle(held, &ends, show, None).await {
            super::settle::Settled::Booked(reading) => reading,
            super::settle::Settled::TooLate | super::settle::Settled::Unbooked(_) => None,
        }
    }
}

pub(super) fn not_kept(error: &StoreError) -> ErrorObjectOwned {
    match error {
        StoreError::ParkedFull => fault::internal(
            "Too many calls wait for their next round or for their task; nothing was charged",
            "too_many_waiting",
            Some(30_000),
        ),
        StoreError::NotOpen => fault::upstream(crate::upstream::Failure::Timeout),
        other => fault::store(other),
    }
}

fn too_many_rounds() -> ErrorObjectOwned {
    let message = "The tool asked for more input too many times; nothing was charged";
    fault::internal(message, "too_many_rounds", None)
}

/// A result with our state in the place of the server's, or beside everything else if it had none.
pub(super) fn with_state(result: &Object<'_>, state: &str) -> String {
    let mut quoted = Vec::with_capacity(state.len() + 2);
    push_json(&mut quoted, state);
    let quoted = String::from_utf8_lossy(&quoted).into_owned();
    let mut text = Vec::new();
    if result.has("requestState") {
        let changed = result.clone().with("requestState", Some(&quoted));
        push_object(&mut text, changed.members(), push_member);
    } else {
        push_object(&mut text, result.members(), push_member);
        text.pop();
        let comma = if result.members().is_empty() { "" } else { "," };
        text.extend_from_slice(format!("{comma}\"requestState\":{quoted}}}").as_bytes());
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_state_stands_where_the_servers_stood() {
        let with = |result: &str| with_state(&Object::read(result).unwrap(), "S");
        assert_eq!(
            with(r#"{"a":1.0,"request\u0053tate":"x","b":{"requestState":1}}"#),
            r#"{"a":1.0,"request\u0053tate":"S","b":{"requestState":1}}"#
        );
        assert_eq!(with(r#"{"a":1}"#), r#"{"a":1,"requestState":"S"}"#);
        assert_eq!(with("{}"), r#"{"requestState":"S"}"#);
    }
}
