//! The errors that a client sees when something other than its request is at fault. Each says
//! whose fault it is; `data.reason` is the fixed word, `data.retryAfterMs` is there where waiting
//! helps.

use serde::Serialize;
use tokio::task::JoinError;

use super::outage;
use crate::protocol::to_client::{ErrorCode, ErrorObject, ErrorObjectOwned};
use crate::store::StoreError;
use crate::upstream::{Failure, Outcome};

/// A restart or a full queue is usually over by then.
pub(super) const RETRY_SOON_MS: u64 = 1_000;

/// Closed books wait for an operator.
const RETRY_LATER_MS: u64 = 30_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// A request whose parameters are wrong.
pub(super) fn invalid_params(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObject::owned(ErrorCode::InvalidParams.code(), message, None::<()>)
}

/// A fault with a fixed word.
pub(super) fn internal(
    message: &str,
    reason: &str,
    retry_after_ms: Option<u64>,
) -> ErrorObjectOwned {
    let data = Data { reason, retry_after_ms };
    ErrorObject::owned(ErrorCode::InternalError.code(), message, Some(data))
}

/// The guarded server gave no answer.
pub(super) fn upstream(failure: Failure) -> ErrorObjectOwned {
    let (message, retry_after_ms) = match failure {
        Failure::Timeout => ("The MCP server did not answer in time; nothing was charged", None),
        Failure::Exited => {
            ("The MCP server ended before it answered; nothing was charged", Some(RETRY_SOON_MS))
        }
        Failure::Unavailable => (
            "The MCP server is not running at the moment; nothing was charged",
            Some(RETRY_SOON_MS),
        ),
        Failure::Busy => (
            "The MCP server has too many calls in flight; nothing was charged",
            Some(RETRY_SOON_MS),
        ),
        Failure::Malformed => {
            ("The MCP server's answer was not valid JSON-RPC; nothing was charged", None)
        }
        Failure::Task => (
            "The tool answered with a task, which nobody could have followed; nothing was charged",
            None,
        ),
        Failure::TooLarge => {
            ("The MCP server's answer was larger than Paygate accepts; nothing was charged", None)
        }
        Failure::Cancelled => ("The request was cancelled; nothing was charged", None),
        Failure::Ours => return ours(),
    };
    internal(message, failure.reason(), retry_after_ms)
}

/// The store cannot say yes. What exactly is wrong with it is the operator's business: the log has it.
pub(super) fn store(error: &StoreError) -> ErrorObjectOwned {
    outage::refused(error);
    let retry_after_ms = match error {
        StoreError::Busy | StoreError::Conflict | StoreError::Unavailable(_) => RETRY_SOON_MS,
        StoreError::Closed(_)
        | StoreError::NotFound
        | StoreError::Duplicate
        | StoreError::NotOpen
        | StoreError::OnceMismatch
        | StoreError::OnceFull
        | StoreError::ParkedFull
        | StoreError::OutOfRange
        | StoreError::Full(..)
        | StoreError::Unfit(_)
        | StoreError::Read(_) => RETRY_LATER_MS,
    };
    let message =
        "Paygate's books are not available, so this cannot be done now; please retry later";
    internal(message, "store_unavailable", Some(retry_after_ms))
}

/// Why nothing can be said about a request that may repeat another one.
pub(super) fn recall(error: &StoreError) -> ErrorObjectOwned {
    match error {
        StoreError::OnceMismatch => repeated_otherwise(),
        StoreError::OnceFull => internal(
            "Too many answers are kept for idempotency keys, so no new one can be used now; \
             nothing was charged",
            "idempotency_store_full",
            Some(RETRY_LATER_MS),
        ),
        StoreError::Closed(_)
        | StoreError::Busy
        | StoreError::Unavailable(_)
        | StoreError::Conflict
        | StoreError::NotFound
        | StoreError::Duplicate
        | StoreError::NotOpen
        | StoreError::ParkedFull
        | StoreError::OutOfRange
        | StoreError::Full(..)
        | StoreError::Unfit(_)
        | StoreError::Read(_) => store(error),
    }
}

/// An idempotency key stands for another request already.
pub(super) fn repeated_otherwise() -> ErrorObjectOwned {
    let message = "Invalid params: this idempotency key was used for another request; \
                   nothing was charged";
    let data = Data { reason: "idempotency_key_reused", retry_after_ms: None };
    ErrorObject::owned(ErrorCode::InvalidParams.code(), message, Some(data))
}

/// A repetition of a call whose answer was too long to be kept.
pub(super) fn answer_not_kept() -> ErrorObjectOwned {
    let message = "This request was answered before, and its answer was too long to be kept; \
                   nothing was charged this time";
    internal(message, "answer_not_kept", None)
}

/// The answer to a request whose client was away when it came.
pub(super) fn answer_not_awaited() -> ErrorObjectOwned {
    let message = "This request was answered while its client was away, and its answer was too \
                   long to be kept";
    internal(message, "answer_not_kept", None)
}

/// What a task ended with. One that ended without a word has panicked: a fault of Paygate, not of
/// the server.
pub(super) fn joined(outcome: Result<Outcome, JoinError>) -> Outcome {
    outcome.unwrap_or(Err(Failure::Ours))
}

/// A task ended without a word, which is a fault of Paygate.
pub(super) fn ours() -> ErrorObjectOwned {
    tracing::error!(target: "proxy", "a call's task ended without an answer");
    ErrorObject::owned(
        ErrorCode::InternalError.code(),
        "Paygate failed; this is a fault of Paygate",
        None::<()>,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_not_blamed_on_the_server() {
        let failure = joined(tokio::spawn(async { panic!("a test") }).await).unwrap_err();
        assert_eq!(failure, Failure::Ours);
        let error = upstream(failure);
        assert_eq!(error.message(), "Paygate failed; this is a fault of Paygate");
        assert!(error.data().is_none());
    }

    #[test]
    fn data_has_the_word_and_a_time_where_waiting_helps() {
        let text =
            |error: &ErrorObjectOwned| error.data().map(ToString::to_string).unwrap_or_default();
        assert_eq!(text(&upstream(Failure::Timeout)), r#"{"reason":"timeout"}"#);
        assert_eq!(
            text(&upstream(Failure::Busy)),
            r#"{"reason":"upstream_unavailable","retryAfterMs":1000}"#
        );
        assert_eq!(
            text(&store(&StoreError::Busy)),
            r#"{"reason":"store_unavailable","retryAfterMs":1000}"#
        );
    }
}
