//! TLS: the system's authorities are trusted and no other.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::{fs, thread};

use serde_json::json;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::test_fire;
use crate::support::{Setup, TempDir, tls};

/// A receiver on `localhost` that takes everything; its port, and its authority's certificate.
fn receiver() -> (u16, String) {
    let (config, authority) = tls::of_localhost();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, tcp);
            let mut head = [0; 4096];
            // A client that trusts nobody leaves before it has said anything.
            if stream.read(&mut head).is_ok_and(|bytes| bytes > 0) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).ok();
                stream.conn.send_close_notify();
                stream.flush().ok();
            }
        }
    });
    (port, authority)
}

#[test]
fn a_receiver_must_be_who_the_system_trusts() {
    let (port, authority) = receiver();
    let (_, other) = receiver();
    let dir = TempDir::new();
    for (trusted, host, delivered) in [
        (&authority, "localhost", true),
        (&authority, "127.0.0.1", false),
        (&other, "localhost", false),
    ] {
        let file = dir.file("authority.pem");
        fs::write(&file, trusted).unwrap();
        let url = format!("https://{host}:{port}/hook");
        let config = json!({"webhookUrl": url, "webhookAllowPrivate": true});
        let setup = Setup::new().ephemeral().without_child_log().config(config);
        let paygate = setup.env("SSL_CERT_FILE", &file).env("SSL_CERT_DIR", dir.path()).start();
        let told = test_fire(&paygate);
        assert_eq!(told["delivered"], delivered, "{told}");
        let why = told["error"].as_str().unwrap_or_default();
        assert_eq!(why.starts_with("No connection that can be trusted"), !delivered, "{told}");
    }
}
