//! Answers that are made while they are sent, so that a long list needs no more memory than a short
//! one. The next piece is made when the client has room for it, and never if it has gone.

use std::io;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::admin::wire::answer::Problem;

/// Gives an answer piece by piece.
#[async_trait]
pub(in crate::admin) trait Source: Send + 'static {
    /// The next piece; `None` after the last. An error cuts the answer off, so that nobody takes a
    /// part for the whole.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem>;
}

/// The body that a source gives.
pub(in crate::admin) fn body(source: impl Source) -> Body {
    Body::from_stream(stream::try_unfold(source, |mut source| async move {
        match source.next().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, source))),
            Err(problem) => {
                tracing::warn!(target: "admin", why = problem.message(), "an answer was cut off");
                Err(io::Error::other(problem.message().to_owned()))
            }
        }
    }))
}
