//! The first words with a server, by its era, and its list of tools.
//!
//! The server's own result is kept as it wrote it; what clients are told of it is decided
//! elsewhere.

use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::link::{OnGiveUp, Shared, Slot};
use super::outbox::Outbox;
use super::tool_names::ToolsFault;
use super::{Failure, Hello, Kind};
use crate::protocol::from_server::Answer;
use crate::protocol::modern::{CAPABILITIES_KEY, VERSION_KEY};
use crate::protocol::version;

/// Why a server could not be greeted.
#[derive(Debug)]
pub(super) enum Fault {
    /// No answer to this method.
    NoAnswer(&'static str),
    /// The connection ended.
    Ended,
    /// An answer that is none.
    Bad(String),
    /// It answered the first request with this error, as JSON text.
    Refused(&'static str, Box<str>),
}

/// What both eras' first results have in common.
#[derive(Deserialize)]
struct FirstResult {
    capabilities: Capabilities,
}

#[derive(Deserialize)]
struct Capabilities {
    tools: Option<IgnoredAny>,
}

/// Greets the server; all of it must be done by the deadline.
pub(super) async fn greet(
    shared: &Arc<Shared>,
    outbox: &Arc<Outbox>,
    deadline: Instant,
) -> Result<(), Fault> {
    let hello = &shared.options.hello;
    let method = hello.method();
    let slot = Slot::own(shared, outbox, OnGiveUp::Nothing).map_err(|why| fault(method, why))?;
    let line = first_request(hello, slot.id());
    let answer = slot
        .send(line, deadline.saturating_duration_since(Instant::now()))
        .answer()
        .await
        .map_err(|failure| fault(method, failure))?;
    let Some(result) = answer.result_text() else {
        return Err(Fault::Refused(method, answer.error_text().unwrap_or("{}").into()));
    };
    let parsed: FirstResult = serde_json::from_str(result)
        .map_err(|error| Fault::Bad(format!("its result of {method} is none: {error}")))?;
    let has_tools = parsed.capabilities.tools.is_some();
    *shared.first_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(answer));

    if matches!(hello, Hello::Initialize(_)) {
        let line = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        outbox.push(line).await.map_err(|_| Fault::Ended)?;
    }
    if !has_tools {
        shared.tools.none();
        return Ok(());
    }
    if matches!(shared.options.kind, Kind::Several(_)) {
        // What all of them list is put together from what each lists.
        return Ok(());
    }
    shared.tools.fetch(shared, outbox, deadline).await.map_err(|tools_fault| match tools_fault {
        ToolsFault::NoAnswer(failure) => fault("tools/list", failure),
        other => Fault::Bad(other.to_string()),
    })
}

fn fault(method: &'static str, failure: Failure) -> Fault {
    match failure {
        Failure::Timeout => Fault::NoAnswer(method),
        Failure::Exited | Failure::Unavailable => Fault::Ended,
        Failure::Malformed
        | Failure::Task
        | Failure::TooLarge
        | Failure::Busy
        | Failure::Cancelled
        | Failure::Ours => Fault::Bad(format!("{method}: {}", failure.reason())),
    }
}

fn first_request(hello: &Hello, id: u64) -> Vec<u8> {
    let params = match hello {
        Hello::Initialize(Some(params)) => params.to_string(),
        Hello::Initialize(None) => format!(
            r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{}}}"#,
            version::LATEST,
            client_info()
        ),
        Hello::Discover => format!(r#"{{"_meta":{}}}"#, own_meta()),
    };
    let method = hello.method();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into_bytes()
}

/// The `_meta` of a modern request of Paygate's own.
pub(super) fn own_meta() -> String {
    format!(
        concat!(r#"{{"{}":"{}","{}":{{}},"#, r#""io.modelcontextprotocol/clientInfo":{}}}"#),
        VERSION_KEY,
        version::MODERN,
        CAPABILITIES_KEY,
        client_info()
    )
}

fn client_info() -> String {
    format!(r#"{{"name":"paygate","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
}

/// What an error answer says, in short, for the operator.
pub(super) fn error_message(answer: &Answer) -> String {
    said(answer.error_text().unwrap_or_default())
}

/// What an error object says, in short, for the operator.
pub(super) fn said(error: &str) -> String {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    let parsed = serde_json::from_str::<Error>(error).ok();
    parsed.map_or_else(
        || "an error without code and message".to_owned(),
        |error| format!("{} ({})", error.message.chars().take(500).collect::<String>(), error.code),
    )
}
