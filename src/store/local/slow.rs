//! A disk that is slow or hangs: how long the commit at hand takes, and what follows from it. The
//! writer is stuck in the kernel meanwhile, so whoever uses the store looks; nobody else would.

use std::time::Instant;

use tokio::sync::oneshot;

use super::state::State;
use crate::model::bounds::{COMMIT_HUNG, COMMIT_SLOW};
use crate::store::StoreError;

/// The commit at hand and who waits for it. It lives in the state, so that those who wait can be
/// freed although the writer cannot.
pub(super) struct Committing {
    pub(super) began: Instant,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// How the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Fine,
    Slow,
    Hung,
}

fn pace(began: Option<Instant>, now: Instant) -> Pace {
    match began.map(|began| now.saturating_duration_since(began)) {
        Some(taken) if taken >= COMMIT_HUNG => Pace::Hung,
        Some(taken) if taken >= COMMIT_SLOW => Pace::Slow,
        Some(_) | None => Pace::Fine,
    }
}

impl State {
    fn pace(&self, now: Instant) -> Pace {
        pace(self.committing.as_ref().map(|committing| committing.began), now)
    }

    /// Busy while the commit at hand takes too long to begin more.
    pub(super) fn keeps_up(&self, now: Instant) -> Result<(), StoreError> {
        if self.pace(now) == Pace::Fine { Ok(()) } else { Err(StoreError::Busy) }
    }

    /// Closes the books if the commit at hand is not believed to end any more; whether it is so.
    pub(super) fn close_if_hung(&mut self, now: Instant) -> bool {
        let is_hung = self.pace(now) == Pace::Hung;
        if is_hung && self.closed.is_none() {
            self.close(format!("the disk has not answered for {} seconds", COMMIT_HUNG.as_secs()));
        }
        is_hung
    }
}

#[cfg(test)]
mod tests {

    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::task::Poll;
    use std::time::Duration;

    use super::super::state::Shared;
    use super::super::{Durability, LocalOptions, LocalStore};
    use super::*;
    use crate::gate::{self, CallFacts, Charge, Policy, Request};
    use crate::model::ids::{CallId, KeyId};
    use crate::model::key::Key;
    use crate::model::namespace::{self, Namespace};
    use crate::model::secret::{RawKey, SealKey};
    use crate::model::time::Time;
    use crate::store::{HoldRefused, Store};

    fn commit_for(shared: &Shared, taken: Duration) -> oneshot::Receiver<()> {
        let began = Instant::now().checked_sub(taken).unwrap();
        let (waiter, waits) = oneshot::channel();
        shared.lock().committing = Some(Committing { began, waiters: vec![waiter] });
        waits
    }

    fn charge() -> Charge {
        let raw = RawKey::from_random([1; 24]);
        let key = Key::new(KeyId::from_random([1; 8]), &raw, "customer", Time::ZERO);
        let request = Request {
            now: Time::ZERO,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            credential_shown: true,
            key: Some(&key),
            namespace: Some(&Namespace::unwritten(namespace::DEFAULT)),
            team: None,
            calls: &[CallFacts { tool: "tool", arguments: None }],
            in_batch: false,
        };
        gate::admit(&Policy::default(), &request, CallId::from_random([1; 16])).unwrap()
    }

    #[test]
    fn commits_are_slow_and_then_hang() {
        let began = Instant::now();
        let almost = Duration::from_millis(1);
        for (taken, expected) in [
            (Duration::ZERO, Pace::Fine),
            (COMMIT_SLOW.checked_sub(almost).unwrap(), Pace::Fine),
            (COMMIT_SLOW, Pace::Slow),
            (COMMIT_HUNG.checked_sub(almost).unwrap(), Pace::Slow),
            (COMMIT_HUNG, Pace::Hung),
        ] {
            assert_eq!(pace(Some(began), began + taken), expected, "{taken:?}");
        }
        assert_eq!(pace(None, began), Pace::Fine);
    }

    #[tokio::test]
    async fn a_slow_disk_refuses_new_calls_and_shows() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        store.health().unwrap();
        let mut waits = commit_for(&store.shared, COMMIT_SLOW);
        assert!(matches!(store.health(), Err(StoreError::Busy)));
        let started = Instant::now();
        let refused = store.hold(&charge(), Time::ZERO, Time::from_ms(1)).await;
        assert!(matches!(refused, Err(HoldRefused::Unavailable(StoreError::Busy))), "{refused:?}");
        assert!(started.elapsed() < COMMIT_SLOW / 2, "it was not refused at once");
        // What has begun may still end.
        assert_eq!(store.expire(Time::ZERO).await.unwrap(), 0);
        assert!(waits.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        store.shared.lock().committing = None;
        store.health().unwrap();
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_hangs_closes_the_books_and_frees_all_who_wait() {
        // Without a writer thread, which would be stuck.
        let shared = Arc::new(Shared::new(
            State::default(),
            Durability::Answer,
            SealKey::from_random([0; 32]),
        ));
        let on_its_way = commit_for(&shared, COMMIT_HUNG);
        let queued = shared.lock().queue.durable();
        // The background expires holds every second, so somebody always looks.
        assert!(matches!(shared.expire(Time::ZERO), Err(StoreError::Closed(_))));
        assert!(on_its_way.await.is_err());
        assert!(matches!(queued.wait().await, Err(StoreError::Closed(_))));
        assert!(matches!(shared.health(), Err(StoreError::Closed(_))));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_disk_that_hangs() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        let (end, stuck) = std::sync::mpsc::sync_channel::<()>(0);
        let writer = std::thread::spawn(move || stuck.recv().unwrap_or_default());
        // The real one has ended, so that it does not interfere.
        store.close().await.unwrap();
        *store.writer.lock().unwrap() = Some(writer);
        drop(commit_for(&store.shared, COMMIT_HUNG));
        assert!(matches!(store.close().await, Err(StoreError::Closed(_))));
        drop(end);
    }

    #[tokio::test]
    async fn calls_wait_for_room_until_there_is_some() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        let charge = charge();
        // The key is unknown, so a hold that finds room is stale.
        let asking = store.hold(&charge, Time::ZERO, Time::from_ms(1));
        tokio::pin!(asking);
        let full = |is_full| store.shared.lock().queue.pretend_full(is_full);
        full(true);
        for _ in 0..2 {
            let polled = std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "{polled:?}");
            // Somebody else takes the room first.
            store.shared.room.notify_waiters();
        }
        full(false);
        store.shared.room.notify_waiters();
        assert!(matches!(asking.await, Err(HoldRefused::Stale)));
        store.close().await.unwrap();
    }
}
