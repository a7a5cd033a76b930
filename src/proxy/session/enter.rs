//! What a client does with its session: sends messages, reads streams, ends it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Owner, Session, With};
use crate::model::ids::{KeyId, SessionId};
use crate::protocol::from_client::{Invalid, Params};
use crate::protocol::to_client::NO_ID;
use crate::protocol::to_server;
use crate::proxy::identify::{Caller, Sender};
use crate::proxy::stream::EventId;
use crate::proxy::survive::Survive;
use crate::proxy::{Inbound, Proxy, Reply, Shown, fault};
use crate::store::clock;

impl Proxy {
    /// The session that a body names, if it is its sender's and that may use a key at all: to others,
    /// from a wrong address too, there is no such session. The error is the reply to give.
    pub(in crate::proxy) async fn session_of(
        &self,
        inbound: &Inbound,
        id: &str,
    ) -> Result<Arc<Session>, Reply> {
        let session = SessionId::parse(id).and_then(|id| self.sessions.find(&id));
        let session = session.ok_or(Reply::NoSession)?;
        let sender = Sender::of(inbound);
        let identity = self.identity_of(&sender).await;
        let identity = identity
            .map_err(|error| Reply::error(NO_ID, &fault::store(&error), Shown::default()))?;
        if !session.belongs_to(identity.entitled_key_id()) {
            return Err(Reply::NoSession);
        }
        if !session.speaks(inbound.protocol_version.as_deref()) {
            let agreed = session.version.as_deref().unwrap_or_default();
            let why =
                format!("MCP-Protocol-Version must be {agreed}, as agreed on in this session");
            return Err(Reply::Malformed(Invalid::request(NO_ID, &why).text()));
        }
        Ok(session)
    }

    /// Everything that is told in a session and belongs to no request; with `seen`, the rest of the
    /// stream with that event, whichever it is. The body is not looked at.
    pub async fn listen(&self, inbound: &Inbound, seen: Option<&str>) -> Reply {
        let refuse = |why| Reply::Malformed(Invalid::request(NO_ID, why).text());
        let Some(id) = inbound.session.as_deref() else {
            return refuse("a stream needs the Mcp-Session-Id of an initialize");
        };
        let session = match self.session_of(inbound, id).await {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        let (streams, busy) = (&session.dialogue.streams, session.begin(With::Stream));
        let (stream, without) = match seen {
            None => (streams.attach(busy), Reply::NoSession),
            Some(seen) => (
                EventId::parse(seen).and_then(|seen| streams.attach_after(seen, busy)),
                refuse("the stream of this Last-Event-ID is not kept any more"),
            ),
        };
        let Some(stream) = stream else { return without };
        session.listens(Sender::of(inbound), &stream);
        Reply::Stream(stream)
    }

    /// Ends a session for its client. `Accepted` if it did.
    pub async fn end_session(&self, inbound: &Inbound) -> Reply {
        let Some(id) = inbound.session.as_deref() else { return Reply::NoSession };
        match self.session_of(inbound, id).await {
            Ok(session) => {
                self.sessions.end(&session, "its client ended it");
                Reply::Accepted
            }
            Err(reply) => reply,
        }
    }

    /// A client has left for good, but what it asked for is to be finished: it hears nothing more
    /// beside that, and its server will not wait for answers of its.
    pub async fn client_left(&self, inbound: &Inbound) {
        let Some(id) = inbound.session.as_deref() else { return };
        if let Ok(session) = self.session_of(inbound, id).await {
            session.dialogue.streams.close();
            session.give_up_asks(Instant::now());
        }
    }

    /// A client's answer to what its server asked. What nobody asked is dropped.
    pub(in crate::proxy) async fn responded(&self, caller: &Caller, text: &str, id: &str) {
        let Some(session) = caller.session_with_server() else { return };
        match session.dialogue.asks.answered(id) {
            Some(own_id) => {
                let line = to_server::response(text, id, &own_id);
                // It can be given once: a client that goes away does not take it back.
                let server = session.connection.link.clone();
                Survive::new(async move { server.notify(line).await }).await;
            }
            None => {
                tracing::debug!(target: "proxy", session = %session.id(), "an answer to no question was dropped");
            }
        }
    }

    /// A client's notification goes to the server that it has to itself, which has heard of the
    /// initialization already.
    pub(in crate::proxy) async fn passed_on(
        &self,
        caller: &Caller,
        text: &str,
        method: &str,
        params: &Params<'_>,
    ) {
        let Some(session) = caller.session_with_server() else { return };
        if !method.starts_with("notifications/") || method == "notifications/initialized" {
            return;
        }
        if let Some(line) = to_server::notification(text, params) {
            session.connection.link.notify(line).await;
        }
    }

    /// Looks after the sessions: ends those that are idle or whose key does not open anything any
    /// more, and streams that could not be opened any more as they were; answers servers whose
    /// clients do not, and settles what servers told of tasks. To be called every second or so.
    pub async fn tend_sessions(self: &Arc<Self>) {
        self.release_lost_tasks().await;
        let now = Instant::now();
        let mut usable = HashMap::new();
        for session in self.sessions.snapshot() {
            session.tend_asks(now, self.options.request_timeout_max);
            self.tend_tasks(&session);
            let idle = session.idle(now).is_some_and(|idle| idle >= self.options.session_idle);
            if idle {
                self.sessions.end(&session, "it was idle");
            } else if let Owner::Key(key) = &session.owner {
                let is_usable = match usable.get(key) {
                    Some(known) => *known,
                    None => self.may_keep_sessions(key).await,
                };
                usable.insert(key.clone(), is_usable);
                if is_usable {
                    self.tend_listeners(&session).await;
                } else {
                    self.sessions.end(&session, "its key opens nothing any more");
                }
            }
        }
    }

    /// Ends the streams whose credential was replaced, or may not come from its address any more.
    /// The stream of a request stays: its answer belongs to who was let in with it.
    async fn tend_listeners(&self, session: &Session) {
        for listener in session.listeners() {
            // While the books are closed nobody can say; the stream stays.
            let Ok(identity) = self.identity_of(&listener.sender).await else { continue };
            if !session.belongs_to(identity.entitled_key_id()) {
                session.dialogue.streams.turn_out(listener.reader);
            }
        }
    }

    /// Is the key usable, and its namespace open? If the books do not say, what was true stays.
    async fn may_keep_sessions(&self, key: &KeyId) -> bool {
        let Ok(key) = self.store.recent_key(key).await else { return true };
        let Some(key) = key.filter(|key| key.usable(clock::now())) else { return false };
        let namespace = self.store.namespace(&key.namespace).await;
        namespace.map_or(true, |namespace| !namespace.suspended)
    }
}
