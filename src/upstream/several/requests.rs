//! Where each line goes that the link sends.
//!
//! A request for one server is sent before the next line is looked at, so that a cancellation that
//! follows finds it. What takes more than one step runs in a task of its own.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::message::{Body, Changes, Message, json};
use super::pages::List;
use super::router::{Router, Sent, answer_of, is_result, refusal, result};
use super::tasks;
use crate::model::bounds;
use crate::protocol::from_server::Answer;
use crate::protocol::object::{Object, string};
use crate::protocol::result_kind::ResultKind;
use crate::protocol::to_client::ErrorCode;
use crate::upstream::Failure;
use crate::upstream::calls::Outcome;

/// A request in flight; it is forgotten when this is dropped.
pub(super) struct Open {
    pub(super) router: Arc<Router>,
    pub(super) id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.router.table().close(self.id);
    }
}

impl Router {
    /// Takes one line.
    pub(super) fn route(self: &Arc<Self>, line: &[u8], tasks: &mut JoinSet<()>) {
        match Message::read(line) {
            Some(Message::Request { id, method, body }) => {
                self.request(id, &method, &body, line, tasks);
            }
            Some(Message::Notification { method, body }) => self.notification(&method, &body, line),
            Some(Message::Response { id, body }) => self.response(id, &body),
            None => {
                tracing::debug!(target: "upstream", "a line for several servers is for none of them");
            }
        }
    }

    fn request(
        self: &Arc<Self>,
        id: u64,
        method: &str,
        body: &Body<'_>,
        line: &[u8],
        tasks: &mut JoinSet<()>,
    ) {
        self.table().open(id);
        let open = Open { router: Arc::clone(self), id };
        let whole = || line.to_vec();
        if let Some(list) = List::of(method) {
            return self.run(open, Arc::clone(self).list(id, whole(), list), tasks);
        }
        match method {
            "initialize" | "server/discover" => {
                let first = self.first_result().ok_or(Failure::Unavailable);
                self.finish(id, first.and_then(|first| result(id, first.as_bytes())));
            }
            "ping" => self.finish(id, result(id, b"{}")),
            "tools/call" | "prompts/get" => self.by_name(open, body, tasks),
            "completion/complete" => self.complete(open, body, line, tasks),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                let uri = body.text("uri").map(Cow::into_owned).unwrap_or_default();
                let method = method.to_owned();
                self.run(open, Arc::clone(self).resource(id, method, uri, whole()), tasks);
            }
            "logging/setLevel" => {
                self.table().log_level = body.param("level").map(Into::into);
                self.run(open, Arc::clone(self).everywhere(id, whole(), "logging"), tasks);
            }
            "subscriptions/listen" => {
                self.run(open, Arc::clone(self).listen(id, whole()), tasks);
            }
            _ if method.starts_with("tasks/") => self.by_task(open, body, line, tasks),
            // What Paygate does not know goes to the first server, as it did in paygate-mcp.
            _ => match self.ready_servers().next() {
                Some((server, _)) => self.forward(open, server, body, Changes::default(), tasks),
                None => self.finish(id, Err(Failure::Unavailable)),
            },
        }
    }

    /// Runs what gives a request its outcome.
    fn run(
        self: &Arc<Self>,
        open: Open,
        outcome: impl Future<Output = Outcome> + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) {
        let id = open.id;
        // The lock is held until the task is noted, so that it cannot end unnoted.
        let mut table = self.table();
        let task = tasks.spawn(async move {
            let outcome = outcome.await;
            open.router.finish(open.id, outcome);
        });
        table.runs(id, task);
    }

    fn forward(
        self: &Arc<Self>,
        open: Open,
        server: usize,
        body: &Body<'_>,
        changes: Changes,
        tasks: &mut JoinSet<()>,
    ) {
        match self.send(server, open.id, body, changes, bounds::MEMBER_REQUEST_TIMEOUT) {
            Ok(sent) => self.run(open, Arc::clone(self).answer(server, sent), tasks),
            Err(failure) => self.finish(open.id, Err(failure)),
        }
    }

    /// A server's answer, as clients are to see it.
    async fn answer(self: Arc<Self>, server: usize, sent: Sent) -> Outcome {
        let answer = sent.answer().await?;
        let is_task = |result| ResultKind::of(result) == ResultKind::Task;
        if !answer.result_text().is_some_and(is_task) {
            return Ok(answer);
        }
        self.with_task_ids(server, answer)
    }

    fn with_task_ids(&self, server: usize, answer: Answer) -> Outcome {
        match tasks::for_client(
            answer.line().as_bytes(),
            &self.options.names,
            server,
            answer.life(),
        ) {
            Some(line) => answer_of(&line),
            None => Ok(answer),
        }
    }

    fn by_name(self: &Arc<Self>, open: Open, body: &Body<'_>, tasks: &mut JoinSet<()>) {
        let name = body.text("name").unwrap_or_default();
        match self.options.names.owner(&name) {
            Some((server, own)) => {
                let params = vec![("name", Some(json(own)))];
                let changes = Changes { params, ..Changes::default() };
                self.forward(open, server, body, changes, tasks);
            }
            None => self.finish(open.id, self.misnamed(open.id, &name)),
        }
    }

    fn misnamed(&self, id: u64, name: &str) -> Outcome {
        let message = self.options.names.misnamed(name, None).unwrap_or_default();
        refusal(id, ErrorCode::InvalidParams.code(), &message)
    }

    /// Completes an argument of a prompt, which has a name, or of a template, which has a URI.
    fn complete(
        self: &Arc<Self>,
        open: Open,
        body: &Body<'_>,
        line: &[u8],
        tasks: &mut JoinSet<()>,
    ) {
        let reference = body.param("ref").and_then(|text| Object::read(text).ok());
        let named = |name| reference.as_ref().and_then(|found| found.get(name)).and_then(string);
        if let Some(uri) = named("uri") {
            let (method, uri) = ("completion/complete".to_owned(), uri.into_owned());
            let outcome = Arc::clone(self).resource(open.id, method, uri, line.to_vec());
            return self.run(open, outcome, tasks);
        }
        let name = named("name").unwrap_or_default();
        match self.options.names.owner(&name) {
            Some((server, own)) => {
                let own = reference.map(|reference| with_name(&reference, own));
                let changes = Changes { params: vec![("ref", own)], ..Changes::default() };
                self.forward(open, server, body, changes, tasks);
            }
            None => self.finish(open.id, self.misnamed(open.id, &name)),
        }
    }

    fn by_task(
        self: &Arc<Self>,
        open: Open,
        body: &Body<'_>,
        line: &[u8],
        tasks: &mut JoinSet<()>,
    ) {
        let task = body.text("taskId").unwrap_or_default();
        let life_of = |server: usize| self.server(server).and_then(|server| server.link.life());
        let Some((server, lived)) = tasks::owner(&task, &self.options.names, life_of) else {
            return self.finish(open.id, unknown_task(open.id));
        };
        let own = tasks::for_server(line, &self.options.names, server, lived);
        let own = own.as_deref().and_then(Body::read);
        let (body, wait) = (own.as_ref().unwrap_or(body), bounds::MEMBER_REQUEST_TIMEOUT);
        match self.send(server, open.id, body, Changes::default(), wait) {
            Ok(sent) => {
                let router = Arc::clone(self);
                let id = open.id;
                let outcome = async move {
                    let answer = sent.answer().await?;
                    // It was started anew in between: the answer is about another task.
                    if answer.life() != lived {
                        return unknown_task(id);
                    }
                    router.with_task_ids(server, answer)
                };
                self.run(open, outcome, tasks);
            }
            Err(failure) => self.finish(open.id, Err(failure)),
        }
    }

    /// Asks every server that can do this; one that does it is enough.
    async fn everywhere(self: Arc<Self>, id: u64, line: Vec<u8>, capability: &str) -> Outcome {
        let Some(body) = Body::read(&line) else { return Err(Failure::Ours) };
        let ask = |server| {
            let changes = Changes::default();
            self.send(server, id, &body, changes, bounds::MEMBER_PART_TIMEOUT)
        };
        let asked: Vec<_> = self.able_servers(capability).into_iter().map(ask).collect();
        let mut outcome = Err(Failure::Unavailable);
        for (index, asked) in asked.into_iter().enumerate() {
            let next = match asked {
                Ok(sent) => sent.answer().await,
                Err(failure) => Err(failure),
            };
            if index == 0 || (is_result(&next) && !is_result(&outcome)) {
                outcome = next;
            }
        }
        outcome
    }

    fn notification(&self, method: &str, body: &Body<'_>, line: &[u8]) {
        match method {
            // Each server was greeted by its own link.
            "notifications/initialized" => {}
            "notifications/cancelled" => self.cancelled(body),
            "notifications/progress" => self.progress_of_client(body),
            _ => self.ready_servers().for_each(|(_, server)| server.link.try_notify(line)),
        }
    }

    /// Nobody waits for a request any more.
    fn cancelled(&self, body: &Body<'_>) {
        let Some(Ok(request)) = body.param("requestId").map(str::parse) else { return };
        let reason = body.text("reason").unwrap_or_default();
        let (task, calls) = self.table().cancel(request);
        for (server, call) in calls {
            if let Some(server) = self.server(server) {
                server.link.cancel(call, &reason);
            }
        }
        if let Some(task) = task {
            task.abort();
        }
    }

    /// A client's progress with what a server asked.
    fn progress_of_client(&self, body: &Body<'_>) {
        let Some(Ok(ask)) = body.param("progressToken").map(str::parse) else { return };
        let asked = self.table().asked(ask);
        if let Some(asked) = asked
            && let (Some(token), Some(server)) = (asked.token, self.server(asked.server))
        {
            let params = vec![("progressToken", Some(token.into()))];
            server.link.try_notify(&body.with(&Changes { params, ..Changes::default() }));
        }
    }

    /// A client's answer to what a server asked.
    fn response(&self, ask: u64, body: &Body<'_>) {
        let asked = self.table().answered(ask);
        let Some(asked) = asked else {
            tracing::debug!(target: "upstream", ask, "an answer to a question that nobody asks any more");
            return;
        };
        let line = body.with(&Changes { id: Some(asked.id.into()), ..Changes::default() });
        if let Some(server) = self.server(asked.server) {
            let lived = server.link.life().unwrap_or_default();
            let own = tasks::for_server(&line, &self.options.names, asked.server, lived);
            server.link.try_notify(&own.unwrap_or(line));
        }
    }

    /// What a server asked and will not hear the answer to any more.
    pub(super) fn withdraw_asks_of(&self, server: usize) {
        let gone = self.table().forget_asks_of(server);
        for ask in gone {
            let line = format!(
                concat!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","#,
                    r#""params":{{"requestId":{},"reason":"the server ended"}}}}"#
                ),
                ask
            );
            self.take(line.as_bytes(), None);
        }
    }
}

/// A reference with the prompt's own name.
fn with_name(reference: &Object<'_>, own: &str) -> String {
    let mut text = Vec::new();
    super::message::push_changed(&mut text, reference, |text, member| {
        let is_name = member.name == "name";
        if is_name {
            text.extend_from_slice(format!("\"name\":{}", json(own)).as_bytes());
        }
        is_name
    });
    String::from_utf8(text).unwrap_or_default()
}

fn unknown_task(id: u64) -> Outcome {
    refusal(id, ErrorCode::InvalidParams.code(), "Unknown task")
}
