//! Which requests of a key are in flight, by the id that its client gave them: what a
//! `notifications/cancelled` can name. Bounded by the link, which takes so many calls at a time.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Notify;

use crate::model::bounds::RAW_ID_BYTES_MAX;
use crate::model::ids::{KeyId, SessionId};
use crate::model::text::Text;
use crate::upstream::Link;

/// Requests in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    requests: Arc<DashMap<Name, Vec<Arc<Request>>, foldhash::fast::RandomState>>,
}

/// Whose request, and the id that its client gave it, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    whose: Whose,
    raw_id: Text,
}

/// Whose ids mean the same request: those of one session, or without one those of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Key(KeyId),
    Session(SessionId),
}

impl Name {
    pub(super) fn new(whose: Whose, raw_id: &str) -> Option<Self> {
        (raw_id.len() <= RAW_ID_BYTES_MAX).then(|| Self { whose, raw_id: raw_id.into() })
    }
}

/// One request: the ids that we give to what is sent for it, over which link, and whether that was sent.
#[derive(Debug)]
pub(super) struct Request {
    ours: Box<[u64]>,
    /// Our ids mean something here alone. None if nothing will be sent.
    link: Option<Link>,
    stage: Mutex<Stage>,
    /// Rings once it is cancelled before it was sent.
    cancelled: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for its hold.
    Unsent,
    Sent,
    /// Cancelled before it was known to be sent.
    Cancelled,
}

impl Request {
    /// Cancels it: at the server, or if it is not sent yet, so that its sender learns of it.
    pub(super) fn cancel(&self, reason: &str) {
        self.cancel_at_server(self.cancelled(), reason);
    }

    fn cancel_at_server(&self, ids: &[u64], reason: &str) {
        for (id, link) in ids.iter().zip(self.link.iter().cycle()) {
            link.cancel(*id, reason);
        }
    }

    /// What is to be cancelled at the server, now that it is cancelled.
    fn cancelled(&self) -> &[u64] {
        match self.leave_unsent(Stage::Cancelled) {
            Stage::Sent => &self.ours,
            Stage::Unsent | Stage::Cancelled => &[],
        }
    }

    /// Goes on from `Unsent`, if it is still there. Where it stood before.
    fn leave_unsent(&self, next: Stage) -> Stage {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *stage;
        if before == Stage::Unsent {
            *stage = next;
            if next == Stage::Cancelled {
                self.cancelled.notify_one();
            }
        }
        before
    }
}

/// One request in the table; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Registration {
    table: InFlight,
    entry: Option<(Name, Arc<Request>)>,
}

impl InFlight {
    /// Enters a request before anything is sent for it, with the ids that we will give to that.
    pub(super) fn enter(
        &self,
        name: Option<Name>,
        ours: impl Iterator<Item = u64>,
        link: Option<&Link>,
    ) -> Registration {
        let entry = name.map(|name| {
            let stage = Mutex::new(Stage::Unsent);
            let (ours, link) = (ours.collect(), link.cloned());
            let request = Arc::new(Request { ours, link, stage, cancelled: Notify::new() });
            self.requests.entry(name.clone()).or_default().push(Arc::clone(&request));
            (name, request)
        });
        Registration { table: self.clone(), entry }
    }

    /// The one request of this name; `None` if there are none or several.
    pub(super) fn the_one(&self, name: &Name) -> Option<Arc<Request>> {
        let named = self.requests.get(name)?;
        match named.as_slice() {
            [one] => Some(Arc::clone(one)),
            _ => None,
        }
    }
}

impl Registration {
    /// Was it cancelled before it was sent?
    pub(super) fn is_cancelled(&self) -> bool {
        self.entry.as_ref().is_some_and(|(_, request)| {
            *request.stage.lock().unwrap_or_else(PoisonError::into_inner) == Stage::Cancelled
        })
    }

    /// Waits until it is cancelled before it was sent.
    pub(super) async fn cancelled(&self) {
        match &self.entry {
            Some((_, request)) => request.cancelled.notified().await,
            None => std::future::pending().await,
        }
    }

    /// From now on a cancellation goes to the server; so does one that came while the request was
    /// being sent.
    pub(super) fn sent(&self, reason: &str) {
        if let Some((_, request)) = &self.entry {
            request.cancel_at_server(self.cancelled_meanwhile(), reason);
        }
    }

    fn cancelled_meanwhile(&self) -> &[u64] {
        match &self.entry {
            Some((_, request)) if request.leave_unsent(Stage::Sent) == Stage::Cancelled => {
                &request.ours
            }
            _ => &[],
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some((name, request)) = self.entry.take() else { return };
        if let Entry::Occupied(mut named) = self.table.requests.entry(name) {
            named.get_mut().retain(|other| !Arc::ptr_eq(other, &request));
            if named.get().is_empty() {
                named.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_request_of_the_same_key_is_found() {
        let key = |byte| Whose::Key(KeyId::from_random([byte; 8]));
        let (mine, yours) = (key(1), Whose::Session(SessionId::from_random([1; 16])));
        let table = InFlight::default();
        let name = |key: &Whose| Name::new(key.clone(), "1");
        let find =
            |key: &Whose| table.the_one(&name(key).unwrap()).map(|request| request.ours.to_vec());
        let first = table.enter(name(&mine), [7, 8].into_iter(), None);
        assert_eq!((find(&mine), find(&yours)), (Some(vec![7, 8]), None));
        let second = table.enter(name(&mine), [9].into_iter(), None);
        assert_eq!(find(&mine), None);
        drop(first);
        assert_eq!(find(&mine), Some(vec![9]));
        drop(second);
        assert!(table.requests.is_empty());
        assert!(Name::new(mine, &"9".repeat(RAW_ID_BYTES_MAX + 1)).is_none());
    }

    #[test]
    fn a_cancellation_finds_a_request_in_every_stage() {
        let key = KeyId::from_random([1; 8]);
        let table = InFlight::default();
        let name = || Name::new(Whose::Key(key.clone()), "1");
        let cancel = || table.the_one(&name().unwrap()).unwrap().cancelled().to_vec();
        let none: [u64; 0] = [];

        let before = table.enter(name(), [1, 2].into_iter(), None);
        assert!(!before.is_cancelled());
        assert_eq!(cancel(), none);
        assert!(before.is_cancelled());
        assert_eq!(
            before.cancelled_meanwhile(),
            [1, 2],
            "it came while the request was being sent"
        );
        drop(before);

        let after = table.enter(name(), [3].into_iter(), None);
        assert_eq!(after.cancelled_meanwhile(), none);
        assert_eq!(cancel(), [3]);
        assert!(!after.is_cancelled());
    }
}
