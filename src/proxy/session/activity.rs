//! Whether anything goes on in a session: what is idle for long ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What goes on in one session.
#[derive(Debug)]
pub(super) struct Activity {
    now: Mutex<Now>,
    calm: Notify,
}

#[derive(Debug)]
struct Now {
    exchanges: usize,
    streams: usize,
    idle_since: Instant,
}

/// Something that goes on until this is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Busy {
    activity: Arc<Activity>,
    with: With,
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum With {
    /// A body is handled, or a call that came with it is in flight.
    Exchange,
    /// A stream is open.
    Stream,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let now = Now { exchanges: 0, streams: 0, idle_since: Instant::now() };
        Arc::new(Self { now: Mutex::new(now), calm: Notify::new() })
    }

    pub(super) fn begin(self: &Arc<Self>, with: With) -> Busy {
        *self.lock().count(with) += 1;
        Busy { activity: Arc::clone(self), with }
    }

    /// For how long nothing has gone on; `None` while something does.
    pub(super) fn idle(&self, at: Instant) -> Option<Duration> {
        let now = self.lock();
        (now.exchanges + now.streams == 0).then(|| at.saturating_duration_since(now.idle_since))
    }

    /// Waits until no exchange goes on.
    pub(super) async fn exchanges_end(&self) {
        loop {
            let mut calm = std::pin::pin!(self.calm.notified());
            calm.as_mut().enable();
            if self.lock().exchanges == 0 {
                return;
            }
            calm.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn count(&mut self, with: With) -> &mut usize {
        match with {
            With::Exchange => &mut self.exchanges,
            With::Stream => &mut self.streams,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut now = self.activity.lock();
        let count = now.count(self.with);
        *count = count.saturating_sub(1);
        now.idle_since = Instant::now();
        drop(now);
        self.activity.calm.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_begins_when_the_last_thing_ends() {
        let activity = Activity::new();
        let later = || Instant::now() + Duration::from_secs(5);
        assert!(activity.idle(later()).is_some());
        let (call, stream) = (activity.begin(With::Exchange), activity.begin(With::Stream));
        assert_eq!(activity.idle(later()), None);
        let waits = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { activity.exchanges_end().await }
        });
        drop(call);
        waits.await.unwrap();
        assert_eq!(activity.idle(later()), None);
        drop(stream);
        assert!(activity.idle(later()).is_some_and(|idle| idle >= Duration::from_secs(4)));
    }
}
