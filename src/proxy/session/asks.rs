//! What a server has asked a client and waits for: which of our ids stands for which of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::model::bounds;

/// The requests of one server that its client has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Asked>,
    closed: bool,
}

#[derive(Debug)]
struct Asked {
    /// The server's own id, as JSON text.
    own_id: Box<str>,
    since: Instant,
}

impl Asks {
    /// An id of ours for a request. `None` if too many wait already, or nobody will answer any more.
    pub(super) fn enter(&self, own_id: &str, now: Instant) -> Option<u64> {
        let mut table = self.lock();
        if table.closed
            || table.waiting.len() >= bounds::SESSION_ASKS_MAX
            || own_id.len() > bounds::RAW_ID_BYTES_MAX
        {
            return None;
        }
        table.last += 1;
        let id = table.last;
        table.waiting.insert(id, Asked { own_id: own_id.into(), since: now });
        Some(id)
    }

    /// The server's own id for the request that is answered by this id (JSON text). Once.
    pub(super) fn answered(&self, id: &str) -> Option<Box<str>> {
        let id = id.parse().ok()?;
        self.lock().waiting.remove(&id).map(|asked| asked.own_id)
    }

    /// Our id for a request that the server does not want answered any more.
    pub(super) fn withdrawn(&self, own_id: &str) -> Option<u64> {
        let mut table = self.lock();
        let found = table.waiting.iter().find(|(_, asked)| *asked.own_id == *own_id);
        let id = *found?.0;
        table.waiting.remove(&id);
        Some(id)
    }

    /// The server's own ids of what has waited for longer than `since`. Once.
    pub(super) fn late(&self, since: Instant) -> Vec<Box<str>> {
        let mut table = self.lock();
        let late = table.waiting.extract_if(|_, asked| asked.since <= since);
        late.map(|(_, asked)| asked.own_id).collect()
    }

    /// The server's own ids of all that waits. Nothing is asked from now on.
    pub(super) fn close(&self) -> Vec<Box<str>> {
        let mut table = self.lock();
        table.closed = true;
        table.waiting.drain().map(|(_, asked)| asked.own_id).collect()
    }

    /// Does nothing wait?
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Forgets a request that could not be told.
    pub(super) fn forget(&self, id: u64) {
        self.lock().waiting.remove(&id);
    }

    /// Nobody waits for an answer any more.
    pub(super) fn clear(&self) {
        self.lock().waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_request_is_answered_once_or_withdrawn_or_late() {
        let asks = Asks::default();
        let now = Instant::now();
        let ids: Vec<u64> = ["7", r#""a""#, "9"].map(|own| asks.enter(own, now).unwrap()).into();
        assert_eq!(asks.answered(&ids[0].to_string()).as_deref(), Some("7"));
        assert_eq!(asks.answered(&ids[0].to_string()), None);
        for foreign in ["0", "99", "-1", "1.0", "\"2\"", ""] {
            assert_eq!(asks.answered(foreign), None, "{foreign}");
        }
        assert_eq!(asks.withdrawn(r#""a""#), Some(ids[1]));
        assert_eq!(asks.withdrawn(r#""a""#), None);
        assert!(asks.late(now - Duration::from_nanos(1)).is_empty());
        assert_eq!(asks.late(now), [Box::from("9")]);
        assert!(asks.late(now).is_empty());
        assert!(asks.enter("10", now).is_some());
        assert_eq!(asks.close(), [Box::from("10")]);
        assert_eq!(asks.enter("11", now), None);
    }

    #[test]
    fn they_are_bounded() {
        let asks = Asks::default();
        let now = Instant::now();
        for id in 0..bounds::SESSION_ASKS_MAX {
            assert!(asks.enter(&id.to_string(), now).is_some());
        }
        assert!(asks.enter("x", now).is_none());
        asks.clear();
        assert!(asks.enter(&"9".repeat(bounds::RAW_ID_BYTES_MAX + 1), now).is_none());
    }
}
