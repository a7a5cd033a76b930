//! The binary under test: how it is started, found, spoken to and ended.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::paths::{TempDir, scripted_child};
use super::{PATIENCE, eventually};

/// The admin key of every Paygate under test.
pub const ADMIN_KEY: &str = "test-admin-key-0123456789";

/// What the binary prints before its address.
const LISTENING: &str = "listening on http://";

/// How Paygate will be started. Clone it to start the same again, on the same database.
#[derive(Clone, Debug)]
pub struct Setup {
    dir: Arc<TempDir>,
    server: Option<String>,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    config: Option<Value>,
    is_ephemeral: bool,
}

impl Setup {
    /// `paygate wrap` before the scripted child, with a database in a fresh directory.
    pub fn new() -> Self {
        Self::in_dir(TempDir::new())
    }

    /// The same with everything that it writes in `dir`.
    pub fn in_dir(dir: TempDir) -> Self {
        Self {
            dir: Arc::new(dir),
            server: Some(quoted(&scripted_child())),
            args: Vec::new(),
            envs: Vec::new(),
            config: None,
            is_ephemeral: false,
        }
    }

    /// Another server command, as one string for `--server`.
    #[must_use]
    pub fn server(mut self, command: impl Into<String>) -> Self {
        self.server = Some(command.into());
        self
    }

    /// No `--server`: the config file names it.
    #[must_use]
    pub fn without_server(mut self) -> Self {
        self.server = None;
        self
    }

    /// Further arguments of `paygate wrap`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// An environment variable of Paygate, and so of the child.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// A config file with this content.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// `--ephemeral` in the place of a database.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.is_ephemeral = true;
        self
    }

    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    pub fn database(&self) -> PathBuf {
        self.dir.file("paygate.db")
    }

    /// Where the scripted child writes what ran.
    pub fn child_log_path(&self) -> PathBuf {
        self.dir.file("scripted.log")
    }

    /// What the scripted children ran so far: (tool, nonce) in order.
    pub fn child_log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.child_log_path()).unwrap_or_default();
        let line = |line: &str| line.split_once(' ').map(|(tool, nonce)| (tool.into(), nonce.into()));
        text.lines().filter_map(line).collect()
    }

    /// The command that will be run.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
        command.current_dir(self.dir.path()).env("SCRIPTED_LOG", self.child_log_path());
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.args(["wrap", "--port", "0", "--admin-key", ADMIN_KEY]);
        if let Some(server) = &self.server {
            command.arg("--server").arg(server);
        }
        if let Some(config) = &self.config {
            let path = self.dir.file("paygate.json");
            fs::write(&path, config.to_string()).expect("the config file can be written");
            command.arg("--config").arg(path);
        }
        if self.is_ephemeral {
            command.arg("--ephemeral");
        } else {
            command.arg("--db").arg(self.database());
        }
        command.args(&self.args);
        command
    }

    /// Starts it and waits until it listens.
    pub fn start(&self) -> Paygate {
        Paygate::start(self.clone(), self.command())
    }

    /// Starts it and waits until it ends by itself, which a wrong start does.
    pub fn run_to_end(&self) -> Ended {
        run_to_end(self.command())
    }

    /// Runs another sub-command in the same directory, `["ledger", "verify"]` for instance.
    pub fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paygate"));
        command.current_dir(self.dir.path()).args(args);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        run_to_end(command)
    }

    /// `paygate ledger verify` on the database.
    pub fn verify(&self) -> Ended {
        let database = self.database();
        self.run(&["ledger", "verify", "--db", database.to_str().expect("a plain path")])
    }
}

/// A path as one word of a `--server` command.
fn quoted(path: &Path) -> String {
    let path = path.to_str().expect("a plain path");
    assert!(!path.contains('\''), "{path} cannot be quoted");
    format!("'{path}'")
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with everything it printed unless it exited with 0.
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }
}

fn run_to_end(mut command: Command) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard(command.spawn().expect("the binary starts"));
    let stdout = collect(child.0.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.0.stderr.take().expect("stderr is piped"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.0.try_wait().expect("the child can be waited for") {
            break status;
        }
        assert!(
            Instant::now() < deadline,
            "{command:?} has not ended within {PATIENCE:?}\nstdout: {}\nstderr: {}",
            stdout.text(),
            stderr.text()
        );
        thread::sleep(Duration::from_millis(10));
    };
    Ended { status, stdout: stdout.finish(), stderr: stderr.finish() }
}

/// Everything a stream has said so far.
#[derive(Clone, Debug, Default)]
struct Collected {
    text: Arc<Mutex<String>>,
    is_finished: Arc<Mutex<bool>>,
}

impl Collected {
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The text once the stream has ended; a descendant that holds it open delays this by 2 s at most.
    fn finish(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !*self.is_finished.lock().unwrap() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.text()
    }
}

fn collect(stream: impl Read + Send + 'static) -> Collected {
    let collected = Collected::default();
    let sink = collected.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let mut text = sink.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        *sink.is_finished.lock().unwrap() = true;
    });
    collected
}

/// Kills and reaps the process when it is dropped.
#[derive(Debug)]
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

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
    let request =
        Request::new("POST", "/mcp").header("Accept", "application/json").json(&body);
    if key.is_empty() { request } else { request.header("X-API-Key", key) }
}

fn listening_address(text: &str) -> Option<String> {
    // Only whole lines: the port may still be on its way.
    let line = text.split_inclusive('\n').find(|line| line.contains(LISTENING) && line.ends_with('\n'))?;
    let after = line.split(LISTENING).nth(1)?;
    let address: String =
        after.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    Some(address)
}
