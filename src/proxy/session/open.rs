//! `initialize`: a session is opened. With a valid key it gets a server of its own, which hears the
//! client's own parameters and whose answer is the session's; otherwise it joins the shared link.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::activity::Activity;
use super::dialogue::Dialogue;
use super::listeners::Listeners;
use super::register::Room;
use super::{Owner, Session, Sessions};
use crate::model::ids::{KeyId, SessionId};
use crate::protocol::from_client::Request;
use crate::protocol::from_server;
use crate::protocol::to_client::{self, ErrorCode, ErrorObject};
use crate::protocol::to_server;
use crate::protocol::version;
use crate::proxy::connection::Connection;
use crate::proxy::ear::Ear;
use crate::proxy::identify::{Caller, Identity};
use crate::proxy::initialize::version_of;
use crate::proxy::stream::Resuming;
use crate::proxy::{Answer, Isolation, Proxy, Reply, Shown, entropy, fault};
use crate::upstream::{Failure, Hello, StartError};

/// A session with a server of its own, and what that said first.
type Opened = (Arc<Session>, Arc<from_server::Answer>);

/// Why there is no session with a server of its own.
enum NotOpened {
    /// All places are taken by sessions in use.
    Full,
    /// The server did not start; its error, if it gave one, is for the client.
    NotStarted(Option<Box<str>>),
    /// Paygate failed.
    Ours,
}

impl Proxy {
    pub(in crate::proxy) async fn initialize(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &Identity,
        request: &Request<'_>,
    ) -> Reply {
        let shown = self.shown(identity).await;
        if caller.session().is_some() {
            let message =
                "This session is initialized already; leave Mcp-Session-Id out to open another";
            let error = ErrorObject::owned(ErrorCode::InvalidRequest.code(), message, None::<()>);
            return Reply::error(request.id, &error, shown);
        }
        let key = identity.entitled_key().map(|key| key.id.clone());
        match key {
            Some(key)
                if self.options.isolation == Isolation::Session && caller.may_open_session =>
            {
                self.open_own(caller, key, request, shown).await
            }
            key => self.open_shared(caller, key, request, shown),
        }
    }

    /// A session on the shared link; beyond the bounds on these, the same without a session.
    fn open_shared(
        &self,
        caller: &Caller,
        key: Option<KeyId>,
        request: &Request<'_>,
        shown: Shown,
    ) -> Reply {
        let Some(result) = self.shared_result(request) else {
            return Reply::error(request.id, &fault::upstream(Failure::Unavailable), shown);
        };
        let answer = Answer { text: to_client::result(request.id, &result), shown };
        let Some(id) = entropy::session_id().filter(|_| caller.may_open_session) else {
            return Reply::Message(answer);
        };
        // Who shows no key could come back for others' messages, so nothing is kept for it.
        let (owner, resuming) = match key {
            Some(key) => (Owner::Key(key), Resuming::Yes),
            None => (Owner::Address(caller.address()), Resuming::No),
        };
        let result = std::str::from_utf8(&result).unwrap_or_default();
        let Some(room) = self.sessions.shared_room(&owner) else { return Reply::Message(answer) };
        let connection = self.shared.clone();
        let session = Session::begun(id, owner, room, connection, Dialogue::new(resuming), result);
        self.sessions.add(&session);
        Reply::Opened(session.id(), answer)
    }

    /// A client that leaves while the server starts takes nothing with it; but a session that nobody
    /// was told of ends at once.
    async fn open_own(
        self: &Arc<Self>,
        caller: &Caller,
        key: KeyId,
        request: &Request<'_>,
        shown: Shown,
    ) -> Reply {
        // The client's own tokens would be mistaken for ours, and no call of ours has this one.
        let params = to_server::params(&request.params, 0);
        let params = String::from_utf8(params).unwrap_or_default();
        let (sender, opened) = oneshot::channel();
        let (sessions, exchange) = (Arc::clone(&self.sessions), caller.exchange.clone());
        tokio::spawn(async move {
            let opened = sessions.open(key, params.into()).await;
            if let Err(Ok((session, _))) = sender.send(opened) {
                sessions.end(&session, "its client left before it was opened");
            }
            drop(exchange);
        });
        match opened.await.unwrap_or(Err(NotOpened::Ours)) {
            Ok((session, said)) => {
                let answer = Answer { text: said.with_id(request.id), shown };
                Reply::Opened(session.id(), answer)
            }
            Err(NotOpened::Full) => {
                let message =
                    "All sessions that this server has room for are in use; please retry later";
                let error = fault::internal(message, "sessions_full", Some(fault::RETRY_SOON_MS));
                Reply::error(request.id, &error, shown)
            }
            Err(NotOpened::NotStarted(Some(error))) => {
                let text = to_client::raw_error(request.id, &error);
                Reply::Message(Answer { text, shown })
            }
            Err(NotOpened::NotStarted(None)) => {
                Reply::error(request.id, &fault::upstream(Failure::Unavailable), shown)
            }
            Err(NotOpened::Ours) => Reply::error(request.id, &fault::ours(), shown),
        }
    }
}

impl Sessions {
    async fn open(self: &Arc<Self>, key: KeyId, params: Arc<str>) -> Result<Opened, NotOpened> {
        let id = entropy::session_id().ok_or(NotOpened::Ours)?;
        let room = self.own_room(&key).await.ok_or(NotOpened::Full)?;
        let dialogue = Dialogue::new(Resuming::Yes);
        let ear = Ear::of_one(&dialogue);
        let hello = Hello::Initialize(Some(params));
        let link = self.server.link(hello, Arc::clone(&ear) as _).await.map_err(not_started)?;
        let connection = Connection::of_one(link, ear);
        let Some(said) = connection.link.first_answer() else { return Err(NotOpened::Ours) };
        let result = said.result_text().unwrap_or_default();
        let session = Session::begun(id, Owner::Key(key), room, connection, dialogue, result);
        self.add(&session);
        Ok((session, said))
    }
}

fn not_started(error: StartError) -> NotOpened {
    match error {
        StartError::Refused { error, .. } => NotOpened::NotStarted(Some(error)),
        error => {
            tracing::warn!(target: "proxy", %error, "a server for a session could not be started");
            NotOpened::NotStarted(None)
        }
    }
}

impl Session {
    /// A session whose client is told this result.
    fn begun(
        id: SessionId,
        owner: Owner,
        room: Room,
        connection: Connection,
        dialogue: Arc<Dialogue>,
        result: &str,
    ) -> Arc<Self> {
        let version = version_of(result);
        if version.as_deref().is_some_and(|version| version >= version::WITH_PLACES) {
            dialogue.streams.prime();
        }
        dialogue.agreed(result);
        let activity = Activity::new();
        let (has_own_server, room) = (room.is_for_a_server(), Mutex::new(Some(room)));
        let listeners = Listeners::default();
        Arc::new(Self {
            id,
            owner,
            version,
            connection,
            dialogue,
            activity,
            listeners,
            has_own_server,
            room,
        })
    }
}
