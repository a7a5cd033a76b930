//! The link to a server over HTTP, against a small server that misbehaves on request.
//!
//! Nothing here sleeps for luck: a test waits for a condition, with a ceiling that only a failure
//! reaches.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on should say where"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/link.rs"]
mod link;

mod calls;
mod http;
mod life;
mod mcp;
mod older;
mod paid;
mod secure;
mod streams;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Listening, Received, listen};
use link::{CEILING, call, result, send, wait_for};
use mcp::{Manners, Mcp};
use paygate::upstream::{
    Ask, Failure, Hello, Kind, Link, LinkOptions, Listener, Note, RemoteOptions, RemoteSetup,
    StartError, Status, Trouble,
};
use serde_json::{Value, json};

type Server = Listening<Mcp>;

async fn server(manners: Manners) -> Server {
    listen(Arc::new(Mcp::new(manners)), "127.0.0.1:0", None).await
}

fn url(server: &Server) -> String {
    format!("http://{}/mcp", server.address)
}

fn options_to(url: &str) -> LinkOptions {
    let headers = vec![("Authorization".to_owned(), "Bearer operators-own".into())];
    let setup = RemoteSetup { url: url.to_owned(), headers, ca: None };
    let remote = RemoteOptions::new(&setup).unwrap();
    let mut options = LinkOptions::new("fixture", Kind::Remote(Arc::new(remote)));
    options.restart.wait_first = Duration::from_millis(20);
    options
}

fn options(server: &Server) -> LinkOptions {
    options_to(&url(server))
}

async fn start(manners: Manners) -> (Link, Server) {
    let server = server(manners).await;
    (Link::start(options(&server)).await.unwrap(), server)
}

/// What a server said unasked.
#[derive(Debug, Default)]
struct Heard {
    notes: Mutex<Vec<(String, Option<u64>)>>,
    restarts: Mutex<usize>,
}

impl Listener for Heard {
    fn notified(&self, note: &Note<'_>) {
        let params = note.params.map_or("", |params| params.get());
        self.notes.lock().unwrap().push((format!("{} {params}", note.method), note.call));
    }

    fn asked(&self, _: &Ask<'_>) -> bool {
        false
    }

    fn restarted(&self) {
        *self.restarts.lock().unwrap() += 1;
    }
}

async fn start_heard(manners: Manners) -> (Link, Server, Arc<Heard>) {
    let server = server(manners).await;
    let heard = Arc::new(Heard::default());
    let mut options = options(&server);
    options.listener = Some(Arc::clone(&heard) as Arc<dyn Listener>);
    (Link::start(options).await.unwrap(), server, heard)
}

/// Asks until the condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < CEILING, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn received(server: &Server, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
    server.requests.lock().unwrap().iter().filter(|received| wanted(received)).cloned().collect()
}
