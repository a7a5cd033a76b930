//! Reads the body of a message, within its bound and in time.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::respond::{Response, rpc_error, then_close};
use crate::model::bounds;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is larger than this.
    TooLarge(usize),
    /// It took too long.
    Slow,
    /// The client went away, or its chunks are malformed.
    Broken,
}

pub(super) async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, BodyFault> {
    let too_large = |size: u64| size > u64::try_from(bytes_max).unwrap_or(u64::MAX);
    if too_large(body.size_hint().lower()) {
        return Err(BodyFault::TooLarge(bytes_max));
    }
    timeout(bounds::BODY_TIMEOUT, collect(body, bytes_max)).await.unwrap_or(Err(BodyFault::Slow))
}

/// A body that came in one piece, as most do, is not copied.
async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, BodyFault> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyFault::Broken)?;
        let Ok(piece) = frame.into_data() else { continue };
        let size = first.len() + all.len() + piece.len();
        if size > bytes_max {
            return Err(BodyFault::TooLarge(bytes_max));
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(size);
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

impl BodyFault {
    pub(super) fn response(self) -> Response {
        then_close(rpc_error(self.status(), &self.message()))
    }

    fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    fn message(self) -> String {
        match self {
            Self::TooLarge(bytes_max) => format!(
                "The request body is larger than {bytes_max} bytes, the limit of this server (maxBodyBytes)"
            ),
            Self::Slow => {
                format!(
                    "The request body did not arrive within {} s",
                    bounds::BODY_TIMEOUT.as_secs()
                )
            }
            Self::Broken => "The request body ended early or is malformed".to_owned(),
        }
    }
}
