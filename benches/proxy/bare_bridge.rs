//! The bare bridge that Paygate is measured against: hyper in front, one stdio child behind, ids
//! rewritten, nothing else. No key, no price, no limit, no timeout, no supervision.
//!
//! What costs speed is done as well as Paygate may do it, or the ratio would flatter: lines from all
//! connections leave in one write, answers are found by `memchr` in one buffer, bodies are borrowed.
//! It runs as a process of its own (this bench binary, started again), as Paygate does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

/// Lines that wait for the child; a further call waits for room.
const QUEUE_LENGTH: usize = 1024;
/// Lines that leave in one write at most.
const LINES_PER_WRITE: usize = 256;
const READ_BUFFER_SIZE: usize = 256 * 1024;

/// Runs the bridge before `command` until it is killed. Prints its address like Paygate does.
pub fn run(command: &[String]) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(command))
}

async fn serve(command: &[String]) -> io::Result<()> {
    let (program, args) =
        command.split_first().ok_or_else(|| io::Error::other("no server command"))?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
    let (lines, queue) = mpsc::channel(QUEUE_LENGTH);
    let bridge = Arc::new(Bridge { lines, pending: Pending::default() });
    tokio::spawn(write_lines(stdin, queue));
    let reader = tokio::spawn(read_lines(stdout, Arc::clone(&bridge)));

    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    tokio::spawn(accept(listener, bridge));
    // When the child has nothing more to say the bridge has nothing more to do.
    reader.await.map_err(io::Error::other)?
}

async fn accept(listener: TcpListener, bridge: Arc<Bridge>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let bridge = Arc::clone(&bridge);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&bridge), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).pipeline_flush(true);
            // A client that goes away ends its connection and nothing else.
            http.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// Calls in flight: our id, who waits, and the id that the client gave.
#[derive(Default)]
struct Pending {
    next_id: AtomicU64,
    calls: Mutex<HashMap<u64, Call>>,
}

struct Call {
    client_id: Bytes,
    reply: oneshot::Sender<Bytes>,
}

struct Bridge {
    lines: mpsc::Sender<Vec<u8>>,
    pending: Pending,
}

impl Pending {
    fn insert(&self, call: Call) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(id, call);
        id
    }

    fn remove(&self, id: u64) -> Option<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

#[derive(Deserialize)]
struct FromClient<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FromChild<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

type Answer = Response<Full<Bytes>>;

async fn answer(bridge: Arc<Bridge>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.method() != Method::POST {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let body = body.to_bytes();
    let Some((line, reply)) = bridge.line_of(&body) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    if bridge.lines.send(line).await.is_err() {
        return Ok(status(StatusCode::BAD_GATEWAY));
    }
    let Some(reply) = reply else {
        return Ok(status(StatusCode::ACCEPTED));
    };
    let Ok(reply) = reply.await else {
        return Ok(status(StatusCode::BAD_GATEWAY));
    };
    let mut response = Response::new(Full::new(reply));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn status(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Bridge {
    /// The line for the child, and where its answer will arrive unless this is a notification.
    fn line_of(&self, body: &[u8]) -> Option<(Vec<u8>, Option<oneshot::Receiver<Bytes>>)> {
        let message: FromClient<'_> = serde_json::from_slice(body).ok()?;
        let method = message.method?;
        let mut line = Vec::with_capacity(body.len() + 32);
        line.extend_from_slice(br#"{"jsonrpc":"2.0","#);
        let mut receiver = None;
        if let Some(client_id) = message.id {
            let (reply, receive) = oneshot::channel();
            let client_id = Bytes::copy_from_slice(client_id.get().as_bytes());
            let id = self.pending.insert(Call { client_id, reply });
            write!(line, r#""id":{id},"#).ok()?;
            receiver = Some(receive);
        }
        write!(line, r#""method":"{method}""#).ok()?;
        if let Some(params) = message.params {
            line.extend_from_slice(br#","params":"#);
            line.extend_from_slice(params.get().as_bytes());
        }
        line.extend_from_slice(b"}\n");
        Some((line, receiver))
    }

    /// Gives one line of the child to the call that waits for it; what nobody waits for is dropped.
    fn deliver(&self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<FromChild<'_>>(line) else {
            return;
        };
        let Some(call) = message.id.and_then(|id| self.pending.remove(id)) else {
            return;
        };
        let (member, value) = match (message.result, message.error) {
            (Some(result), _) => ("result", result),
            (None, Some(error)) => ("error", error),
            (None, None) => return,
        };
        let mut reply = Vec::with_capacity(line.len() + call.client_id.len());
        reply.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        reply.extend_from_slice(&call.client_id);
        reply.extend_from_slice(b",\"");
        reply.extend_from_slice(member.as_bytes());
        reply.extend_from_slice(b"\":");
        reply.extend_from_slice(value.get().as_bytes());
        reply.push(b'}');
        // The client may have gone.
        call.reply.send(reply.into()).ok();
    }
}

async fn write_lines(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut lines = Vec::with_capacity(LINES_PER_WRITE);
    let mut bytes = Vec::new();
    while queue.recv_many(&mut lines, LINES_PER_WRITE).await > 0 {
        if let [line] = &lines[..] {
            stdin.write_all(line).await?;
        } else {
            bytes.clear();
            for line in &lines {
                bytes.extend_from_slice(line);
            }
            stdin.write_all(&bytes).await?;
        }
        lines.clear();
    }
    Ok(())
}

async fn read_lines(mut stdout: ChildStdout, bridge: Arc<Bridge>) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER_SIZE);
    let mut searched = 0;
    while stdout.read_buf(&mut buffer).await? > 0 {
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start.max(searched)..]) {
            let end = start.max(searched) + length;
            bridge.deliver(&buffer[start..end]);
            start = end + 1;
        }
        buffer.advance(start);
        searched = buffer.len();
        buffer.reserve(READ_BUFFER_SIZE / 4);
    }
    Ok(())
}
