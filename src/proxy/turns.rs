//! Turns: what concerns one call is done one at a time, and nobody else waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::MutexGuard;

use crate::model::bounds;
use crate::model::id_map::IdMap;
use crate::model::ids::CallId;

/// The locks of those calls that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<IdMap<CallId, Lock>>);

type Lock = Arc<tokio::sync::Mutex<()>>;

/// A place in the row for one call. The last one that leaves takes the lock away.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    call: CallId,
    lock: Lock,
}

impl Turns {
    /// A place for this call; `None` if too many wait.
    pub(super) fn of(&self, call: CallId) -> Option<Turn<'_>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() >= bounds::TASK_TURNS_MAX && !locks.contains_key(&call) {
            return None;
        }
        let lock = Arc::clone(locks.entry(call).or_default());
        drop(locks);
        Some(Turn { turns: self, call, lock })
    }
}

impl Turn<'_> {
    /// Waits until it is one's turn, which lasts as long as the guard.
    pub(super) async fn wait(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut locks = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Places are given under this lock, so nobody can come between: the map's and this one.
        if Arc::strong_count(&self.lock) <= 2 {
            locks.remove(&self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn one_call_waits_for_itself_alone() {
        let turns = Turns::default();
        let (one, other) = (CallId::from_random([1; 16]), CallId::from_random([2; 16]));
        let first = turns.of(one).unwrap();
        let mine = first.wait().await;
        let second = turns.of(one).unwrap();
        {
            let mut waits = std::pin::pin!(second.wait());
            assert!(polled(waits.as_mut()).await.is_pending(), "the first has its turn");
            let third = turns.of(other).unwrap();
            drop(third.wait().await);
            drop(mine);
            drop(first);
            drop(waits.await);
        }
        assert_eq!(turns.0.lock().unwrap().len(), 1);
        drop(second);
        assert!(turns.0.lock().unwrap().is_empty());
    }

    async fn polled<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }

    #[test]
    fn there_is_a_bound() {
        let turns = Turns::default();
        let call = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            CallId::from_random(bytes)
        };
        let held: Vec<_> = (0..bounds::TASK_TURNS_MAX).map(|it| turns.of(call(it))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(turns.of(call(usize::MAX)).is_none());
        assert!(turns.of(call(0)).is_some());
    }
}
