//! The admin key and admin tokens: compared by their digests, in constant time. Who guesses waits longer with every wrong guess; the
//! right key is never delayed, so nobody can lock the operator out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::admin::access::actor::Actor;
use crate::admin::wire::answer::Problem;
use crate::model::bounds;
use crate::model::secret::Digest;
use crate::store::Store;

/// Knows the admin key's digest and who has guessed wrong.
pub(in crate::admin) struct AdminAuth {
    digest: Digest,
    wrong: Mutex<HashMap<IpAddr, Wrong>>,
}

struct Wrong {
    guesses: u32,
    last: Instant,
    /// Answers that wait now.
    waiting: usize,
}

/// One answer that waits, until it is given or nobody wants it any more.
struct Waiting<'a> {
    auth: &'a AdminAuth,
    client: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(wrong) = self.auth.clients().get_mut(&self.client) {
            wrong.waiting = wrong.waiting.saturating_sub(1);
        }
    }
}

impl AdminAuth {
    pub(in crate::admin) fn new(admin_key: &SecretString) -> Self {
        let digest = Digest::of(admin_key.expose_secret().as_bytes());
        Self { digest, wrong: Mutex::default() }
    }

    /// Who is this? A wrong key is told so after a while.
    pub(in crate::admin) async fn check(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
        store: &dyn Store,
    ) -> Result<Actor, Problem> {
        let refused = Problem::unauthorized("Invalid admin key");
        let Some(given) = headers.get("x-admin-key") else { return Err(refused) };
        let digest = Digest::of(given.as_bytes());
        if self.digest.same(&digest) {
            return Ok(Actor::operator());
        }
        if let Some(token) = store.token(&digest) {
            return Ok(Actor::of(&token));
        }
        let delay = self.delay(address, Instant::now());
        if !delay.is_zero() {
            let too_many = || Problem::too_many("Too many wrong admin keys at once", 1);
            let _waiting = self.wait(address).ok_or_else(too_many)?;
            tokio::time::sleep(delay).await;
        }
        Err(refused)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Wrong>> {
        // Short critical sections without await; a panic in them leaves nothing half done.
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the answers that wait, unless this client has them all.
    fn wait(&self, address: IpAddr) -> Option<Waiting<'_>> {
        let client = network(address);
        let mut clients = self.clients();
        let wrong =
            clients.get_mut(&client).filter(|wrong| wrong.waiting < bounds::ADMIN_DELAYED_MAX)?;
        wrong.waiting = wrong.waiting.saturating_add(1);
        Some(Waiting { auth: self, client })
    }

    /// Counts a wrong guess and says how long its answer has to wait.
    fn delay(&self, address: IpAddr, now: Instant) -> Duration {
        let mut clients = self.clients();
        let client = network(address);
        if clients.len() >= bounds::ADMIN_GUESSERS_MAX && !clients.contains_key(&client) {
            forget(&mut clients, now);
        }
        let wrong = clients.entry(client).or_insert(Wrong { guesses: 0, last: now, waiting: 0 });
        if now.duration_since(wrong.last) >= bounds::ADMIN_GUESSES_FORGOTTEN_AFTER {
            wrong.guesses = 0;
        }
        wrong.guesses = wrong.guesses.saturating_add(1);
        wrong.last = now;
        let Some(doublings) =
            wrong.guesses.checked_sub(bounds::ADMIN_FREE_GUESSES.saturating_add(1))
        else {
            return Duration::ZERO;
        };
        let factor = 2_u32.saturating_pow(doublings);
        bounds::ADMIN_DELAY_FIRST.saturating_mul(factor).min(bounds::ADMIN_DELAY_MAX)
    }
}

/// Makes room: those who have been quiet long enough, or else the older half. Not those whose
/// answers wait, which are no more than there are connections.
fn forget(clients: &mut HashMap<IpAddr, Wrong>, now: Instant) {
    clients.retain(|_, wrong| {
        wrong.waiting > 0 || now.duration_since(wrong.last) < bounds::ADMIN_GUESSES_FORGOTTEN_AFTER
    });
    if clients.len() < bounds::ADMIN_GUESSERS_MAX {
        return;
    }
    let mut moments: Vec<Instant> = clients.values().map(|wrong| wrong.last).collect();
    moments.sort_unstable();
    let middle = moments.get(moments.len() / 2).copied().unwrap_or(now);
    clients.retain(|_, wrong| wrong.waiting > 0 || wrong.last > middle);
}

/// Whoever has one IPv6 address usually has its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;
    use crate::store::local::{LocalOptions, LocalStore};

    fn store() -> LocalStore {
        LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap()
    }

    fn auth() -> AdminAuth {
        AdminAuth::new(&"right".to_owned().into())
    }

    #[test]
    fn delays_grow_to_a_second_and_are_forgotten() {
        let (auth, start) = (auth(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let delays: Vec<u128> = (0..12).map(|_| auth.delay(address, start).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 25, 50, 100, 200, 400, 800, 1000, 1000, 1000]);
        let other = auth.delay("192.0.2.2".parse().unwrap(), start);
        assert!(other.is_zero(), "one client's guesses must not slow another");
        assert!(auth.delay(address, start + bounds::ADMIN_GUESSES_FORGOTTEN_AFTER).is_zero());
    }

    #[test]
    fn one_network_is_one_client() {
        let (auth, now) = (auth(), Instant::now());
        for last in 0..20_u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last);
            auth.delay(address.into(), now);
        }
        assert_eq!(auth.wrong.lock().unwrap().len(), 1);
    }

    #[test]
    fn remembers_a_bounded_number_of_clients() {
        let (auth, start) = (auth(), Instant::now());
        for index in 0..20_000_u32 {
            let address = IpAddr::V4(index.into());
            auth.delay(address, start + Duration::from_micros(index.into()));
        }
        assert!(auth.wrong.lock().unwrap().len() <= bounds::ADMIN_GUESSERS_MAX);
    }

    #[tokio::test]
    async fn a_bounded_number_of_answers_wait_for_one_client() {
        let auth = auth();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..20 {
            auth.delay(address, Instant::now());
        }
        let mut waiting: Vec<_> =
            (0..bounds::ADMIN_DELAYED_MAX).map(|_| auth.wait(address).unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert("x-admin-key", "wrong".parse().unwrap());
        let started = Instant::now();
        let refused = auth.check(&headers, address, &store()).await.unwrap_err().respond();
        assert_eq!(refused.status(), 429);
        assert!(started.elapsed() < bounds::ADMIN_DELAY_MAX / 2, "it was not refused at once");
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(
            auth.check(&headers, other, &store()).await.unwrap_err().respond().status(),
            401
        );
        headers.insert("x-admin-key", "right".parse().unwrap());
        auth.check(&headers, address, &store()).await.unwrap();
        waiting.pop();
        assert!(auth.wait(address).is_some(), "a client that went away left its place taken");
    }

    #[tokio::test]
    async fn the_right_key_is_never_delayed() {
        let auth = auth();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            auth.delay(address, Instant::now());
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-admin-key", "right".parse().unwrap());
        let started = Instant::now();
        auth.check(&headers, address, &store()).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(500));
        headers.insert("x-admin-key", "wrong".parse().unwrap());
        assert!(auth.check(&headers, address, &store()).await.is_err());
    }
}
