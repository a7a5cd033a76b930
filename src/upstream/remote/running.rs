//! One life of a connection to a remote server, with the tasks that serve it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::connection::Connection;
use super::{RemoteOptions, Trouble, listen, pump, watch as watcher};
use crate::model::bounds;
use crate::upstream::inbox::Inbox;
use crate::upstream::link::Shared;
use crate::upstream::outbox::Outbox;

/// A connection in use. Dropping it leaves no task behind.
pub(in crate::upstream) struct Running {
    connection: Arc<Connection>,
    pump: JoinHandle<()>,
    /// Those that end with the connection, wherever they are.
    tasks: JoinSet<()>,
    broken: watch::Receiver<Option<String>>,
}

impl Running {
    pub(in crate::upstream) fn start(
        shared: &Arc<Shared>,
        options: &Arc<RemoteOptions>,
        outbox: &Arc<Outbox>,
        inbox: Inbox,
    ) -> Self {
        let (older, streams) = mpsc::channel(1);
        let connection = Arc::new(Connection::new(shared, options, outbox, inbox, older));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::listen(Arc::clone(&connection), streams));
        tasks.spawn(watcher::reopen(Arc::clone(&connection)));
        tasks.spawn(watcher::probe(Arc::clone(&connection)));
        let pump = tokio::spawn(pump::run(Arc::clone(&connection)));
        Self { broken: connection.broken(), connection, pump, tasks }
    }

    /// Waits until the connection is of no use any more, and says why. May be dropped and called
    /// again.
    pub(in crate::upstream) async fn ends(&mut self) -> String {
        let why = self.broken.wait_for(Option::is_some).await;
        match why.map(|why| why.clone().unwrap_or_default()) {
            Ok(why) => why,
            // The connection holds the sender.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends the connection; its outbox is closed. Calls in flight have the grace to be answered,
    /// then `fail` ends them, and the server is told that the session is over.
    pub(in crate::upstream) async fn end(
        mut self,
        grace: Duration,
        fail: impl Fn() -> usize,
    ) -> String {
        if !grace.is_zero() && timeout(grace, &mut self.pump).await.is_err() {
            tracing::debug!(target: "upstream", "calls in flight are cut off");
        }
        self.pump.abort();
        fail();
        self.tasks.shutdown().await;
        let why = self.broken.borrow().clone();
        if why.is_none() {
            self.say_goodbye().await;
        }
        why.unwrap_or_else(|| "its session was closed".to_owned())
    }

    async fn say_goodbye(&self) {
        let session = self.connection.sessions.now();
        if session.id.is_none() {
            return;
        }
        let said = timeout(bounds::REMOTE_FAREWELL_WAIT, self.connection.delete(&session)).await;
        match said {
            // A server need not let its clients end sessions.
            Ok(Ok(response)) => {
                let status = response.status().as_u16();
                tracing::debug!(target: "upstream", status, "the server was told that the session is over");
            }
            Ok(Err(trouble)) => {
                tracing::debug!(target: "upstream", "the server was not told that the session is over: it {trouble}");
            }
            Err(_) => {
                tracing::debug!(target: "upstream", "the server takes its time with the end of the session");
            }
        }
    }

    /// Where the server is.
    pub(in crate::upstream) fn address(&self) -> String {
        self.connection.options.address()
    }

    /// What went wrong last.
    pub(in crate::upstream) fn trouble(&self) -> Option<Trouble> {
        self.connection.last_trouble()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.outbox.close();
        self.pump.abort();
    }
}
