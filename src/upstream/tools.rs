//! Keeps the list of a server's tools fresh.
//!
//! One task per generation fetches; everybody else only says that a fetch is wanted and waits for
//! the next to end. So there is one fetch at a time and at most one a second by construction,
//! whether customers ask for unknown tools or the server says that its list has changed.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{OnGiveUp, Shared, Slot};
use super::outbox::Outbox;
use super::tool_names::ToolsFault;
use super::{Hello, Status, ToolNames, handshake};
use crate::model::bounds;

/// The list, and who wants it fetched.
#[derive(Debug, Default)]
pub(super) struct Tools {
    names: ArcSwap<ToolNames>,
    wanted: Notify,
    /// Counts fetches that have ended, with or without success.
    fetched: watch::Sender<u64>,
    freshness: Mutex<Freshness>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Freshness {
    /// When the last fetch began.
    fetched_at: Option<Instant>,
    /// The server has said since then that its list has changed.
    changed: bool,
}

impl Tools {
    pub(super) fn names(&self) -> Arc<ToolNames> {
        self.names.load_full()
    }

    /// The server says that its list has changed.
    pub(super) fn changed(&self) {
        self.with_freshness(|freshness| freshness.changed = true);
        self.wanted.notify_one();
    }

    /// Waits for one more fetch, unless the last is less than a second old and nothing has
    /// changed. Gives up when the link changes its status.
    pub(super) async fn refresh(&self, mut status: watch::Receiver<Status>) {
        let mut fetched = self.fetched.subscribe();
        if self.with_freshness(|freshness| freshness.is_fresh()) {
            return;
        }
        self.wanted.notify_one();
        let longest = bounds::TOOLS_REFRESH_INTERVAL + bounds::TOOLS_LIST_TIMEOUT;
        let done = async {
            tokio::select! {
                _ = fetched.changed() => {}
                _ = status.changed() => {}
            }
        };
        if timeout(longest, done).await.is_err() {
            tracing::debug!(target: "upstream", "the list of tools was not fetched in time");
        }
    }

    /// Fetches all pages before the deadline and keeps them. On a fault the old list stays.
    pub(super) async fn fetch(
        &self,
        shared: &Arc<Shared>,
        outbox: &Arc<Outbox>,
        deadline: Instant,
    ) -> Result<(), ToolsFault> {
        self.fetch_began();
        let names = fetch_pages(shared, outbox, deadline).await;
        let result = names.map(|names| self.set(names));
        self.fetch_ended();
        result
    }

    /// The server lists no tools at all, because it has not said that it has any.
    pub(super) fn none(&self) {
        self.names.store(Arc::default());
    }

    /// Puts a list in the place of the one before.
    pub(super) fn set(&self, names: ToolNames) {
        self.names.store(Arc::new(names));
    }

    /// Follows the number of fetches that have ended.
    pub(super) fn fetches(&self) -> watch::Receiver<u64> {
        self.fetched.subscribe()
    }

    /// Waits until a fetch is wanted and due.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
        if let Some(at) = self.with_freshness(|freshness| freshness.fetched_at) {
            sleep_until(at + bounds::TOOLS_REFRESH_INTERVAL).await;
        }
    }

    /// Notes that a fetch has begun.
    pub(super) fn fetch_began(&self) {
        self.with_freshness(|freshness| {
            *freshness = Freshness { fetched_at: Some(Instant::now()), changed: false }
        });
    }

    /// Tells everybody that a fetch has ended, with or without success.
    pub(super) fn fetch_ended(&self) {
        self.fetched.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn with_freshness<T>(&self, look: impl FnOnce(&mut Freshness) -> T) -> T {
        look(&mut self.freshness.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Freshness {
    fn is_fresh(self) -> bool {
        !self.changed
            && self.fetched_at.is_some_and(|at| at.elapsed() < bounds::TOOLS_REFRESH_INTERVAL)
    }
}

/// Fetches whenever it is wanted, for as long as the generation lives.
pub(super) async fn keep_fresh(shared: Arc<Shared>, outbox: Arc<Outbox>) {
    let tools = &shared.tools;
    loop {
        tools.wanted().await;
        let deadline = Instant::now() + bounds::TOOLS_LIST_TIMEOUT;
        if let Err(fault) = tools.fetch(&shared, &outbox, deadline).await {
            tracing::warn!(target: "upstream", server = shared.options.server, %fault, "the old list of tools stays in use");
        }
    }
}

async fn fetch_pages(
    shared: &Arc<Shared>,
    outbox: &Arc<Outbox>,
    deadline: Instant,
) -> Result<ToolNames, ToolsFault> {
    let mut names = ToolNames::default();
    let mut cursor = None;
    for _ in 0..bounds::TOOL_PAGES_MAX {
        let slot = Slot::own(shared, outbox, OnGiveUp::Cancel).map_err(ToolsFault::NoAnswer)?;
        let hello = &shared.options.hello;
        let line = list_request(hello, "tools/list", slot.id(), cursor.as_deref());
        let answer =
            slot.send(line, deadline.saturating_duration_since(Instant::now())).answer().await;
        let answer = answer.map_err(ToolsFault::NoAnswer)?;
        let Some(result) = answer.result_text() else {
            return Err(ToolsFault::Refused(handshake::error_message(&answer)));
        };
        cursor = names.add_page(result)?;
        if cursor.is_none() {
            return Ok(names);
        }
    }
    Err(ToolsFault::TooManyPages)
}

/// The line that asks for a page of a list. `cursor` is JSON text.
pub(super) fn list_request(hello: &Hello, method: &str, id: u64, cursor: Option<&str>) -> Vec<u8> {
    let cursor = cursor.map(|cursor| format!(r#""cursor":{cursor}"#));
    let meta = match hello {
        Hello::Initialize(_) => None,
        Hello::Discover => Some(format!(r#""_meta":{}"#, handshake::own_meta())),
    };
    let params: Vec<_> = cursor.into_iter().chain(meta).collect();
    let params = params.join(",");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#)
        .into_bytes()
}
