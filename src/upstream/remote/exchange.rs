//! One message and what comes of it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::super::ToolNames;
use super::connection::Connection;
use super::reply::Reply;
use super::sessions::Session;
use super::{Trouble, old, stream};
use crate::model::bounds;
use crate::protocol::outgoing::Outgoing;

/// A message to post.
#[derive(Debug, Clone)]
pub(super) struct Post {
    line: Bytes,
    /// What the message repeats of itself in headers.
    headers: HeaderMap,
    part: Part,
    /// The id of a request.
    id: Option<u64>,
}

/// Its part in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Initialize,
    Initialized,
    None,
}

/// The headers that repeat what a message says. They are made from the message alone: those of a
/// client never get here, not even `Mcp-Param-*` that no tool of the server asks for.
fn repeated(message: &Outgoing<'_>, tools: &ToolNames) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in message.mirrored() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let call = message.tool_call();
    let params = call.as_ref().and_then(|(tool, _)| tools.param_headers(tool));
    let arguments = call.as_ref().and_then(|(_, arguments)| *arguments);
    for (name, value) in params.map(|params| params.of_arguments(arguments)).unwrap_or_default() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    headers
}

impl Post {
    /// With `tools`, to a modern server, which lists these.
    pub(super) fn new(line: &[u8], message: &Outgoing<'_>, tools: Option<&ToolNames>) -> Self {
        let headers = tools.map_or_else(HeaderMap::new, |tools| repeated(message, tools));
        let part = match message.method.as_deref() {
            Some("initialize") => Part::Initialize,
            Some("notifications/initialized") => Part::Initialized,
            _ => Part::None,
        };
        let id = message.id.filter(|_| message.method.is_some()).and_then(|id| id.parse().ok());
        Self { line: Bytes::copy_from_slice(line), headers, part, id }
    }

    /// The id, if it is a request.
    pub(super) fn id(&self) -> Option<u64> {
        self.id
    }

    pub(super) fn completes_handshake(&self) -> bool {
        self.part == Part::Initialized
    }

    /// The session that the message belongs to; most wait until one is open.
    async fn session(&self, connection: &Connection) -> Session {
        match self.part {
            Part::Initialize => Session::default(),
            Part::Initialized => connection.sessions.now(),
            Part::None => connection.sessions.open().await,
        }
    }

    /// Posts it; once more if its session has ended, because then nothing ran.
    async fn send(&self, connection: &Connection) -> Result<(Reply, Session), Trouble> {
        let session = self.session(connection).await;
        match self.send_in(connection, &session).await? {
            Reply::Refused(refusal)
                if self.part == Part::None && refusal.ends(&session, self.id) =>
            {
                connection.sessions.lose(session.openings);
                let next = connection.sessions.open().await;
                Ok((self.send_in(connection, &next).await?, next))
            }
            reply => Ok((reply, session)),
        }
    }

    async fn send_in(&self, connection: &Connection, session: &Session) -> Result<Reply, Trouble> {
        let response = connection.post(self.line.clone(), self.headers.clone(), session).await?;
        if self.part == Part::Initialize && response.status().is_success() {
            connection.name_session(response.headers())?;
        }
        connection.read(response).await
    }
}

/// Sends a request. Its call has its outcome when this ends.
pub(super) async fn request(connection: Arc<Connection>, post: Post, id: u64) {
    let answered = tokio::select! {
        answered = answer(&connection, &post, id) => answered,
        () = connection.nobody_waits(id) => return,
    };
    if let Err(trouble) = answered {
        let failure = trouble.failure();
        connection.note(trouble);
        connection.shared.calls.resolve(id, Err(failure));
    }
}

async fn answer(connection: &Connection, post: &Post, id: u64) -> Result<(), Trouble> {
    if post.part == Part::Initialize {
        connection.begin_session(id);
    }
    let (reply, session) = post.send(connection).await?;
    match reply {
        Reply::Stream(stream) => stream::follow(connection, stream, id, &session).await,
        Reply::Message(message) => feed(connection, &message, id),
        Reply::TooLong { bytes } => {
            connection.inbox.too_long(bytes, Some(id));
            Ok(())
        }
        // The answer comes on the older transport's one stream.
        Reply::Accepted(_) if session.post_to.is_some() => Ok(()),
        Reply::Accepted(media_type) => Err(Trouble::NotMcp(match media_type {
            Some(media_type) => format!("it answers a request with {media_type}"),
            None => "it answers a request with nothing".to_owned(),
        })),
        Reply::Refused(refusal) if refusal.ends(&session, Some(id)) => Err(Trouble::SessionEnded),
        Reply::Refused(refusal) => match refusal.answer(id) {
            Some(answer) => feed(connection, answer, id),
            None if post.part == Part::Initialize && refusal.may_be_older() => {
                match old::open(connection).await? {
                    Some(session) => post.send_in(connection, &session).await?.accepted(),
                    None => Err(refusal.into_trouble()),
                }
            }
            None => Err(refusal.into_trouble()),
        },
    }
}

fn feed(connection: &Connection, message: &[u8], id: u64) -> Result<(), Trouble> {
    connection.feed(message, Some(id));
    if connection.is_waiting(id) {
        return Err(Trouble::NotMcp("its JSON is no answer to the request".to_owned()));
    }
    Ok(())
}

/// Sends a message that has no answer.
pub(super) async fn note(connection: &Connection, post: &Post) {
    let sent = async { post.send(connection).await?.0.accepted() };
    let sent = timeout(bounds::REMOTE_NOTE_TIMEOUT, sent).await;
    let trouble = match sent {
        Ok(Ok(())) if post.completes_handshake() => return connection.sessions.greeted(),
        Ok(Ok(())) => return,
        Ok(Err(trouble)) => trouble,
        Err(_) => Trouble::Cut("it did not accept a notification in time".to_owned()),
    };
    if post.completes_handshake() {
        connection.break_off(trouble.brief());
    }
    connection.note(trouble);
}
