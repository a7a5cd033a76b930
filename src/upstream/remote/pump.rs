//! Takes lines from the outbox and sends each as a request of its own.
//!
//! Requests run beside each other. Notifications go one after the other, so that they arrive in the
//! order in which they were told; cancellations and answers to the server do not wait for those.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::Connection;
use super::exchange::{self, Post};
use crate::model::bounds;
use crate::protocol::outgoing::Outgoing;

/// Sends what is queued until the queue is closed, then waits for what is under way.
pub(super) async fn run(connection: Arc<Connection>) {
    let (notes, waiting) = mpsc::channel(bounds::REMOTE_NOTES_MAX);
    let mut pump = Pump { posts: JoinSet::new(), requests: HashMap::new(), notes, connection };
    pump.posts.spawn(send_notes(Arc::clone(&pump.connection), waiting));
    let outbox = Arc::clone(&pump.connection.outbox);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            more = outbox.take(&mut batch, || false) => {
                if !more {
                    break;
                }
                for line in batch.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    pump.send(line).await;
                }
                batch.clear();
                batch.shrink_to(bounds::CHILD_READ_BYTES);
            }
            Some(ended) = pump.posts.join_next() => pump.forget(ended.ok().flatten()),
        }
    }
    let Pump { notes, mut posts, .. } = pump;
    drop(notes);
    while posts.join_next().await.is_some() {}
}

struct Pump {
    connection: Arc<Connection>,
    /// Each gives the id of the request that it was.
    posts: JoinSet<Option<u64>>,
    requests: HashMap<u64, AbortHandle>,
    notes: mpsc::Sender<Post>,
}

impl Pump {
    async fn send(&mut self, line: &[u8]) {
        let Some(message) = Outgoing::read(line) else {
            tracing::error!(target: "upstream", bytes = line.len(), "a line that is no message was not sent");
            return;
        };
        let tools = self.connection.is_modern.then(|| self.connection.shared.tools.names());
        let post = Post::new(line, &message, tools.as_deref());
        match (message.method.as_deref(), post.id()) {
            (Some(_), Some(id)) => self.request(post, id).await,
            (Some(_), None) => match message.cancels() {
                Some(id) => self.cancel(post, id).await,
                None if post.completes_handshake() => self.spawn_note(post).await,
                None => self.queue_note(post),
            },
            // A modern client never answers: its server asked what it must not.
            (None, _) if self.connection.is_modern => {}
            (None, _) => self.spawn_note(post).await,
        }
    }

    async fn request(&mut self, post: Post, id: u64) {
        self.make_room().await;
        let connection = Arc::clone(&self.connection);
        let task = self.posts.spawn(async move {
            exchange::request(connection, post, id).await;
            Some(id)
        });
        self.requests.insert(id, task);
    }

    /// Nobody waits for the answer, so its connection is closed. That is all that a modern server
    /// wants to see of a cancellation; an older one is told.
    async fn cancel(&mut self, post: Post, id: u64) {
        if let Some(task) = self.requests.remove(&id) {
            task.abort();
        }
        if !self.connection.is_modern {
            self.spawn_note(post).await;
        }
    }

    async fn spawn_note(&mut self, post: Post) {
        self.make_room().await;
        let connection = Arc::clone(&self.connection);
        self.posts.spawn(async move {
            exchange::note(&connection, &post).await;
            None
        });
    }

    fn queue_note(&self, post: Post) {
        if self.notes.try_send(post).is_err() {
            let server = &self.connection.shared.options.server;
            tracing::debug!(target: "upstream", server, "the server does not take notifications; one was dropped");
        }
    }

    /// Calls in flight are bounded by their table; this bounds what else is under way.
    async fn make_room(&mut self) {
        let calls_max = self.connection.shared.calls.customers_max();
        let posts_max = calls_max + bounds::CHILD_OWN_CALLS_MAX + bounds::REMOTE_POSTS_MAX;
        while self.posts.len() >= posts_max {
            if let Some(ended) = self.posts.join_next().await {
                self.forget(ended.ok().flatten());
            }
        }
    }

    fn forget(&mut self, request: Option<u64>) {
        if let Some(id) = request {
            self.requests.remove(&id);
        }
    }
}

async fn send_notes(connection: Arc<Connection>, mut waiting: mpsc::Receiver<Post>) -> Option<u64> {
    while let Some(post) = waiting.recv().await {
        exchange::note(&connection, &post).await;
    }
    None
}
