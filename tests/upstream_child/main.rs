//! The link to a child process, against a small server that misbehaves on request.
//!
//! Nothing here sleeps for luck: a test waits for a condition, with a ceiling that only a failure
//! reaches.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    reason = "a test that cannot go on should say where"
)]

mod calls;
mod life;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paygate::model::bounds;
use paygate::protocol::from_server::Answer;
use paygate::upstream::{
    ChildOptions, Failure, Kind, Link, LinkOptions, Pending, StartError, Status,
};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const CEILING: Duration = Duration::from_secs(30);

fn child(mode: &str) -> ChildOptions {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upstream_child.py");
    let mut child = ChildOptions::new("python3");
    child.arguments = vec![fixture.into(), mode.into()];
    child.environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    child
}

fn link_to(child: ChildOptions) -> LinkOptions {
    let mut options = LinkOptions::new("fixture", Kind::Child(Arc::new(child)));
    options.restart.wait_first = Duration::from_millis(20);
    options
}

fn options(mode: &str) -> LinkOptions {
    link_to(child(mode))
}

/// Children that tests start share this process, and an orphan is known to be of one child only
/// if no other is older. So tests that count orphans run alone.
static BESIDE: RwLock<()> = RwLock::const_new(());

/// A link, and the permission to run beside others or alone.
struct Running<G> {
    link: Link,
    guard: G,
}

impl<G> Deref for Running<G> {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

async fn start(mode: &str) -> Running<RwLockReadGuard<'static, ()>> {
    start_with(options(mode)).await
}

async fn start_with(options: LinkOptions) -> Running<RwLockReadGuard<'static, ()>> {
    let guard = BESIDE.read().await;
    Running { link: Link::start(options).await.unwrap(), guard }
}

async fn start_alone(mode: &str) -> Running<RwLockWriteGuard<'static, ()>> {
    let guard = BESIDE.write().await;
    Running { link: Link::start(options(mode)).await.unwrap(), guard }
}

fn send(link: &Link, tool: &str, arguments: &Value, timeout: Duration) -> Pending {
    let slot = link.reserve().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": slot.id(), "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}});
    slot.send(line.to_string().into_bytes(), timeout)
}

async fn call(link: &Link, tool: &str, arguments: Value) -> Result<Answer, Failure> {
    send(link, tool, &arguments, CEILING).answer().await
}

async fn result(link: &Link, tool: &str, arguments: Value) -> Value {
    let answer = call(link, tool, arguments).await.unwrap();
    serde_json::from_str(answer.result_text().unwrap()).unwrap()
}

async fn wait_for(link: &Link, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut status = link.watch();
    let found = tokio::time::timeout(CEILING, status.wait_for(wanted)).await;
    found.expect("the status in time").unwrap().clone()
}

/// Asks until the condition holds.
async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < CEILING, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_gone(pid: &Value) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}
