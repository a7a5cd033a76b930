//! Hears what a server says unasked and passes it on to the clients whose calls it is about.

use std::sync::Arc;

use dashmap::DashMap;

use super::stream::Outlet;
use crate::protocol::to_client;
use crate::upstream::{Ask, Listener, Note};

/// Hears one link. The link is made with it, so it exists first.
#[derive(Debug, Default)]
pub struct Ear {
    /// Calls in flight whose clients take messages, by our id.
    calls: DashMap<u64, Heard>,
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
}

impl Ear {
    /// Passes on what the server says about the call with our id `id`.
    pub(super) fn listen(
        self: &Arc<Self>,
        id: u64,
        outlet: &Outlet,
        token: Option<&str>,
    ) -> Hearing {
        let heard = Heard { outlet: outlet.clone(), token: token.map(Into::into) };
        self.calls.insert(id, heard);
        Hearing { ear: Arc::clone(self), id }
    }
}

impl Listener for Ear {
    fn notified(&self, note: &Note<'_>) {
        let Some(heard) = note.call.and_then(|call| self.calls.get(&call)) else { return };
        // Copied out, so that nothing is locked while the message is passed on.
        let (outlet, token) = (heard.outlet.clone(), heard.token.clone());
        drop(heard);
        if note.method == "notifications/progress" {
            let text = token.and_then(|token| to_client::progress(note.line, &token));
            if let Some(text) = text {
                outlet.message(text);
            }
        }
    }

    /// Nobody owns a link that is shared.
    fn asked(&self, _: &Ask<'_>) -> bool {
        false
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.ear.calls.remove(&self.id);
    }
}
