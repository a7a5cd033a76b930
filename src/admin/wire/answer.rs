//! What an endpoint answers: JSON with a status, or a problem. The only place where errors of the
//! store get a status.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use crate::admin::keys::view::Shown;
use crate::model::bounds::COUNTER_MAX;
use crate::store::StoreError;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
const COMPLETE_SINCE: HeaderName = HeaderName::from_static("x-complete-since");

/// A successful answer.
#[derive(Debug)]
pub(in crate::admin) struct Answer {
    status: StatusCode,
    body: Body,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// 200 with JSON on one line.
    pub(in crate::admin) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self::text(StatusCode::OK, to_json(body)?.into_bytes()))
    }

    /// 200 with JSON that was written before.
    pub(in crate::admin) fn json(body: String) -> Self {
        Self::text(StatusCode::OK, body.into_bytes())
    }

    /// 200 with JSON for people to read.
    pub(in crate::admin) fn pretty(body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec_pretty(body).map_err(|error| Problem::unwritable(&error))?;
        Ok(Self::text(StatusCode::OK, body))
    }

    /// 201.
    pub(in crate::admin) fn created(body: String) -> Self {
        Self::text(StatusCode::CREATED, body.into_bytes())
    }

    /// 200 with JSON that is made while it is sent.
    pub(in crate::admin) fn streamed(body: Body) -> Self {
        Self { status: StatusCode::OK, body, headers: Vec::new() }
    }

    /// Says that this answer was given before.
    #[must_use]
    pub(in crate::admin) fn replayed(self) -> Self {
        self.with(REPLAYED, HeaderValue::from_static("true"))
    }

    /// Says where a list goes on, if it does.
    #[must_use]
    pub(in crate::admin) fn next_cursor(self, next: Option<i64>) -> Self {
        self.marked_cursor(next, None)
    }

    /// The same for a list whose order is this instance's own.
    #[must_use]
    pub(in crate::admin) fn marked_cursor(self, next: Option<i64>, mark: Option<&str>) -> Self {
        let text = match (next, mark) {
            (None, _) => return self,
            (Some(next), None) => next.to_string(),
            (Some(next), Some(mark)) => format!("{next}-{mark}"),
        };
        match HeaderValue::from_str(&text) {
            Ok(text) => self.with(NEXT_CURSOR, text),
            Err(_) => self,
        }
    }

    /// Says from when on the answer is complete, where nothing inside it can.
    #[must_use]
    pub(in crate::admin) fn complete_since(self, since: Option<&Shown>) -> Self {
        match since.map(|since| HeaderValue::from_str(&since.0.to_string())) {
            Some(Ok(since)) => self.with(COMPLETE_SINCE, since),
            Some(Err(_)) | None => self,
        }
    }

    /// Adds a header, or replaces one.
    #[must_use]
    pub(in crate::admin) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn text(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, body: Body::from(body), headers: Vec::new() }
    }

    pub(in crate::admin) fn respond(self) -> Response {
        let mut response = respond(self.status, self.body);
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// JSON on one line.
pub(in crate::admin) fn to_json(body: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(body).map_err(|error| Problem::unwritable(&error))
}

/// Runs long work (serialising all keys) where it does not hold up other requests.
pub(in crate::admin) async fn in_background(
    work: impl FnOnce() -> Result<Answer, Problem> + Send + 'static,
) -> Result<Answer, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(target: "admin", %error, "a report ended before its answer");
            Err(Problem::unavailable("The report could not be made; try again", 1))
        }
    }
}

/// Why there is no such answer: `{"error": message}`.
#[derive(Debug)]
pub(in crate::admin) struct Problem {
    status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }

    /// 500: a value that has no JSON.
    pub(in crate::admin) fn unwritable(error: &serde_json::Error) -> Self {
        tracing::error!(target: "admin", %error, "an answer could not be written");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }

    /// 400: the request says something that it must not.
    pub(in crate::admin) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401.
    pub(in crate::admin) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403.
    pub(in crate::admin) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404.
    pub(in crate::admin) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 405 with the methods that are.
    pub(in crate::admin) fn method_not_allowed(allowed: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").with(ALLOW, allowed)
    }

    /// 408.
    pub(in crate::admin) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time")
    }

    /// 409.
    pub(in crate::admin) fn conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413.
    pub(in crate::admin) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The body is larger than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 429.
    pub(in crate::admin) fn too_many(message: &str, retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
            .with(RETRY_AFTER, &retry_after_seconds.to_string())
    }

    /// 503: nothing was changed; worth another try.
    pub(in crate::admin) fn unavailable(
        message: impl Into<String>,
        retry_after_seconds: u32,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
            .with(RETRY_AFTER, &retry_after_seconds.to_string())
    }

    /// The same without anything that only the operator may know.
    #[must_use]
    pub(in crate::admin) fn for_the_public(mut self) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            "The books are not available; try again later".clone_into(&mut self.message);
        }
        self
    }

    pub(in crate::admin) fn respond(self) -> Response {
        let body = serde_json::json!({ "error": self.message }).to_string();
        let mut response = respond(self.status, Body::from(body));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// Is it 403?
    pub(in crate::admin) fn is_forbidden(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
    }

    /// What it says.
    pub(in crate::admin) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = sentence(&error.to_string());
        match error {
            StoreError::Closed(_) | StoreError::Unfit(_) => Self::unavailable(message, 30),
            StoreError::Busy | StoreError::Unavailable(_) => Self::unavailable(message, 1),
            StoreError::OnceFull | StoreError::ParkedFull => Self::unavailable(message, 60),
            StoreError::Read(_) => {
                tracing::error!(target: "admin", %error, "an admin request failed");
                Self::unavailable(message, 5)
            }
            StoreError::Conflict => {
                Self::conflict("The key is being changed by others; nothing was done, try again")
            }
            StoreError::Duplicate | StoreError::NotOpen | StoreError::Full(..) => {
                Self::conflict(&message)
            }
            StoreError::NotFound => Self::not_found("Key not found"),
            StoreError::OnceMismatch => Self::new(StatusCode::UNPROCESSABLE_ENTITY, message),
            StoreError::OutOfRange => {
                Self::bad(format!("The balance would be beyond {COUNTER_MAX} credits"))
            }
        }
    }
}

/// With a capital letter, as all messages of this API.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn respond(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
