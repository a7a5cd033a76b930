//! A client that does no more than a test tells it: one session, its requests, its streams.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Paygate, Request, Response};

pub const BOTH: &str = "application/json, text/event-stream";
pub const VERSION: &str = "2025-11-25";

/// One session of a running Paygate.
pub struct Session<'a> {
    pub paygate: &'a Paygate,
    pub key: String,
    pub id: String,
    /// What `initialize` was answered with.
    pub result: Value,
}

/// The parameters of `initialize`.
pub fn hello(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {"sampling": {}, "roots": {"listChanged": true}},
        "clientInfo": {"name": "test-client", "version": "1.2.3"}})
}

/// A body to `/mcp`; an empty key or session sends no such header.
pub fn post(key: &str, session: &str, body: &str) -> Request {
    let request = Request::new("POST", "/mcp")
        .header("Accept", BOTH)
        .header("Content-Type", "application/json")
        .body(body);
    with(request, key, session)
}

pub fn with(mut request: Request, key: &str, session: &str) -> Request {
    if !key.is_empty() {
        request = request.header("X-API-Key", key);
    }
    if !session.is_empty() {
        request = request.header("Mcp-Session-Id", session);
    }
    request
}

pub fn initialize(key: &str, version: &str) -> Request {
    let body =
        json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": hello(version)});
    post(key, "", &body.to_string())
}

pub fn rpc(id: &Value, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

impl<'a> Session<'a> {
    pub fn open(paygate: &'a Paygate, key: &str) -> Self {
        Self::open_as(paygate, key, VERSION)
    }

    pub fn open_as(paygate: &'a Paygate, key: &str, version: &str) -> Self {
        let response = paygate.send(&initialize(key, version));
        assert_eq!(response.status, 200, "{}", response.text());
        let id = response.header("Mcp-Session-Id");
        let id = id.unwrap_or_else(|| panic!("no session: {}", response.text())).to_owned();
        let result = response.json()["result"].clone();
        Self { paygate, key: key.to_owned(), id, result }
    }

    pub fn request(&self, body: &str) -> Request {
        post(&self.key, &self.id, body)
    }

    /// Sends a body and reads the whole answer.
    pub fn send(&self, body: &str) -> Response {
        self.paygate.send(&self.request(body))
    }

    pub fn rpc(&self, method: &str, params: &Value) -> Response {
        self.send(&rpc(&json!(1), method, params))
    }

    pub fn call(&self, tool: &str, arguments: &Value) -> Response {
        self.rpc("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// The text that a tool answers with.
    pub fn tool(&self, tool: &str, arguments: &Value) -> String {
        self.call(tool, arguments).tool_text()
    }

    pub fn notify(&self, method: &str, params: &Value) {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
        let response = self.send(&body);
        assert_eq!((response.status, response.text().as_str()), (202, ""));
    }

    /// Sends a call whose answer is read event by event.
    pub fn stream(&self, id: &Value, tool: &str, arguments: &Value, token: &Value) -> Events {
        let mut params = json!({"name": tool, "arguments": arguments});
        if !token.is_null() {
            params["_meta"] = json!({"progressToken": token});
        }
        Events::open(self.paygate, &self.request(&rpc(id, "tools/call", &params)))
    }

    /// `GET /mcp`, from the start or after an event.
    pub fn listening(&self, seen: Option<&str>) -> Request {
        let request = Request::new("GET", "/mcp").header("Accept", "text/event-stream");
        let request = with(request, &self.key, &self.id);
        match seen {
            Some(seen) => request.header("Last-Event-ID", seen),
            None => request,
        }
    }

    pub fn listen(&self) -> Events {
        Events::open(self.paygate, &self.listening(None))
    }

    pub fn listen_after(&self, seen: &str) -> Events {
        Events::open(self.paygate, &self.listening(Some(seen)))
    }

    pub fn end(&self) -> Response {
        self.paygate.send(&with(Request::new("DELETE", "/mcp"), &self.key, &self.id))
    }

    pub fn status(&self) -> u16 {
        self.rpc("ping", &json!({})).status
    }
}

/// One event, or a comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub retry: Option<String>,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("{:?} is not JSON: {error}", self.data))
    }
}

/// An open event stream, read event by event. Comments are passed over.
pub struct Events {
    reader: BufReader<TcpStream>,
    pub headers: Vec<(String, String)>,
    text: Vec<u8>,
    ended: bool,
}

impl Events {
    pub fn open(paygate: &Paygate, request: &Request) -> Self {
        let stream = request.open(&paygate.address).expect("a connection");
        let mut reader = BufReader::new(stream);
        let status = line(&mut reader);
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader);
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let kind = headers.iter().find(|(name, _)| name == "content-type");
        let is_stream = kind.is_some_and(|(_, kind)| kind == "text/event-stream");
        if !(status.contains(" 200 ") && is_stream) {
            let mut rest = String::new();
            reader.read_to_string(&mut rest).ok();
            panic!("no event stream: {status} {headers:?} {rest}");
        }
        Self { reader, headers, text: Vec::new(), ended: false }
    }

    /// The next event with something in it: a message, or a place to come back to.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let rest = self.text.split_off(end + 2);
                let text = std::mem::replace(&mut self.text, rest);
                let text = String::from_utf8(text).expect("events are text");
                let event = parse(&text);
                if event != Event::default() {
                    return Some(event);
                }
            }
            if self.ended || !self.chunk() {
                return None;
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Event {
        loop {
            let event = self.next().expect("the stream goes on");
            if !event.data.is_empty() {
                return event;
            }
        }
    }

    /// All messages to the end of the stream.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next() {
            if !event.data.is_empty() {
                all.push(event.json());
            }
        }
        all
    }

    fn chunk(&mut self) -> bool {
        let size = line(&mut self.reader);
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let start = self.text.len();
        self.text.resize(start + size, 0);
        let read = self.reader.read_exact(&mut self.text[start..]);
        line(&mut self.reader);
        self.ended = size == 0 || read.is_err();
        !self.ended
    }
}

fn parse(text: &str) -> Event {
    let mut event = Event::default();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "id" => event.id = Some(value),
            "retry" => event.retry = Some(value),
            "data" => event.data += &value,
            "" => {}
            "event" => assert_eq!(value, "message"),
            other => panic!("an unknown field {other:?} in {text:?}"),
        }
    }
    event
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("the stream can be read in time");
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    line
}
