//! `subscriptions/listen` of the modern era: one stream of the client is one stream of every server.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::message::{Body, Changes};
use super::router::{Router, result};
use super::table::Listening;
use super::tasks;
use crate::model::bounds;
use crate::protocol::lists::LISTS;
use crate::protocol::modern::SUBSCRIPTION_KEY;
use crate::protocol::object::Object;
use crate::upstream::calls::Outcome;
use crate::upstream::{Failure, Status};

/// Reads which lists a client wants to hear of.
fn listening(filter: &str) -> Listening {
    let filter = Object::read(filter).unwrap_or_default();
    let wanted = LISTS.iter().filter(|list| filter.get(list.filter) == Some("true"));
    wanted.map(|list| list.change).collect()
}

impl Router {
    /// Listens to all servers, also to those that come later, until none is left. What a client asks
    /// for is acknowledged at once: a server that does not have it stays silent.
    pub(super) async fn listen(self: Arc<Self>, id: u64, line: Vec<u8>) -> Outcome {
        let line: Arc<[u8]> = line.into();
        let filter = {
            let Some(body) = Body::read(&line) else { return Err(Failure::Ours) };
            body.param("notifications").unwrap_or("{}").to_owned()
        };
        self.table().listening.insert(id, listening(&filter));
        let acknowledged = format!(
            concat!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","#,
                r#""params":{{"_meta":{{"{}":{}}},"notifications":{}}}}}"#
            ),
            SUBSCRIPTION_KEY, id, filter
        );
        self.take(acknowledged.as_bytes(), Some(id));
        let mut streams = JoinSet::new();
        for server in 0..self.servers.len() {
            streams.spawn(Arc::clone(&self).listen_to(server, id, Arc::clone(&line)));
        }
        while streams.join_next().await.is_some() {}
        let closed =
            format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_KEY}":{id}}}}}"#);
        result(id, closed.as_bytes())
    }

    /// Listens to one server in each of its lives, until it ends the stream itself.
    async fn listen_to(self: Arc<Self>, server: usize, id: u64, line: Arc<[u8]>) {
        let Some(mut status) = self.server(server).map(|server| server.link.watch()) else {
            return;
        };
        loop {
            let found = status.wait_for(|now| now.is_ready() || is_stopped(now)).await;
            if !found.is_ok_and(|now| now.is_ready()) {
                return;
            }
            let sent = {
                let Some(body) = Body::read(&line) else { return };
                let (changes, wait) =
                    (self.own_tasks(server, &body), bounds::MEMBER_REQUEST_TIMEOUT);
                self.send(server, id, &body, changes, wait)
            };
            let outcome = match sent {
                Ok(sent) => sent.answer().await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Err(Failure::Exited | Failure::Unavailable) => {}
                Err(Failure::Busy) => {
                    sleep(bounds::MEMBER_BUSY_PAUSE).await;
                    continue;
                }
                _ => return,
            }
            if status.wait_for(|now| !now.is_ready()).await.is_err() {
                return;
            }
        }
    }
}

impl Router {
    /// A filter names tasks of any server; each is asked for its own, by its own ids.
    fn own_tasks(&self, server: usize, body: &Body<'_>) -> Changes {
        let filter = body.param("notifications").and_then(|filter| Object::read(filter).ok());
        let life = self.server(server).and_then(|server| server.link.life()).unwrap_or_default();
        let names = &self.options.names;
        let filter = filter.and_then(|filter| tasks::of_server(filter, names, server, life));
        let params = filter.map(|filter| ("notifications", Some(filter)));
        Changes { params: params.into_iter().collect(), ..Changes::default() }
    }
}

fn is_stopped(status: &Status) -> bool {
    matches!(status, Status::Stopped { .. })
}
