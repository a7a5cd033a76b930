//! Who reads the streams of a session that belong to no body of its own: with what each was opened is
//! remembered, so that it ends when that opens the session no more.

use std::sync::{Mutex, PoisonError};

use super::Session;
use crate::proxy::identify::Sender;
use crate::proxy::stream::{Position, Streaming};

/// Readers, at most one for each stream that is kept.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Vec<Listener>>);

/// One reader, and how it came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    pub(super) sender: Sender,
    pub(super) reader: Position,
}

impl Session {
    /// Somebody who was let in reads this stream.
    pub(super) fn listens(&self, sender: Sender, streaming: &Streaming) {
        let reader = streaming.reader();
        self.with_listeners(|listeners| listeners.push(Listener { sender, reader }));
    }

    /// Everybody who reads now.
    pub(super) fn listeners(&self) -> Vec<Listener> {
        self.with_listeners(|listeners| listeners.clone())
    }

    fn with_listeners<T>(&self, work: impl FnOnce(&mut Vec<Listener>) -> T) -> T {
        let mut listeners = self.listeners.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| self.dialogue.streams.is_read_by(listener.reader));
        work(&mut listeners)
    }
}
