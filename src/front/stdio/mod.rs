//! The stdio front: one client that started this process speaks over its stdin and stdout, one
//! message a line.
//!
//! The client has one key for all it does, and one stream of all messages. Its messages are handed on
//! in the order in which they come; what takes longer is waited for beside the next. Lines are
//! bounded, and so is what is in flight: beyond it nothing more is read until something is done.
//!
//! Reading order: `lines` splits what arrives; `reader` hands each message to the proxy and gives
//! what comes back to `writer`, the one task that writes.

mod lines;
mod reader;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::reply::DenialOptions;
use crate::model::bounds;
use crate::proxy::Proxy;
use reader::Reader;

/// How to serve the client.
#[derive(Clone)]
pub struct StdioOptions {
    /// The key that it pays with, if it has one.
    pub api_key: Option<SecretString>,
    /// Bytes of a message.
    pub body_bytes_max: usize,
    /// How refusals look.
    pub denials: Arc<DenialOptions>,
}

/// A client that is being served.
#[derive(Debug)]
pub struct StdioFront {
    stop: watch::Sender<bool>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
    left: watch::Receiver<bool>,
    open: watch::Receiver<usize>,
}

impl fmt::Debug for StdioOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioOptions").field("denials", &self.denials).finish_non_exhaustive()
    }
}

impl StdioFront {
    /// Begins to read. Each message is handled by the proxy that is there when it is read. `input` gives what arrives, piece by piece; its end is the client's.
    pub fn start(
        options: StdioOptions,
        proxy: Arc<ArcSwap<Proxy>>,
        input: mpsc::Receiver<Vec<u8>>,
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (leave, left) = watch::channel(false);
        let (count, open) = watch::channel(0);
        let (messages, said) = mpsc::channel(bounds::STDIO_ANSWERS_QUEUED_MAX);
        let denials = Arc::clone(&options.denials);
        let leave = Arc::new(leave);
        let writing = tokio::spawn(writer::write(said, output, denials, Arc::clone(&leave)));
        let mut reader = Reader::new(options, proxy, messages, count);
        let reading = tokio::spawn(async move {
            reader.read(input, stopped).await;
            leave.send_replace(true);
            reader.finish().await;
        });
        Self { stop, reading, writing, left, open }
    }

    /// Waits until the client has closed its end, or takes no answers any more.
    pub async fn client_left(&mut self) {
        // A reader that is gone has left too.
        self.left.wait_for(|left| *left).await.ok();
    }

    /// Reads no more messages. Those in flight are still answered.
    pub fn drain(&self) {
        self.stop.send_replace(true);
    }

    /// Messages that are not answered yet.
    pub fn messages_open(&self) -> usize {
        *self.open.borrow()
    }

    /// Writes what there is to write. What is not done within `grace` is cut off.
    pub async fn stop(&mut self, grace: Duration) {
        self.drain();
        if timeout(grace, &mut self.reading).await.is_err() {
            self.reading.abort();
        }
        if timeout(grace, &mut self.writing).await.is_err() {
            tracing::warn!(target: "front", "the client does not read what it asked for");
            self.writing.abort();
        }
    }
}
