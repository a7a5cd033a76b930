//! The life of a call, from a message to its answer: identify, judge, hold, send, settle, answer.
//! Knows nothing of HTTP: a front hands in an [`Inbound`] and writes the [`Reply`] it gets.
//!
//! Reading order: this file sorts messages; `identify` says who asks; `call`, `batch` and `method`
//! are what costs credits, `run` is the life of all three, with `hold` (the permit) and `settle` (the
//! outcome table) as its ends and `repeat` for those that come again; `free`, `list` and `initialize`
//! are the rest; `cancel` and `array` stand aside. `connection` is a link to the server with the `ear`
//! that hears it; what is heard about a request goes to its client as a `stream`, until the answer
//! ends that. `session` is what belongs to one client over many requests. `modern` is the era without
//! sessions; `parked` and `tasks` are calls that go on after their first answer.

mod answering;
mod array;
mod asked;
mod batch;
mod call;
mod cancel;
mod connection;
mod customer;
mod denied;
mod ear;
mod entropy;
mod exchange;
mod fault;
mod free;
mod hold;
mod identify;
mod in_flight;
mod initialize;
mod labels;
mod list;
mod method;
mod modern;
mod options;
mod outage;
mod parked;
mod repeat;
mod run;
mod session;
mod settle;
mod stream;
mod survive;
mod tasks;
mod turns;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::events::denials::Denials;
use crate::events::metrics::Metrics;
use crate::gate::Denied;
use crate::model::bounds;
use crate::model::idempotency::IdempotencyKey;
use crate::model::ids::{CallId, SessionId};
use crate::model::secret::SealKey;
use crate::protocol::from_client::{self, Incoming, Invalid, Message};
use crate::protocol::modern::Headers;
use crate::protocol::to_client::{self, ErrorObjectOwned};
use crate::store::{RateState, Reading, Store};
use crate::upstream::{Link, Server};
use answering::Answering;
use connection::Connection;
use exchange::Exchanges;
use identify::Caller;
use in_flight::InFlight;
use modern::{Eras, Listens};
use repeat::Repeats;
use session::{Session, Sessions, With};
use stream::{Outlet, Resuming, Streams};
use turns::Turns;

pub use customer::customer;
pub use ear::Ear;
pub use list::pricing;
pub use modern::{ModernEar, ModernSide};
pub use options::{Isolation, ProxyOptions};
pub use stream::{EventId, Streaming, Told, Words};

/// Guards one MCP server. Shared by all fronts.
pub struct Proxy {
    options: ProxyOptions,
    store: Arc<dyn Store>,
    /// The connection for everybody who has none of their own.
    shared: Connection,
    sessions: Arc<Sessions>,
    calls: InFlight,
    repeats: Repeats,
    denials: Arc<Denials>,
    metrics: Arc<Metrics>,
    exchanges: Arc<Exchanges>,
    /// The server's modern side.
    eras: Arc<Eras>,
    /// Streams of modern clients that stay open.
    listens: Listens,
    seal_key: SealKey,
    /// Each task is settled by one request at a time.
    task_turns: Arc<Turns>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("server", &self.shared.link.server()).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy in front of a server; `link` is one that all clients may share, and `ear` is what it
    /// was made with.
    pub fn new(
        options: ProxyOptions,
        store: Arc<dyn Store>,
        server: Server,
        link: Link,
        ear: Arc<Ear>,
    ) -> Self {
        let (calls, repeats, denials, metrics, exchanges) = Default::default();
        let last_call_wait = options.request_timeout_max.saturating_add(bounds::HOLD_MARGIN);
        let sessions = Sessions::new(server, last_call_wait);
        ear.serve(&sessions, link.first_result().as_deref());
        let eras = Arc::new(Eras::new(ModernSide::None, &link, options.has_one_client));
        let (listens, task_turns) = Default::default();
        let (seal_key, shared) = (store.seal_key(), Connection::shared(link, ear));
        Self {
            options,
            store,
            shared,
            sessions,
            calls,
            repeats,
            denials,
            metrics,
            exchanges,
            eras,
            listens,
            seal_key,
            task_turns,
        }
    }

    /// The same with modern clients let in, by this side of the server.
    #[must_use]
    pub fn with_modern(mut self, side: ModernSide) -> Self {
        let has_one_client = self.options.has_one_client;
        self.eras = Arc::new(Eras::new(side, &self.shared.link, has_one_client));
        self
    }

    /// The same with other options, for what comes from now on. All that goes on is shared; what has
    /// begun ends by the options it began with.
    #[must_use]
    pub fn with_options(&self, options: ProxyOptions) -> Self {
        Self {
            options,
            store: Arc::clone(&self.store),
            shared: self.shared.clone(),
            sessions: Arc::clone(&self.sessions),
            calls: self.calls.clone(),
            repeats: self.repeats.clone(),
            denials: Arc::clone(&self.denials),
            metrics: Arc::clone(&self.metrics),
            exchanges: Arc::clone(&self.exchanges),
            eras: Arc::clone(&self.eras),
            listens: self.listens.clone(),
            seal_key: self.seal_key.clone(),
            task_turns: Arc::clone(&self.task_turns),
        }
    }

    /// Handles a body, from its bytes to what has to be written.
    pub async fn handle(self: &Arc<Self>, inbound: Inbound) -> Reply {
        if self.is_modern(&inbound) {
            return self.handle_modern(inbound).await;
        }
        let session = match inbound.session.as_deref() {
            None => None,
            Some(id) => match self.session_of(&inbound, id).await {
                Ok(session) => Some(session),
                Err(reply) => return reply,
            },
        };
        let own = session.as_ref().filter(|session| session.has_own_server());
        if !inbound.takes_events || (own.is_none() && !may_be_told_more(&inbound.body)) {
            // Who has the server to itself is told of everything, if not here then elsewhere.
            let outlet = own.map(|session| session.dialogue.streams.standing());
            return self.body(&inbound, session, outlet).await;
        }
        let (outlet, streaming) = match &session {
            Some(session) => session.dialogue.streams.open(Some(session.begin(With::Stream))),
            None => Streams::new(Resuming::No).open(None),
        };
        let proxy = Arc::clone(self);
        let answering = Answering::new(&outlet, &inbound.body);
        tokio::spawn(async move {
            let reply = proxy.body(&inbound, session, Some(outlet)).await;
            answering.answer(reply);
        });
        streaming.begin(stream::FIRST_WORD_WAIT).await
    }

    async fn body(
        self: &Arc<Self>,
        inbound: &Inbound,
        session: Option<Arc<Session>>,
        outlet: Option<Outlet>,
    ) -> Reply {
        let busy = session.as_ref().map(|session| session.begin(With::Exchange));
        let connection = session.as_ref().map_or(&self.shared, |session| &session.connection);
        let (connection, exchange) = (connection.clone(), self.exchanges.enter(busy));
        let caller = Caller::new(inbound, exchange, connection, session, outlet);
        match from_client::read(&inbound.body) {
            Ok(Incoming::Single(message)) => {
                // What was read is text.
                let text = std::str::from_utf8(&inbound.body).unwrap_or_default();
                self.message(&caller, text, &message).await
            }
            Ok(Incoming::Batch(entries)) => {
                let agreed = caller.session().and_then(|session| session.version());
                let version = inbound.protocol_version.as_deref().or(agreed);
                self.array(&caller, &inbound.body, &entries, version).await
            }
            Err(invalid) if invalid.is_about_params() => {
                Reply::Message(Answer { text: invalid.text(), shown: Shown::default() })
            }
            Err(invalid) => Reply::Malformed(invalid.text()),
        }
    }

    /// Handles one message; `text` is the whole of it.
    async fn message(
        self: &Arc<Self>,
        caller: &Caller,
        text: &str,
        message: &Message<'_>,
    ) -> Reply {
        match message {
            Message::Request(request) => match request.method.as_ref() {
                "tools/call" => self.tool_call(caller, request).await,
                "tools/call_batch" => self.tool_batch(caller, request).await,
                method if self.has_price(caller, method) => {
                    self.priced_method(caller, request).await
                }
                method if self.resembles_one_with_price(method) => {
                    Reply::Malformed(Invalid::second_spelling(request.id).text())
                }
                _ => self.free(caller, request).await,
            },
            // A tool that is called without an id is not called: nobody could be told what it cost.
            Message::Notification { method, params } => {
                if method == "notifications/cancelled" {
                    self.cancelled(caller, params).await;
                } else {
                    self.passed_on(caller, text, method, params).await;
                }
                Reply::Accepted
            }
            Message::Response { id } => {
                self.responded(caller, text, id).await;
                Reply::Accepted
            }
        }
    }

    /// Bodies that are being handled, calls whose client has left included.
    pub fn in_flight(&self) -> usize {
        self.exchanges.open()
    }

    /// Refusals since the start.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// What is counted since the start.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// MCP sessions that are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The link to the guarded server.
    pub fn link(&self) -> &Link {
        &self.shared.link
    }

    /// The link to the server's modern side, if it was needed and is not the only one.
    pub fn modern_link(&self) -> Option<&Link> {
        self.eras.known().filter(|_| !self.eras.is_only()).map(|modern| &modern.link)
    }

    /// Ends the streams that belong to no request: Paygate takes no more messages.
    pub fn drain(&self) {
        self.sessions.close_streams();
        self.eras.close_streams();
    }

    /// Ends all servers, each with this grace, and all sessions with theirs.
    pub async fn stop(&self, grace: Duration) {
        let (sessions, link, eras) = (&self.sessions, &self.shared.link, &self.eras);
        tokio::join!(sessions.stop(grace), link.stop(grace), eras.stop(grace));
        self.release_lost_tasks().await;
    }

    /// How it was set up.
    pub fn options(&self) -> &ProxyOptions {
        &self.options
    }
}

/// A body that arrived, with what the transport knows about its sender.
#[derive(Debug)]
pub struct Inbound {
    /// The whole body, within its bound.
    pub body: Bytes,
    /// The raw credential, if any was shown.
    pub credential: Option<String>,
    /// The client's address, unmapped; behind a trusted proxy the one it forwards.
    pub address: IpAddr,
    /// The `MCP-Protocol-Version` header.
    pub protocol_version: Option<String>,
    /// The headers that repeat something of the body, if there may be any such.
    pub headers: Option<Box<Headers>>,
    /// Can the sender be told something before its answer?
    pub takes_events: bool,
    /// The `Idempotency-Key` header, where the transport has headers.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The session that it says it is part of, as it says it.
    pub session: Option<String>,
}

/// May there be something to tell before the answer? Only who gave a progress token is told of
/// progress; a name with an escape in it may be one too.
fn may_be_told_more(body: &[u8]) -> bool {
    let is_escape = |at: usize| body.get(at.saturating_add(1)) == Some(&b'u');
    TOKEN_IN_BODY.find(body).is_some() || memchr::memchr_iter(b'\\', body).any(is_escape)
}

/// Prepared once, because most bodies are searched.
static TOKEN_IN_BODY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("progressToken"));

/// What a front has to write.
#[derive(Debug)]
pub enum Reply {
    /// A notification or a client's response was taken: 202, no body.
    Accepted,
    /// JSON-RPC text (an answer or an error) that is complete.
    Message(Answer),
    /// The same, which answers an `initialize`: this session is open from now on.
    Opened(SessionId, Answer),
    /// There is no such session, or not for this sender: HTTP 404, so that the client opens another.
    NoSession,
    /// A JSON-RPC error for a client of the modern era, and its code, by which HTTP has a status.
    Failed(Answer, i32),
    /// The answer to an array body: to be written as one array.
    Several(Several),
    /// A refused request; only `front/reply.rs` knows how that looks.
    Denied(Box<Refused>),
    /// The body is no message at all: HTTP 400 with this JSON-RPC text.
    Malformed(Vec<u8>),
    /// Messages and then the answer.
    Stream(Streaming),
}

impl Reply {
    fn error(id: &str, error: &ErrorObjectOwned, shown: Shown) -> Self {
        Self::Message(Answer { text: to_client::error(id, error), shown })
    }
}

/// Answers to the entries of an array body, at least one.
#[derive(Debug)]
pub struct Several {
    /// In the order of the entries; those without an answer are left out.
    pub parts: Vec<Part>,
    /// The numbers after all of them. There is no single call id.
    pub shown: Shown,
}

/// The answer to one entry.
#[derive(Debug)]
pub enum Part {
    /// Complete JSON-RPC text.
    Message(Answer),
    /// A refused entry.
    Denied(Box<Refused>),
}

/// A complete JSON-RPC text and the numbers that go with it.
#[derive(Debug, Default)]
pub struct Answer {
    /// The text, without a newline.
    pub text: Vec<u8>,
    /// The numbers.
    pub shown: Shown,
}

/// Numbers that travel in headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// On every priced answer.
    pub call: Option<CallId>,
    /// For a valid key: credits and the rate that applies.
    pub reading: Option<Reading>,
    /// What was charged for the request that this answers, if it has ended now.
    pub charged: Option<i64>,
}

impl Shown {
    /// The rate, if one applies.
    pub fn rate(&self) -> Option<RateState> {
        self.reading.and_then(|reading| reading.rate)
    }
}

/// A refused request, with all that its answer may tell.
#[derive(Debug)]
pub struct Refused {
    /// The client's id as it was written (raw JSON).
    pub id: String,
    /// Why, and what it would have cost.
    pub denied: Denied,
    /// Milliseconds until a retry may succeed, where waiting helps.
    pub retry_after_ms: Option<i64>,
    /// How many calls a batch asked for; `None` for anything else.
    pub batch_calls: Option<usize>,
    /// Is its client of the modern era?
    pub is_modern: bool,
    /// `tools/call` can be refused by a result; other methods cannot.
    pub is_tool_call: bool,
    /// The numbers.
    pub shown: Shown,
}

#[cfg(test)]
mod tests;
