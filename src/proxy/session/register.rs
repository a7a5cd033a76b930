//! All sessions: who may have how many, which gives way, and how one ends.
//!
//! Sessions on the shared link cost little; beyond their bounds a client is served without one.
//! Sessions with a server of their own may cost a process. One key has at most half of the places, so
//! that no customer keeps out the others; for more it gives up one of its own. When there is no place
//! left, the one that has been idle longest gives way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::task_calls::lost;
use super::tasks::Heard;
use super::{Owner, Session};
use crate::model::bounds;
use crate::model::ids::{KeyId, SessionId};
use crate::upstream::{Place, Server};

/// Every session there is.
#[derive(Debug)]
pub(in crate::proxy) struct Sessions {
    pub(super) server: Server,
    open: DashMap<SessionId, Arc<Session>>,
    /// Those whose server has still to end.
    ending: DashMap<SessionId, Arc<Session>>,
    counts: Arc<Mutex<Counts>>,
    /// Tasks of ended sessions whose holds are still to be released.
    lost: Mutex<Vec<Heard>>,
    /// How long a call of an ended session may still take.
    last_call_wait: Duration,
}

/// What a session takes up.
#[derive(Debug)]
pub(super) struct Room {
    _counted: Counted,
    /// Where its own server runs.
    place: Option<Place>,
}

impl Room {
    pub(super) const fn is_for_a_server(&self) -> bool {
        self.place.is_some()
    }
}

/// One session among the counted ones; dropping it takes it out.
#[derive(Debug)]
struct Counted {
    counts: Arc<Mutex<Counts>>,
    owner: Owner,
}

/// How many sessions there are.
#[derive(Debug, Default)]
struct Counts {
    by_owner: HashMap<Owner, usize>,
    with_key: usize,
    without_key: usize,
    closed: bool,
    /// Told whenever one leaves.
    left: Arc<Notify>,
}

impl Sessions {
    pub(in crate::proxy) fn new(server: Server, last_call_wait: Duration) -> Arc<Self> {
        let (open, ending, counts, lost) = Default::default();
        Arc::new(Self { server, open, ending, counts, lost, last_call_wait })
    }

    pub(super) fn find(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.open.get(id).map(|session| Arc::clone(&session))
    }

    /// How many are open now.
    pub(in crate::proxy) fn count(&self) -> usize {
        self.open.len()
    }

    /// All that are open now.
    pub(super) fn snapshot(&self) -> Vec<Arc<Session>> {
        self.open.iter().map(|session| Arc::clone(&session)).collect()
    }

    /// Takes in a session that has its room.
    pub(super) fn add(self: &Arc<Self>, session: &Arc<Session>) {
        self.open.insert(session.id, Arc::clone(session));
        if self.lock().closed {
            self.end(session, "Paygate stops");
        }
    }

    /// Room on the shared link.
    pub(super) fn shared_room(&self, owner: &Owner) -> Option<Room> {
        let counted = Counted::enter(&self.counts, owner, bounds::SESSIONS_PER_KEY_MAX)?;
        Some(Room { _counted: counted, place: None })
    }

    /// Room for a server of a key's own. `None` if all is taken by sessions in use.
    pub(super) async fn own_room(self: &Arc<Self>, key: &KeyId) -> Option<Room> {
        let owner = Owner::Key(key.clone());
        if let (Some(counted), Some(place)) = (self.enter_with_server(&owner), self.server.place())
        {
            return Some(Room { _counted: counted, place: Some(place) });
        }
        match self.idlest(key) {
            Some(idlest) => self.end(&idlest, "another session needed its place"),
            // One that its client has ended needs not to be driven out.
            None if self.ending.iter().any(|session| session.belongs_to(Some(key))) => {}
            None => return None,
        }
        let longest = bounds::CHILD_STOP_GRACE.saturating_add(bounds::CHILD_KILL_WAIT);
        let room = async {
            let counted = self.entered_with_server(&owner).await;
            Some(Room { _counted: counted, place: Some(self.server.next_place().await?) })
        };
        timeout(longest, room).await.ok().flatten()
    }

    /// Sessions with a server of its own that one key may have.
    fn share(&self) -> usize {
        (self.server.links_max() / 2).clamp(1, bounds::SESSIONS_PER_KEY_MAX)
    }

    fn enter_with_server(&self, owner: &Owner) -> Option<Counted> {
        Counted::enter(&self.counts, owner, self.share())
    }

    /// The same as soon as another has left.
    async fn entered_with_server(&self, owner: &Owner) -> Counted {
        let left = Arc::clone(&self.lock().left);
        loop {
            let mut one = std::pin::pin!(left.notified());
            one.as_mut().enable();
            if let Some(counted) = self.enter_with_server(owner) {
                return counted;
            }
            one.await;
        }
    }

    /// How many sessions a key has, with those that are opened or ended just now: they have room too.
    fn of_key(&self, key: &KeyId) -> usize {
        self.lock().by_owner.get(&Owner::Key(key.clone())).copied().unwrap_or_default()
    }

    /// The session that has been idle longest, and for long enough to give way. A key that has its
    /// share can only make room by one of its own.
    fn idlest(&self, key: &KeyId) -> Option<Arc<Session>> {
        let now = Instant::now();
        let has_its_share = self.of_key(key) >= self.share();
        self.snapshot()
            .into_iter()
            .filter(|session| session.has_own_server())
            .filter(|session| !has_its_share || session.belongs_to(Some(key)))
            .filter_map(|session| Some((session.idle(now)?, session)))
            .filter(|(idle, _)| *idle >= bounds::SESSION_YIELDS_AFTER)
            .max_by_key(|(idle, _)| *idle)
            .map(|(_, session)| session)
    }

    /// Ends a session: its streams now, its server once the calls in flight have had their outcome.
    pub(super) fn end(self: &Arc<Self>, session: &Arc<Session>, why: &'static str) {
        // At no moment is it in neither table, where `stop` would not find it.
        let ended = self.open.remove_if(&session.id, |_, session| {
            if session.has_own_server() {
                self.ending.insert(session.id, Arc::clone(session));
            }
            true
        });
        if ended.is_none() {
            return;
        }
        let dropped = session.dialogue.streams.dropped();
        tracing::debug!(target: "proxy", session = %session.id, why, dropped, "a session ended");
        session.dialogue.streams.close();
        if !session.has_own_server() {
            return session.give_room_back();
        }
        // A call that waits for its client's answer would keep the server.
        session.close_asks();
        // It is found in `ending` until it is done, and hurried by `stop`.
        tokio::spawn(Arc::clone(self).end_server(Arc::clone(session)));
    }

    async fn end_server(self: Arc<Self>, session: Arc<Session>) {
        if timeout(self.last_call_wait, session.activity.exchanges_end()).await.is_err() {
            tracing::warn!(target: "proxy", session = %session.id, "a call of an ended session is cut off");
        }
        session.connection.link.stop(bounds::CHILD_STOP_GRACE).await;
        self.lose_tasks(&session);
        session.give_room_back();
        self.ending.remove(&session.id);
    }

    /// Ends all streams that belong to no request.
    pub(in crate::proxy) fn close_streams(&self) {
        self.open.iter().for_each(|session| session.dialogue.streams.close());
    }

    /// Ends all sessions and their servers, and takes no new ones.
    pub(in crate::proxy) async fn stop(self: &Arc<Self>, grace: Duration) {
        self.lock().closed = true;
        for session in self.snapshot() {
            self.end(&session, "Paygate stops");
        }
        let ending: Vec<_> = self.ending.iter().map(|session| Arc::clone(&session)).collect();
        let mut stops = JoinSet::new();
        for session in &ending {
            let link = session.connection.link.clone();
            stops.spawn(async move { link.stop(grace).await });
        }
        while let Some(stopped) = stops.join_next().await {
            if let Err(error) = stopped {
                tracing::error!(target: "proxy", %error, "a session's server was not stopped well");
            }
        }
        for session in &ending {
            self.lose_tasks(session);
        }
    }

    /// What an ended session's server was still to do is not done any more.
    fn lose_tasks(&self, session: &Session) {
        let mut all = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let room = bounds::LOST_TASKS_MAX.saturating_sub(all.len());
        all.extend(lost(session.dialogue.tasks.close()).take(room));
    }

    /// Tasks of ended sessions whose holds are still to be released. Once.
    pub(super) fn take_lost(&self) -> Vec<Heard> {
        std::mem::take(&mut self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells a message of the shared link to everybody who shares it.
    pub(in crate::proxy) fn tell_those_who_share(&self, message: &[u8]) {
        let message = Bytes::copy_from_slice(message);
        for session in self.open.iter().filter(|session| !session.has_own_server()) {
            session.dialogue.streams.tell_once(&message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// `key_max` is what one key may have.
    fn enter(counts: &Arc<Mutex<Counts>>, owner: &Owner, key_max: usize) -> Option<Self> {
        let entered = counts.lock().unwrap_or_else(PoisonError::into_inner).enter(owner, key_max);
        entered.then(|| Self { counts: Arc::clone(counts), owner: owner.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.leave(&self.owner);
        counts.left.notify_waiters();
    }
}

impl Counts {
    fn enter(&mut self, owner: &Owner, key_max: usize) -> bool {
        let owner = owner.counted();
        let (all, all_max, own_max) = match owner {
            Owner::Key(_) => (&mut self.with_key, bounds::SESSIONS_MAX, key_max),
            Owner::Address(_) => (
                &mut self.without_key,
                bounds::KEYLESS_SESSIONS_MAX,
                bounds::KEYLESS_SESSIONS_PER_ADDRESS_MAX,
            ),
        };
        let own = self.by_owner.get(&owner).copied().unwrap_or_default();
        if *all >= all_max || own >= own_max {
            return false;
        }
        *all += 1;
        self.by_owner.insert(owner, own + 1);
        true
    }

    fn leave(&mut self, owner: &Owner) {
        let owner = owner.counted();
        let all = match owner {
            Owner::Key(_) => &mut self.with_key,
            Owner::Address(_) => &mut self.without_key,
        };
        *all = all.saturating_sub(1);
        if let Some(own) = self.by_owner.get_mut(&owner).filter(|own| **own > 1) {
            *own -= 1;
        } else {
            self.by_owner.remove(&owner);
        }
    }
}

impl Owner {
    /// Who has IPv6 mostly has as many addresses as it likes in one network of 64 bits.
    pub(in crate::proxy) fn counted(&self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            Self::Address(IpAddr::V4(_)) | Self::Key(_) => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_by_owner() {
        let mut counts = Counts::default();
        let key_max = bounds::SESSIONS_PER_KEY_MAX;
        let from = |text: &str| Owner::Address(text.parse().unwrap());
        for number in 0..bounds::KEYLESS_SESSIONS_PER_ADDRESS_MAX {
            assert!(counts.enter(&from(&format!("2001:db8::{number:x}")), key_max));
        }
        assert!(!counts.enter(&from("2001:db8::ffff"), key_max));
        assert!(counts.enter(&from("2001:db8:0:1::1"), key_max));
        assert!(counts.enter(&from("192.0.2.1"), key_max));
        counts.leave(&from("2001:db8::aaaa"));
        assert!(counts.enter(&from("2001:db8::ffff"), key_max));
        for number in 0..bounds::KEYLESS_SESSIONS_MAX {
            counts.enter(&from(&format!("10.0.{}.{}", number / 256, number % 256)), key_max);
        }
        assert_eq!(counts.without_key, bounds::KEYLESS_SESSIONS_MAX);
        assert!(!counts.enter(&from("192.0.2.9"), key_max));
        // Customers have room of their own.
        let key = Owner::Key(KeyId::from_random([1; 8]));
        for _ in 0..bounds::SESSIONS_PER_KEY_MAX {
            assert!(counts.enter(&key, key_max));
        }
        assert!(!counts.enter(&key, key_max));
        for _ in 0..bounds::SESSIONS_PER_KEY_MAX {
            counts.leave(&key);
        }
        assert_eq!((counts.with_key, counts.by_owner.contains_key(&key)), (0, false));
    }
}
