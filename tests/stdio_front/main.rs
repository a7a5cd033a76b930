//! `paygate wrap --stdio`: one client on stdin and stdout, as a desktop client starts it. The real
//! binary before the scripted child.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]
#![allow(clippy::print_stderr, reason = "a failed test shows what Paygate said")]

#[path = "../support/mod.rs"]
mod support;

mod desktop;
mod ending;
mod lines;
mod modern;
mod talking;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use support::{PATIENCE, Setup, eventually};

/// The key of the client, which is worth 1000 credits.
const KEY: &str = "pg_stdio_client_0123456789abcdef";

/// More lines than any test leaves unread.
const LINES_MAX: usize = 1 << 16;

/// Paygate as a desktop client starts it, with the key in the environment.
fn setup() -> Setup {
    Setup::new()
        .without_port()
        .args(["--stdio", "--import-key", &format!("{KEY}:1000")])
        .env("PAYGATE_API_KEY", KEY)
}

/// A Paygate, and its client's ends of its pipes.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    listening_to_stderr: Option<thread::JoinHandle<()>>,
    /// Keeps its files.
    _setup: Setup,
}

/// How it ended: exit code, what was left on stdout, all of stderr.
struct Gone {
    code: Option<i32>,
    rest: Vec<String>,
    stderr: String,
}

impl Client {
    fn start(setup: &Setup) -> Self {
        let mut command = setup.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let (said, sink) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&stderr));
        let (sender, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let listening_to_stderr = Some(thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let mut said = sink.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        }));
        let stdin = child.stdin.take();
        Self { child, stdin, lines, stderr, listening_to_stderr, _setup: setup.clone() }
    }

    /// The same, after the handshake in this version.
    fn begun(setup: &Setup, version: &str) -> Self {
        let mut client = Self::start(setup);
        let params = json!({"protocolVersion": version, "capabilities": {"roots": {}},
            "clientInfo": {"name": "test", "version": "1"}});
        let answer = client.ask("init", "initialize", &params);
        assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    fn say(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    fn send(&mut self, id: &str, method: &str, params: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    fn call(&mut self, id: &str, tool: &str, arguments: &Value) {
        self.send(id, "tools/call", &json!({"name": tool, "arguments": arguments}));
    }

    /// The next line of stdout, which must be JSON.
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line on stdout");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// A request whose answer is the next line.
    fn ask(&mut self, id: &str, method: &str, params: &Value) -> Value {
        self.send(id, method, params);
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes its stdin and waits for its end.
    fn leave(mut self) -> Gone {
        drop(self.stdin.take());
        self.wait()
    }

    fn wait(mut self) -> Gone {
        let mut status = None;
        eventually("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let code = status.unwrap().code();
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("stdout stays open"),
            }
        }
        self.listening_to_stderr.take().unwrap().join().unwrap();
        let stderr = self.stderr.lock().unwrap().clone();
        Gone { code, rest, stderr }
    }

    /// Where it serves clients over HTTP.
    fn address(&self) -> String {
        let said = || self.stderr.lock().unwrap().clone();
        eventually("its address", || said().contains("listening on http://"));
        let said = said();
        let after = said.split("listening on http://").nth(1).unwrap();
        after.split([',', '\n']).next().unwrap().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("Paygate said: {}", self.stderr.lock().unwrap());
        }
    }
}

/// What `ledger verify` and the books say after the end: the credits that are left.
fn credits_left(setup: &Setup) -> i64 {
    setup.verify().expect_success();
    setup.with_same_files().start().credits(KEY)
}
