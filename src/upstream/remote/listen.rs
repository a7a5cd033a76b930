//! The stream of a session that belongs to no request. A server need not have one.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::connection::Connection;
use super::reply::Reply;
use super::sessions::Session;
use super::stream::{self, Stream};
use crate::model::bounds;

/// Listens for as long as the generation lives.
pub(super) async fn listen(connection: Arc<Connection>, mut older: mpsc::Receiver<Stream>) {
    if connection.is_modern {
        return;
    }
    loop {
        let session = tokio::select! {
            biased;
            Some(stream) = older.recv() => return listen_to_older(&connection, stream).await,
            session = connection.sessions.open() => session,
        };
        tokio::select! {
            () = listen_in(&connection, &session) => connection.sessions.ended(session.openings).await,
            () = connection.sessions.ended(session.openings) => {}
        }
    }
}

/// Ends when the server has no such stream, or has ended the session.
async fn listen_in(connection: &Connection, session: &Session) {
    let mut stream: Option<Stream> = None;
    let mut attempts = 0;
    loop {
        let last_event_id = stream.as_ref().and_then(Stream::last_event_id);
        let trouble = match connection.get(session, last_event_id).await {
            Ok(Reply::Stream(next)) => {
                let stream = match &mut stream {
                    Some(stream) => {
                        stream.take_up(next);
                        stream
                    }
                    none => none.insert(next),
                };
                let (has_brought, ended) = stream.read(connection, None).await;
                if has_brought {
                    attempts = 0;
                }
                ended.err()
            }
            Ok(Reply::Refused(refusal)) if refusal.ends(session, None) => {
                return connection.sessions.lose(session.openings);
            }
            Ok(Reply::Refused(refusal)) if refusal.is_passing() => Some(refusal.into_trouble()),
            Ok(_) => return,
            Err(trouble) => Some(trouble),
        };
        if let Some(trouble) = trouble {
            if stream.is_none() && attempts >= bounds::REMOTE_RESUME_TRIES {
                return;
            }
            connection.note(trouble);
        }
        let first = || stream::wait(None, attempts);
        sleep(stream.as_ref().map_or_else(first, |stream| stream.wait(attempts))).await;
        attempts = attempts.saturating_add(1);
    }
}

/// In the older transport the stream is the connection: its end is the end of both.
async fn listen_to_older(connection: &Connection, mut stream: Stream) {
    let (_, ended) = stream.read(connection, None).await;
    connection.break_off("it ended its event stream");
    if let Err(trouble) = ended {
        connection.note(trouble);
    }
}
