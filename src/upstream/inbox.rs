//! Gives each message of a server to whom it concerns: an answer to the call that waits for it,
//! everything else to the link's [`Listener`](super::Listener).
//!
//! The text of malformed messages is never logged, because it may be a customer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Failure;
use super::id_scan::IdScan;
use super::link::Shared;
use super::listener::{Ask, Note};
use super::outbox::Outbox;
use crate::protocol::from_server::FromServer;

/// Where the messages of one generation go.
pub(super) struct Inbox {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    unusable: AtomicU64,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>) -> Self {
        Self { shared, outbox, unusable: AtomicU64::new(0) }
    }

    pub(super) fn server(&self) -> &str {
        &self.shared.options.server
    }

    /// Tells at any time whether more than one call is in flight.
    pub(super) fn has_company(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.calls.in_flight() > 1
    }

    /// The longest message that is taken.
    pub(super) fn line_bytes_max(&self) -> usize {
        self.shared.options.answer_bytes_max
    }

    /// Takes one message. `on` is the id of the call on whose stream it came, where the transport
    /// has such streams.
    pub(super) fn take(&self, line: &[u8], on: Option<u64>) {
        match FromServer::read(line) {
            FromServer::Answer(answer) => {
                let (id, answer) = (answer.id(), answer.of_life(self.outbox.life()));
                if on.is_some_and(|on| on != id) {
                    let why = "an answer on the stream of another call";
                    self.unusable(why, line.len(), None, Failure::Malformed);
                } else if !self.shared.calls.resolve(id, Ok(answer)) {
                    tracing::debug!(target: "upstream", server = self.server(), id, "an answer that nobody waits for");
                }
            }
            FromServer::Request { id, method, params } => {
                let from = self.outbox.life();
                self.asked(&Ask { id, method: &method, params, line, on, life: from });
            }
            FromServer::Notification { method, params } => self.notified(&method, params, line, on),
            FromServer::Malformed(_) if line.trim_ascii().is_empty() => {}
            FromServer::Malformed(why) => {
                self.unusable(why, line.len(), IdScan::of(line), Failure::Malformed);
            }
        }
    }

    /// A message was longer than [`Self::line_bytes_max`] and not kept; `id` is the call that it
    /// answers, if that is known.
    pub(super) fn too_long(&self, bytes: usize, id: Option<u64>) {
        self.unusable("longer than maxAnswerBytes", bytes, id, Failure::TooLarge);
    }

    /// A ping is answered here. What nobody can answer is refused.
    fn asked(&self, ask: &Ask<'_>) {
        let (id, method) = (ask.id, ask.method);
        let answer = if method == "ping" {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
        } else if self.shared.options.listener.as_ref().is_some_and(|listener| listener.asked(ask))
        {
            return;
        } else {
            tracing::debug!(target: "upstream", server = self.server(), method, "a request from the server was refused");
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"This client does not take requests"}}}}"#
            )
        };
        self.outbox.push_control(answer.as_bytes());
    }

    /// The one place where notifications find their way. Progress is passed on for calls in flight
    /// alone; without a listener nobody but the link itself is told.
    fn notified(&self, method: &str, params: Option<&RawValue>, line: &[u8], on: Option<u64>) {
        let call = match method {
            "notifications/progress" => match self.progress_of(params) {
                Some(call) => Some(call),
                None => return,
            },
            "notifications/tools/list_changed" => {
                self.shared.tools.changed();
                on
            }
            _ => on,
        };
        match &self.shared.options.listener {
            Some(listener) => {
                let from = self.outbox.life();
                listener.notified(&Note { method, params, line, call, life: from });
            }
            None => {
                tracing::trace!(target: "upstream", server = self.server(), method, "a notification was dropped");
            }
        }
    }

    /// The call in flight that this progress is about.
    fn progress_of(&self, params: Option<&RawValue>) -> Option<u64> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress {
            progress_token: u64,
        }
        let progress = serde_json::from_str::<Progress>(params?.get()).ok()?;
        let call = progress.progress_token;
        self.shared.calls.progressed(call, Instant::now()).then_some(call)
    }

    /// Ends the call that the message belongs to, if that can be known. Warns at the 1st, 2nd, 4th,
    /// 8th … such line: a server that prints to stdout would fill the log.
    fn unusable(&self, why: &str, bytes: usize, id: Option<u64>, failure: Failure) {
        let resolved = id.is_some_and(|id| self.shared.calls.resolve(id, Err(failure)));
        let messages = self.unusable.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if messages.is_power_of_two() {
            tracing::warn!(
                target: "upstream", server = self.server(), why, bytes, messages, call_failed = resolved,
                "the server wrote something that is no usable message"
            );
        }
    }
}
