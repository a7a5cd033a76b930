//! A future that goes on by itself when whoever waits for it goes away.
//!
//! A client that disconnects takes the future of its request with it, but not the call that it paid
//! for. A task per call would do too; it costs a call two more changes of thread, in the rare case
//! and in the usual one alike.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Polled where it stands; handed to a task of its own if it is dropped before its end.
pub(super) struct Survive<F>(Option<Pin<Box<F>>>)
where
    F: Future<Output: Send> + Send + 'static;

impl<F> Survive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(super) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F> Future for Survive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out meanwhile: one that panics must not be polled again by a task.
        let Some(mut future) = self.0.take() else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        polled
    }
}

impl<F> Drop for Survive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the next start releases the hold.
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn(future));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_ends_where_it_is_polled_or_by_itself() {
        assert_eq!(Survive::new(async { 5 }).await, 5);
        let (go, wait) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let mut future = Survive::new(async move {
            wait.await.unwrap();
            done.send(7).unwrap();
        });
        tokio::select! {
            biased;
            () = &mut future => panic!("nobody has let it go on"),
            () = std::future::ready(()) => {}
        }
        drop(future);
        go.send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        assert_eq!(ended.unwrap(), Ok(7));
    }
}
