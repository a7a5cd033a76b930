//! One connection to the guarded server: a link, who hears it, and how much of it may be used for
//! nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ear::Ear;
use super::session::Owner;
use crate::model::bounds;
use crate::upstream::Link;

/// A link and what belongs to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) ear: Arc<Ear>,
    pub(super) free_places: Arc<FreePlaces>,
}

impl Connection {
    /// One for many callers: none of them takes all places for what costs nothing.
    pub(super) fn shared(link: Link, ear: Arc<Ear>) -> Self {
        let most = most(&link);
        let share = (most / bounds::FREE_SHARE_DIVISOR).max(1);
        Self { link, ear, free_places: FreePlaces::new(most, share) }
    }

    /// One that belongs to a single session.
    pub(super) fn of_one(link: Link, ear: Arc<Ear>) -> Self {
        let most = most(&link);
        Self { link, ear, free_places: FreePlaces::new(most, most) }
    }
}

fn most(link: &Link) -> usize {
    (link.calls_max() / bounds::FREE_CALLS_DIVISOR).max(1)
}

/// Places of a link for what costs nothing.
#[derive(Debug)]
pub(super) struct FreePlaces {
    most: usize,
    /// What one key may have of them, or one address without a key.
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_owner: HashMap<Owner, usize>,
}

/// One place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct FreePlace {
    places: Arc<FreePlaces>,
    owner: Owner,
}

impl FreePlaces {
    fn new(most: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { most, share, taken: Mutex::default() })
    }

    /// A place, if one is left and the owner has not its share.
    pub(super) fn take(self: &Arc<Self>, owner: &Owner) -> Option<FreePlace> {
        let owner = owner.counted();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_owner.get(&owner).copied().unwrap_or_default();
        if taken.all >= self.most || own >= self.share {
            return None;
        }
        taken.all += 1;
        taken.by_owner.insert(owner.clone(), own + 1);
        drop(taken);
        Some(FreePlace { places: Arc::clone(self), owner })
    }
}

impl Drop for FreePlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by_owner.get_mut(&self.owner).filter(|own| **own > 1) {
            *own -= 1;
        } else {
            taken.by_owner.remove(&self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::KeyId;

    #[test]
    fn nobody_has_more_than_a_share() {
        let places = FreePlaces::new(3, 2);
        let key = Owner::Key(KeyId::from_random([1; 8]));
        let address = Owner::Address([192, 0, 2, 1].into());
        let own: Vec<_> = (0..2).map(|_| places.take(&key).unwrap()).collect();
        assert!(places.take(&key).is_none());
        let last = places.take(&address).unwrap();
        assert!(places.take(&address).is_none(), "all are taken");
        drop((own, last));
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_owner.len()), (0, 0));
    }
}
