//! Where the session with a remote server stands.
//!
//! Before a session is open, only the messages that open it may be sent; everything else waits. A
//! session is known by how many were opened before it, so that of many calls that find the same
//! session ended only the first has it opened again.

use hyper::Uri;
use hyper::header::HeaderValue;
use tokio::sync::watch;

use crate::model::bounds;

/// What goes with every message of one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// How many sessions were opened up to this one.
    pub(super) openings: u64,
    /// The server's name for it, if it gave one.
    pub(super) id: Option<HeaderValue>,
    /// The protocol version that was agreed.
    pub(super) version: Option<HeaderValue>,
    /// In the older transport: where messages go.
    pub(super) post_to: Option<Uri>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Greeting,
    Open,
    Lost,
}

/// The session of the moment.
#[derive(Debug)]
pub(super) struct Sessions {
    state: watch::Sender<(Stands, Session)>,
}

impl Sessions {
    /// A modern server has no sessions: messages can be sent from the first on.
    pub(super) fn new(is_modern: bool) -> Self {
        let stands = if is_modern { Stands::Open } else { Stands::Greeting };
        Self { state: watch::Sender::new((stands, Session::default())) }
    }

    /// The session as it is, open or not.
    pub(super) fn now(&self) -> Session {
        self.state.borrow().1.clone()
    }

    pub(super) fn is_greeting(&self) -> bool {
        self.state.borrow().0 == Stands::Greeting
    }

    /// Waits until a session is open.
    pub(super) async fn open(&self) -> Session {
        let mut state = self.state.subscribe();
        let open = state.wait_for(|(stands, _)| *stands == Stands::Open).await;
        match open.map(|state| state.1.clone()) {
            Ok(session) => session,
            // The sender is `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until this session is not the open one any more.
    pub(super) async fn ended(&self, openings: u64) {
        let mut state = self.state.subscribe();
        let ended =
            |state: &(Stands, Session)| state.0 != Stands::Open || state.1.openings != openings;
        if state.wait_for(ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a session is lost.
    pub(super) async fn loss(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|(stands, _)| *stands == Stands::Lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The server has ended this session.
    pub(super) fn lose(&self, openings: u64) {
        self.state.send_if_modified(|(stands, session)| {
            let is_this = *stands == Stands::Open && session.openings == openings;
            if is_this {
                *stands = Stands::Lost;
            }
            is_this
        });
    }

    /// A new handshake begins.
    pub(super) fn greet(&self) {
        self.state.send_modify(|(stands, session)| {
            *stands = Stands::Greeting;
            session.id = None;
            session.version = None;
        });
    }

    /// The server has answered `initialize` and may have named the session.
    pub(super) fn named(&self, id: Option<HeaderValue>) {
        self.state.send_modify(|(_, session)| session.id = id);
    }

    /// The version that the server chose.
    pub(super) fn agreed(&self, version: &str) {
        let version = Some(version).filter(|text| text.len() <= bounds::REMOTE_SESSION_BYTES_MAX);
        let version = version.and_then(|version| HeaderValue::from_str(version).ok());
        self.state.send_modify(|(_, session)| session.version = version);
    }

    /// It is the older transport, and messages go here.
    pub(super) fn post_to(&self, uri: Uri) {
        self.state.send_modify(|(_, session)| session.post_to = Some(uri));
    }

    /// The handshake is complete.
    pub(super) fn greeted(&self) {
        self.state.send_modify(|(stands, session)| {
            *stands = Stands::Open;
            session.openings += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_first_of_many_losers_loses_a_session() {
        let sessions = Sessions::new(false);
        sessions.named(Some(HeaderValue::from_static("one")));
        sessions.greeted();
        let first = sessions.open().await;
        sessions.lose(first.openings);
        sessions.loss().await;
        sessions.greet();
        sessions.named(Some(HeaderValue::from_static("two")));
        assert!(sessions.is_greeting());
        sessions.greeted();
        sessions.lose(first.openings);
        let second = sessions.open().await;
        assert_eq!(second.id, Some(HeaderValue::from_static("two")));
        sessions.ended(first.openings).await;
    }
}
