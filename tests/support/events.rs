//! An answer that is read as it comes, for streams that stay open while the client does other things.

use std::collections::VecDeque;
use std::io::{self, BufReader};
use std::net::TcpStream;

use super::http::{Request, Response, is_chunked, read_body, read_chunk, read_head};

/// One event of an event stream, its fields as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub retry: Option<String>,
    /// The data lines joined; `None` where an event has none.
    pub data: Option<String>,
}

/// An answer whose head has come. Its messages come one by one.
pub struct Answer {
    pub head: Response,
    reader: BufReader<TcpStream>,
    /// Bytes of the stream that are no whole event yet.
    rest: Vec<u8>,
    events: VecDeque<Event>,
    is_over: bool,
}

impl Answer {
    /// Sends the request and waits for the head of the answer.
    pub fn open(request: &Request, address: &str) -> io::Result<Self> {
        let mut reader = BufReader::new(request.open(address)?);
        let head = read_head(&mut reader)?;
        Ok(Self { head, reader, rest: Vec::new(), events: VecDeque::new(), is_over: false })
    }

    pub fn is_stream(&self) -> bool {
        let kind = self.head.header("content-type");
        kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The next event; `None` once the stream is over.
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        while self.events.is_empty() && !self.is_over {
            if is_chunked(&self.head) {
                self.is_over = !read_chunk(&mut self.reader, &mut self.rest)?;
            } else {
                self.rest.extend(read_body(&mut self.reader, &self.head)?);
                self.is_over = true;
            }
            self.take_events();
        }
        Ok(self.events.pop_front())
    }

    /// The next message, whether it comes as an event or as the whole body. Events without data are
    /// passed over.
    pub fn message(&mut self) -> io::Result<Option<String>> {
        if !self.is_stream() {
            if std::mem::replace(&mut self.is_over, true) {
                return Ok(None);
            }
            let body = read_body(&mut self.reader, &self.head)?;
            let text = String::from_utf8(body).map_err(io::Error::other)?;
            return Ok(Some(text).filter(|text| !text.is_empty()));
        }
        while let Some(event) = self.event()? {
            if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn take_events(&mut self) {
        while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let event = parse(&String::from_utf8_lossy(&block));
            if event != Event::default() {
                self.events.push_back(event);
            }
        }
    }
}

/// Reads the fields that Paygate sends; comments are no fields.
fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = Some(value.to_owned()),
            "data" => {
                let before = event.data.take().map(|data| data + "\n");
                event.data = Some(before.unwrap_or_default() + value);
            }
            _ => {}
        }
    }
    event
}
