//! What one client is told on its streams: every message from the moment it is known until it is
//! delivered and, for a client that may come back for it, a while longer.
//!
//! A plain value without clocks or waiting. Every message belongs to one stream and is never told on
//! another. All streams of a client share one bound: beyond it the oldest messages go that were
//! delivered or that nobody waits for, and what then has no room is dropped and counted. An answer
//! always has room: a customer paid for it, and there are no more of them than calls in flight. Only one
//! that nobody reads and that is longer than the bound is not kept.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::EventId;
use crate::model::bounds;
use crate::protocol::object::Object;
use crate::protocol::to_client::{self, NO_ID};
use crate::proxy::{Part, Reply, fault};

/// The stream for what belongs to no request.
pub(super) const STANDING: u64 = 0;

/// All streams of one client.
#[derive(Debug)]
pub(super) struct Log {
    streams: BTreeMap<u64, Stream>,
    /// Every message that is kept, the oldest first: its stream and its number there.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    next_stream: u64,
    next_reader: u64,
    /// Is what was delivered kept for a client that comes back?
    resumable: bool,
    dropped: u64,
}

#[derive(Debug)]
struct Stream {
    events: VecDeque<Event>,
    /// The number of the first event that is kept. They count from 1.
    first: u64,
    /// The number of the first event that nobody has taken yet.
    taken: u64,
    /// Who takes events now; a newer reader ends an older one.
    reader: Option<u64>,
    /// Requests in flight whose messages belong here.
    in_flight: usize,
    ended: bool,
}

#[derive(Debug)]
enum Event {
    Message(Bytes),
    /// Not put into words yet.
    Answer(Box<Reply>),
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Position {
    pub(super) stream: u64,
    pub(super) reader: u64,
    /// The number of the event to take next.
    pub(super) next: u64,
}

/// What a reader finds.
#[derive(Debug)]
pub(super) enum Taken {
    Event(EventId, Bytes),
    /// Nothing yet.
    Nothing,
    End,
}

/// What a stream begins with.
#[derive(Debug)]
pub(super) enum Beginning {
    /// An answer: it needs no stream, so there is none any more.
    Answer(Box<Reply>),
    Message,
    Nothing,
}

impl Log {
    pub(super) fn new(resumable: bool) -> Self {
        Self {
            streams: BTreeMap::from([(STANDING, Stream::new(None))]),
            order: VecDeque::new(),
            bytes: 0,
            next_stream: STANDING + 1,
            next_reader: 0,
            resumable,
            dropped: 0,
        }
    }

    /// A stream for one request, with its reader.
    pub(super) fn open(&mut self) -> Position {
        let stream = self.next_stream;
        self.next_stream += 1;
        let reader = self.new_reader();
        self.streams.insert(stream, Stream::new(Some(reader)));
        Position { stream, reader, next: 1 }
    }

    /// Reads the standing stream from where its last reader was. `None` if it has ended.
    pub(super) fn attach(&mut self) -> Option<Position> {
        let reader = self.new_reader();
        let standing = self.streams.get_mut(&STANDING).filter(|stream| !stream.ended)?;
        standing.reader = Some(reader);
        Some(Position { stream: STANDING, reader, next: standing.taken })
    }

    /// Reads a stream on from an event that its client has seen. `None` if it is not kept.
    pub(super) fn attach_after(&mut self, seen: EventId) -> Option<Position> {
        let reader = self.new_reader();
        let stream = self.streams.get_mut(&seen.stream)?;
        let next = seen.number.checked_add(1).filter(|next| *next <= stream.end())?;
        if !self.resumable || (seen.stream == STANDING && stream.ended) {
            return None;
        }
        stream.reader = Some(reader);
        Some(Position { stream: seen.stream, reader, next })
    }

    fn new_reader(&mut self) -> u64 {
        self.next_reader += 1;
        self.next_reader
    }

    /// Adds a message. False if the stream is not there or has no room.
    pub(super) fn push(&mut self, stream: u64, text: Bytes) -> bool {
        let room = self.streams.get(&stream).is_some_and(|stream| {
            let is_long = text.len() > bounds::SESSION_MESSAGE_BYTES_MAX;
            !stream.ended
                && stream.untaken() < bounds::STREAM_MESSAGES_MAX
                && (stream.reader.is_some() || !is_long)
        });
        if !room || !self.make_room(text.len()) {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        self.add(stream, Event::Message(text));
        true
    }

    /// Adds a message to the standing stream, unless it waits there already.
    pub(super) fn push_once(&mut self, text: Bytes) {
        let waits = self.streams.get(&STANDING).is_some_and(|standing| {
            let untaken = standing.events.iter().rev().take(standing.untaken());
            untaken.into_iter().any(|event| matches!(event, Event::Message(one) if *one == text))
        });
        if !waits {
            self.push(STANDING, text);
        }
    }

    /// Adds a message that belongs to whatever is in flight: to the stream of the oldest request that
    /// somebody reads, else to the standing stream.
    pub(super) fn push_to_oldest(&mut self, text: Bytes) -> bool {
        let oldest = self.streams.iter().find(|(number, stream)| {
            **number != STANDING && stream.in_flight > 0 && stream.reader.is_some()
        });
        let stream = oldest.map_or(STANDING, |(number, _)| *number);
        self.push(stream, text.clone()) || (stream != STANDING && self.push(STANDING, text))
    }

    /// Ends a stream with its answer. False if the stream is gone, and with it its client.
    pub(super) fn answer(&mut self, stream: u64, reply: Reply) -> bool {
        if self.streams.get(&stream).is_none_or(|stream| stream.ended) {
            return false;
        }
        let event = Event::Answer(Box::new(reply));
        self.make_room(event.size());
        self.add(stream, event);
        self.shorten(stream);
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.ended = true;
        }
        true
    }

    /// What the stream begins with. An answer is taken out.
    pub(super) fn begin(&mut self, stream: u64) -> Beginning {
        match self.streams.get(&stream).and_then(|stream| stream.events.front()) {
            None => return Beginning::Nothing,
            Some(Event::Message(_)) => return Beginning::Message,
            Some(Event::Answer(_)) => {}
        }
        match self.remove_first(stream) {
            Some(Event::Answer(reply)) => {
                self.streams.remove(&stream);
                Beginning::Answer(reply)
            }
            Some(Event::Message(_)) | None => Beginning::Nothing,
        }
    }

    /// Takes the next event; `words` says how an answer looks.
    pub(super) fn take(
        &mut self,
        position: &mut Position,
        words: &dyn Fn(Reply) -> Vec<u8>,
    ) -> Taken {
        let stream = self.streams.get_mut(&position.stream);
        let Some(stream) = stream.filter(|stream| stream.reader == Some(position.reader)) else {
            return Taken::End;
        };
        // What is not kept any more is missed.
        let number = position.next.max(stream.first);
        let index = usize::try_from(number - stream.first).unwrap_or(usize::MAX);
        let Some(event) = stream.events.get_mut(index) else {
            return if stream.ended { Taken::End } else { Taken::Nothing };
        };
        let size = event.size();
        let text = event.put_into(words);
        self.bytes = self.bytes.saturating_sub(size).saturating_add(text.len());
        position.next = number + 1;
        stream.taken = stream.taken.max(position.next);
        let id = EventId { stream: position.stream, number };
        if self.resumable {
            self.make_room(0);
        } else {
            self.forget_taken(position.stream);
        }
        Taken::Event(id, text)
    }

    /// Does anybody read this stream?
    pub(super) fn has_reader(&self, stream: u64) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.reader.is_some())
    }

    /// Does this reader still read?
    pub(super) fn is_read_by(&self, position: Position) -> bool {
        let stream = self.streams.get(&position.stream);
        stream.is_some_and(|stream| stream.reader == Some(position.reader))
    }

    /// A reader leaves. `shown` says whether its client knows the stream, and may come back for it.
    pub(super) fn detach(&mut self, position: Position, shown: bool) {
        let Some(stream) = self.streams.get_mut(&position.stream) else { return };
        if stream.reader != Some(position.reader) {
            return;
        }
        stream.reader = None;
        let is_over = stream.ended && stream.events.is_empty();
        if position.stream != STANDING && (is_over || !(shown && self.resumable)) {
            while self.remove_first(position.stream).is_some() {}
            self.streams.remove(&position.stream);
        }
        self.shorten(position.stream);
        self.make_room(0);
    }

    /// Without a reader, an answer that is longer than all that is kept gives way to an error that
    /// says so: its client may come back late or never.
    fn shorten(&mut self, number: u64) {
        let stream = self.streams.get_mut(&number).filter(|stream| stream.reader.is_none());
        let Some(Event::Answer(reply)) = stream.and_then(|it| it.events.back_mut()) else { return };
        let before = size(reply);
        if before > bounds::SESSION_MESSAGE_BYTES_MAX {
            not_kept(reply);
            self.bytes = self.bytes.saturating_sub(before).saturating_add(size(reply));
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// One more request (or one less) whose messages belong to a stream is in flight.
    pub(super) fn in_flight(&mut self, stream: u64, starts: bool) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            let count = stream.in_flight;
            stream.in_flight = if starts { count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Nothing belongs to no request any more. Requests in flight still get their answers.
    pub(super) fn close(&mut self) {
        if let Some(standing) = self.streams.get_mut(&STANDING) {
            standing.ended = true;
        }
    }

    /// Does anybody read any of the streams?
    pub(super) fn is_read(&self) -> bool {
        self.streams.values().any(|stream| stream.reader.is_some())
    }

    /// Messages that had no room, or lost it before anybody came for them.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn add(&mut self, number: u64, event: Event) {
        if let Some(stream) = self.streams.get_mut(&number) {
            self.bytes = self.bytes.saturating_add(event.size());
            self.order.push_back((number, stream.end()));
            stream.events.push_back(event);
        }
    }

    /// Lets go of the oldest messages that nobody waits for until there is room. A message always has
    /// room where no other is.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.order.len() >= bounds::SESSION_MESSAGES_MAX
            || self.bytes.saturating_add(bytes) > bounds::SESSION_MESSAGE_BYTES_MAX
        {
            let idle = |(number, event): &(u64, u64)| {
                self.streams
                    .get(number)
                    .is_none_or(|stream| *event < stream.taken || stream.reader.is_none())
            };
            let Some((stream, event)) = self.order.iter().find(|entry| idle(entry)).copied() else {
                return self.order.is_empty();
            };
            if self.streams.get(&stream).is_some_and(|stream| event >= stream.taken) {
                self.dropped = self.dropped.saturating_add(1);
            }
            self.remove_first(stream);
        }
        true
    }

    fn forget_taken(&mut self, number: u64) {
        while self.streams.get(&number).is_some_and(|stream| stream.first < stream.taken) {
            self.remove_first(number);
        }
    }

    /// Removes the oldest event of a stream, and a stream of which nothing is left to tell.
    fn remove_first(&mut self, number: u64) -> Option<Event> {
        let place = self.order.iter().position(|(stream, _)| *stream == number);
        if let Some(place) = place {
            self.order.remove(place);
        }
        let stream = self.streams.get_mut(&number)?;
        let event = stream.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(event.size());
        stream.first += 1;
        stream.taken = stream.taken.max(stream.first);
        let is_over = stream.ended && stream.events.is_empty() && stream.reader.is_none();
        if is_over && number != STANDING {
            self.streams.remove(&number);
        }
        Some(event)
    }
}

impl Stream {
    fn new(reader: Option<u64>) -> Self {
        Self { events: VecDeque::new(), first: 1, taken: 1, reader, in_flight: 0, ended: false }
    }

    /// The number of the event that comes next.
    fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.events.len()).unwrap_or(u64::MAX))
    }

    fn untaken(&self) -> usize {
        usize::try_from(self.end().saturating_sub(self.taken)).unwrap_or(usize::MAX)
    }
}

impl Event {
    fn size(&self) -> usize {
        match self {
            Self::Message(text) => text.len(),
            Self::Answer(reply) => size(reply),
        }
    }

    /// The text; an answer is put into words once.
    fn put_into(&mut self, words: &dyn Fn(Reply) -> Vec<u8>) -> Bytes {
        if let Self::Answer(reply) = self {
            let reply = std::mem::replace(&mut **reply, Reply::Accepted);
            *self = Self::Message(words(reply).into());
        }
        match self {
            Self::Message(text) => text.clone(),
            Self::Answer(_) => Bytes::new(),
        }
    }
}

/// How much memory an answer takes, roughly.
fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Message(answer) | Reply::Opened(_, answer) | Reply::Failed(answer, _) => {
            answer.text.len()
        }
        Reply::Several(several) => several.parts.iter().fold(0, |sum, part| match part {
            Part::Message(answer) => answer.text.len().saturating_add(sum),
            Part::Denied(_) => sum,
        }),
        Reply::Malformed(text) => text.len(),
        Reply::Accepted | Reply::Denied(_) | Reply::NoSession | Reply::Stream(_) => 0,
    }
}

/// Puts errors into the place of answers.
fn not_kept(reply: &mut Reply) {
    match reply {
        Reply::Message(answer) | Reply::Opened(_, answer) | Reply::Failed(answer, _) => {
            not_kept_text(&mut answer.text);
        }
        Reply::Several(several) => {
            for part in &mut several.parts {
                if let Part::Message(answer) = part {
                    not_kept_text(&mut answer.text);
                }
            }
        }
        Reply::Malformed(_)
        | Reply::Accepted
        | Reply::Denied(_)
        | Reply::NoSession
        | Reply::Stream(_) => {}
    }
}

fn not_kept_text(text: &mut Vec<u8>) {
    let message = std::str::from_utf8(text).ok().and_then(|text| Object::read(text).ok());
    let id = message.as_ref().and_then(|message| message.get("id")).unwrap_or(NO_ID);
    *text = to_client::error(id, &fault::answer_not_awaited());
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
