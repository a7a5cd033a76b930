//! The queue of lines to a server, and the task that empties it into a child's stdin. The lines for a
//! remote server and for several servers wait in one too; others empty it there.
//!
//! The queue is one buffer of bytes. Senders append their lines to it; who empties it swaps it for an
//! empty one, and a child gets everything that has gathered with one write. So a line costs one
//! copy and no allocation, and a burst of calls costs one system call.
//!
//! The bound counts bytes, because memory is what can run out; the number of lines that can wait
//! is bounded by the calls in flight. A customer's line waits for room. Short lines of our own
//! (cancellations, answers to the server's requests) cannot wait, because they are also sent from
//! destructors; they have a reserve, and beyond it they are dropped: a server that does not read
//! some megabytes will not miss them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::model::bounds;

/// The server takes no more lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// What became of a line that cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    Queued,
    Full,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Which life of the server it leads to.
    life: u64,
    queue: Mutex<Queue>,
    lines: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    closed: bool,
}

impl Outbox {
    /// The queue of one life of a server: see [`crate::protocol::from_server::Answer::life`].
    pub(super) fn of_life(life: u64) -> Self {
        Self { life, ..Self::default() }
    }

    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Queues a line, if there is room.
    pub(super) fn try_push(&self, line: &[u8]) -> Push {
        self.push_below(line, bounds::CHILD_QUEUE_BYTES_MAX)
    }

    /// Queues a short line of our own, if the reserve has room.
    pub(super) fn push_control(&self, line: &[u8]) -> Push {
        let pushed =
            self.push_below(line, bounds::CHILD_QUEUE_BYTES_MAX + bounds::CHILD_CONTROL_BYTES_MAX);
        if pushed == Push::Full {
            tracing::debug!(target: "upstream", "the server does not read; a control message was dropped");
        }
        pushed
    }

    /// Queues a line, waiting for room. Dropping the future before it is ready queues nothing.
    pub(super) async fn push(&self, line: &[u8]) -> Result<(), Closed> {
        loop {
            // Made before the queue is looked at, so that room made in between is not missed.
            let room = self.room.notified();
            match self.try_push(line) {
                Push::Queued => return Ok(()),
                Push::Closed => return Err(Closed),
                Push::Full => room.await,
            }
        }
    }

    /// No more lines are taken. Those that are queued are still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.lines.notify_one();
        self.room.notify_waiters();
    }

    fn push_below(&self, line: &[u8], queued_max: usize) -> Push {
        let was_empty = {
            let mut queue = self.lock();
            if queue.closed {
                return Push::Closed;
            }
            if queue.bytes.len() >= queued_max {
                return Push::Full;
            }
            let was_empty = queue.bytes.is_empty();
            queue.bytes.extend_from_slice(line);
            queue.bytes.push(b'\n');
            was_empty
        };
        if was_empty {
            self.lines.notify_one();
        }
        Push::Queued
    }

    /// Waits for lines and swaps them into `batch`, which must be empty. False when the queue is
    /// closed and empty. `has_company` says whether more than one call is in flight.
    pub(super) async fn take(&self, batch: &mut Vec<u8>, has_company: impl Fn() -> bool) -> bool {
        loop {
            {
                let mut queue = self.lock();
                if !queue.bytes.is_empty() {
                    std::mem::swap(&mut queue.bytes, batch);
                    drop(queue);
                    self.room.notify_waiters();
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            self.lines.notified().await;
            if has_company() {
                // Whoever is ready to run now may have a line too. Without this the first line
                // would leave alone, and every other one after it.
                tokio::task::yield_now().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what is queued until the queue is closed or the child takes no more.
pub(super) async fn write(
    outbox: &Outbox,
    mut stdin: impl AsyncWrite + Unpin,
    has_company: impl Fn() -> bool,
) {
    let mut batch = Vec::with_capacity(bounds::CHILD_READ_BYTES);
    while outbox.take(&mut batch, &has_company).await {
        if let Err(error) = stdin.write_all(&batch).await {
            tracing::debug!(target: "upstream", %error, "the child's stdin is closed");
            break;
        }
        batch.clear();
        batch.shrink_to(bounds::CHILD_READ_BYTES);
    }
    outbox.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_makes_senders_wait_and_closing_wakes_them() {
        let outbox = Outbox::default();
        let line = vec![b'x'; bounds::CHILD_QUEUE_BYTES_MAX];
        assert_eq!(outbox.try_push(&line), Push::Queued);
        assert_eq!(outbox.try_push(b"y"), Push::Full);
        assert_eq!(outbox.push_control(b"c"), Push::Queued);

        let mut batch = Vec::new();
        let (pushed, taken) = tokio::join!(outbox.push(b"y"), outbox.take(&mut batch, || false));
        assert_eq!((pushed, taken), (Ok(()), true));
        assert!(batch.ends_with(b"x\nc\n"));

        assert_eq!(outbox.try_push(&line), Push::Queued);
        let waiting = outbox.push(b"z");
        let (pushed, ()) = tokio::join!(waiting, async { outbox.close() });
        assert_eq!(pushed, Err(Closed));
    }

    #[tokio::test]
    async fn what_is_queued_is_written_before_the_end() {
        let outbox = Outbox::default();
        assert_eq!(outbox.try_push(b"one"), Push::Queued);
        assert_eq!(outbox.try_push(b"two"), Push::Queued);
        outbox.close();
        let mut written = Vec::new();
        write(&outbox, &mut written, || true).await;
        assert_eq!(written, b"one\ntwo\n");
        assert_eq!(outbox.try_push(b"three"), Push::Closed);
    }
}
