//! A link to several servers, against small ones that say who they are and what they were sent.
//!
//! Nothing here sleeps for luck: a test waits for a condition, with a ceiling that only a failure
//! reaches.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod eras;
mod life;
mod messages;
mod routes;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use paygate::protocol::from_server::Answer;
use paygate::upstream::{
    Ask, ChildOptions, Failure, Kind, Link, LinkOptions, Listener, Member, Note, Pending,
    SeveralOptions, StartError,
};
use serde_json::{Value, json};

const CEILING: Duration = Duration::from_secs(30);

/// What a link's listener heard: each message, and the call that it belongs to.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(Value, Option<u64>)>>);

impl Heard {
    fn all(&self) -> Vec<(Value, Option<u64>)> {
        self.0.lock().unwrap().clone()
    }

    /// The first message of this method, once it is there.
    async fn first(&self, method: &str) -> (Value, Option<u64>) {
        let mut found = None;
        until(method, async || {
            found = self.all().into_iter().find(|(message, _)| message["method"] == method);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    fn add(&self, line: &[u8], call: Option<u64>) {
        self.0.lock().unwrap().push((serde_json::from_slice(line).unwrap(), call));
    }
}

impl Listener for Heard {
    fn notified(&self, note: &Note<'_>) {
        self.add(note.line, note.call);
    }

    fn asked(&self, ask: &Ask<'_>) -> bool {
        self.add(ask.line, ask.on);
        true
    }
}

fn server(prefix: &str, flags: &[&str]) -> Member {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/several_child.py");
    let mut child = ChildOptions::new("python3");
    child.arguments = vec![fixture.into(), prefix.into()];
    child.arguments.extend(flags.iter().map(Into::into));
    child.environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    Member { prefix: prefix.to_owned(), kind: Kind::Child(Arc::new(child)) }
}

fn options(members: Vec<Member>) -> LinkOptions {
    let several = SeveralOptions::new("All of them", ":", members);
    let mut options = LinkOptions::new("several", Kind::Several(Arc::new(several)));
    options.restart.wait_first = Duration::from_millis(20);
    options.restart.wait_max = Duration::from_millis(100);
    options
}

async fn start(members: Vec<Member>) -> (Link, Arc<Heard>) {
    start_with(options(members)).await
}

async fn start_with(mut options: LinkOptions) -> (Link, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    options.listener = Some(Arc::clone(&heard) as _);
    (Link::start(options).await.unwrap(), heard)
}

/// `a` and `b`.
async fn start_two() -> (Link, Arc<Heard>) {
    start(vec![server("a", &[]), server("b", &[])]).await
}

/// Sends a request whose progress token is its id.
fn send(link: &Link, method: &str, mut params: Value) -> Pending {
    let slot = link.reserve().unwrap();
    if method == "tools/call" {
        params["_meta"] = json!({"progressToken": slot.id(), "other": 1});
    }
    let asked = json!({"jsonrpc": "2.0", "id": slot.id(), "method": method, "params": params});
    slot.send(asked.to_string().into_bytes(), CEILING)
}

async fn ask(link: &Link, method: &str, params: Value) -> Result<Answer, Failure> {
    send(link, method, params).answer().await
}

async fn result(link: &Link, method: &str, params: Value) -> Value {
    let answer = ask(link, method, params).await.unwrap();
    let text = answer.result_text().unwrap_or_else(|| panic!("an error: {}", answer.line()));
    serde_json::from_str(text).unwrap()
}

async fn error(link: &Link, method: &str, params: Value) -> Value {
    let answer = ask(link, method, params).await.unwrap();
    let text = answer.error_text().unwrap_or_else(|| panic!("no error: {}", answer.line()));
    serde_json::from_str(text).unwrap()
}

async fn call(link: &Link, tool: &str, arguments: Value) -> Value {
    result(link, "tools/call", json!({"name": tool, "arguments": arguments})).await
}

/// What a server was sent so far with this method.
async fn heard_by(link: &Link, server: &str, method: &str) -> Vec<Value> {
    let heard = call(link, &format!("{server}:heard"), json!({})).await;
    let all = heard["heard"].as_array().unwrap().clone();
    all.into_iter().filter(|message| message["method"] == method).collect()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// Asks until the condition holds.
async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < CEILING, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
