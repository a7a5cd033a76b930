//! Hears a link of the modern era: progress goes to the client whose call it is about, and what
//! belongs to a subscription to its subscriber. Everything else has no owner on a shared process and
//! is dropped, unless there is one client for all.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::mpsc;

use super::super::ear::Ear;
use crate::model::bounds;
use crate::protocol::modern::SUBSCRIPTION_KEY;
use crate::protocol::object::Object;
use crate::upstream::{Ask, Listener, Note};

/// Hears one link. The link is made with it, so it exists first.
#[derive(Debug, Default)]
pub struct ModernEar {
    calls: Arc<Ear>,
    /// Open subscriptions, by our id of the request that opened them.
    subscriptions: DashMap<u64, mpsc::Sender<Told>>,
}

/// What a subscriber is told.
#[derive(Debug)]
pub(super) enum Told {
    /// A notification, whole and as written.
    Note(Vec<u8>),
    /// The server will say nothing more.
    Ended,
}

/// One subscription; dropping it ends that.
#[derive(Debug)]
pub(super) struct Subscription {
    ear: Arc<ModernEar>,
    id: u64,
    pub(super) told: mpsc::Receiver<Told>,
}

impl ModernEar {
    pub(in crate::proxy) fn calls(&self) -> &Arc<Ear> {
        &self.calls
    }

    /// Hears what belongs to the subscription that the request with our id opens.
    pub(super) fn subscribe(self: &Arc<Self>, id: u64) -> Subscription {
        let (sender, told) = mpsc::channel(bounds::STREAM_MESSAGES_MAX);
        self.subscriptions.insert(id, sender);
        Subscription { ear: Arc::clone(self), id, told }
    }

    fn tell(&self, id: u64, told: Told) {
        // Copied out, so that nothing is locked while it is passed on.
        let Some(sender) = self.subscriptions.get(&id).map(|sender| sender.clone()) else { return };
        if sender.try_send(told).is_err() {
            // Nothing may be missing in the middle: a subscriber that is too slow starts again.
            self.subscriptions.remove(&id);
            tracing::debug!(target: "proxy", "a subscription was ended: its client does not read");
        }
    }
}

/// The requests of ours that a notification names, as far as it does.
struct Named {
    cancelled: Option<u64>,
    subscription: Option<u64>,
}

impl Named {
    fn read(params: &str) -> Option<Self> {
        let params = Object::read(params).ok()?;
        let meta = params.get("_meta").and_then(|meta| Object::read(meta).ok());
        let id = |text: &str| text.parse().ok();
        Some(Self {
            cancelled: params.get("requestId").and_then(id),
            subscription: meta.and_then(|meta| meta.get(SUBSCRIPTION_KEY)).and_then(id),
        })
    }
}

impl Listener for ModernEar {
    fn notified(&self, note: &Note<'_>) {
        // Without a subscription nobody needs it read.
        if note.method == "notifications/progress" || self.subscriptions.is_empty() {
            return self.calls.notified(note);
        }
        let named = note.params.and_then(|params| Named::read(params.get()));
        let Some(named) = named else { return self.calls.notified(note) };
        match (note.method, named.cancelled, named.subscription) {
            ("notifications/cancelled", Some(id), _) => self.tell(id, Told::Ended),
            (_, _, Some(id)) => self.tell(id, Told::Note(note.line.to_vec())),
            // Some transports tell which call it is about.
            _ => self.calls.notified(note),
        }
    }

    /// Servers of this era do not ask.
    fn asked(&self, _: &Ask<'_>) -> bool {
        false
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.ear.subscriptions.remove(&self.id);
    }
}
