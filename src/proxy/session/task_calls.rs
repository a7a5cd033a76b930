//! What a client asks about the tasks of its session, in the form of 2025-11-25, and what their holds
//! come to. Ids and answers stay as the server wrote them; what is not this session's is not found.
//!
//! The result decides what a task costs. A status of `completed` gives none, so where that is seen
//! first Paygate looks at the result itself; a result that is shown after its hold has run out is
//! paid by another one.

use std::sync::Arc;

use super::Session;
use super::tasks::{Heard, OwnTask, Word};
use crate::protocol::from_client::Request;
use crate::protocol::object::{Object, items, string};
use crate::protocol::to_client::{self, ErrorCode, ErrorObject};
use crate::protocol::to_server::{self, push_member, push_object};
use crate::proxy::identify::{Caller, Identity};
use crate::proxy::settle::{end_of, end_of_task};
use crate::proxy::tasks::{NOT_FOUND, Seen, Unpaid, is_unknown};
use crate::proxy::{Answer, Proxy, Reply, Shown, fault};
use crate::upstream::{Link, Outcome, Patience};

impl Proxy {
    /// `tasks/*` in a session that has a server to itself.
    pub(in crate::proxy) async fn session_task(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Arc<Session>,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Reply {
        let method = request.method.as_ref();
        if method == "tasks/list" {
            let answer = self.ask(caller, identity, request).await;
            let text = match answer {
                Ok(answer) => match answer.result_text().and_then(|it| own_alone(it, session)) {
                    Some(result) => to_client::result(request.id, result.as_bytes()),
                    None => answer.with_id(request.id),
                },
                Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
            };
            return Reply::Message(Answer { text, shown: self.shown(identity).await });
        }
        let fails = |error| Reply::error(request.id, &error, Shown::default());
        if !matches!(method, "tasks/get" | "tasks/result" | "tasks/cancel") {
            return fails(ErrorObject::from(ErrorCode::MethodNotFound));
        }
        let id = request.param("taskId").and_then(string);
        let Some(own) = id.and_then(|id| session.dialogue.tasks.find(&id)) else {
            return fails(fault::invalid_params(NOT_FOUND));
        };
        let outcome = if method == "tasks/result" {
            // It is there when the task is over, and how long that takes nobody knows.
            let longest = self.options.request_timeout_max;
            let patience = Patience { quiet: longest, whole: longest };
            let outcome = self.ask_within(caller, identity, request, patience).await;
            if let Err(unpaid) = self.result_seen(&own, &outcome, Some(identity)).await {
                return self.unpaid(identity, request.id, unpaid).await;
            }
            outcome
        } else {
            let outcome = self.ask(caller, identity, request).await;
            if let Some(word) = word_of(&outcome) {
                self.task_heard(&session.connection.link, &own, word).await;
            }
            outcome
        };
        let text = match outcome {
            Ok(answer) => answer.with_id(request.id),
            Err(failure) => to_client::error(request.id, &fault::upstream(failure)),
        };
        Reply::Message(Answer { text, shown: self.shown(identity).await })
    }

    /// Ends the hold of a task whose result is there, by that; who is to be shown it pays for it
    /// though the hold has run out.
    async fn result_seen(
        &self,
        own: &OwnTask,
        outcome: &Outcome,
        shown_to: Option<&Identity>,
    ) -> Result<(), Unpaid> {
        // Without an answer the task goes on, or its result can be asked for again.
        let Ok(answer) = outcome else { return Ok(()) };
        let terms = self.terms(false);
        let end = match answer.error_text() {
            Some(error) if is_unknown(error) => end_of_task(Seen::Lost, terms),
            _ => end_of(outcome, terms),
        };
        self.end_task(&own.task, end, Some(own), shown_to).await
    }

    /// Ends the hold of a task that is over.
    async fn task_heard(&self, link: &Link, own: &OwnTask, word: Word) {
        if own.is_over() {
            return;
        }
        let seen = match word {
            Word::Completed => return self.look_at_result(link, own).await,
            Word::Failed => Seen::Failed,
            Word::Cancelled => Seen::Cancelled,
            Word::Lost => Seen::Lost,
        };
        let terms = self.terms(false);
        if self.end_task(&own.task, end_of_task(seen, terms), Some(own), None).await.is_err() {
            tracing::debug!(target: "proxy", "the hold of a task that is over ends by itself");
        }
    }

    async fn look_at_result(&self, link: &Link, own: &OwnTask) {
        let Ok(slot) = link.reserve() else { return };
        let (id, task) = (slot.id(), &own.task.inner);
        let asks = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tasks/result","params":{{"taskId":{task}}}}}"#
        );
        let outcome = slot.send(to_server::line(&asks), self.options.patience()).answer().await;
        if self.result_seen(own, &outcome, None).await.is_err() {
            tracing::debug!(target: "proxy", "the hold of a task that is over ends by itself");
        }
    }

    /// Settles what a session's server has told of tasks unasked.
    pub(super) fn tend_tasks(self: &Arc<Self>, session: &Session) {
        let heard = session.dialogue.tasks.take_heard();
        if heard.is_empty() {
            return;
        }
        let (proxy, link) = (Arc::clone(self), session.connection.link.clone());
        // A server may take its time to show a result.
        tokio::spawn(async move {
            for (own, word) in heard {
                proxy.task_heard(&link, &own, word).await;
            }
        });
    }

    /// Releases the holds of tasks whose session has ended.
    pub(in crate::proxy) async fn release_lost_tasks(&self) {
        for (own, word) in self.sessions.take_lost() {
            self.task_heard(&self.shared.link, &own, word).await;
        }
    }
}

/// Where an answer says that a task stands; `None` if it goes on, or nothing is known.
fn word_of(outcome: &Outcome) -> Option<Word> {
    let answer = outcome.as_ref().ok()?;
    if let Some(error) = answer.error_text() {
        return is_unknown(error).then_some(Word::Lost);
    }
    Word::in_task(answer.result_text()?)
}

/// A list of tasks without those that are not of this session; `None` if it has no others.
fn own_alone(result: &str, session: &Session) -> Option<String> {
    let object = Object::read(result).ok()?;
    let listed = items(object.get("tasks")?)?;
    let is_own = |task: &&&str| {
        let id = Object::read(task).ok().and_then(|task| task.get("taskId").and_then(string));
        id.is_some_and(|id| session.dialogue.tasks.find(&id).is_some())
    };
    let own: Vec<&str> = listed.iter().filter(is_own).copied().collect();
    if own.len() == listed.len() {
        return None;
    }
    let own = format!("[{}]", own.join(","));
    let mut text = Vec::new();
    push_object(&mut text, object.with("tasks", Some(&own)).members(), push_member);
    String::from_utf8(text).ok()
}

/// What is lost with a session, whatever its server had told before.
pub(super) fn lost(heard: Vec<Heard>) -> impl Iterator<Item = Heard> {
    heard.into_iter().map(|(own, _)| (own, Word::Lost))
}
