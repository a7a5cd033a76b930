//! The messages that are told to one client, on their way to it: what belongs to a request until the
//! answer ends that, and in a session what belongs to none.
//!
//! The telling side never waits: it is called by the task that reads from the server. `log` says what
//! is kept of what is told.

mod log;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Reply;
use super::session::Busy;
use crate::model::bounds;
use crate::model::ids::CallId;
use log::{Beginning, Log, STANDING, Taken};

pub(super) use log::Position;

/// How an answer looks.
pub type Words<'a> = &'a (dyn Fn(Reply) -> Vec<u8> + Send + Sync);

/// All streams of one client.
#[derive(Debug)]
pub(super) struct Streams {
    log: Mutex<Log>,
    told: Notify,
    resuming: Resuming,
    /// Is the client told a place to come back to before there is any event?
    primed: AtomicBool,
}

/// What a client that lost its connection can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resuming {
    /// Nothing: what was under way is lost.
    No,
    /// Come back and name the last event that it saw.
    Yes,
}

/// Where messages for one client go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    streams: Arc<Streams>,
    stream: u64,
    call: Arc<OnceLock<CallId>>,
}

/// The end at which a front takes the messages out.
#[derive(Debug)]
pub struct Streaming {
    streams: Arc<Streams>,
    position: Position,
    shown: bool,
    call: Arc<OnceLock<CallId>>,
    /// Keeps the session awake.
    _busy: Option<Busy>,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name, if the client can come back for what follows it.
    pub id: Option<EventId>,
    /// One JSON-RPC message, or an array of them.
    pub text: Bytes,
}

/// The name of an event among all that a client is told: its stream, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    stream: u64,
    number: u64,
}

impl EventId {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, number) = text.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl Streams {
    pub(super) fn new(resuming: Resuming) -> Arc<Self> {
        let log = Mutex::new(Log::new(resuming == Resuming::Yes));
        let (told, primed) = (Notify::new(), AtomicBool::new(false));
        Arc::new(Self { log, told, resuming, primed })
    }

    /// From now on a client is told a place to come back to before there is any event.
    pub(super) fn prime(&self) {
        self.primed.store(self.resuming == Resuming::Yes, Ordering::Relaxed);
    }

    /// A stream for one request: where its messages go, and where they come out.
    pub(super) fn open(self: &Arc<Self>, busy: Option<Busy>) -> (Outlet, Streaming) {
        let position = self.lock().open();
        let streaming = Streaming::new(self, position, busy);
        let (streams, call) = (Arc::clone(self), Arc::clone(&streaming.call));
        (Outlet { streams, stream: position.stream, call }, streaming)
    }

    /// The stream for what belongs to no request. `None` if it has ended.
    pub(super) fn attach(self: &Arc<Self>, busy: Busy) -> Option<Streaming> {
        let position = self.lock().attach()?;
        self.told.notify_waiters();
        Some(Streaming::new(self, position, Some(busy)))
    }

    /// The rest of a stream whose client has seen this event. `None` if it is not kept.
    pub(super) fn attach_after(self: &Arc<Self>, seen: EventId, busy: Busy) -> Option<Streaming> {
        let position = self.lock().attach_after(seen)?;
        self.told.notify_waiters();
        let mut streaming = Streaming::new(self, position, Some(busy));
        streaming.shown = true;
        Some(streaming)
    }

    /// Where the messages of a request go whose own stream its client would not read.
    pub(super) fn standing(self: &Arc<Self>) -> Outlet {
        Outlet { streams: Arc::clone(self), stream: STANDING, call: Arc::default() }
    }

    /// Tells something that belongs to no request.
    pub(super) fn tell(&self, text: Vec<u8>) -> bool {
        self.change(|log| log.push(STANDING, text.into()))
    }

    /// The same, unless the client has still to be told exactly that.
    pub(super) fn tell_once(&self, text: &Bytes) {
        self.change(|log| log.push_once(text.clone()));
    }

    /// Tells something that came while whatever is in flight was worked on.
    pub(super) fn tell_with_oldest(&self, text: Vec<u8>) -> bool {
        self.change(|log| log.push_to_oldest(text.into()))
    }

    /// Ends the stream for what belongs to no request. Answers are still delivered.
    pub(super) fn close(&self) {
        self.change(Log::close);
    }

    /// Does anybody read any of the streams?
    pub(super) fn is_read(&self) -> bool {
        self.lock().is_read()
    }

    /// Does this reader still read?
    pub(super) fn is_read_by(&self, reader: Position) -> bool {
        self.lock().is_read_by(reader)
    }

    /// A reader may read no more. What it has not taken waits for the next one.
    pub(super) fn turn_out(&self, reader: Position) {
        self.change(|log| log.detach(reader, true));
    }

    /// Messages that had no room.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let changed = change(&mut self.lock());
        self.told.notify_waiters();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Passes a message on, if the client has room for it. `text` is one JSON-RPC message. What its
    /// own stream cannot take any more goes to the standing one, if there is a reader for that.
    pub(super) fn message(&self, text: Vec<u8>) -> bool {
        let text = Bytes::from(text);
        let told = self.streams.change(|log| {
            log.push(self.stream, text.clone())
                || (self.stream != STANDING && log.push(STANDING, text))
        });
        if !told {
            tracing::debug!(target: "proxy", "a message was dropped: its client is gone or does not read");
        }
        told
    }

    /// The answer, which ends the stream.
    pub(super) fn answer(&self, reply: Reply) {
        if !self.streams.change(|log| log.answer(self.stream, reply)) {
            tracing::debug!(target: "proxy", "an answer found no client");
        }
    }

    /// Waits until nobody takes messages any more: the client has left, or has its answer.
    pub(super) async fn left(&self) {
        loop {
            let mut told = std::pin::pin!(self.streams.told.notified());
            told.as_mut().enable();
            if self.is_left() {
                return;
            }
            told.await;
        }
    }

    /// Does nobody take messages any more?
    pub(super) fn is_left(&self) -> bool {
        !self.streams.lock().has_reader(self.stream)
    }

    /// A request whose messages belong here is in flight, or is not any more.
    pub(super) fn in_flight(&self, starts: bool) {
        self.streams.lock().in_flight(self.stream, starts);
    }

    /// The same for several requests with one stream, which is then about none of their calls.
    pub(super) fn about_several(&self) -> Self {
        Self { call: Arc::default(), ..self.clone() }
    }

    /// Says which priced call it is about, before anything is sent for it.
    pub(super) fn is_about(&self, call: CallId) {
        // A stream is about one call; the first one named stays.
        self.call.get_or_init(|| call);
    }
}

impl Streaming {
    fn new(streams: &Arc<Streams>, position: Position, busy: Option<Busy>) -> Self {
        let (streams, call) = (Arc::clone(streams), Arc::default());
        Self { streams, position, shown: false, call, _busy: busy }
    }

    /// Waits for the first word. An answer that comes first needs no stream. A client that can come
    /// back for its answer gets a stream once it has waited for `patience`.
    pub(super) async fn begin(mut self, patience: Duration) -> Reply {
        let until = Instant::now() + patience;
        loop {
            let streams = Arc::clone(&self.streams);
            let mut told = std::pin::pin!(streams.told.notified());
            told.as_mut().enable();
            let beginning = streams.lock().begin(self.position.stream);
            match beginning {
                Beginning::Answer(reply) => return *reply,
                Beginning::Message => break,
                Beginning::Nothing => {}
            }
            match self.streams.resuming {
                Resuming::No => told.await,
                Resuming::Yes => {
                    if timeout_at(until, told).await.is_err() {
                        break;
                    }
                }
            }
        }
        self.shown = true;
        Reply::Stream(self)
    }

    /// Which reader this is.
    pub(super) const fn reader(&self) -> Position {
        self.position
    }

    /// The priced call that this is about.
    pub fn call(&self) -> Option<CallId> {
        self.call.get().copied()
    }

    /// The name of the place where the stream begins, if the client wants to be told it first.
    pub fn place(&self) -> Option<EventId> {
        let Position { stream, next, .. } = self.position;
        let primed = self.streams.primed.load(Ordering::Relaxed);
        primed.then(|| EventId { stream, number: next.saturating_sub(1) })
    }

    /// What comes next; `None` at the end. May be dropped and called again.
    pub async fn next(&mut self, words: Words<'_>) -> Option<Told> {
        let streams = Arc::clone(&self.streams);
        loop {
            let mut told = std::pin::pin!(streams.told.notified());
            told.as_mut().enable();
            match self.take(words) {
                Taken::Event(id, text) => return Some(self.named(id, text)),
                Taken::End => return None,
                Taken::Nothing => told.await,
            }
        }
    }

    /// What is there already, without waiting.
    pub fn next_now(&mut self, words: Words<'_>) -> Option<Told> {
        match self.take(words) {
            Taken::Event(id, text) => Some(self.named(id, text)),
            Taken::Nothing | Taken::End => None,
        }
    }

    fn take(&mut self, words: Words<'_>) -> Taken {
        self.streams.lock().take(&mut self.position, words)
    }

    fn named(&self, id: EventId, text: Bytes) -> Told {
        Told { id: (self.streams.resuming == Resuming::Yes).then_some(id), text }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.streams.change(|log| log.detach(self.position, self.shown));
    }
}

/// How long a client waits for the first word before its answer becomes a stream.
pub(super) const FIRST_WORD_WAIT: Duration = bounds::STREAM_KEEP_ALIVE;
