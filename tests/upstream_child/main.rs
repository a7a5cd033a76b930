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

#[path = "../support/link.rs"]
mod link;

mod calls;
mod life;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{CEILING, call, result, send, wait_for};
use paygate::model::bounds;
use paygate::upstream::{ChildOptions, Failure, Kind, Link, LinkOptions, StartError, Status};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

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
