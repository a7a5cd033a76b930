//! What a response is: a message, a stream of them, neither, or a refusal.

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use hyper::{Response, StatusCode, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::sessions::Session;
use super::stream::Stream;
use super::{Trouble, client, shown, trouble};
use crate::protocol::from_server::FromServer;

/// A response, read as far as it must be to know what it is.
#[derive(Debug)]
pub(super) enum Reply {
    /// One message (or an old array of them).
    Message(Vec<u8>),
    /// One message that is too long to be kept.
    TooLong {
        bytes: usize,
    },
    Stream(Stream),
    /// Success without anything that can be read: of which content type, if any.
    Accepted(Option<String>),
    Refused(Refusal),
}

/// An HTTP status from 400 on.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// If it is JSON and not too long.
    body: Vec<u8>,
}

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

impl Reply {
    pub(super) async fn read(
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Self, Trouble> {
        let (head, body) = response.into_parts();
        let status = head.status;
        if status.is_redirection() {
            return Err(Trouble::Redirect { status, to: location(&head.headers) });
        }
        let media_type = text(&head.headers, &CONTENT_TYPE)
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let media_type = media_type.as_deref();
        if status.is_success() {
            if media_type.is_some()
                && text(&head.headers, &CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
            {
                return Err(Trouble::NotMcp("it compresses its answer unasked".to_owned()));
            }
            return match media_type {
                Some(JSON) if status != StatusCode::ACCEPTED => message(body, bytes_max).await,
                Some(EVENT_STREAM) => Ok(Self::Stream(Stream::new(body, bytes_max))),
                other => Ok(Self::Accepted(other.map(printable))),
            };
        }
        let body = match media_type {
            Some(JSON) => match message(body, bytes_max).await? {
                Self::Message(body) => body,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        Ok(Self::Refused(Refusal { status, body }))
    }
}

impl Reply {
    /// Was the message taken? What came beside that is nobody's.
    pub(super) fn accepted(self) -> Result<(), Trouble> {
        match self {
            Self::Refused(refusal) => Err(refusal.into_trouble()),
            Self::Message(_) | Self::TooLong { .. } | Self::Stream(_) | Self::Accepted(_) => Ok(()),
        }
    }
}

async fn message(mut body: Incoming, bytes_max: usize) -> Result<Reply, Trouble> {
    let declared = body.size_hint().lower();
    if let Ok(bytes) = usize::try_from(declared)
        && bytes > bytes_max
    {
        return Ok(Reply::TooLong { bytes });
    }
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Trouble::Cut(client::root_cause(&error)))?;
        let Some(piece) = frame.data_ref() else { continue };
        let bytes = message.len().saturating_add(piece.len());
        if bytes > bytes_max {
            return Ok(Reply::TooLong { bytes });
        }
        message.extend_from_slice(piece);
    }
    Ok(Reply::Message(message))
}

impl Refusal {
    /// The JSON-RPC answer to this request that came with the status, if one did.
    pub(super) fn answer(&self, id: u64) -> Option<&[u8]> {
        match FromServer::read(&self.body) {
            FromServer::Answer(answer) if answer.id() == id => Some(&self.body),
            _ => None,
        }
    }

    /// Does it say that the session is over? The standard has 404 for that, which may also be the
    /// answer to a request. Servers made after the official examples say 400, with an error that
    /// speaks of the session.
    pub(super) fn ends(&self, session: &Session, request: Option<u64>) -> bool {
        let is_answer = || request.is_some_and(|id| self.answer(id).is_some());
        session.id.is_some()
            && match self.status {
                StatusCode::NOT_FOUND => self.speaks_of_session() || !is_answer(),
                StatusCode::BAD_REQUEST => self.speaks_of_session(),
                _ => false,
            }
    }

    fn speaks_of_session(&self) -> bool {
        self.error().is_some_and(|error| {
            matches!(error.code, -32000 | -32001 | -32600)
                && error.message.to_ascii_lowercase().contains("session")
        })
    }

    /// May it be over after a while?
    pub(super) fn is_passing(&self) -> bool {
        trouble::is_out_of_service(self.status)
    }

    /// May the server speak the older transport, which knows no POST here?
    pub(super) fn may_be_older(&self) -> bool {
        let status = self.status;
        matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        )
    }

    pub(super) fn into_trouble(self) -> Trouble {
        let error = self.error_text();
        Trouble::Status { status: self.status, error }
    }

    fn error(&self) -> Option<ErrorObject> {
        serde_json::from_str(&self.error_text()?).ok()
    }

    fn error_text(&self) -> Option<Box<str>> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        let message: Message<'_> = serde_json::from_slice(&self.body).ok()?;
        message.error.get().starts_with('{').then(|| message.error.get().into())
    }
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Where it redirects to, without what may be a secret.
fn location(headers: &HeaderMap) -> Option<String> {
    let to: Uri = text(headers, &LOCATION)?.parse().ok()?;
    Some(printable(&if to.authority().is_some() { shown(&to) } else { to.path().to_owned() }))
}

/// A short text from the server, for an operator's terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}
