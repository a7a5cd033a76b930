//! The end: readiness off, calls in flight finish and settle, the server ends, the books close.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::App;
use crate::front::http::HttpFront;
use crate::front::stdio::StdioFront;
use crate::model::audit::AuditEvent;
use crate::model::bounds;
use crate::store::{Store, StoreError, clock};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything was finished.
    Drained,
    /// Calls were still in flight at the deadline; they are not charged.
    CutOff,
    /// A second signal asked for the end at once.
    Forced,
    /// The disk did not take what the books still had to write.
    BooksNotClosed,
}

/// SIGTERM and SIGINT, which end, and SIGHUP, which reads the configuration anew, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals, so that they end the process no more by themselves.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn wish(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// The next that ends.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What a signal asks for.
enum Wish {
    End,
    Reload,
}

impl App {
    /// Runs until a signal comes or the client that started this process leaves, then stops.
    pub async fn run(mut self, signals: &mut Signals) -> Stopped {
        let is_told = loop {
            tokio::select! {
                biased;
                wish = signals.wish() => match wish {
                    Wish::End => break true,
                    Wish::Reload => self.reload().await,
                },
                () = client_left(self.stdio.as_mut()) => {
                    tracing::info!(target: "app", "the client on stdin and stdout has left");
                    break false;
                }
            }
        };
        let proxy = Arc::clone(&self.proxy);
        tokio::select! {
            biased;
            stopped = self.stop() => stopped,
            () = told_twice(signals, is_told) => {
                tracing::warn!(target: "app", "a second signal: ending at once");
                // Nothing of the server may be left behind, even now.
                timeout(bounds::FORCED_STOP_WAIT, proxy.stop(Duration::ZERO)).await.ok();
                Stopped::Forced
            }
        }
    }

    /// Reads the configuration anew; what came of it is in the log.
    async fn reload(&self) {
        let reloader = Arc::clone(&self.reloader);
        match tokio::task::spawn_blocking(move || reloader.reload()).await {
            Ok(Ok(told)) => {
                if let Err(why) = self.store.record(reloaded_by_signal(&told)).await {
                    tracing::error!(target: "app", %why, "the audit log does not have that the configuration was read anew");
                }
            }
            // The log has why.
            Ok(Err(_)) => {}
            Err(why) => {
                tracing::error!(target: "app", %why, "the configuration could not be read anew");
            }
        }
    }

    /// Stops in order.
    pub async fn stop(mut self) -> Stopped {
        self.drain();
        let in_flight = self.proxy.in_flight();
        tracing::info!(target: "app", in_flight, "stopping: calls in flight finish first");
        let stopped = if self.no_call_in_flight_within(bounds::DRAIN_WAIT).await {
            Stopped::Drained
        } else {
            let in_flight = self.proxy.in_flight();
            tracing::warn!(target: "app", in_flight, "the deadline is over: calls are cut off, free of charge");
            // This ends each of them with an error, which still has to be written.
            self.proxy.stop(Duration::ZERO).await;
            Stopped::CutOff
        };
        if let Some(stdio) = &mut self.stdio {
            stdio.stop(bounds::CONNECTIONS_STOP_WAIT).await;
        }
        if let Some(http) = &mut self.http {
            http.stop(bounds::CONNECTIONS_STOP_WAIT).await;
        }
        // Calls whose client is gone have no connection to wait for.
        self.no_call_in_flight_within(bounds::CONNECTIONS_STOP_WAIT).await;
        // This waits for the disk too, if anything does.
        timeout(bounds::CLOSE_BOOKS_WAIT, self.background.stop()).await.ok();
        self.proxy.stop(bounds::CHILD_STOP_GRACE).await;
        match books(self.store.as_ref()).await {
            Closed::InTime => stopped,
            Closed::NotInTime => Stopped::BooksNotClosed,
        }
    }

    /// Takes no more messages.
    fn drain(&self) {
        if let Some(http) = &self.http {
            http.drain();
        }
        if let Some(stdio) = &self.stdio {
            stdio.drain();
        }
        self.proxy.drain();
    }

    /// Messages that were let in and are not answered yet.
    fn messages_open(&self) -> usize {
        self.http.as_ref().map_or(0, HttpFront::messages_open)
            + self.stdio.as_ref().map_or(0, StdioFront::messages_open)
    }

    async fn no_call_in_flight_within(&self, wait: Duration) -> bool {
        let looks = async {
            // In this order: a message is in flight in the proxy before it leaves the front.
            while self.messages_open() > 0 || self.proxy.in_flight() > 0 {
                sleep(bounds::DRAIN_LOOK).await;
            }
        };
        timeout(wait, looks).await.is_ok()
    }
}

/// Waits for the second signal. A client that leaves sends none: whoever started this process mostly
/// closes its end and signals at once.
async fn told_twice(signals: &mut Signals, is_told: bool) {
    if !is_told {
        signals.next().await;
    }
    signals.next().await;
}

/// Waits until the client that started this process has left; for ever, if there is none.
async fn client_left(stdio: Option<&mut StdioFront>) {
    match stdio {
        Some(stdio) => stdio.client_left().await,
        None => std::future::pending().await,
    }
}

/// Did the books end their work?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Yes, well or with an error that is logged.
    InTime,
    /// They were left to themselves.
    NotInTime,
}

/// Closes the books.
pub(super) async fn books(store: &dyn Store) -> Closed {
    closed_within(bounds::CLOSE_BOOKS_WAIT, store.close()).await
}

async fn closed_within(
    wait: Duration,
    closing: impl Future<Output = Result<(), StoreError>>,
) -> Closed {
    match timeout(wait, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => {
            tracing::error!(target: "app", %why, "the books could not be closed well; the next start checks them");
        }
        Err(_) => {
            tracing::error!(target: "app", "the disk does not answer: the books are left open; the next start checks them");
            return Closed::NotInTime;
        }
    }
    Closed::InTime
}

/// What the audit log has of a reload that nobody asked for over the API.
fn reloaded_by_signal(told: &Value) -> AuditEvent {
    let event = AuditEvent {
        at: clock::now(),
        kind: "config.reloaded",
        actor: "system".to_owned(),
        actor_id: None,
        namespace: None,
        target: None,
        message: "Configuration reloaded by a signal".to_owned(),
        metadata: Map::new(),
    };
    let event = event.with("changed", told.get("changed").cloned().unwrap_or_default());
    match told.get("instance") {
        Some(instance) => event.with("instance", instance.clone()),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_nobody() {
        let wait = Duration::from_millis(10);
        let hangs = std::future::pending();
        assert_eq!(closed_within(wait, hangs).await, Closed::NotInTime);
        let failed = std::future::ready(Err(StoreError::Closed("disk full".to_owned())));
        assert_eq!(closed_within(wait, failed).await, Closed::InTime);
        assert_eq!(closed_within(wait, std::future::ready(Ok(()))).await, Closed::InTime);
    }
}
