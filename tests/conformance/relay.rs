//! The suite cannot send a header of ours, so a relay adds the key to every request. Everything
//! else, Host and Origin among it, passes as it is.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Listens on a port of its own until the test ends.
pub struct Relay {
    address: String,
}

impl Relay {
    pub fn start(paygate: &str, key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let header = format!("X-API-Key: {key}\r\n");
        let paygate = paygate.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (paygate, header) = (paygate.clone(), header.clone());
                thread::spawn(move || pass(client, &paygate, &header));
            }
        });
        Self { address }
    }

    pub fn mcp_url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

/// Joins a client's connection to one to Paygate. Whichever end closes, the other is closed too: a
/// client that hangs up must be seen to hang up.
fn pass(client: TcpStream, paygate: &str, header: &str) {
    let Ok(server) = TcpStream::connect(paygate) else { return };
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).ok();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let copying = thread::spawn(move || {
        // Either side may have gone: then there is nothing left to copy.
        io::copy(&mut answers, &mut back).ok();
        back.shutdown(Shutdown::Both).ok();
    });
    let both = server.try_clone().unwrap();
    let mut reader = BufReader::new(client);
    let mut server = server;
    while pass_request(&mut reader, &mut server, header).is_ok_and(|passed| passed) {}
    both.shutdown(Shutdown::Both).ok();
    copying.join().ok();
}

/// Passes one request on. `false` once the client has said its last.
fn pass_request(
    client: &mut impl BufRead,
    server: &mut impl Write,
    header: &str,
) -> io::Result<bool> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let start = head.len();
        if client.read_line(&mut head)? == 0 {
            return Ok(false);
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            head.insert_str(start, header);
            break;
        }
    }
    server.write_all(head.as_bytes())?;
    io::copy(&mut client.take(length), server)?;
    Ok(true)
}
