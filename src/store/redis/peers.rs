//! Do all instances sell by the same configuration? Each tells the others a hash of the part of its own that
//! decides about money, every second, over the channel for news. Nothing of it is kept in Redis, and nothing is
//! decided by it: it is for the operator who has changed a price on some instances and not on others.

use std::collections::BTreeMap;
use std::time::Instant;

use redis::cmd;

use super::books::Books;
use super::names;
use super::news::News;
use crate::model::bounds::{REDIS_PEER_GONE, REDIS_PEER_NAME_CHARS_MAX, REDIS_PEERS_MAX};
use crate::store::SoldBy;

/// What another instance has told.
#[derive(Debug)]
struct Peer {
    sold_by: SoldBy,
    heard: Instant,
}

/// What instances have told of their configurations.
#[derive(Debug, Default)]
pub(super) struct Peers {
    own: Option<SoldBy>,
    /// By the name of their life.
    others: BTreeMap<String, Peer>,
    /// Instances with another configuration that were warned of.
    warned: Vec<String>,
}

impl Peers {
    /// What this instance sells by from now on.
    pub(super) fn put_own(&mut self, own: SoldBy) {
        self.own = Some(own);
    }

    fn heard(&mut self, name: &str, sold_by: SoldBy, now: Instant) {
        if self.others.len() < REDIS_PEERS_MAX || self.others.contains_key(name) {
            self.others.insert(name.to_owned(), Peer { sold_by, heard: now });
        }
    }

    /// Where instances are that live and have another configuration than this one.
    fn different(&mut self, now: Instant) -> Vec<String> {
        self.others.retain(|_, peer| now.saturating_duration_since(peer.heard) < REDIS_PEER_GONE);
        let Some(own) = &self.own else { return Vec::new() };
        let others = self.others.values().map(|peer| &peer.sold_by);
        let different = others.filter(|other| other.fingerprint != own.fingerprint);
        different.map(|other| other.instance.clone()).collect()
    }

    /// The same, if it is not what was said last.
    fn news(&mut self, now: Instant) -> Option<Vec<String>> {
        let different = self.different(now);
        (different != self.warned).then(|| self.warned.clone_from(&different))?;
        Some(different)
    }

    /// How many there are.
    pub(super) fn count_different(&mut self) -> usize {
        self.different(Instant::now()).len()
    }
}

/// The last word of what is told.
fn word(sold_by: &SoldBy) -> String {
    let SoldBy { instance, fingerprint } = sold_by;
    let instance: String = instance
        .chars()
        .map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c })
        .take(REDIS_PEER_NAME_CHARS_MAX)
        .collect();
    format!("{fingerprint}/{instance}")
}

/// What such a word says.
pub(super) fn read(word: &str) -> Option<SoldBy> {
    let (fingerprint, instance) = word.split_once('/')?;
    let instance = instance.chars().take(REDIS_PEER_NAME_CHARS_MAX).collect();
    Some(SoldBy { instance, fingerprint: fingerprint.to_owned() })
}

impl Books {
    /// Another instance, or this one, has told what it sells by.
    pub(super) fn heard_of(&self, name: &str, sold_by: SoldBy) {
        if name != self.name {
            self.memory().peers.heard(name, sold_by, Instant::now());
        }
    }

    /// Tells the others what this instance sells by, and the operator if one of them differs.
    pub(super) async fn compare_configurations(&self) {
        let Some(own) = self.memory().peers.own.as_ref().map(word) else { return };
        let mut tell = cmd("PUBLISH");
        tell.arg(names::NEWS).arg(News::text("config", &self.name, &own));
        if let Err(error) = self.link.ask::<i64>(&tell).await {
            tracing::debug!(target: "store", %error, "the configuration was not told");
        }
        let news = self.memory().peers.news(Instant::now());
        match news {
            Some(others) if others.is_empty() => {
                tracing::info!(target: "store", "all instances sell by the same configuration");
            }
            Some(others) => tracing::warn!(
                target: "store", ?others,
                "instances on these books have other prices, limits or rules than this one; let all of them read one \
                 configuration"
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sold_by(fingerprint: &str, instance: &str) -> SoldBy {
        SoldBy { instance: instance.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    #[test]
    fn others_that_live_are_compared_and_a_difference_is_told_once() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        peers.heard("x", sold_by("1", "a:1"), start);
        assert_eq!(peers.different(start), [""; 0], "it does not know its own yet");
        peers.put_own(sold_by("1", "b:1"));
        assert_eq!(peers.news(start), None);
        peers.heard("x", sold_by("2", "a:1"), start);
        assert_eq!(peers.news(start), Some(vec!["a:1".to_owned()]));
        assert_eq!(peers.news(start), None);
        peers.heard("y", sold_by("1", "c:1"), start + REDIS_PEER_GONE);
        assert_eq!(peers.news(start + REDIS_PEER_GONE), Some(Vec::new()), "the other is gone");
        assert_eq!(peers.others.len(), 1);
    }

    #[test]
    fn what_is_told_is_one_bounded_word() {
        let told = word(&sold_by("ab12", "host of\nmine/a:3402"));
        assert_eq!(told, "ab12/host_of_mine/a:3402");
        assert_eq!(read(&told).unwrap().instance, "host_of_mine/a:3402");
        assert_eq!(read("none"), None);
        let mut peers = Peers::default();
        for name in 0..=REDIS_PEERS_MAX {
            peers.heard(&name.to_string(), sold_by("1", "a"), Instant::now());
        }
        assert_eq!(peers.others.len(), REDIS_PEERS_MAX);
        assert!(word(&sold_by("1", &"a".repeat(9_999))).len() < 300);
    }
}
