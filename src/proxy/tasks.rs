//! Tasks: results that come later. The hold of the call waits for its task, under the id that the
//! client gets, which is sealed by us: it names its customer and the life of the server, and nobody
//! can change it or make one up.
//! The result is paid when it is first seen, and once, however often it is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::asked::Told;
use super::hold::{Held, NotHeld};
use super::identify::{Caller, Identity};
use super::modern::{needs_tasks, with_param};
use super::parked::{Interim, Rounds, TaskForm, not_kept, not_the_end};
use super::session::{OwnTask, Session};
use super::settle::end_of_task;
use super::{Answer, Proxy, Reply, Shown, entropy, fault};
use crate::gate::{CallFacts, Denied, Item};
use crate::ledger::ResolutionKind;
use crate::model::bounds;
use crate::model::ids::KeyId;
use crate::protocol::from_client::{Params, ParamsObject, Request};
use crate::protocol::from_server;
use crate::protocol::modern::{self, TASKS_EXTENSION};
use crate::protocol::object::{Object, string};
use crate::protocol::sealed::Task;
use crate::protocol::to_client::{self, ErrorCode, ErrorObjectOwned, push_json};
use crate::protocol::to_server::{push_member, push_object};
use crate::store::{self, ItemEnd, PaidTask, Show, StoreError, clock};
use crate::upstream::Failure;

/// The tasks that a stream tells of: our ids by the server's (JSON text both).
pub(super) type TaskNames = HashMap<String, String>;

/// The state in which a hold waits for its task.
const WAITING: &str = "task";

pub(super) const NOT_FOUND: &str = "Task not found";

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// It is not over.
    Open,
    /// Its result, as JSON text.
    Completed(&'a str),
    Failed,
    Cancelled,
    /// The server does not know it any more.
    Lost,
}

/// Why the result of a task may not be shown.
pub(super) enum Unpaid {
    Denied(Box<Denied>),
    Error(ErrorObjectOwned),
}

impl<'a> Seen<'a> {
    fn of(task: &Object<'a>) -> Self {
        // Whatever its status is called: who sees a result has got what is paid for.
        if let Some(result) = task.get("result").filter(|result| *result != "null") {
            return Self::Completed(result);
        }
        match task.get("status").and_then(string).as_deref() {
            Some("completed") => Self::Completed("{}"),
            Some("failed") => Self::Failed,
            Some("cancelled") => Self::Cancelled,
            _ => Self::Open,
        }
    }
}

impl Proxy {
    /// The answer to a call that made a task; its hold waits for that.
    pub(super) async fn task_made(
        &self,
        held: Held,
        rounds: Rounds,
        answer: from_server::Answer,
        show: Show,
    ) -> Interim {
        let result = answer.result_text().and_then(|result| Object::read(result).ok());
        let session = match rounds.tasks {
            TaskForm::OfSession(session) => Some(session),
            TaskForm::Extension | TaskForm::Not => None,
        };
        let result = match &session {
            // What a call as a task is answered with in 2025-11-25.
            Some(_) => result.and_then(|result| Object::read(result.get("task")?).ok()),
            None => result,
        };
        let inner = result.as_ref().and_then(|result| result.get("taskId"));
        let inner = inner.filter(|inner| string(inner).is_some()).map(str::to_owned);
        // One that brings its result at once would be seen before it is paid.
        let waits = result.filter(|result| !result.has("result"));
        let Some((result, inner)) = waits.zip(inner) else {
            let error = fault::upstream(Failure::Malformed);
            return self.ends_free(held, Failure::Malformed.reason(), show, &error).await;
        };
        let item = held.charge().and_then(|charge| charge.items.first().cloned());
        let now = self.store.ledger_now(clock::now());
        let ttl = if session.is_some() { "ttl" } else { "ttlMs" };
        let hold_until = now.plus(lifetime(&result, ttl));
        let owner = rounds.key;
        let call = held.waits_for(owner.as_ref());
        let (tool, price) =
            item.map_or_else(Default::default, |item| (item.tool.as_str().to_owned(), item.price));
        let key = owner.as_ref().map_or_else(String::new, |key| key.as_str().to_owned());
        let until = now.plus(bounds::TASK_ASK_MAX);
        let life = answer.life();
        let task = Task { call, key, tool, price, until, life, inner };
        let answer = match &session {
            Some(_) => Some(answer),
            None => answer.with_result(&with_id(&result, &task.seal(&self.seal_key))),
        };
        let Some(answer) = answer else {
            return self.ends_free(held, "not_kept", show, &fault::ours()).await;
        };
        let parked = self.park(held, owner.as_ref(), WAITING.to_owned(), hold_until, show).await;
        let reading = match parked {
            Ok(reading) => reading,
            Err(told) => return (told, None),
        };
        match session {
            Some(session) => match self.keep_in_session(&session, task).await {
                Ok(()) => (not_the_end(answer, call), reading),
                Err(error) => (Told::Withheld(error, call), reading),
            },
            None => (not_the_end(answer, call), reading),
        }
    }

    /// A task in the form of 2025-11-25 goes to its client as it is, and is known in its session.
    async fn keep_in_session(&self, session: &Session, task: Task) -> Result<(), ErrorObjectOwned> {
        let id = string(&task.inner).unwrap_or_default().into_owned();
        let own = OwnTask::new(task);
        if session.dialogue.tasks.add(&id, &own) {
            return Ok(());
        }
        let terms = self.terms(false);
        let end = end_of_task(Seen::Lost, terms);
        if self.end_task(&own.task, end, Some(&own), None).await.is_err() {
            tracing::debug!(target: "proxy", "the hold of a task that is not kept ends by itself");
        }
        Err(not_kept(&StoreError::ParkedFull))
    }

    /// `tasks/get`, `tasks/update` and `tasks/cancel`.
    pub(super) async fn task(self: &Arc<Self>, caller: &Caller, request: &Request<'_>) -> Reply {
        let fails = |error| Reply::error(request.id, &error, Shown::default());
        let identity = match self.admitted_to(caller, request).await {
            Ok(identity) => identity,
            Err(reply) => return reply,
        };
        if !modern::declares_extension(&request.params, TASKS_EXTENSION) {
            return fails(needs_tasks());
        }
        let Params::Object(params) = &request.params else { return fails(fault::ours()) };
        let id = request.param("taskId").and_then(string);
        let Some(task) = self.task_of(&identity, id.as_deref()) else {
            return fails(fault::invalid_params(NOT_FOUND));
        };
        let is_gone = |life: u64| life != task.life;
        if caller.connection.link.life().is_some_and(is_gone) {
            self.let_go(&identity, &task, Seen::Lost).await;
            return fails(fault::invalid_params(NOT_FOUND));
        }
        let sent = with_param(request, params, "taskId", Some(&task.inner));
        let answer = match self.ask_while_there(caller, &identity, &sent).await {
            Ok(answer) => answer,
            Err(failure) => return fails(fault::upstream(failure)),
        };
        // The server was started anew in between: what it says is about another task.
        if is_gone(answer.life()) {
            self.let_go(&identity, &task, Seen::Lost).await;
            return fails(fault::invalid_params(NOT_FOUND));
        }
        let result = answer.result_text().and_then(|result| Object::read(result).ok());
        let Some(result) = result else {
            // Should it come back all the same, its result still has to be paid.
            if answer.error_text().is_some_and(is_unknown) {
                if request.method == "tasks/get" {
                    self.let_go(&identity, &task, Seen::Lost).await;
                } else {
                    // The error may be about what else was sent: the task may well be there.
                    self.look_again(caller, &identity, &sent, &task).await;
                }
            }
            return self.task_answer(&identity, answer.with_id(request.id)).await;
        };
        let seen = Seen::of(&result);
        let shows_it = matches!(seen, Seen::Completed(_)) && result.has("result");
        if shows_it || request.method == "tasks/get" {
            if let Err(unpaid) = self.settle_task(&identity, &task, seen).await {
                return self.unpaid(&identity, request.id, unpaid).await;
            }
        } else if request.method == "tasks/cancel" {
            self.look_again(caller, &identity, &sent, &task).await;
        }
        let id = id.unwrap_or_default();
        let text = match result.has("taskId").then(|| with_id(&result, &id)) {
            Some(text) => to_client::result(request.id, text.as_bytes()),
            None => answer.with_id(request.id),
        };
        self.task_answer(&identity, text).await
    }

    /// The answer to who may not be shown a result.
    pub(super) async fn unpaid(&self, identity: &Identity, id: &str, unpaid: Unpaid) -> Reply {
        match unpaid {
            Unpaid::Denied(denied) => self.denied_free(identity, id, *denied).await,
            Unpaid::Error(error) => Reply::error(id, &error, Shown::default()),
        }
    }

    async fn task_answer(&self, identity: &Identity, text: Vec<u8>) -> Reply {
        Reply::Message(Answer { text, shown: self.shown(identity).await })
    }

    /// A cancelled task whose client asks no more would keep its hold to the end. So it is looked
    /// at once; a result that came all the same stays for whoever asks for it.
    async fn look_again(
        &self,
        caller: &Caller,
        identity: &Identity,
        sent: &Request<'_>,
        task: &Task,
    ) {
        let Ok(answer) = self.ask_while_there(caller, identity, &look(sent)).await else { return };
        if answer.life() != task.life {
            return;
        }
        let seen = answer.result_text().and_then(|result| Object::read(result).ok());
        let lost = answer.error_text().is_some_and(is_unknown);
        let otherwise = if lost { Seen::Lost } else { Seen::Open };
        let seen = seen.as_ref().map_or(otherwise, Seen::of);
        if matches!(seen, Seen::Cancelled | Seen::Failed | Seen::Lost) {
            self.let_go(identity, task, seen).await;
        }
    }

    /// Ends the hold of a task that gives nothing any more.
    async fn let_go(&self, identity: &Identity, task: &Task, seen: Seen<'_>) {
        if self.settle_task(identity, task, seen).await.is_err() {
            tracing::debug!(target: "proxy", "the hold of a task that is over ends by itself");
        }
    }

    /// The task that an id names, if it is this customer's and can still be asked for.
    pub(super) fn task_of(&self, identity: &Identity, id: Option<&str>) -> Option<Task> {
        let task = Task::open(&self.seal_key, id?)?;
        let owner = identity.usable_key_id().map_or("", |key| key.as_str());
        (task.key == owner && self.store.ledger_now(clock::now()) < task.until).then_some(task)
    }

    /// A notification for a stream; `None` if it shows a result that could not be paid.
    pub(super) async fn task_told(
        &self,
        caller: &Caller,
        text: Vec<u8>,
        names: &TaskNames,
    ) -> Option<Vec<u8>> {
        if names.is_empty() {
            return Some(text);
        }
        let identity = self.identify(caller).await.ok()?;
        let is_paid = {
            let message = Object::read(std::str::from_utf8(&text).ok()?).ok()?;
            let params = message.get("params").and_then(|params| Object::read(params).ok());
            let id = params.as_ref().and_then(|params| params.get("taskId")).and_then(string);
            match (&params, id) {
                (Some(params), Some(id)) => {
                    let task = self.task_of(&identity, Some(&id))?;
                    self.settle_task(&identity, &task, Seen::of(params)).await.is_ok()
                }
                _ => true,
            }
        };
        is_paid.then_some(text)
    }

    /// Ends the hold of a task that is over, before anybody is shown how it ended.
    async fn settle_task(
        &self,
        identity: &Identity,
        task: &Task,
        seen: Seen<'_>,
    ) -> Result<(), Unpaid> {
        if seen == Seen::Open {
            return Ok(());
        }
        let terms = self.terms(false);
        self.end_task(task, end_of_task(seen, terms), None, Some(identity)).await
    }

    /// Ends the hold of a task. If that has run out, who is to be shown its result pays by another.
    /// What is paid is noted in the books with the same commit, so that nobody who leaves meanwhile
    /// can have it paid twice.
    pub(super) async fn end_task(
        &self,
        task: &Task,
        mut end: ItemEnd,
        own: Option<&OwnTask>,
        shown_to: Option<&Identity>,
    ) -> Result<(), Unpaid> {
        let (Some(call), Some(key)) = (task.call, KeyId::parse(&task.key)) else { return Ok(()) };
        end.paid &= !self.options.policy.shadow;
        // One at a time: of two who see the end together, the second must find it paid.
        let turn = self.task_turns.of(call).ok_or_else(|| unavailable(&StoreError::Busy))?;
        let _mine = turn.wait().await;
        if own.is_some_and(OwnTask::is_paid) {
            return Ok(());
        }
        let (paid, owner) = (PaidTask { call, until: task.until }, key.clone());
        let judged = shown_to.filter(|_| end.paid).and_then(Identity::judged);
        let held = match (self.go_on(key, call, WAITING, judged.as_ref()).await, shown_to) {
            (Ok(held), _) => held,
            (Err(NotHeld::Used), Some(identity)) if end.paid => {
                if self.store.is_task_paid(&owner, paid).await.map_err(|it| unavailable(&it))? {
                    own.inspect(|own| own.ended(true));
                    return Ok(());
                }
                self.hold_again(identity, task).await?
            }
            // Released already, by its deadline or because it cost nothing.
            (Err(NotHeld::Used), _) => {
                own.inspect(|own| own.ended(false));
                return Ok(());
            }
            (Err(_), _) if !end.paid => return Ok(()),
            (Err(NotHeld::Refused(denied)), _) => return Err(Unpaid::Denied(denied)),
            (Err(NotHeld::Stale), _) => return Err(unavailable(&StoreError::Conflict)),
            (Err(NotHeld::Unavailable(error)), _) => return Err(unavailable(&error)),
        };
        self.book_task(&held, end, paid).await?;
        own.inspect(|own| own.ended(end.paid));
        Ok(())
    }

    async fn book_task(&self, held: &Held, end: ItemEnd, paid: PaidTask) -> Result<(), Unpaid> {
        let Some(charge) = held.charge() else { return Ok(()) };
        let settlement = store::settlement(charge, &[end], Show::BALANCE);
        let captured = settlement.kind == ResolutionKind::Captured;
        let ended = settlement.ends.clone();
        match self.store.settle_task(settlement, paid, clock::now()).await {
            Ok((_, durable)) => {
                if captured {
                    durable.wait().await.map_err(|it| unavailable(&it))?;
                }
                self.count_ended(charge, &ended);
                Ok(())
            }
            // A release that could not be booked: the hold ends by itself.
            Err(_) if !captured => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The result of a task whose hold has run out is paid by a new one, of the same price.
    async fn hold_again(&self, identity: &Identity, task: &Task) -> Result<Held, Unpaid> {
        let ours = || Unpaid::Error(fault::ours());
        let id = entropy::call_id().ok_or_else(ours)?;
        let calls = [CallFacts { tool: &task.tool, arguments: None }];
        let item = Item { tool: task.tool.as_str().into(), price: task.price };
        let refused = |denied| Unpaid::Denied(Box::new(denied));
        let allowed = self.judge_at_price(identity, &calls, item, id).map_err(refused)?;
        match self.hold(allowed).await {
            Ok(held) => Ok(held),
            Err(NotHeld::Refused(denied)) => Err(Unpaid::Denied(denied)),
            Err(NotHeld::Stale | NotHeld::Used) => Err(unavailable(&StoreError::Conflict)),
            Err(NotHeld::Unavailable(error)) => Err(unavailable(&error)),
        }
    }
}

/// `tasks/get` for the task of a request, without anything else that it says.
fn look<'a>(sent: &Request<'a>) -> Request<'a> {
    let look = sent.with_method("tasks/get");
    let Params::Object(ParamsObject { object, meta }) = &look.params else { return look };
    let kept = object.members().iter().filter(|it| matches!(&*it.name, "taskId" | "_meta"));
    let object = Object::default().and(kept.cloned());
    look.with_params(Params::Object(ParamsObject { object, meta: meta.clone() }))
}

/// Does an error say that there is no such task?
pub(super) fn is_unknown(error: &str) -> bool {
    let code = Object::read(error).ok().and_then(|error| error.get("code")?.parse().ok());
    code == Some(ErrorCode::InvalidParams.code())
}

fn unavailable(error: &StoreError) -> Unpaid {
    Unpaid::Error(fault::store(error))
}

/// How long a hold waits for a task: as long as the server keeps it, within our bound.
fn lifetime(task: &Object<'_>, ttl: &str) -> Duration {
    let ttl_ms = task.get(ttl).and_then(|ttl| ttl.parse().ok());
    ttl_ms.map_or(bounds::TASK_HOLD_MAX, Duration::from_millis).min(bounds::TASK_HOLD_MAX)
}

/// A task with another id.
fn with_id(task: &Object<'_>, id: &str) -> String {
    let mut quoted = Vec::with_capacity(id.len() + 2);
    push_json(&mut quoted, id);
    let quoted = String::from_utf8_lossy(&quoted).into_owned();
    let mut text = Vec::new();
    push_object(&mut text, task.clone().with("taskId", Some(&quoted)).members(), push_member);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_task_stands() {
        let seen = |task: &'static str| Seen::of(&Object::read(task).unwrap());
        assert_eq!(seen(r#"{"status":"working"}"#), Seen::Open);
        assert_eq!(seen(r#"{"status":"input_required"}"#), Seen::Open);
        assert_eq!(
            seen(r#"{"status":"comp\u006ceted","result":{"a":1}}"#),
            Seen::Completed(r#"{"a":1}"#)
        );
        assert_eq!(seen(r#"{"status":"failed","error":{}}"#), Seen::Failed);
        assert_eq!(seen(r#"{"status":"cancelled"}"#), Seen::Cancelled);
        assert_eq!(seen("{}"), Seen::Open);
        for status in ["working", "failed", "cancelled", "Completed"] {
            let task = format!(r#"{{"status":"{status}","result":{{"a":1}}}}"#);
            let is_result =
                Seen::of(&Object::read(&task).unwrap()) == Seen::Completed(r#"{"a":1}"#);
            assert!(is_result, "{task}");
        }
        assert_eq!(seen(r#"{"status":"working","result":null}"#), Seen::Open);
    }

    #[test]
    fn a_hold_waits_as_long_as_its_task_lives() {
        let lives = |task: &str| lifetime(&Object::read(task).unwrap(), "ttlMs");
        assert_eq!(lives(r#"{"ttlMs":60000}"#), Duration::from_mins(1));
        for unbounded in ["{}", r#"{"ttlMs":null}"#, r#"{"ttlMs":999999999999}"#, r#"{"ttlMs":-1}"#]
        {
            assert_eq!(lives(unbounded), bounds::TASK_HOLD_MAX, "{unbounded}");
        }
    }
}
