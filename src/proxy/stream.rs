//! The messages that belong to one request, on their way to its client until the answer ends them.
//!
//! The sending side never waits: it is called by the task that reads from the server. What a client
//! does not take in time is dropped beyond a bound, except for the answer, which always has a place.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::Reply;
use crate::model::bounds;
use crate::model::ids::CallId;

/// Where messages for one client go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    messages: mpsc::Sender<Vec<u8>>,
    call: Arc<OnceLock<CallId>>,
}

/// The end at which a front takes the messages out.
#[derive(Debug)]
pub struct Streaming {
    first: Option<Vec<u8>>,
    messages: mpsc::Receiver<Vec<u8>>,
    answer: oneshot::Receiver<Reply>,
    call: Arc<OnceLock<CallId>>,
    ended: bool,
}

/// What comes next in a stream.
#[derive(Debug)]
pub enum Streamed {
    /// A JSON-RPC message that is no answer.
    Message(Vec<u8>),
    /// The answer; nothing comes after it.
    Answer(Box<Reply>),
}

/// A stream, and where its answer goes.
pub(super) fn open() -> (Outlet, oneshot::Sender<Reply>, Streaming) {
    let (sender, messages) = mpsc::channel(bounds::STREAM_MESSAGES_MAX);
    let (answer_sender, answer) = oneshot::channel();
    let call = Arc::new(OnceLock::new());
    let outlet = Outlet { messages: sender, call: Arc::clone(&call) };
    (outlet, answer_sender, Streaming { first: None, messages, answer, call, ended: false })
}

impl Outlet {
    /// Passes a message on, if the client has room for it. `text` is one JSON-RPC message.
    pub(super) fn message(&self, text: Vec<u8>) {
        if self.messages.try_send(text).is_err() {
            tracing::debug!(target: "proxy", "a message was dropped: its client is gone or does not read");
        }
    }

    /// Waits until nobody takes messages any more: the client has left, or has its answer.
    pub(super) async fn left(&self) {
        self.messages.closed().await;
    }

    /// Does nobody take messages any more?
    pub(super) fn is_left(&self) -> bool {
        self.messages.is_closed()
    }

    /// Says which priced call it is about, before anything is sent for it.
    pub(super) fn is_about(&self, call: CallId) {
        // A stream is about one call; the first one named stays.
        self.call.get_or_init(|| call);
    }
}

impl Streaming {
    /// Waits for the first word. An answer that comes first needs no stream.
    pub(super) async fn begin(mut self) -> Reply {
        match self.next().await {
            Some(Streamed::Answer(reply)) => *reply,
            Some(Streamed::Message(message)) => {
                self.first = Some(message);
                Reply::Stream(self)
            }
            None => Reply::error(
                crate::protocol::to_client::NO_ID,
                &super::fault::ours(),
                super::Shown::default(),
            ),
        }
    }

    /// The priced call that this is about.
    pub fn call(&self) -> Option<CallId> {
        self.call.get().copied()
    }

    /// What comes next; `None` after the answer. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Streamed> {
        if let Some(first) = self.first.take() {
            return Some(Streamed::Message(first));
        }
        if self.ended {
            return None;
        }
        tokio::select! {
            // What was told before the answer goes out before it.
            biased;
            Some(message) = self.messages.recv() => Some(Streamed::Message(message)),
            answer = &mut self.answer => self.last(answer.ok()),
        }
    }

    fn last(&mut self, answer: Option<Reply>) -> Option<Streamed> {
        if let Ok(message) = self.messages.try_recv() {
            // It came between the look at the messages and the answer, which is kept for later.
            let (sender, receiver) = oneshot::channel();
            if let Some(answer) = answer {
                sender.send(answer).ok();
            }
            self.answer = receiver;
            return Some(Streamed::Message(message));
        }
        self.ended = true;
        answer.map(|reply| Streamed::Answer(Box::new(reply)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_before_the_answer_and_in_order() {
        let (outlet, answer, streaming) = open();
        outlet.message(b"1".to_vec());
        outlet.message(b"2".to_vec());
        answer.send(Reply::Accepted).unwrap();
        outlet.message(b"3".to_vec());
        let Reply::Stream(mut streaming) = streaming.begin().await else { panic!("no stream") };
        for expected in [b"1", b"2", b"3"] {
            assert!(
                matches!(streaming.next().await, Some(Streamed::Message(text)) if text == expected)
            );
        }
        assert!(matches!(streaming.next().await, Some(Streamed::Answer(_))));
        assert!(streaming.next().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_comes_first_is_no_stream() {
        let (_outlet, answer, streaming) = open();
        answer.send(Reply::Accepted).unwrap();
        assert!(matches!(streaming.begin().await, Reply::Accepted));
    }

    #[tokio::test]
    async fn who_does_not_read_keeps_no_more_than_the_bound() {
        let (outlet, answer, mut streaming) = open();
        for _ in 0..10 * bounds::STREAM_MESSAGES_MAX {
            outlet.message(b"x".to_vec());
        }
        answer.send(Reply::Accepted).unwrap();
        let mut messages = 0;
        while let Some(Streamed::Message(_)) = streaming.next().await {
            messages += 1;
        }
        assert_eq!(messages, bounds::STREAM_MESSAGES_MAX);
    }
}
