//! The end: readiness off, calls in flight finish and settle, the server ends, the books close.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::App;
use crate::model::bounds;
use crate::store::Store;
use crate::upstream::ChildLink;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything was finished.
    Drained,
    /// Calls were still in flight at the deadline; they are not charged.
    CutOff,
    /// A second signal asked for the end at once.
    Forced,
}

/// SIGTERM and SIGINT, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals, so that they end the process no more by themselves.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl App {
    /// Runs until a signal comes, then stops.
    pub async fn run(self, signals: &mut Signals) -> Stopped {
        signals.next().await;
        let link = self.link.clone();
        tokio::select! {
            biased;
            stopped = self.stop() => stopped,
            () = signals.next() => {
                tracing::warn!(target: "app", "a second signal: ending at once");
                // Nothing of the server may be left behind, even now.
                timeout(bounds::FORCED_STOP_WAIT, link.stop(Duration::ZERO)).await.ok();
                Stopped::Forced
            }
        }
    }

    /// Stops in order.
    pub async fn stop(mut self) -> Stopped {
        self.front.drain();
        let in_flight = self.proxy.in_flight();
        tracing::info!(target: "app", in_flight, "stopping: calls in flight finish first");
        let stopped = if self.no_call_in_flight_within(bounds::DRAIN_WAIT).await {
            Stopped::Drained
        } else {
            let in_flight = self.proxy.in_flight();
            tracing::warn!(target: "app", in_flight, "the deadline is over: calls are cut off, free of charge");
            // This ends each of them with an error, which still has to be written.
            self.link.stop(Duration::ZERO).await;
            Stopped::CutOff
        };
        self.front.stop(bounds::CONNECTIONS_STOP_WAIT).await;
        // Calls whose client is gone have no connection to wait for.
        self.no_call_in_flight_within(bounds::CONNECTIONS_STOP_WAIT).await;
        self.background.stop().await;
        server_and_books(&self.link, self.store.as_ref()).await;
        stopped
    }

    async fn no_call_in_flight_within(&self, wait: Duration) -> bool {
        let looks = async {
            // In this order: a message is in flight in the proxy before it leaves the front.
            while self.front.messages_open() > 0 || self.proxy.in_flight() > 0 {
                sleep(bounds::DRAIN_LOOK).await;
            }
        };
        timeout(wait, looks).await.is_ok()
    }
}

/// Ends the server, which answers what is still in flight with an error, and closes the books.
pub(super) async fn server_and_books(link: &ChildLink, store: &dyn Store) {
    link.stop(bounds::CHILD_STOP_GRACE).await;
    books(store).await;
}

/// Closes the books.
pub(super) async fn books(store: &dyn Store) {
    if let Err(why) = store.close().await {
        tracing::error!(target: "app", %why, "the books could not be closed well; the next start checks them");
    }
}
