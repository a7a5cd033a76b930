//! That a body which is handled by a task of its own is answered, whatever becomes of the task.

use bytes::Bytes;

use super::stream::Outlet;
use super::{Reply, Shown, fault};
use crate::protocol::from_client::{self, Incoming, Message};
use crate::protocol::to_client::NO_ID;

/// An answer that is owed. If this is dropped before, the client is told of a fault of ours: it would
/// wait for ever.
#[derive(Debug)]
pub(super) struct Answering {
    owed: Option<(Outlet, Bytes)>,
}

impl Answering {
    pub(super) fn new(outlet: &Outlet, body: &Bytes) -> Self {
        Self { owed: Some((outlet.clone(), body.clone())) }
    }

    pub(super) fn answer(mut self, reply: Reply) {
        if let Some((outlet, _)) = self.owed.take() {
            outlet.answer(reply);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Some((outlet, body)) = self.owed.take() else { return };
        tracing::error!(target: "proxy", "a body was left without an answer");
        let id = match from_client::read(&body) {
            Ok(Incoming::Single(Message::Request(request))) => request.id,
            Ok(Incoming::Single(_) | Incoming::Batch(_)) | Err(_) => NO_ID,
        };
        outlet.answer(Reply::error(id, &fault::ours(), Shown::default()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::stream::{Resuming, Streams};
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_answered_for() {
        let (outlet, streaming) = Streams::new(Resuming::No).open(None);
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        let answering = Answering::new(&outlet, &body);
        let task = tokio::spawn(async move {
            let _answering = answering;
            panic!("a fault, for a test");
        });
        assert!(task.await.is_err());
        let Reply::Message(answer) = streaming.begin(Duration::from_secs(30)).await else {
            panic!("no answer")
        };
        let text = String::from_utf8(answer.text).unwrap();
        assert!(text.contains(r#""id":"a""#) && text.contains("a fault of Paygate"), "{text}");
    }
}
