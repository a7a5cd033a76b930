//! Writes what the client is told: one message a line, one task for all of them.

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::front::reply::{self, DenialOptions};
use crate::protocol::to_server::push_raw;
use crate::proxy::{Reply, Streaming};

/// Something for the client.
#[derive(Debug)]
pub(super) enum Said {
    /// One message, or an array of them.
    Message(Vec<u8>),
    /// Where everything comes from that belongs to no answer, from now on.
    Stream(Streaming),
}

/// Writes until nobody has anything more to say. `leave` is told if the client takes no more.
pub(super) async fn write(
    mut said: mpsc::Receiver<Said>,
    mut output: impl AsyncWrite + Unpin,
    denials: Arc<DenialOptions>,
    leave: Arc<watch::Sender<bool>>,
) {
    let words = |reply: Reply| reply::write(reply, &denials).text.unwrap_or_default();
    let mut stream: Option<Streaming> = None;
    let mut lines = Vec::new();
    loop {
        tokio::select! {
            next = said.recv() => match next {
                Some(Said::Message(text)) => {
                    // What was told before an answer is there before it, and goes out before it.
                    while let Some(told) = stream.as_mut().and_then(|s| s.next_now(&words)) {
                        push_line(&mut lines, &told.text);
                    }
                    push_line(&mut lines, &text);
                }
                Some(Said::Stream(begun)) => stream = Some(begun),
                None => break,
            },
            told = next_of(stream.as_mut(), &words) => match told {
                Some(text) => push_line(&mut lines, &text),
                None => stream = None,
            },
        }
        if let Err(error) = put(&mut output, &mut lines).await {
            tracing::debug!(target: "front", %error, "the client takes no more");
            leave.send_replace(true);
            return;
        }
    }
}

async fn next_of(
    stream: Option<&mut Streaming>,
    words: &(dyn Fn(Reply) -> Vec<u8> + Send + Sync),
) -> Option<bytes::Bytes> {
    match stream {
        Some(stream) => stream.next(words).await.map(|told| told.text),
        None => std::future::pending().await,
    }
}

async fn put(output: &mut (impl AsyncWrite + Unpin), lines: &mut Vec<u8>) -> std::io::Result<()> {
    output.write_all(lines).await?;
    output.flush().await?;
    lines.clear();
    lines.shrink_to(crate::model::bounds::CHILD_READ_BYTES);
    Ok(())
}

/// A server may have spread its answer over several lines.
fn push_line(lines: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) => push_raw(lines, text),
        Err(_) => lines.extend_from_slice(text),
    }
    lines.push(b'\n');
}
