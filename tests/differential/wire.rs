//! The ends that a conversation can have: the pipes of a process, and Paygate's HTTP.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::conversation::Wire;
use crate::support::{Answer, MODERN, Request, Setup, scripted_child};

/// A message that has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that nobody has asked for yet; no conversation has so many.
const MESSAGES_MAX: usize = 1024;

/// The pipes of a process: the scripted child itself, or a Paygate that its client started.
pub struct Pipes {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<String>,
}

impl Pipes {
    pub fn server(era: &str) -> Self {
        let mut command = Command::new(scripted_child());
        command.env("SCRIPTED_ERA", era);
        Self::start(command)
    }

    pub fn paygate(setup: &Setup, key: &str) -> Self {
        let import = format!("{key}:1000000");
        let setup = setup.clone().without_port().args(["--stdio", "--import-key", &import]);
        let mut command = setup.command();
        command.env("PAYGATE_API_KEY", key).stderr(Stdio::null());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the process starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, messages }
    }
}

impl Wire for Pipes {
    fn send(&mut self, message: &str) {
        writeln!(self.stdin, "{message}").expect("the process reads");
    }

    fn receive(&mut self) -> Option<String> {
        self.messages.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client of Paygate: every message is a request of its own, and a session has a stream for what
/// belongs to no request.
pub struct Through {
    address: String,
    key: String,
    session: Option<(String, String)>,
    sender: SyncSender<String>,
    messages: Receiver<String>,
}

impl Through {
    pub fn new(address: &str, key: &str) -> Self {
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        Self { address: address.to_owned(), key: key.to_owned(), session: None, sender, messages }
    }

    fn request(&self, method: &str) -> Request {
        let mut request = Request::new(method, "/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("X-API-Key", &self.key);
        if let Some((session, version)) = &self.session {
            request = request.header("Mcp-Session-Id", session);
            request = request.header("MCP-Protocol-Version", version);
        }
        request
    }

    /// Hands over everything that comes, for as long as the stream lasts.
    fn follow(&self, request: Request) {
        let (address, sender) = (self.address.clone(), self.sender.clone());
        thread::spawn(move || {
            if let Ok(answer) = Answer::open(&request, &address) {
                pass_on(answer, &sender);
            }
        });
    }

    /// The answer to `initialize` says whether there is a session.
    fn initialize(&mut self, request: &Request) {
        let mut answer = Answer::open(request, &self.address).expect("an answer");
        let session = answer.head.header("mcp-session-id").map(str::to_owned);
        let result = answer.message().expect("a message").expect("an answer to initialize");
        let json: serde_json::Value = serde_json::from_str(&result).expect("JSON");
        let version = json["result"]["protocolVersion"].as_str().unwrap_or_default().to_owned();
        self.sender.send(result).expect("the other end is ours");
        if let Some(session) = session {
            self.session = Some((session, version));
            self.follow(self.request("GET"));
        }
    }
}

/// Since 2026-07-28 the headers repeat what the body says.
fn with_modern_headers(mut request: Request, message: &str) -> Request {
    let json: serde_json::Value = serde_json::from_str(message).unwrap_or_default();
    let params = &json["params"];
    if params["_meta"]["io.modelcontextprotocol/protocolVersion"] != MODERN {
        return request;
    }
    request = request.header("MCP-Protocol-Version", MODERN);
    request = request.header("Mcp-Method", json["method"].as_str().expect("a method"));
    match params["name"].as_str().or(params["uri"].as_str()) {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    }
}

fn pass_on(mut answer: Answer, sender: &SyncSender<String>) {
    while let Ok(Some(message)) = answer.message() {
        if sender.send(message).is_err() {
            return;
        }
    }
}

impl Wire for Through {
    fn send(&mut self, message: &str) {
        let request = self.request("POST").header("Content-Type", "application/json");
        let request = with_modern_headers(request, message).body(message);
        if message.contains("\"method\":\"initialize\"") {
            self.initialize(&request);
        } else if message.contains("\"method\":\"notifications/") {
            // What follows must not overtake it.
            let answer = Answer::open(&request, &self.address).expect("an answer");
            pass_on(answer, &self.sender);
        } else {
            self.follow(request);
        }
    }

    fn receive(&mut self) -> Option<String> {
        self.messages.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        if self.session.is_some() {
            // A session that is left open ends by itself.
            self.request("DELETE").send(&self.address).ok();
        }
    }
}

/// Another end, where the names of tools and prompts have a prefix.
pub struct Prefixed {
    pub wire: Box<dyn Wire>,
    pub prefix: &'static str,
}

impl Wire for Prefixed {
    fn send(&mut self, message: &str) {
        let named = "\"params\":{\"name\":\"";
        self.wire.send(&message.replacen(named, &format!("{named}{}", self.prefix), 1));
    }

    fn receive(&mut self) -> Option<String> {
        let named = format!("\"name\":\"{}", self.prefix);
        self.wire.receive().map(|message| message.replace(&named, "\"name\":\""))
    }
}
