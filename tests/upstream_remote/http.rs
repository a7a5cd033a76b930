//! HTTP/1.1 by hand, so that a test's server can misbehave in every way that TCP allows.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The method of JSON-RPC.
    pub fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
}

/// The server's end of one connection.
pub struct Wire {
    reader: ReadHalf<Box<dyn Socket>>,
    writer: WriteHalf<Box<dyn Socket>>,
    buffer: Vec<u8>,
    is_open: bool,
}

impl Wire {
    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.writer.write_all(bytes.as_ref()).await?;
            self.writer.flush().await
        };
        self.is_open &= sent.await.is_ok();
    }

    pub async fn answer(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.raw([head.as_bytes(), body].concat()).await;
    }

    pub async fn json(&mut self, status: u16, headers: &str, body: &Value) {
        let headers = format!("Content-Type: application/json; charset=utf-8\r\n{headers}");
        self.answer(status, &headers, body.to_string()).await;
    }

    /// The head of a stream that ends with its connection.
    pub async fn stream(&mut self) {
        self.raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            .await;
    }

    pub async fn event(&mut self, message: &Value) {
        self.raw(format!("event: message\ndata: {message}\n\n")).await;
    }

    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// Waits until the client has closed the connection.
    pub async fn closed(&mut self) {
        let mut rest = [0; 1024];
        while self.reader.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        self.is_open = false;
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break at;
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut received = Received { method, path, headers, body: Value::Null };
        let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
        let end = head_end + 4 + length;
        while self.buffer.len() < end {
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        received.body = serde_json::from_slice(&self.buffer[head_end + 4..end]).unwrap_or_default();
        self.buffer.drain(..end);
        Ok(Some(received))
    }
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, received: Received, wire: &mut Wire) -> impl Future<Output = ()> + Send;
}

/// A listening server. Dropping it closes every connection.
pub struct Listening<H> {
    pub handler: Arc<H>,
    pub address: String,
    pub requests: Arc<Mutex<Vec<Received>>>,
    _tasks: JoinSet<()>,
}

/// Listens on `address`, where port 0 is any.
pub async fn listen<H: Handler>(
    handler: Arc<H>,
    address: &str,
    tls: Option<TlsAcceptor>,
) -> Listening<H> {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let (of_handler, seen) = (Arc::clone(&handler), Arc::clone(&requests));
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let (handler, seen, tls) = (Arc::clone(&of_handler), Arc::clone(&seen), tls.clone());
            open.spawn(async move {
                let socket: Box<dyn Socket> = match tls {
                    None => Box::new(socket),
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => Box::new(socket),
                        Err(_) => return,
                    },
                };
                serve(handler.as_ref(), socket, &seen).await;
            });
        }
    });
    Listening { handler, address, requests, _tasks: tasks }
}

async fn serve(handler: &impl Handler, socket: Box<dyn Socket>, seen: &Mutex<Vec<Received>>) {
    let (reader, writer) = split(socket);
    let mut wire = Wire { reader, writer, buffer: Vec::new(), is_open: true };
    while let Ok(Some(received)) = wire.receive().await {
        seen.lock().unwrap().push(received.clone());
        handler.handle(received, &mut wire).await;
        if !wire.is_open {
            break;
        }
    }
    wire.writer.shutdown().await.ok();
}
