//! A client that keeps its connection: one request after another over the same socket.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;
use super::http::{Request, Response, read_body, read_head};

/// An open connection to Paygate.
#[derive(Debug)]
pub struct Connection {
    address: String,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`.
    pub fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { address: address.to_owned(), reader: BufReader::with_capacity(2048, stream) })
    }

    /// Waits no longer than this for anything.
    pub fn within(self, patience: Duration) -> io::Result<Self> {
        self.reader.get_ref().set_read_timeout(Some(patience))?;
        Ok(self)
    }

    /// Sends a request and reads its answer. After an error the connection is of no use.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.begin(request)?;
        self.finish()
    }

    /// Sends a request.
    pub fn begin(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.clone().header("Connection", "keep-alive").to_bytes(&self.address);
        self.reader.get_mut().write_all(&bytes)
    }

    /// Reads the answer to it.
    pub fn finish(&mut self) -> io::Result<Response> {
        let mut response = read_head(&mut self.reader)?;
        if !matches!(response.status, 202 | 204 | 304)
            || response.header("content-length").is_some()
        {
            response.body = read_body(&mut self.reader, &response)?;
        }
        Ok(response)
    }
}
