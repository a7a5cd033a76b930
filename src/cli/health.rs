//! `paygate health`: asks a running Paygate how it is. One request over a blocking socket, so that
//! a container's health check costs nothing.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{output, trust};
use crate::config::{Environment, HealthFlags};
use crate::model::bounds;

/// Where a running Paygate is if nobody says.
const URL_DEFAULT: &str = "http://127.0.0.1:3402/health";

pub(super) fn run(flags: &HealthFlags) -> Result<(), String> {
    let environment = Environment::read();
    let of_environment =
        || environment.url().map(|url| format!("{}/health", url.trim_end_matches('/')));
    let url = flags.url.clone().or_else(of_environment);
    let url = url.as_deref().unwrap_or(URL_DEFAULT);
    let target = Target::parse(url).ok_or_else(|| {
        format!(
            "health: {url:?} is not a URL that can be asked; give --url like http://127.0.0.1:3402/health"
        )
    })?;
    let ca = flags.ca.clone().or_else(|| environment.ca_of_operator());
    let name = flags.name.as_ref().unwrap_or(&target.host);
    let answer = ask(&target, name, ca.as_deref()).map_err(|why| {
        let advice = trust::advice(&why);
        format!(
            "health: {url} does not answer ({why}); check that Paygate runs and that --url has its scheme and \
             port{advice}"
        )
    })?;
    let (status, body) = read_answer(&answer)
        .ok_or_else(|| format!("health: {url} does not answer as an HTTP server does"))?;
    if status == 200 {
        output::print(body);
        return Ok(());
    }
    Err(format!("health: {url} answers {status}: {}", body.trim()))
}

/// The parts of an `http://` or `https://` URL.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    is_secure: bool,
    /// As the Host header has it.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let (is_secure, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) || rest.contains(['@', '#']) {
            return None;
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/health"),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if port.is_empty() => {
                if is_secure {
                    443
                } else {
                    80
                }
            }
            None => return None,
        };
        let path = if path == "/" { "/health" } else { path };
        (!host.is_empty()).then(|| Self {
            is_secure,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

/// Asks, over TLS if the URL says so.
fn ask(target: &Target, name: &str, ca: Option<&Path>) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + bounds::HEALTH_TIMEOUT;
    let stream = connect(target, deadline).map_err(|error| error.to_string())?;
    if !target.is_secure {
        return exchange(target, stream, |stream| stream, deadline)
            .map_err(|error| error.to_string());
    }
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let client = ClientConnection::new(Arc::new(trust::client(ca)?), name);
    let client = client.map_err(|error| error.to_string())?;
    let stream = StreamOwned::new(client, stream);
    exchange(target, stream, |stream| &mut stream.sock, deadline).map_err(|error| error.to_string())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

/// A connection to the first address of the host that takes one.
fn connect(target: &Target, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (target.host.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Err(why) => failed = why,
            Ok(stream) => {
                stream.set_read_timeout(Some(left(deadline)?))?;
                stream.set_write_timeout(Some(left(deadline)?))?;
                return Ok(stream);
            }
        }
    }
    Err(failed)
}

/// One request and its whole answer; `socket` is what lies below the stream.
fn exchange<S: Read + Write>(
    target: &Target,
    mut stream: S,
    socket: impl Fn(&mut S) -> &mut TcpStream,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let Target { authority, path, .. } = target;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0_u8; 4096];
    while answer.len() < bounds::HEALTH_BYTES_MAX {
        socket(&mut stream).set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            size => answer.extend_from_slice(piece.get(..size).unwrap_or_default()),
        }
    }
    Ok(answer)
}

/// Status and body. Paygate's answer here has a length and is never in chunks.
fn read_answer(answer: &[u8]) -> Option<(u16, &str)> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    let status = words.next().filter(|version| version.starts_with("HTTP/1.")).and(words.next())?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, expected) in [
            ("http://127.0.0.1:3402/health", Some(("127.0.0.1", 3402, "/health"))),
            ("http://127.0.0.1:3402", Some(("127.0.0.1", 3402, "/health"))),
            ("http://127.0.0.1:3402/", Some(("127.0.0.1", 3402, "/health"))),
            ("http://[::1]:3402/health", Some(("::1", 3402, "/health"))),
            ("http://paygate/x", Some(("paygate", 80, "/x"))),
            ("https://127.0.0.1/health", Some(("127.0.0.1", 443, "/health"))),
            ("https://127.0.0.1:3402", Some(("127.0.0.1", 3402, "/health"))),
            ("ftp://127.0.0.1/health", None),
            ("127.0.0.1:3402", None),
            ("http://", None),
            ("http://:80", None),
            ("http://host:port", None),
            ("http://host:99999", None),
            ("http://host/a b", None),
            ("http://user@host/", None),
            ("http://[::1]x/", None),
        ] {
            let target = Target::parse(url);
            let found = target.as_ref().map(|it| (it.host.as_str(), it.port, it.path.as_str()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn answers() {
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read_answer(ok), Some((200, "{}")));
        assert_eq!(read_answer(b"HTTP/1.1 503 x\r\n\r\n"), Some((503, "")));
        for broken in [&b""[..], b"HTTP/1.1 200 OK", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(read_answer(broken), None);
        }
    }
}
