//! Tasks: results that come later. The hold of the call waits for its task, under the id that the
//! client gets, which is sealed by us and names its customer; the server's own id is never shown.
//! The result is paid when it is first seen, and once, however often it is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::asked::Told;
use super::hold::{Held, NotHeld};
use super::identify::{Caller, Identity};
use super::modern::{needs_tasks, with_param};
use super::parked::{Interim, Rounds, not_the_end};
use super::settle::{Terms, end_of_task};
use super::{Answer, Proxy, Reply, Shown, entropy, fault};
use crate::gate::{CallFacts, Denied, Item};
use crate::ledger::ResolutionKind;
use crate::model::bounds;
use crate::protocol::from_client::{Params, Request};
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

const NOT_FOUND: &str = "Task not found";

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
enum Unpaid {
    Denied(Box<Denied>),
    Error(ErrorObjectOwned),
}

impl<'a> Seen<'a> {
    fn of(task: &Object<'a>) -> Self {
        match task.get("status").and_then(string).as_deref() {
            Some("completed") => Self::Completed(task.get("result").unwrap_or("{}")),
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
        let inner = result.as_ref().and_then(|result| result.get("taskId"));
        let inner = inner.filter(|inner| string(inner).is_some()).map(str::to_owned);
        let Some((result, inner)) = result.zip(inner) else {
            let error = fault::upstream(Failure::Malformed);
            return self.ends_free(held, Failure::Malformed.reason(), show, &error).await;
        };
        let item = held.charge().and_then(|charge| charge.items.first().cloned());
        let now = self.store.ledger_now(clock::now());
        let until = now.plus(lifetime(&result));
        let parked = self.park(held, rounds.key.as_ref(), WAITING.to_owned(), until, show).await;
        let (call, reading) = match parked {
            Ok(parked) => parked,
            Err(told) => return (told, None),
        };
        let (tool, price) =
            item.map_or_else(Default::default, |item| (item.tool.as_str().to_owned(), item.price));
        let key = rounds.key.map_or_else(String::new, |key| key.as_str().to_owned());
        let until = now.plus(bounds::TASK_ASK_MAX);
        let id = Task { call, key, tool, price, until, inner }.seal(&self.seal_key);
        match answer.with_result(&with_id(&result, &id)) {
            Some(answer) => (not_the_end(answer, call), reading),
            None => (Told::Withheld(fault::ours(), call), reading),
        }
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
        let sent = with_param(request, params, "taskId", Some(&task.inner));
        let answer = match self.ask_while_there(caller, &identity, &sent).await {
            Ok(answer) => answer,
            Err(failure) => return fails(fault::upstream(failure)),
        };
        let result = answer.result_text().and_then(|result| Object::read(result).ok());
        let Some(result) = result else {
            // Should it come back all the same, its result still has to be paid.
            if answer.error_text().is_some_and(is_unknown) {
                self.let_go(&identity, &task, Seen::Lost).await;
            }
            return self.task_answer(&identity, answer.with_id(request.id)).await;
        };
        match request.method.as_ref() {
            "tasks/get" => match self.settle_task(&identity, &task, Seen::of(&result)).await {
                Ok(()) => {}
                Err(Unpaid::Denied(denied)) => {
                    return self.denied_free(&identity, request.id, *denied);
                }
                Err(Unpaid::Error(error)) => return fails(error),
            },
            "tasks/cancel" => self.after_cancel(caller, &identity, &sent, &task).await,
            _ => {}
        }
        let id = id.unwrap_or_default();
        let text = match result.has("taskId").then(|| with_id(&result, &id)) {
            Some(text) => to_client::result(request.id, text.as_bytes()),
            None => answer.with_id(request.id),
        };
        self.task_answer(&identity, text).await
    }

    async fn task_answer(&self, identity: &Identity, text: Vec<u8>) -> Reply {
        Reply::Message(Answer { text, shown: self.shown(identity).await })
    }

    /// A cancelled task whose client asks no more would keep its hold to the end. So it is looked
    /// at once; a result that came all the same stays for whoever asks for it.
    async fn after_cancel(
        &self,
        caller: &Caller,
        identity: &Identity,
        cancel: &Request<'_>,
        task: &Task,
    ) {
        let look = cancel.with_method("tasks/get");
        let Ok(answer) = self.ask_while_there(caller, identity, &look).await else { return };
        let seen = answer.result_text().and_then(|result| Object::read(result).ok());
        let seen = seen.as_ref().map_or(Seen::Open, Seen::of);
        if matches!(seen, Seen::Cancelled | Seen::Failed) {
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
        let (Some(call), Some(key)) = (task.call, identity.usable_key_id()) else { return Ok(()) };
        if seen == Seen::Open {
            return Ok(());
        }
        let terms = Terms { refund_on_failure: self.options.refund_on_failure };
        let mut end = end_of_task(seen, terms);
        end.paid &= !self.options.policy.shadow;
        // One at a time: of two who see the end together, the second must find it paid.
        let _turn = self.task_turn.lock().await;
        if self.store.is_task_paid(&call) {
            return Ok(());
        }
        let held = match self.go_on(key.clone(), call, WAITING).await {
            Ok(held) => held,
            // Released already, by its deadline or because it cost nothing.
            Err(_) if !end.paid => return Ok(()),
            Err(NotHeld::Used) => self.hold_again(identity, task).await?,
            Err(NotHeld::Refused(denied)) => return Err(Unpaid::Denied(denied)),
            Err(NotHeld::Stale) => return Err(unavailable(&StoreError::Conflict)),
            Err(NotHeld::Unavailable(error)) => return Err(unavailable(&error)),
        };
        let paid = PaidTask { call, key: key.clone(), until: task.until };
        self.book_task(&held, end, paid).await
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
                self.count_ended(&ended);
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

/// Does an error say that there is no such task?
fn is_unknown(error: &str) -> bool {
    let code = Object::read(error).ok().and_then(|error| error.get("code")?.parse().ok());
    code == Some(ErrorCode::InvalidParams.code())
}

fn unavailable(error: &StoreError) -> Unpaid {
    Unpaid::Error(fault::store(error))
}

/// How long a hold waits for a task: as long as the server keeps it, within our bound.
fn lifetime(task: &Object<'_>) -> Duration {
    let ttl_ms = task.get("ttlMs").and_then(|ttl| ttl.parse().ok());
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
    }

    #[test]
    fn a_hold_waits_as_long_as_its_task_lives() {
        let lives = |task: &str| lifetime(&Object::read(task).unwrap());
        assert_eq!(lives(r#"{"ttlMs":60000}"#), Duration::from_mins(1));
        for unbounded in ["{}", r#"{"ttlMs":null}"#, r#"{"ttlMs":999999999999}"#, r#"{"ttlMs":-1}"#]
        {
            assert_eq!(lives(unbounded), bounds::TASK_HOLD_MAX, "{unbounded}");
        }
    }
}
