//! A running Paygate: how it is found, spoken to and ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::process::{Collected, Ended, Guard, collect};
use super::setup::Setup;
use super::{ADMIN_KEY, PATIENCE, eventually};

/// What the binary prints before its address, and `s://` with TLS.
const LISTENING: &str = "listening on http";

/// A running Paygate.
#[derive(Debug)]
pub struct Paygate {
    /// `127.0.0.1:PORT`
    pub address: String,
    setup: Setup,
    child: Guard,
    stdout: Collected,
    stderr: Collected,
}

impl Paygate {
    /// Starts `command` and waits for the line with its address on either stream.
    pub fn start(setup: Setup, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().expect("the binary starts"));
        let stdout = collect(child.0.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.0.stderr.take().expect("stderr is piped"));
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            let said = [stdout.text(), stderr.text()];
            if let Some(address) = said.iter().find_map(|text| listening_address(text)) {
                break address;
            }
            let ended = child.0.try_wait().expect("the child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no line with \"{LISTENING}\" within {PATIENCE:?} (ended: {ended:?})\n\
                 command: {command:?}\nstdout: {}\nstderr: {}",
                stdout.finish(),
                stderr.finish()
            );
            thread::sleep(Duration::from_millis(5));
        };
        Self { address, setup, child, stdout, stderr }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn mcp_url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Everything printed so far, stdout before stderr.
    pub fn output(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// Waits until `what` has been printed.
    pub fn wait_for_output(&self, what: &str) {
        eventually(&format!("printing {what:?}"), || self.output().contains(what));
    }

    pub fn send(&self, request: &Request) -> Response {
        request.send(&self.address).unwrap_or_else(|error| {
            panic!("{request:?} was not answered: {error}\nPaygate said: {}", self.output())
        })
    }

    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::new("GET", path))
    }

    pub fn admin_get(&self, path: &str) -> Response {
        self.send(&Request::new("GET", path).header("X-Admin-Key", ADMIN_KEY))
    }

    pub fn admin_post(&self, path: &str, body: &Value) -> Response {
        self.send(&Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY).json(body))
    }

    /// A request of the operator with any method; no body for `null`.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Response {
        self.admin_as(ADMIN_KEY, method, path, body)
    }

    /// The same with another admin key or token.
    pub fn admin_as(&self, admin_key: &str, method: &str, path: &str, body: &Value) -> Response {
        let request = Request::new(method, path).header("X-Admin-Key", admin_key);
        self.send(&if body.is_null() { request } else { request.json(body) })
    }

    /// Creates a key; its raw form and its id.
    pub fn create_key(&self, body: &Value) -> (String, String) {
        let response = self.admin_post("/keys", body);
        assert_eq!(response.status, 201, "{}", response.text());
        let created = response.json();
        let member = |name: &str| {
            let value = created[name].as_str();
            value.unwrap_or_else(|| panic!("no `{name}` in {created}")).to_owned()
        };
        (member("key"), member("id"))
    }

    /// What `GET /balance` tells the key.
    pub fn balance(&self, key: &str) -> Value {
        let response = self.send(&Request::new("GET", "/balance").header("X-API-Key", key));
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// The available credits of the key.
    pub fn credits(&self, key: &str) -> i64 {
        let balance = self.balance(key);
        balance["credits"].as_i64().unwrap_or_else(|| panic!("no credits in {balance}"))
    }

    /// One JSON-RPC request with id 1. An empty key sends no key header.
    pub fn rpc(&self, key: &str, method: &str, params: &Value) -> Response {
        self.send(&rpc_request(key, method, params))
    }

    /// One tool call.
    pub fn call(&self, key: &str, tool: &str, arguments: &Value) -> Response {
        self.rpc(key, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// SIGTERM, then waits for the drain and the end.
    pub fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGKILL: no goodbye.
    pub fn kill9(mut self) {
        self.child.0.kill().expect("it can be killed");
        let status = self.child.0.wait().expect("it can be waited for");
        assert_eq!(status.signal(), Some(9), "it ended by itself before the kill: {status}");
    }

    pub fn signal(&self, signal: Signal) {
        let raw = i32::try_from(self.pid()).expect("a pid is small");
        let pid = Pid::from_raw(raw).expect("a pid is not 0");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Ended {
        let mut status = None;
        eventually("the end of Paygate", || {
            status = self.child.0.try_wait().expect("it can be waited for");
            status.is_some()
        });
        Ended {
            status: status.expect("just seen"),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        }
    }
}

/// The request that [`Paygate::rpc`] sends.
pub fn rpc_request(key: &str, method: &str, params: &Value) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = Request::new("POST", "/mcp").header("Accept", "application/json").json(&body);
    if key.is_empty() { request } else { request.header("X-API-Key", key) }
}

fn listening_address(text: &str) -> Option<String> {
    // Only whole lines: the port may still be on its way.
    let line =
        text.split_inclusive('\n').find(|line| line.contains(LISTENING) && line.ends_with('\n'))?;
    let after = line.split(LISTENING).nth(1)?.split_once("://")?.1;
    let address: String =
        after.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    Some(address)
}
