//! A receiver of webhooks that answers as it is told: well, badly, never, or with lies.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What it does with a POST.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status, no body.
    Status(u16),
    /// 302 to this URL.
    Redirect(String),
    /// Nothing, for as long as the other side waits.
    Hang,
    /// Closes the connection without a word.
    Close,
    /// 200 that announces more than it sends.
    TooShort,
    /// 200 with a body without end.
    Endless,
    /// No HTTP at all.
    Garbage,
}

/// One POST as it came.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Was it answered with a whole 2xx?
    pub was_taken: bool,
}

impl Post {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    pub fn list(&self, name: &str) -> Vec<Value> {
        self.json()[name].as_array().cloned().unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    posts: Mutex<Vec<Post>>,
    /// What comes first; then `always`.
    script: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
    connections: AtomicUsize,
}

/// A running receiver. Its threads end with the test.
#[derive(Clone)]
pub struct Receiver {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let receiver = Self { port, shared };
        let serving = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.shared.connections.fetch_add(1, Ordering::SeqCst);
                let serving = serving.clone();
                thread::spawn(move || while serving.serve(&stream).is_some() {});
            }
        });
        receiver
    }

    /// With a secret in its path, as such URLs often have.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/s3cretpath", self.port)
    }

    /// Answers the next POSTs so.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.script.lock().unwrap().extend(replies);
    }

    /// Answers so when nothing else is said; 200 by default.
    pub fn always(&self, reply: Reply) {
        *self.shared.always.lock().unwrap() = Some(reply);
    }

    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// The events of this kind (`events`, `adminEvents`) in POSTs that were taken.
    pub fn taken(&self, name: &str) -> Vec<Value> {
        self.posts().iter().filter(|post| post.was_taken).flat_map(|post| post.list(name)).collect()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let post = Post { path, headers, body: String::new(), was_taken: false };
        let length = post.header("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let scripted = self.shared.script.lock().unwrap().pop_front();
        let reply = scripted.or_else(|| self.shared.always.lock().unwrap().clone());
        let reply = reply.unwrap_or(Reply::Status(200));
        let was_taken = matches!(reply, Reply::Status(200..300) | Reply::Endless);
        self.shared.posts.lock().unwrap().push(Post { body, was_taken, ..post });
        answer(stream, &reply)
    }
}

/// None if the connection is over.
fn answer(mut stream: &TcpStream, reply: &Reply) -> Option<()> {
    let text = match reply {
        Reply::Status(code) => format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n"),
        Reply::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        }
        Reply::Hang => {
            // Until the other side has enough of it.
            stream.read_to_end(&mut Vec::new()).ok();
            return None;
        }
        Reply::Close => return None,
        Reply::TooShort => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok".to_owned(),
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
            return None;
        }
        Reply::Garbage => "nothing of the kind\r\n\r\n".to_owned(),
    };
    stream.write_all(text.as_bytes()).ok()?;
    match reply {
        Reply::TooShort | Reply::Garbage => None,
        _ => Some(()),
    }
}
