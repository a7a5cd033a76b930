//! Hands each message of the client to the proxy, and what comes back to the writer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use bytes::Bytes;
use memchr::memmem;
use secrecy::ExposeSecret;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::StdioOptions;
use super::lines::{Line, Lines};
use super::writer::Said;
use crate::front::reply;
use crate::model::bounds;
use crate::protocol::from_client::{self, Incoming, Invalid, Message};
use crate::protocol::modern::{self, Headers};
use crate::protocol::object::{Object, string};
use crate::protocol::to_client::{self, NO_ID};
use crate::proxy::{Inbound, Isolation, Proxy, Reply};

/// Reads for one client.
pub(super) struct Reader {
    client: Arc<Client>,
    /// The session that its `initialize` opened, and the version that was agreed on.
    session: Option<String>,
    version: Option<String>,
    lines: Lines,
    open: watch::Sender<usize>,
    /// Messages in flight.
    tasks: JoinSet<()>,
    /// Those that are requests of the modern era, with their ids as they were written: whoever cancels
    /// one ends it, and the proxy sees by that that nobody waits for it. Nothing keeps a client from
    /// giving two of them one id.
    modern: HashMap<Id, (Box<str>, AbortHandle)>,
}

/// What every message of the client needs.
struct Client {
    options: StdioOptions,
    proxy: Arc<ArcSwap<Proxy>>,
    said: mpsc::Sender<Said>,
}

impl Reader {
    pub(super) fn new(
        options: StdioOptions,
        proxy: Arc<ArcSwap<Proxy>>,
        said: mpsc::Sender<Said>,
        open: watch::Sender<usize>,
    ) -> Self {
        let lines = Lines::new(options.body_bytes_max);
        let client = Arc::new(Client { options, proxy, said });
        let (session, version, tasks, modern) = Default::default();
        Self { client, session, version, lines, open, tasks, modern }
    }

    /// Reads until the client has closed its end or it is time to stop.
    pub(super) async fn read(
        &mut self,
        mut input: mpsc::Receiver<Vec<u8>>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let has_room = self.tasks.len() < bounds::STDIO_MESSAGES_MAX;
            tokio::select! {
                biased;
                () = wanted(&mut stop) => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                bytes = input.recv(), if has_room => {
                    let lines = match &bytes {
                        Some(bytes) => self.lines.take(bytes),
                        None => self.lines.end().into_iter().collect(),
                    };
                    for line in lines {
                        self.line(line).await;
                    }
                    if bytes.is_none() {
                        return self.left().await;
                    }
                }
            }
        }
    }

    /// The client has closed its end: nothing that its server asks will be answered.
    async fn left(&self) {
        let (session, version) = (self.session.clone(), self.version.clone());
        self.client
            .proxy
            .load_full()
            .client_left(&self.client.inbound(Bytes::new(), session, version))
            .await;
    }

    /// Waits for the answers to all that was read.
    pub(super) async fn finish(mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(error) => {
                if !error.is_cancelled() {
                    tracing::error!(target: "front", %error, "a message failed in Paygate");
                }
                error.id()
            }
        };
        self.modern.remove(&task);
        self.count();
    }

    /// Ends the requests of the modern era that have this id, if there are any.
    fn cancel(&self, id: &str) -> bool {
        let of_id = self.modern.values().filter(|(known, _)| **known == *id);
        of_id.map(|(_, task)| task.abort()).count() > 0
    }

    fn count(&self) {
        self.open.send_replace(self.tasks.len());
    }

    async fn line(&mut self, line: Line) {
        let body = match line {
            Line::Whole(body) => Bytes::from(body),
            Line::TooLong => {
                let bytes_max = self.client.options.body_bytes_max;
                let why = format!("the message is longer than {bytes_max} bytes (maxBodyBytes)");
                return self.client.say(Invalid::request(NO_ID, &why).text()).await;
            }
        };
        let inbound = self.client.inbound(body, self.session.clone(), self.version.clone());
        // Nothing of a session can be handled before it is open.
        if self.session.is_none() && is_initialize(&inbound.body) {
            return self.begin(inbound).await;
        }
        let is_modern = inbound.headers.is_some();
        let seen = Seen::of(&inbound.body);
        if matches!(&seen, Some(Seen::Cancelled(id)) if self.cancel(id)) {
            return;
        }
        let id = match seen {
            Some(Seen::Request(id)) if is_modern => Some(id),
            _ => None,
        };
        let client = Arc::clone(&self.client);
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { client.handle(inbound).await });
        // It gets as far as it can before the next message is looked at, so that a request is under
        // way when its cancellation comes.
        let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if first.is_pending() {
            let task = self.tasks.spawn(work);
            self.modern.extend(id.map(|id| (task.id(), (id, task))));
            self.count();
        }
    }

    /// Handles what may open a session.
    async fn begin(&mut self, inbound: Inbound) {
        match self.client.proxy.load_full().handle(inbound).await {
            Reply::Opened(session, answer) => {
                self.version = agreed_version(&answer.text);
                self.session = Some(session.to_string());
                self.client.say(answer.text).await;
                let inbound =
                    self.client.inbound(Bytes::new(), self.session.clone(), self.version.clone());
                if let Reply::Stream(stream) =
                    self.client.proxy.load_full().listen(&inbound, None).await
                {
                    self.client.said.send(Said::Stream(stream)).await.ok();
                }
            }
            reply => self.client.reply(reply).await,
        }
    }
}

impl Client {
    /// A message of this client. Whoever started the process is on this machine.
    fn inbound(&self, body: Bytes, session: Option<String>, version: Option<String>) -> Inbound {
        let credential = self.options.api_key.as_ref().map(|key| key.expose_secret().to_owned());
        // A client that has the server to itself has one stream for everything.
        let has_own_server = session.is_some()
            && credential.is_some()
            && self.proxy.load().options().isolation == Isolation::Session;
        let may_be_modern = modern::may_be_claimed(&body);
        Inbound {
            headers: may_be_modern.then(|| Box::new(Headers::none())),
            body,
            credential,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            protocol_version: version,
            takes_events: !has_own_server,
            idempotency_key: None,
            session,
        }
    }

    async fn handle(&self, inbound: Inbound) {
        let body = inbound.body.clone();
        let again = self.inbound(body.clone(), None, inbound.protocol_version.clone());
        match self.proxy.load_full().handle(inbound).await {
            // The session has ended, because its key opens nothing any more: the client is told so.
            Reply::NoSession => {
                let reply = self.proxy.load_full().handle(again).await;
                self.reply(reply).await;
            }
            // HTTP says by its status which request this is about.
            Reply::Malformed(text) => {
                let text = match Seen::of(&body) {
                    Some(Seen::Request(id)) => to_client::with_id(&text, &id).unwrap_or(text),
                    Some(Seen::Cancelled(_)) | None => text,
                };
                self.say(text).await;
            }
            reply => self.reply(reply).await,
        }
    }

    async fn reply(&self, reply: Reply) {
        match reply {
            Reply::Stream(mut stream) => {
                let denials = &self.options.denials;
                let words = |reply| reply::write(reply, denials).text.unwrap_or_default();
                while let Some(told) = stream.next(&words).await {
                    self.say(told.text.to_vec()).await;
                }
            }
            reply => {
                if let Some(text) = reply::write(reply, &self.options.denials).text {
                    self.say(text).await;
                }
            }
        }
    }

    /// Gives the writer a message. If it is gone, the client is.
    async fn say(&self, text: Vec<u8>) {
        self.said.send(Said::Message(text)).await.ok();
    }
}

/// What matters of a message to this front.
enum Seen {
    /// A request with this id.
    Request(Box<str>),
    /// The request with this id is not to be answered any more.
    Cancelled(Box<str>),
}

impl Seen {
    fn of(body: &[u8]) -> Option<Self> {
        match from_client::read(body).ok()? {
            Incoming::Single(Message::Request(request)) => Some(Self::Request(request.id.into())),
            Incoming::Single(Message::Notification { method, params }) => {
                let id = params.get("requestId")?;
                (method == "notifications/cancelled").then(|| Self::Cancelled(id.into()))
            }
            Incoming::Single(Message::Response { .. }) | Incoming::Batch(_) => None,
        }
    }
}

/// Waits until the front is told to stop; if it is gone, that too.
async fn wanted(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

fn is_initialize(body: &[u8]) -> bool {
    if memmem::find(body, b"initialize").is_none() {
        return false;
    }
    let text = std::str::from_utf8(body).unwrap_or_default();
    let method = Object::read(text).ok().and_then(|message| message.get("method")).and_then(string);
    method.as_deref() == Some("initialize")
}

/// The version in an answer to `initialize`.
fn agreed_version(answer: &[u8]) -> Option<String> {
    let answer = Object::read(std::str::from_utf8(answer).ok()?).ok()?;
    let result = Object::read(answer.get("result")?).ok()?;
    result.get("protocolVersion").and_then(string).map(std::borrow::Cow::into_owned)
}
