//! Holds the servers, and what is under way between them and the link that they look like.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{OnceCell, oneshot, watch};

use super::SeveralOptions;
use super::ear::MemberEar;
use super::hello::{self, Host};
use super::message::{Body, Changes};
use super::table::{Table, numbered};
use super::uris::Uris;
use crate::model::bounds;
use crate::protocol::from_server::{Answer, FromServer};
use crate::protocol::object::Object;
use crate::protocol::to_client::{self, ErrorObject};
use crate::upstream::calls::Outcome;
use crate::upstream::inbox::Inbox;
use crate::upstream::link::{MemberStatus, Shared};
use crate::upstream::{Failure, Link, LinkOptions, Pending, StartError, ToolNames};

/// The servers behind one link.
pub(super) struct Router {
    pub(super) options: Arc<SeveralOptions>,
    /// The link that they look like.
    pub(super) shared: Arc<Shared>,
    inbox: Inbox,
    pub(super) servers: Vec<Server>,
    table: Mutex<Table>,
    /// How many servers are ready.
    pub(super) ready: watch::Sender<usize>,
}

/// One server.
pub(super) struct Server {
    pub(super) link: Link,
    /// Which resources are its own; fetched when it is first asked for.
    uris: Mutex<Arc<OnceCell<Uris>>>,
    /// Counts the times it was started again.
    pub(super) restarts: AtomicU64,
}

/// How the first start of a server went, once it is known.
pub(super) type First = oneshot::Receiver<Result<(), StartError>>;

/// A request that a server has, until its outcome.
pub(super) struct Sent {
    router: Arc<Router>,
    server: usize,
    call: u64,
    pending: Option<Pending>,
}

impl Router {
    /// Begins to start all servers.
    pub(super) fn launch(
        shared: &Arc<Shared>,
        options: &Arc<SeveralOptions>,
        inbox: Inbox,
    ) -> (Arc<Self>, Vec<First>) {
        let mut firsts = Vec::new();
        let router = Arc::new_cyclic(|router| {
            let servers = options.members.iter().enumerate().map(|(index, member)| {
                let mut link = LinkOptions::new(&member.prefix, member.kind.clone());
                link.hello = shared.options.hello.clone();
                link.listener = Some(Arc::new(MemberEar::new(router.clone(), index)));
                // Room for what Paygate asks them all by itself.
                link.calls_max =
                    shared.options.calls_max.saturating_add(bounds::CHILD_OWN_CALLS_MAX);
                link.answer_bytes_max = shared.options.answer_bytes_max;
                link.start_timeout = shared.options.start_timeout;
                link.restart = shared.options.restart;
                let (link, first) = Link::launch(link);
                firsts.push(first);
                Server { link, uris: Mutex::default(), restarts: AtomicU64::new(0) }
            });
            Self {
                options: Arc::clone(options),
                shared: Arc::clone(shared),
                inbox,
                servers: servers.collect(),
                table: Mutex::default(),
                ready: watch::Sender::new(0),
            }
        });
        (router, firsts)
    }

    /// The server of this number.
    pub(super) fn server(&self, server: usize) -> Option<&Server> {
        self.servers.get(server)
    }

    /// The servers that are ready, by number.
    pub(super) fn ready_servers(&self) -> impl Iterator<Item = (usize, &Server)> {
        let all = self.servers.iter().enumerate();
        all.filter(|(_, server)| server.link.status().is_ready())
    }

    /// The servers that are ready and have said that they can do this.
    pub(super) fn able_servers(&self, capability: &str) -> Vec<usize> {
        let able = self.ready_servers().filter(|(_, server)| server.offers(capability));
        able.map(|(index, _)| index).collect()
    }

    /// Tells the link what the servers together are at this moment: their first result, their tools,
    /// and where each stands.
    pub(super) fn publish(&self) {
        let mut names = ToolNames::default();
        let mut members = Vec::with_capacity(self.servers.len());
        for (index, server) in self.servers.iter().enumerate() {
            let status = server.link.status();
            let tools = server.link.tools();
            if status.is_ready() {
                names.add(&tools, |tool| self.options.names.full(index, tool));
            }
            let server = self.options.names.prefix(index).into();
            members.push(MemberStatus { server, status, tools: tools.len() });
        }
        let ready = members.iter().filter(|member| member.status.is_ready()).count();
        self.shared.tools.set(names);
        *self.shared.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
        if let Some(first_result) = self.first_result() {
            self.shared.set_first_result(&first_result);
        }
        self.ready.send_replace(ready);
    }

    /// What the servers that are ready say first, as one.
    pub(super) fn first_result(&self) -> Option<String> {
        let results: Vec<(usize, Arc<str>)> = self
            .ready_servers()
            .filter_map(|(index, server)| Some((index, server.link.first_result()?)))
            .collect();
        let is_incomplete = results.len() < self.servers.len();
        let host = Host { title: &self.options.title, is_incomplete };
        let results: Vec<_> = results
            .iter()
            .map(|(index, result)| (self.options.names.prefix(*index), &**result))
            .collect();
        (!results.is_empty()).then(|| hello::merged(host, &results))
    }

    /// Gives a request of the link its outcome.
    pub(super) fn finish(&self, request: u64, outcome: Outcome) {
        if !self.shared.calls.resolve(request, outcome) {
            tracing::debug!(target: "upstream", request, "an answer that nobody waits for");
        }
    }

    /// Gives the link a message of a server. `on` is the request that it belongs to, if that is
    /// known.
    pub(super) fn take(&self, line: &[u8], on: Option<u64>) {
        self.inbox.take(line, on);
    }

    /// Sends a request to a server.
    pub(super) fn send(
        self: &Arc<Self>,
        server: usize,
        request: u64,
        body: &Body<'_>,
        changes: Changes,
        wait: Duration,
    ) -> Result<Sent, Failure> {
        let slot = self.server(server).ok_or(Failure::Unavailable)?.link.reserve()?;
        let call = slot.id();
        let changes = Changes { params: changes.params, ..numbered(call) };
        self.table().sent(server, call, request);
        let pending = Some(slot.send(body.with(&changes), wait));
        Ok(Sent { router: Arc::clone(self), server, call, pending })
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Has it said that it can do this?
    pub(super) fn offers(&self, capability: &str) -> bool {
        let said = self.link.first_answer();
        let offers = |result: &str| {
            let capabilities = Object::read(result).ok()?.get("capabilities")?;
            Object::read(capabilities).ok().map(|all| all.has(capability))
        };
        said.is_some_and(|said| said.result_text().and_then(offers).unwrap_or(false))
    }

    pub(super) fn uris(&self) -> Arc<OnceCell<Uris>> {
        Arc::clone(&self.uris.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its resources are to be looked up anew.
    pub(super) fn forget_uris(&self) {
        *self.uris.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Sent {
    /// Waits for the outcome.
    pub(super) async fn answer(mut self) -> Outcome {
        match self.pending.take() {
            Some(pending) => pending.answer().await,
            None => Err(Failure::Ours),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.router.table().ended(self.server, self.call);
    }
}

/// An answer of our own.
pub(super) fn answer_of(line: &[u8]) -> Outcome {
    match FromServer::read(line) {
        FromServer::Answer(answer) => Ok(answer),
        FromServer::Request { .. } | FromServer::Notification { .. } | FromServer::Malformed(_) => {
            Err(Failure::Malformed)
        }
    }
}

pub(super) fn result(request: u64, result: &[u8]) -> Outcome {
    answer_of(&to_client::result(&request.to_string(), result))
}

pub(super) fn refusal(request: u64, code: i32, message: &str) -> Outcome {
    answer_of(&to_client::error(
        &request.to_string(),
        &ErrorObject::borrowed(code, message, None::<&RawValue>),
    ))
}

/// Is it a result, not an error?
pub(super) fn is_result(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|answer: &Answer| !answer.is_error())
}
