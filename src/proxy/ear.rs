//! Hears what a server says unasked and passes it on to the clients that it concerns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dashmap::DashMap;

use super::session::{Changes, Dialogue, Sessions, is_list_change};
use super::stream::Outlet;
use crate::protocol::to_client;
use crate::upstream::{Ask, Listener, Note};

/// Hears one link. The link is made with it, so it exists first.
#[derive(Debug, Default)]
pub struct Ear {
    /// Calls in flight whose clients take messages, by our id.
    calls: DashMap<u64, Heard>,
    audience: Audience,
    /// Whoever calls is the same client.
    has_one_client: AtomicBool,
}

/// Whom it concerns what a server says about no call.
#[derive(Debug)]
enum Audience {
    /// A link that is shared belongs to nobody: all are told that a list has changed, and nothing else.
    Everybody(OnceLock<(Weak<Sessions>, Changes)>),
    /// The one client that has the link to itself.
    One(Arc<Dialogue>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Everybody(OnceLock::new())
    }
}

/// Where what is heard about one call goes.
#[derive(Debug)]
struct Heard {
    outlet: Outlet,
    /// The progress token that the client gave, as JSON text.
    token: Option<Box<str>>,
}

/// One call that is listened for; dropping it ends that.
#[derive(Debug)]
pub(super) struct Hearing {
    ear: Arc<Ear>,
    id: u64,
    outlet: Outlet,
}

impl Ear {
    /// Hears a link for one client alone.
    pub(super) fn of_one(dialogue: &Arc<Dialogue>) -> Arc<Self> {
        let audience = Audience::One(Arc::clone(dialogue));
        Arc::new(Self { calls: DashMap::new(), audience, has_one_client: AtomicBool::new(true) })
    }

    /// All calls on this link are one client's, so what the server logs is for that client.
    pub(super) fn has_one_client(&self) {
        self.has_one_client.store(true, Ordering::Relaxed);
    }

    /// Tells the client of the oldest call in flight.
    fn tell_a_caller(&self, message: &[u8]) {
        let oldest = self.calls.iter().min_by_key(|heard| *heard.key());
        let outlet = oldest.map(|heard| heard.outlet.clone());
        if let Some(outlet) = outlet {
            outlet.message(message.to_vec());
        }
    }

    /// Hears a link that these sessions share. `result` is what the server said first.
    pub(super) fn serve(&self, sessions: &Arc<Sessions>, result: Option<&str>) {
        if let Audience::Everybody(shared) = &self.audience {
            let changes = result.map(Changes::of).unwrap_or_default();
            shared.get_or_init(|| (Arc::downgrade(sessions), changes));
        }
    }

    /// Passes on what the server says about the call with our id `id`.
    pub(super) fn listen(
        self: &Arc<Self>,
        id: u64,
        outlet: &Outlet,
        token: Option<&str>,
    ) -> Hearing {
        let heard = Heard { outlet: outlet.clone(), token: token.map(Into::into) };
        self.calls.insert(id, heard);
        outlet.in_flight(true);
        Hearing { ear: Arc::clone(self), id, outlet: outlet.clone() }
    }

    /// Copied out, so that nothing is locked while a message is passed on.
    fn heard(&self, call: u64) -> Option<(Outlet, Option<Box<str>>)> {
        self.calls.get(&call).map(|heard| (heard.outlet.clone(), heard.token.clone()))
    }

    /// The call that it concerns alone. A list has changed for all who share a link, whichever call the
    /// server was at.
    fn call_of(&self, note: &Note<'_>) -> Option<u64> {
        let is_for_all = match &self.audience {
            Audience::Everybody(_) => is_list_change(note.method),
            Audience::One(_) => false,
        };
        note.call.filter(|_| note.method != "notifications/cancelled" && !is_for_all)
    }

    fn tell_everybody(&self, message: &[u8]) {
        let Audience::Everybody(shared) = &self.audience else { return };
        if let Some(sessions) = shared.get().and_then(|(sessions, _)| sessions.upgrade()) {
            sessions.tell_those_who_share(message);
        }
    }
}

impl Listener for Ear {
    fn notified(&self, note: &Note<'_>) {
        if let Some(call) = self.call_of(note) {
            let Some((outlet, token)) = self.heard(call) else { return };
            let text = match (note.method, token) {
                ("notifications/progress", Some(token)) => to_client::progress(note.line, &token),
                ("notifications/progress", None) => None,
                _ => Some(note.line.to_vec()),
            };
            if let Some(text) = text {
                outlet.message(text);
            }
            return;
        }
        match &self.audience {
            Audience::One(dialogue) => dialogue.notified(note),
            Audience::Everybody(_) if is_list_change(note.method) => self.tell_everybody(note.line),
            Audience::Everybody(_)
                if note.method == "notifications/message"
                    && self.has_one_client.load(Ordering::Relaxed) =>
            {
                self.tell_a_caller(note.line);
            }
            Audience::Everybody(_) => {}
        }
    }

    fn asked(&self, ask: &Ask<'_>) -> bool {
        match &self.audience {
            Audience::One(dialogue) => {
                let outlet = ask.on.and_then(|call| self.heard(call)).map(|(outlet, _)| outlet);
                dialogue.asked(ask, outlet)
            }
            // Nobody owns a link that is shared.
            Audience::Everybody(_) => false,
        }
    }

    fn restarted(&self) {
        match &self.audience {
            Audience::One(dialogue) => dialogue.restarted(),
            Audience::Everybody(shared) => {
                for message in shared.get().into_iter().flat_map(|(_, changes)| changes.messages())
                {
                    self.tell_everybody(&message);
                }
            }
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.ear.calls.remove(&self.id);
        self.outlet.in_flight(false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::{Resuming, Streams};
    use super::*;

    #[test]
    fn a_list_of_a_shared_server_changes_for_all_whichever_call_tells_it() {
        let shared = Arc::new(Ear::default());
        let own = Ear::of_one(&Dialogue::new(Resuming::No));
        let (change, log) = ("notifications/tools/list_changed", "notifications/message");
        for (ear, method, is_told) in [
            (&shared, change, false),
            (&shared, log, true),
            (&own, change, true),
            (&own, log, true),
        ] {
            let (outlet, mut streaming) = Streams::new(Resuming::No).open(None);
            let _hearing = ear.listen(7, &outlet, None);
            ear.notified(&Note { method, params: None, line: b"{}", call: Some(7), life: 0 });
            assert_eq!(streaming.next_now(&|_| Vec::new()).is_some(), is_told, "{method}");
        }
    }
}
