//! Calls over a link to a server, for the tests of each kind of link. Include it by its path.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a helper that fails a test panics"
)]

use std::time::Duration;

use paygate::protocol::from_server::Answer;
use paygate::upstream::{Failure, Link, Pending, Status};
use serde_json::{Value, json};

/// How long anything may take before a test says that it hangs.
pub const CEILING: Duration = Duration::from_secs(30);

pub fn send(link: &Link, tool: &str, arguments: &Value, timeout: Duration) -> Pending {
    let slot = link.reserve().unwrap();
    let line = json!({"jsonrpc": "2.0", "id": slot.id(), "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}});
    slot.send(line.to_string().into_bytes(), timeout)
}

pub async fn call(link: &Link, tool: &str, arguments: Value) -> Result<Answer, Failure> {
    send(link, tool, &arguments, CEILING).answer().await
}

pub async fn result(link: &Link, tool: &str, arguments: Value) -> Value {
    let answer = call(link, tool, arguments).await.unwrap();
    serde_json::from_str(answer.result_text().unwrap_or_else(|| panic!("{answer:?}"))).unwrap()
}

pub async fn wait_for(link: &Link, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut status = link.watch();
    let found = tokio::time::timeout(CEILING, status.wait_for(wanted)).await;
    found.expect("the status in time").unwrap().clone()
}
