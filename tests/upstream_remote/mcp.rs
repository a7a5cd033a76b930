//! An MCP server over HTTP that does what a test tells it to.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::http::{Handler, Received, Wire};

/// How the server behaves; a test may change it at any time.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a manner of its own")]
pub struct Manners {
    /// Sessions have names.
    pub names_sessions: bool,
    /// There is a stream that belongs to no request.
    pub has_stream: bool,
    /// Says 400 and speaks of the session where the standard says 404.
    pub ends_with_400: bool,
    /// The transport of 2024-11-05, with this endpoint.
    pub older: Option<&'static str>,
    /// Version 2026-07-28, without sessions.
    pub modern: bool,
    /// Everything is answered with this status, headers and body.
    pub refuses: Option<(u16, &'static str, &'static str)>,
    /// A ping is answered with this status.
    pub refuses_pings: Option<u16>,
    /// Every session is over as soon as it is open.
    pub forgets: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            names_sessions: true,
            has_stream: false,
            ends_with_400: false,
            older: None,
            modern: false,
            refuses: None,
            refuses_pings: None,
            forgets: false,
        }
    }
}

pub struct Mcp {
    pub manners: Mutex<Manners>,
    pub sessions: Mutex<HashSet<String>>,
    /// How many were ever opened.
    opened: Mutex<usize>,
    /// What all open streams without a request say; an empty text ends them.
    pub said: broadcast::Sender<String>,
    /// How many such streams were opened, and how many calls saw their connection closed.
    pub streams: Mutex<Vec<Option<String>>>,
    pub hung_up: Mutex<Vec<String>>,
}

impl Mcp {
    pub fn new(manners: Manners) -> Self {
        Self {
            manners: Mutex::new(manners),
            sessions: Mutex::default(),
            opened: Mutex::default(),
            said: broadcast::Sender::new(64),
            streams: Mutex::default(),
            hung_up: Mutex::default(),
        }
    }

    /// Every session is over.
    pub fn end_sessions(&self) {
        self.sessions.lock().unwrap().clear();
    }

    fn begin_session(&self) -> String {
        let mut opened = self.opened.lock().unwrap();
        *opened += 1;
        let id = format!("session-{opened}");
        self.sessions.lock().unwrap().insert(id.clone());
        id
    }

    fn knows(&self, received: &Received, manners: &Manners) -> bool {
        if !manners.names_sessions || manners.modern {
            return true;
        }
        let known = |id: &str| self.sessions.lock().unwrap().contains(id);
        received.header("mcp-session-id").is_some_and(known)
    }
}

impl Handler for Mcp {
    async fn handle(&self, received: Received, wire: &mut Wire) {
        let manners = self.manners.lock().unwrap().clone();
        if let Some((status, headers, body)) = manners.refuses {
            return wire.answer(status, headers, body).await;
        }
        if let Some(endpoint) = manners.older {
            return self.handle_older(&received, wire, endpoint).await;
        }
        if received.rpc() == "initialize" {
            return self.initialize(&received, wire, &manners).await;
        }
        if !self.knows(&received, &manners) {
            let said = if manners.ends_with_400 {
                "Bad Request: No valid session ID provided"
            } else {
                "Session not found"
            };
            let status = if manners.ends_with_400 { 400 } else { 404 };
            let error = json!({"code": -32000, "message": said});
            let body = json!({"jsonrpc": "2.0", "id": received.body["id"], "error": error});
            return wire.json(status, "", &body).await;
        }
        match received.method.as_str() {
            "GET" => self.stream(&received, wire, &manners).await,
            "DELETE" => {
                let id = received.header("mcp-session-id").unwrap_or_default();
                self.sessions.lock().unwrap().remove(id);
                wire.answer(204, "", "").await;
            }
            _ if received.body.get("id").is_none() || received.rpc().is_empty() => {
                if manners.forgets && received.rpc() == "notifications/initialized" {
                    self.end_sessions();
                }
                wire.answer(202, "", "").await;
            }
            _ if received.rpc() == "ping" && manners.refuses_pings.is_some() => {
                wire.answer(manners.refuses_pings.unwrap_or_default(), "", "").await;
            }
            _ if received.rpc() == "tools/call" => self.call(&received, wire).await,
            _ => wire.json(200, "", &Self::result(&received)).await,
        }
    }
}

impl Mcp {
    async fn initialize(&self, received: &Received, wire: &mut Wire, manners: &Manners) {
        if manners.modern {
            let error = json!({"code": -32601, "message": "no such method"});
            let body = json!({"jsonrpc": "2.0", "id": received.body["id"], "error": error});
            return wire.json(404, "", &body).await;
        }
        let id = self.begin_session();
        let header = format!("Mcp-Session-Id: {id}\r\n");
        let header = if manners.names_sessions { header.as_str() } else { "" };
        wire.json(200, header, &Self::result(received)).await;
    }

    fn result(received: &Received) -> Value {
        let result = match received.rpc() {
            "initialize" => json!({
                "protocolVersion": received.body["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted", "version": "1"},
            }),
            "server/discover" => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
            }),
            "tools/list" => {
                let tools =
                    ["echo", "headers", "status", "cut", "big", "slow", "hang_up", "progress"];
                let region = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
                let schema = json!({"type": "object", "properties": region});
                let tools = tools.map(|name| json!({"name": name, "inputSchema": schema}));
                json!({"tools": tools})
            }
            _ => json!({}),
        };
        json!({"jsonrpc": "2.0", "id": received.body["id"], "result": result})
    }

    async fn stream(&self, received: &Received, wire: &mut Wire, manners: &Manners) {
        let last = received.header("last-event-id").map(str::to_owned);
        if let Some(call) = last.as_deref().and_then(|last| last.strip_prefix("call-")) {
            let id: Value = serde_json::from_str(call).unwrap();
            wire.stream().await;
            wire.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"resumed": true}})).await;
            return wire.close();
        }
        if !manners.has_stream {
            return wire.answer(405, "", "").await;
        }
        let mut said = self.said.subscribe();
        wire.stream().await;
        wire.raw(": hello\n\n").await;
        self.streams.lock().unwrap().push(last);
        loop {
            tokio::select! {
                text = said.recv() => match text {
                    Ok(text) if !text.is_empty() => wire.raw(text).await,
                    _ => break,
                },
                () = wire.closed() => break,
            }
        }
        wire.close();
    }

    async fn handle_older(&self, received: &Received, wire: &mut Wire, endpoint: &str) {
        if received.method == "GET" {
            let mut said = self.said.subscribe();
            wire.stream().await;
            wire.raw(format!("event: endpoint\r\ndata: {endpoint}\r\n\r\n")).await;
            self.streams.lock().unwrap().push(None);
            loop {
                tokio::select! {
                    text = said.recv() => match text {
                        Ok(text) if !text.is_empty() => wire.raw(text).await,
                        _ => break,
                    },
                    () = wire.closed() => break,
                }
            }
            return wire.close();
        }
        if received.path != "/message?sessionId=7" {
            return wire.answer(405, "Allow: GET\r\n", "").await;
        }
        wire.answer(202, "Content-Type: text/plain\r\n", "Accepted").await;
        if received.body.get("id").is_some() {
            self.said.send(format!("data: {}\r\n\r\n", Self::result(received))).ok();
        }
    }

    async fn call(&self, received: &Received, wire: &mut Wire) {
        let call = Call {
            id: &received.body["id"],
            tool: received.body["params"]["name"].as_str().unwrap_or_default(),
            arguments: &received.body["params"]["arguments"],
        };
        match call.tool {
            "headers" => {
                let headers =
                    received.headers.iter().map(|(name, value)| format!("{name}: {value}"));
                let headers: Vec<_> = headers.collect();
                wire.json(200, "", &call.result(&json!({"headers": headers}))).await;
            }
            "progress" => {
                wire.stream().await;
                for n in 1..=3 {
                    wire.event(&call.progress(n)).await;
                }
                // What came so far must be heard although the answer is not there yet.
                let mut said = self.said.subscribe();
                said.recv().await.ok();
                wire.event(&call.result(&json!({"done": true}))).await;
                wire.close();
            }
            "never" => {
                if call.arguments["streams"] == true {
                    wire.stream().await;
                    wire.event(&call.progress(1)).await;
                }
                wire.closed().await;
                self.hung_up.lock().unwrap().push(call.id.to_string());
            }
            _ => call.answer(wire).await,
        }
    }
}

/// A call of a tool that needs to know nothing but itself.
struct Call<'a> {
    id: &'a Value,
    tool: &'a str,
    arguments: &'a Value,
}

impl Call<'_> {
    fn result(&self, result: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": self.id, "result": result})
    }

    fn progress(&self, n: u64) -> Value {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": self.id, "progress": n}})
    }

    fn text(&self, name: &str) -> String {
        let text = self.arguments[name].as_str().unwrap_or_default();
        text.replace("$id", &self.id.to_string())
    }

    async fn answer(&self, wire: &mut Wire) {
        let json_head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        match self.tool {
            "echo" => wire.json(200, "", &self.result(self.arguments)).await,
            "slow" => {
                sleep(Duration::from_millis(self.arguments["ms"].as_u64().unwrap())).await;
                wire.json(200, "", &self.result(self.arguments)).await;
            }
            "pretty" => {
                let text = serde_json::to_string_pretty(&self.result(&json!({"a": 1}))).unwrap();
                wire.answer(200, "Content-Type: Application/JSON\r\n", text).await;
            }
            "array" => {
                wire.json(200, "", &json!([self.progress(1), self.result(&json!({}))])).await;
            }
            "status" => {
                let status = u16::try_from(self.arguments["status"].as_u64().unwrap()).unwrap();
                wire.answer(status, &self.text("headers"), self.text("body")).await;
            }
            "long_head" => {
                let pad = "x".repeat(200 << 10);
                wire.answer(200, &format!("X-Pad: {pad}\r\n"), "").await;
            }
            "cut_json" => {
                wire.raw(format!("{json_head}Content-Length: 99\r\n\r\n{{")).await;
                wire.close();
            }
            "not_http" => {
                wire.raw("SSH-2.0-x\r\n").await;
                wire.close();
            }
            "hang_up" => wire.close(),
            "big" => self.big(wire, json_head).await,
            _ => self.stream(wire).await,
        }
    }

    async fn big(&self, wire: &mut Wire, json_head: &str) {
        let bytes = usize::try_from(self.arguments["bytes"].as_u64().unwrap()).unwrap();
        let body = self.result(&json!({"text": "x".repeat(bytes)}));
        match self.arguments["as"].as_str().unwrap_or_default() {
            "stream" => {
                wire.stream().await;
                wire.event(&body).await;
                wire.close();
            }
            "chunks" => {
                let body = body.to_string();
                let size = body.len();
                let chunked =
                    format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n");
                wire.raw(format!("{json_head}{chunked}")).await;
            }
            _ => wire.json(200, "", &body).await,
        }
    }

    /// What is answered with a stream that ends with its connection.
    async fn stream(&self, wire: &mut Wire) {
        let wrong =
            json!({"jsonrpc": "2.0", "id": self.arguments["id"], "result": {"of": "another"}});
        if self.tool == "wrong_id" && self.arguments["streams"] != true {
            return wire.json(200, "", &wrong).await;
        }
        wire.stream().await;
        match self.tool {
            "formatted" => {
                let result = self.result(&json!({"text": "é\r\n"}));
                let text = serde_json::to_string_pretty(&result).unwrap();
                wire.raw("\u{feff}: comment\r\n\r\nretry: 1\r\nid:\r\n").await;
                for line in text.lines() {
                    for byte in format!("data:{line}\r\n").as_bytes() {
                        wire.raw([*byte]).await;
                    }
                }
                wire.raw("\r\n").await;
            }
            "ask" => {
                wire.event(&json!({"jsonrpc": "2.0", "id": "p-1", "method": "ping"})).await;
                wire.event(&self.result(&json!({}))).await;
            }
            "polled" => wire.raw(format!("id: call-{}\nretry: 60\ndata:\n\n", self.id)).await,
            "cut" => wire.raw("data: {\"jsonrpc\":\"2.0\",").await,
            "wrong_id" => wire.event(&wrong).await,
            other => panic!("no tool {other}"),
        }
        wire.close();
    }
}
