//! One keep-alive HTTP/1.1 connection, as cheap as it can be: bytes out, one whole answer in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An exchange that takes longer than this means that something hangs.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_SIZE_MAX: usize = 64 * 1024;

/// A connection and the room for its answers.
pub struct Wire {
    stream: TcpStream,
    answer: Vec<u8>,
    end_of_head: memmem::Finder<'static>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts connections");
        stream.set_nodelay(true).expect("nodelay can be set");
        Self {
            stream,
            answer: vec![0; ANSWER_SIZE_MAX],
            end_of_head: memmem::Finder::new(b"\r\n\r\n"),
        }
    }

    /// Sends a whole request and waits for the whole answer, head and body.
    pub async fn exchange(&mut self, request: &[u8]) -> &[u8] {
        let exchange = async {
            self.stream.write_all(request).await.expect("the request can be sent");
            let mut filled = 0;
            loop {
                filled = self.more(filled).await;
                if is_whole(&self.answer[..filled], &self.end_of_head) {
                    return filled;
                }
            }
        };
        let filled = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await;
        &self.answer[..filled.expect("an exchange hangs")]
    }
}

impl Wire {
    /// Sends a request whose answer is a stream of events, and reads all of it. Gives when the bytes
    /// that hold `marker` were there.
    pub async fn stream(&mut self, request: &[u8], marker: &[u8]) -> Instant {
        let stream = async {
            self.stream.write_all(request).await.expect("the request can be sent");
            let (mut filled, mut seen) = (0, None);
            loop {
                filled = self.more(filled).await;
                let so_far = &self.answer[..filled];
                if seen.is_none() && memmem::find(so_far, marker).is_some() {
                    seen = Some(Instant::now());
                }
                if so_far.ends_with(b"\r\n0\r\n\r\n") {
                    return seen.unwrap_or_else(|| panic!("nothing was told: {}", show(so_far)));
                }
            }
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, stream).await.expect("a stream hangs")
    }

    /// Reads on behind what there is.
    async fn more(&mut self, filled: usize) -> usize {
        let read = self.stream.read(&mut self.answer[filled..]).await;
        let count = read.expect("the answer can be read");
        assert!(count > 0, "closed before the end: {}", show(&self.answer[..filled]));
        filled + count
    }
}

/// A request as bytes.
pub fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Whether these bytes are one whole answer.
fn is_whole(answer: &[u8], end_of_head: &memmem::Finder<'_>) -> bool {
    let Some(head) = end_of_head.find(answer) else {
        return false;
    };
    if answer.starts_with(b"HTTP/1.1 204 ") {
        return true;
    }
    let length = content_length(&answer[..head])
        .unwrap_or_else(|| panic!("an answer without Content-Length: {}", show(answer)));
    answer.len() >= head + 4 + length
}

fn content_length(head: &[u8]) -> Option<usize> {
    let name = b"\r\ncontent-length:";
    let at = memchr::memchr_iter(b'\r', head)
        .find(|at| head[*at..].get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)))?;
    let value = head[at + name.len()..].split(|byte| *byte == b'\r').next()?;
    str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Bytes for a message to a person.
pub fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
