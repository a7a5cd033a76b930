//! Opens sessions again that the server has ended, and asks a server whose calls fail whether it is
//! there at all.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::Trouble;
use super::connection::Connection;
use crate::model::bounds;
use crate::upstream::handshake;
use crate::upstream::link::{OnGiveUp, Slot};

/// Opens each lost session again, in place: calls that found it ended wait and go on in the new one.
/// If that fails, or the new session is lost at once, the generation is over.
pub(super) async fn reopen(connection: Arc<Connection>) {
    let sessions = &connection.sessions;
    loop {
        sessions.loss().await;
        let server = &connection.shared.options.server;
        tracing::info!(target: "upstream", server, "the server has ended the session; a new one is opened");
        sessions.greet();
        let deadline = Instant::now() + connection.shared.options.start_timeout;
        let greeted = tokio::select! {
            greeted = handshake::greet(&connection.shared, &connection.outbox, deadline) => greeted.is_ok(),
            () = sessions.loss() => {
                connection.note(Trouble::SessionEnded);
                false
            }
        };
        if !greeted {
            let trouble = connection.last_trouble();
            let why = trouble.map_or_else(
                || "its session could not be opened again".to_owned(),
                |it| it.brief(),
            );
            return connection.break_off(why);
        }
        if let Some(listener) = &connection.shared.options.listener {
            listener.restarted();
        }
    }
}

/// After a failure, which may concern everybody, asks the server something simple. Any answer will do,
/// a refusal too; without one the generation is over.
pub(super) async fn probe(connection: Arc<Connection>) {
    loop {
        connection.doubted.notified().await;
        connection.sessions.open().await;
        if !is_there(&connection).await {
            let trouble = connection.last_trouble();
            let why = trouble.map_or_else(|| "it does not answer".to_owned(), |it| it.brief());
            return connection.break_off(why);
        }
        sleep(bounds::REMOTE_PROBE_PAUSE).await;
    }
}

/// A refusal that comes while it is asked shows as much as an answer, whoever it is for: a server that
/// takes no more requests at the moment ends nobody's calls.
async fn is_there(connection: &Connection) -> bool {
    let Ok(slot) = Slot::own(&connection.shared, &connection.outbox, OnGiveUp::Cancel) else {
        // Its own requests are as many as there may be: somebody else is asking.
        return true;
    };
    let (id, refusals) = (slot.id(), connection.refusals());
    let line = if connection.is_modern {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{"_meta":{}}}}}"#,
            handshake::own_meta()
        )
    } else {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)
    };
    let answered = slot.send(line.into_bytes(), bounds::REMOTE_PROBE_TIMEOUT).answer().await;
    answered.is_ok() || connection.refusals() != refusals
}
