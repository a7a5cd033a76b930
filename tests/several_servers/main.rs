//! Several servers sold as one: the real binary before scripted children, one of which may not
//! start, end, or be out of service; and before other people's servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "../support/mod.rs"]
mod support;

mod failing;
mod http;
mod real;
mod selling;

use std::path::Path;

use serde_json::{Value, json};

use support::{Paygate, Setup, eventually, rich_key, scripted_child};

/// An entry of `servers` with the scripted child.
fn scripted(prefix: &str) -> Value {
    json!({"prefix": prefix, "serverCommand": scripted_child(), "serverArgs": []})
}

/// An entry with the small server that says who it is; see `tests/fixtures/several_child.py`.
fn telling(prefix: &str, flags: &[&str]) -> Value {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/several_child.py");
    let mut args = vec![fixture.to_str().unwrap(), prefix];
    args.extend(flags);
    json!({"prefix": prefix, "serverCommand": "python3", "serverArgs": args})
}

/// Paygate before these servers, with `more` in its configuration.
fn setup(servers: &[Value], more: &Value) -> Setup {
    let mut config = json!({"servers": servers});
    let members = config.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    Setup::new().without_server().config(config)
}

/// The names of the tools that a client is shown.
fn tools(paygate: &Paygate) -> Vec<String> {
    let listed = paygate.rpc("", "tools/list", &json!({})).json();
    let tools = listed["result"]["tools"].as_array().unwrap().clone();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn has_tool(paygate: &Paygate, tool: &str) -> bool {
    tools(paygate).iter().any(|listed| listed == tool)
}
