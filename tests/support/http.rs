//! An HTTP/1.1 client over a blocking socket: one connection per request, no dependency, and
//! nothing that could hide what the server really sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

/// One request. `Host` and `Content-Length` are added unless the caller gives them.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Sends it to `address` (`127.0.0.1:PORT`) and reads the whole answer.
    pub fn send(&self, address: &str) -> io::Result<Response> {
        read_response(self.open(address)?, self.method == "HEAD")
    }

    /// Sends it and hands over the open connection, for a client that goes away or reads slowly.
    pub fn open(&self, address: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.to_bytes(address))?;
        Ok(stream)
    }

    /// The request as it goes over the wire.
    pub fn to_bytes(&self, address: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !given("host") {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        if !given("connection") {
            head.push_str("Connection: close\r\n");
        }
        let bodiless = self.body.is_empty() && matches!(&*self.method, "GET" | "HEAD");
        if !given("content-length") && !given("transfer-encoding") && !bodiless {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one answer from an open connection.
    pub fn read(stream: TcpStream) -> io::Result<Self> {
        read_response(stream, false)
    }

    /// The first header of that name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; of an event stream the data of the last event.
    pub fn json(&self) -> Value {
        let is_stream =
            self.header("content-type").is_some_and(|value| value.starts_with("text/event-stream"));
        if is_stream {
            return self.events().pop().unwrap_or_else(|| panic!("no event in {}", self.text()));
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("the answer ({}) is not JSON ({error}): {}", self.status, self.text())
        })
    }

    /// The data of every event of an event stream, as JSON.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        // An event without data is a place to come back to.
        let data = data.filter(|json| !json.is_empty());
        data.map(|json| serde_json::from_str(json).expect("event data is JSON")).collect()
    }

    /// The text of the first content block of a tool result.
    pub fn tool_text(&self) -> String {
        let json = self.json();
        let text = json["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no tool result in {json}")).to_owned()
    }

    /// The code of a JSON-RPC error, 0 if the answer is none.
    pub fn error_code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or(0)
    }

    /// `data.reason` of a JSON-RPC error up to its colon, empty if there is none.
    pub fn error_reason(&self) -> String {
        let json = self.json();
        let reason = json["error"]["data"]["reason"].as_str().unwrap_or_default();
        reason.split(':').next().unwrap_or_default().to_owned()
    }
}

fn read_response(stream: TcpStream, is_head: bool) -> io::Result<Response> {
    let mut reader = BufReader::new(stream);
    let mut response = read_head(&mut reader)?;
    if !is_head && !matches!(response.status, 204 | 304) {
        response.body = read_body(&mut reader, &response)?;
    }
    Ok(response)
}

/// An answer without its body, which can be read next.
pub(super) fn read_head(reader: &mut impl BufRead) -> io::Result<Response> {
    let status_line = read_line(reader)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status =
        status.ok_or_else(|| invalid(format!("not a status line of HTTP: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| invalid(format!("not a header: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Response { status, headers, body: Vec::new() })
}

/// Whether the body comes in chunks.
pub(super) fn is_chunked(head: &Response) -> bool {
    let coding = head.header("transfer-encoding");
    coding.is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
}

pub(super) fn read_body(reader: &mut impl BufRead, head: &Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if is_chunked(head) {
        while read_chunk(reader, &mut body)? {}
    } else if let Some(length) = head.header("content-length") {
        let length = length.parse().map_err(|_| invalid(format!("Content-Length: {length}")))?;
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(body)
}

/// Reads one chunk, and the trailer after the last one. Says whether there may be more.
pub(super) fn read_chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let line = read_line(reader)?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(digits, 16)
        .map_err(|_| invalid(format!("not a chunk size: {line:?}")))?;
    if size == 0 {
        while !read_line(reader)?.is_empty() {}
        return Ok(false);
    }
    let start = body.len();
    body.resize(start + size, 0);
    reader.read_exact(&mut body[start..])?;
    read_line(reader)?;
    Ok(true)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection in the middle of its answer",
        ));
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
