//! MCP as a customer speaks it, for `paygate tools`: a handshake and a session with a server that knows
//! them, else every request for itself (2026-07-28). Answers are asked for as plain JSON.

use std::path::PathBuf;

use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::http::request::Builder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::wire::{Received, Wire};
use crate::config::Environment;
use crate::model::bounds;
use crate::protocol::modern::{CAPABILITIES_KEY, VERSION_KEY};
use crate::protocol::version;

const PATH: &str = "/mcp";

/// How the server behind is spoken to.
#[derive(Debug, PartialEq, Eq)]
enum Era {
    /// With a handshake; in a session, if there is one.
    Legacy {
        session: Option<String>,
    },
    Modern,
}

/// A customer's connection.
pub(super) struct Mcp {
    wire: Wire,
    key: Option<SecretString>,
    era: Era,
}

/// What came back for a request.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) received: Received,
    /// The JSON-RPC message.
    pub(super) message: Value,
}

impl Mcp {
    /// Without a handshake yet, which lists do not need.
    pub(super) fn new(
        url: Option<&str>,
        ca: Option<PathBuf>,
        key: Option<SecretString>,
        environment: &Environment,
    ) -> Result<Self, String> {
        let wire = Wire::to(url, ca, environment)?;
        Ok(Self { wire, key, era: Era::Legacy { session: None } })
    }

    /// The handshake; what was answered if it was refused. A server that has none is spoken to
    /// without one.
    pub(super) fn begin(&mut self) -> Result<Option<Reply>, String> {
        let client = json!({"name": "paygate", "version": env!("CARGO_PKG_VERSION")});
        let params =
            json!({"protocolVersion": version::LATEST, "capabilities": {}, "clientInfo": client});
        let reply = self.ask_once("initialize", params, None)?;
        if reply.message.get("error").is_some() {
            self.era = Era::Modern;
            let discovered = self.ask_once("server/discover", json!({}), None)?;
            return Ok(Some(reply).filter(|_| discovered.message.get("result").is_none()));
        }
        let session = reply.received.header("mcp-session-id").map(str::to_owned);
        self.era = Era::Legacy { session };
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.wire.send(self.request("", &Value::Null), done.to_string(), bounds::CLI_TIMEOUT)?;
        Ok(None)
    }

    /// Sends a request that needs no handshake; if that fails, again in the other era.
    pub(super) fn ask(&mut self, method: &str, params: Value) -> Result<Reply, String> {
        let reply = self.ask_once(method, params.clone(), None)?;
        if self.era == Era::Modern || reply.message.get("error").is_none() {
            return Ok(reply);
        }
        let legacy = std::mem::replace(&mut self.era, Era::Modern);
        let again = self.ask_once(method, params, None)?;
        if again.message.get("error").is_none() {
            return Ok(again);
        }
        self.era = legacy;
        Ok(reply)
    }

    /// The same, once.
    pub(super) fn ask_once(
        &self,
        method: &str,
        mut params: Value,
        idempotency_key: Option<&str>,
    ) -> Result<Reply, String> {
        if let Some(params) = params.as_object_mut().filter(|_| self.era == Era::Modern) {
            let meta = json!({VERSION_KEY: version::MODERN, CAPABILITIES_KEY: {}});
            params.insert("_meta".to_owned(), meta);
        }
        let mut request = self.request(method, &params);
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let received = self.wire.send(request, body.to_string(), bounds::CLI_CALL_TIMEOUT)?;
        let message = received.json().ok().filter(|message| message.get("jsonrpc").is_some());
        match message {
            Some(message) => Ok(Reply { received, message }),
            None => Err(format!(
                "This is not an answer of MCP ({}): {}",
                received.status,
                received.body.chars().take(200).collect::<String>()
            )),
        }
    }

    /// Ends the session, if there is one. It would end by itself, later.
    pub(super) fn end(self) {
        let Era::Legacy { session: Some(session) } = &self.era else { return };
        let request = self.with_key(self.wire.request(&Method::DELETE, PATH));
        let request = request.header("Mcp-Session-Id", session);
        self.wire.send(request, String::new(), bounds::CLI_TIMEOUT).ok();
    }

    /// The customer's balance.
    pub(super) fn credits(&self) -> Option<i64> {
        let request = self.with_key(self.wire.request(&Method::GET, "/balance"));
        let received = self.wire.send(request, String::new(), bounds::CLI_TIMEOUT).ok()?;
        received.json().ok()?.get("credits")?.as_i64()
    }

    fn request(&self, method: &str, params: &Value) -> Builder {
        let request = self.with_key(self.wire.request(&Method::POST, PATH));
        let request =
            request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        match &self.era {
            Era::Legacy { session: Some(session) } => request
                .header("Mcp-Session-Id", session)
                .header("MCP-Protocol-Version", version::LATEST),
            Era::Legacy { session: None } => request,
            Era::Modern => {
                let request = request.header("MCP-Protocol-Version", version::MODERN);
                let request = request.header("Mcp-Method", method);
                match params.get("name").and_then(Value::as_str) {
                    Some(name) => request.header("Mcp-Name", name),
                    None => request,
                }
            }
        }
    }

    fn with_key(&self, request: Builder) -> Builder {
        match &self.key {
            Some(key) => request.header("X-API-Key", key.expose_secret()),
            None => request,
        }
    }
}

/// What an error object says.
pub(super) fn message_of(error: &Value) -> &str {
    error.get("message").and_then(Value::as_str).unwrap_or("an error without a message")
}
