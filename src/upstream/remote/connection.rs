//! What the tasks of one generation share: the requests that can be made of the server, where its
//! messages go, and what went wrong last.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::reply::Reply;
use super::sessions::{Session, Sessions};
use super::stream::Stream;
use super::{RemoteOptions, Trouble};
use crate::model::bounds;
use crate::protocol::sse::Found;
use crate::protocol::{object, to_server};
use crate::upstream::Hello;
use crate::upstream::inbox::Inbox;
use crate::upstream::link::Shared;
use crate::upstream::outbox::Outbox;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const EITHER: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const PAYGATE: HeaderValue =
    HeaderValue::from_static(concat!("paygate/", env!("CARGO_PKG_VERSION")));

/// One generation's way to the server.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Arc<RemoteOptions>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) inbox: Inbox,
    pub(super) sessions: Sessions,
    pub(super) is_modern: bool,
    /// Something went wrong, and perhaps not for one call alone.
    pub(super) doubted: Notify,
    /// The older transport's stream, on its way to the task that reads it.
    pub(super) older: mpsc::Sender<Stream>,
    /// The id of the last `initialize`.
    initialize: AtomicU64,
    /// Why the generation is over, once it is.
    broken: watch::Sender<Option<String>>,
    trouble: Mutex<Option<Trouble>>,
    troubles: AtomicU64,
    /// How many of them show that the server is there.
    refusals: AtomicU64,
}

impl Connection {
    pub(super) fn new(
        shared: &Arc<Shared>,
        options: &Arc<RemoteOptions>,
        outbox: &Arc<Outbox>,
        inbox: Inbox,
        older: mpsc::Sender<Stream>,
    ) -> Self {
        let is_modern = matches!(shared.options.hello, Hello::Discover);
        Self {
            shared: Arc::clone(shared),
            options: Arc::clone(options),
            outbox: Arc::clone(outbox),
            inbox,
            sessions: Sessions::new(is_modern),
            is_modern,
            doubted: Notify::new(),
            older,
            initialize: AtomicU64::new(0),
            broken: watch::Sender::new(None),
            trouble: Mutex::new(None),
            troubles: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    /// Posts one message, with headers of its own.
    pub(super) async fn post(
        &self,
        line: Bytes,
        headers: HeaderMap,
        session: &Session,
    ) -> Result<Response<Incoming>, Trouble> {
        let uri = session.post_to.as_ref().unwrap_or(&self.options.url);
        let mut request = self.request(Method::POST, uri, session, line);
        request.headers_mut().insert(ACCEPT, EITHER);
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request.headers_mut().extend(headers);
        self.options.client.send(request).await
    }

    /// Asks for the stream of a session, or for the rest of one.
    pub(super) async fn get(
        &self,
        session: &Session,
        last_event_id: Option<&[u8]>,
    ) -> Result<Reply, Trouble> {
        let mut request = self.request(Method::GET, &self.options.url, session, Bytes::new());
        request.headers_mut().insert(ACCEPT, EVENT_STREAM);
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_bytes(id).ok()) {
            request.headers_mut().insert(LAST_EVENT_ID, id);
        }
        self.read(self.options.client.send(request).await?).await
    }

    /// Reads a response as far as it must be to know what it is.
    pub(super) async fn read(&self, response: Response<Incoming>) -> Result<Reply, Trouble> {
        Reply::read(response, self.inbox.line_bytes_max()).await
    }

    /// Tells the server that the session is over.
    pub(super) async fn delete(&self, session: &Session) -> Result<Response<Incoming>, Trouble> {
        let request = self.request(Method::DELETE, &self.options.url, session, Bytes::new());
        self.options.client.send(request).await
    }

    fn request(
        &self,
        method: Method,
        uri: &Uri,
        session: &Session,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, PAYGATE);
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        headers.extend(self.options.headers.clone());
        let of_session = [(SESSION_ID, &session.id), (VERSION, &session.version)];
        for (name, value) in of_session {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        request
    }

    /// `initialize`, sent under this id, begins a session.
    pub(super) fn begin_session(&self, id: u64) {
        self.initialize.store(id, Ordering::Relaxed);
    }

    /// The response to `initialize` names the session.
    pub(super) fn name_session(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        let Some(id) = headers.get(SESSION_ID) else { return Ok(()) };
        if id.len() > bounds::REMOTE_SESSION_BYTES_MAX {
            return Err(Trouble::NotMcp("its session id is too long".to_owned()));
        }
        let mut id = id.clone();
        id.set_sensitive(true);
        self.sessions.named(Some(id));
        Ok(())
    }

    /// Takes what a stream brought.
    pub(super) fn event(&self, found: Found<'_>, on: Option<u64>) {
        match found {
            Found::Event { name: b"message", data } => self.feed(data, on),
            Found::Event { .. } => {}
            Found::TooLong { bytes } => self.inbox.too_long(bytes, on),
        }
    }

    /// Takes one message, or an array of them as 2025-03-26 had it.
    pub(super) fn feed(&self, message: &[u8], on: Option<u64>) {
        let message = message.trim_ascii();
        let items = message.starts_with(b"[").then(|| std::str::from_utf8(message).ok());
        match items.flatten().and_then(object::items) {
            Some(items) => items.into_iter().for_each(|item| self.feed_one(item.as_bytes(), on)),
            None => self.feed_one(message, on),
        }
    }

    fn feed_one(&self, message: &[u8], on: Option<u64>) {
        let line = one_line(message);
        if self.sessions.is_greeting()
            && let Some(answer) = Initialized::read(&line)
            && answer.id == self.initialize.load(Ordering::Relaxed)
        {
            self.sessions.agreed(&answer.result.protocol_version);
        }
        self.inbox.take(&line, on);
    }

    /// Does anybody wait for the answer to this request?
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        self.shared.calls.is_waiting(id)
    }

    /// Ends once nobody does.
    pub(super) async fn nobody_waits(&self, id: u64) {
        while self.is_waiting(id) {
            sleep(bounds::REMOTE_WAITER_LOOK).await;
        }
    }

    /// Notes what went wrong. Warns at the 1st, 2nd, 4th, 8th … time.
    pub(super) fn note(&self, trouble: Trouble) {
        let count = self.troubles.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let server = &self.shared.options.server;
        // Who starts it is told why it does not start.
        let is_news = count.is_power_of_two() && self.shared.status.borrow().is_ready();
        if is_news {
            tracing::warn!(target: "upstream", server, count, "{}: it {trouble}", self.options.address());
        } else {
            tracing::debug!(target: "upstream", server, "it {trouble}");
        }
        let is_there = trouble.shows_that_it_is_there();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        if is_there {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        } else {
            self.doubted.notify_one();
        }
    }

    /// How often the server has refused something and thereby shown that it is there.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What went wrong last.
    pub(super) fn last_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The generation is over. The first reason counts.
    pub(super) fn break_off(&self, why: impl Into<String>) {
        self.broken.send_if_modified(|broken| {
            let is_first = broken.is_none();
            broken.get_or_insert_with(|| why.into());
            is_first
        });
    }

    pub(super) fn broken(&self) -> watch::Receiver<Option<String>> {
        self.broken.subscribe()
    }
}

/// A message as one line: elsewhere it may be written to a pipe or to a stream of lines.
fn one_line(message: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', message).is_none() {
        return Cow::Borrowed(message);
    }
    let Ok(text) = std::str::from_utf8(message) else {
        return Cow::Borrowed(message);
    };
    let mut line = Vec::with_capacity(message.len());
    to_server::push_raw(&mut line, text);
    Cow::Owned(line)
}

/// The answer to `initialize`, as far as the transport must know it.
#[derive(Deserialize)]
struct Initialized {
    id: u64,
    result: Agreement,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agreement {
    protocol_version: String,
}

impl Initialized {
    fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}
