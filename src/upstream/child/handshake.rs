//! The first words with a child: initialize, initialized, and its list of tools.
//!
//! The child's own result of initialize is kept as it wrote it; what clients are told of it is
//! decided elsewhere.

use std::fmt::Write;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::link::{OnGiveUp, Shared, Slot};
use super::outbox::Outbox;
use crate::protocol::from_server::Answer;
use crate::protocol::version;
use crate::upstream::Failure;
use crate::upstream::tools::ToolsFault;

/// Why a child could not be greeted.
#[derive(Debug)]
pub(super) enum Fault {
    /// No answer to this method.
    NoAnswer(&'static str),
    /// The connection ended.
    Ended,
    /// An answer that is none.
    Bad(String),
}

#[derive(Deserialize)]
struct InitializeResult<'a> {
    #[serde(rename = "protocolVersion")]
    protocol_version: std::borrow::Cow<'a, str>,
    capabilities: Capabilities,
}

#[derive(Deserialize)]
struct Capabilities {
    tools: Option<IgnoredAny>,
}

/// Greets the child; all of it must be done by the deadline.
pub(super) async fn greet(
    shared: &Arc<Shared>,
    outbox: &Arc<Outbox>,
    deadline: Instant,
) -> Result<(), Fault> {
    let slot = Slot::own(shared, outbox, OnGiveUp::Nothing)
        .map_err(|failure| fault("initialize", failure))?;
    let line = initialize_request(slot.id());
    let answer = slot
        .send(line, deadline.saturating_duration_since(Instant::now()))
        .answer()
        .await
        .map_err(|failure| fault("initialize", failure))?;
    let Some(result) = answer.result_text() else {
        return Err(Fault::Bad(format!(
            "it answered initialize with an error: {}",
            error_message(&answer)
        )));
    };
    let parsed: InitializeResult<'_> = serde_json::from_str(result)
        .map_err(|error| Fault::Bad(format!("its result of initialize is none: {error}")))?;
    tracing::debug!(target: "upstream", server = shared.options.server, version = %parsed.protocol_version, "initialized");
    let has_tools = parsed.capabilities.tools.is_some();
    *shared.initialize.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.into());

    outbox
        .push(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await
        .map_err(|_| Fault::Ended)?;
    if !has_tools {
        shared.tools.none();
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

fn initialize_request(id: u64) -> Vec<u8> {
    let (offered, version) = (version::LATEST, env!("CARGO_PKG_VERSION"));
    let mut line = String::with_capacity(256);
    let written = write!(
        line,
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{offered}","capabilities":{{}},"clientInfo":{{"name":"paygate","version":"{version}"}}}}}}"#
    );
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    line.into_bytes()
}

/// What an error answer says, in short, for the operator.
pub(super) fn error_message(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    let parsed = answer.error_text().and_then(|text| serde_json::from_str::<Error>(text).ok());
    parsed.map_or_else(
        || "an error without code and message".to_owned(),
        |error| format!("{} ({})", error.message.chars().take(500).collect::<String>(), error.code),
    )
}
