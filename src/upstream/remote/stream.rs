//! Event streams: each message goes on at once, and a broken stream of a call is taken up again
//! where the server lets it be.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::sleep;

use super::connection::Connection;
use super::reply::Reply;
use super::sessions::Session;
use super::{Trouble, client};
use crate::model::bounds;
use crate::protocol::sse::{Found, Reader};

/// One stream, over all connections that carry it.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    reader: Reader,
}

impl Stream {
    pub(super) fn new(body: Incoming, event_bytes_max: usize) -> Self {
        Self { body, reader: Reader::new(event_bytes_max) }
    }

    /// Waits for more and hands out what it completes. False at the end of the stream.
    pub(super) async fn next(&mut self, found: impl FnMut(Found<'_>)) -> Result<bool, Trouble> {
        let Some(frame) = self.body.frame().await else {
            return Ok(false);
        };
        let frame = frame.map_err(|error| Trouble::Cut(client::root_cause(&error)))?;
        if let Some(piece) = frame.data_ref() {
            self.reader.read(piece, found);
        }
        Ok(true)
    }

    /// Reads to the end. Says whether any event came.
    pub(super) async fn read(
        &mut self,
        connection: &Connection,
        on: Option<u64>,
    ) -> (bool, Result<(), Trouble>) {
        let mut has_brought = false;
        loop {
            let more = self.next(|found| {
                has_brought = true;
                connection.event(found, on);
            });
            match more.await {
                Ok(true) => {}
                Ok(false) => return (has_brought, Ok(())),
                Err(trouble) => return (has_brought, Err(trouble)),
            }
        }
    }

    pub(super) fn last_event_id(&self) -> Option<&[u8]> {
        self.reader.last_event_id()
    }

    /// Goes on with another connection's body.
    pub(super) fn take_up(&mut self, next: Self) {
        self.body = next.body;
        self.reader.begin_again();
    }

    /// How long to wait before the next attempt, after so many that brought nothing.
    pub(super) fn wait(&self, attempts: u32) -> Duration {
        let wanted = self.reader.retry_ms().map(Duration::from_millis);
        wait(wanted, attempts)
    }
}

pub(super) fn wait(wanted: Option<Duration>, attempts: u32) -> Duration {
    let first = wanted.unwrap_or(bounds::REMOTE_RETRY_FIRST).max(bounds::REMOTE_RETRY_MIN);
    first.saturating_mul(1 << attempts.min(16)).min(bounds::REMOTE_RETRY_MAX)
}

/// Reads the stream of a call until the call has its answer, over as many connections as it takes.
pub(super) async fn follow(
    connection: &Connection,
    mut stream: Stream,
    id: u64,
    session: &Session,
) -> Result<(), Trouble> {
    loop {
        let (_, ended) = stream.read(connection, Some(id)).await;
        if !connection.is_waiting(id) {
            return Ok(());
        }
        if connection.is_modern || stream.last_event_id().is_none() {
            let cut = Trouble::Cut("the stream ended before the answer".to_owned());
            return Err(ended.err().unwrap_or(cut));
        }
        resume(connection, &mut stream, session).await?;
    }
}

async fn resume(
    connection: &Connection,
    stream: &mut Stream,
    session: &Session,
) -> Result<(), Trouble> {
    let mut attempt = 0;
    loop {
        sleep(stream.wait(attempt)).await;
        attempt += 1;
        let trouble = match connection.get(session, stream.last_event_id()).await {
            Ok(Reply::Stream(next)) => {
                stream.take_up(next);
                return Ok(());
            }
            Ok(_) => {
                return Err(Trouble::Cut(
                    "the stream broke and cannot be taken up again".to_owned(),
                ));
            }
            Err(trouble) => trouble,
        };
        if attempt >= bounds::REMOTE_RESUME_TRIES {
            return Err(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_their_bounds() {
        let ms = |wanted: Option<u64>, attempts| {
            wait(wanted.map(Duration::from_millis), attempts).as_millis()
        };
        assert_eq!(
            [ms(None, 0), ms(None, 1), ms(None, 6), ms(None, u32::MAX)],
            [500, 1000, 30_000, 30_000]
        );
        assert_eq!([ms(Some(0), 0), ms(Some(700), 0), ms(Some(u64::MAX), 3)], [50, 700, 30_000]);
    }
}
