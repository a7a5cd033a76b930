//! Sessions of the legacy era: from a client's `initialize` to its end, with a server of its own or
//! on the link that is shared.
//!
//! A session belongs to the key that its `initialize` carried, or to nobody; its id is a name and no
//! secret. Reading order: `register` is all sessions, with their bounds and their end; `open` makes
//! one; `enter` lets a message of its client in, `listeners` is who reads what it is told; `dialogue` is
//! what is said beside requests and answers, with `asks` for what the server wants to know; `tasks` and
//! `task_calls` are results that come later; `activity` says what is idle.
//!
//! A front that is one client's alone (stdio) uses the same doors as HTTP: it hands in `initialize`,
//! gets [`super::Reply::Opened`], takes everything that is told out of [`super::Proxy::listen`], hands
//! in each message with that session and without `takes_events`, and ends with
//! [`super::Proxy::end_session`]. What was told before an answer is in the stream before the answer is
//! returned, so [`super::Streaming::next_now`] brings it out first.

mod activity;
mod asks;
mod dialogue;
mod enter;
mod listeners;
mod open;
mod register;
mod task_calls;
mod tasks;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use crate::model::bounds;
use crate::model::ids::{KeyId, SessionId};
use crate::protocol::to_server;

pub(super) use activity::{Busy, With};
pub(super) use dialogue::{Changes, Dialogue, is_list_change};
pub(super) use register::Sessions;
pub(super) use tasks::OwnTask;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    owner: Owner,
    /// The protocol version that was agreed on.
    version: Option<Box<str>>,
    pub(super) connection: Connection,
    pub(super) dialogue: Arc<Dialogue>,
    activity: Arc<activity::Activity>,
    listeners: listeners::Listeners,
    has_own_server: bool,
    /// What it takes up, until it has ended.
    room: Mutex<Option<register::Room>>,
}

/// Whose a session is, or anything that is shared out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Key(KeyId),
    /// Nobody's; counted by where it came from.
    Address(IpAddr),
}

impl Session {
    pub(super) const fn id(&self) -> SessionId {
        self.id
    }

    /// The protocol version that was agreed on.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Does it have a server to itself?
    pub(super) const fn has_own_server(&self) -> bool {
        self.has_own_server
    }

    /// Does it belong to this key, or to nobody if there is none?
    fn belongs_to(&self, key: Option<&KeyId>) -> bool {
        match &self.owner {
            Owner::Key(owner) => Some(owner) == key,
            Owner::Address(_) => key.is_none(),
        }
    }

    /// May a message of this version be part of it? Without one it is of the version agreed on.
    fn speaks(&self, version: Option<&str>) -> bool {
        version.is_none() || self.version.as_deref().is_none_or(|agreed| Some(agreed) == version)
    }

    pub(super) fn begin(&self, with: With) -> Busy {
        self.activity.begin(with)
    }

    /// It has ended, and its server if that was its own.
    fn give_room_back(&self) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn idle(&self, at: Instant) -> Option<Duration> {
        self.activity.idle(at)
    }

    /// Looks after what the server has asked. While a client that is there thinks about it, calls in
    /// flight do not run out of time. What it was asked too long ago, or is not there to hear, is
    /// answered for it.
    fn tend_asks(&self, now: Instant, longest: Duration) {
        let asks = &self.dialogue.asks;
        if asks.is_empty() {
            return;
        }
        let is_there = self.dialogue.streams.is_read();
        if is_there {
            self.connection.link.keep_waiting();
        }
        let wait = if is_there { longest } else { bounds::SESSION_ASK_UNHEARD_WAIT.min(longest) };
        if let Some(since) = now.checked_sub(wait) {
            self.give_up_asks(since);
        }
    }

    /// Answers for the client what its server has asked until then.
    fn give_up_asks(&self, until: Instant) {
        self.answer_for_client(self.dialogue.asks.late(until), "the client did not answer in time");
    }

    /// Answers for the client what its server has asked, and lets nothing more be asked.
    fn close_asks(&self) {
        self.answer_for_client(self.dialogue.asks.close(), "the client has ended its session");
    }

    fn answer_for_client(&self, own_ids: Vec<Box<str>>, why: &str) {
        for own_id in own_ids {
            tracing::debug!(target: "proxy", session = %self.id, why, "a server was answered for its client");
            self.connection.link.tell(&to_server::unanswered(&own_id, why));
        }
    }
}
