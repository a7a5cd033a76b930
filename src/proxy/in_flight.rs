//! Which requests of a key are in flight, by the id that its client gave them: what a
//! `notifications/cancelled` can name. Bounded by the link, which takes so many calls at a time.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::model::ids::KeyId;

/// Ids longer than this cannot be cancelled: they would make the table a place to store things.
const RAW_ID_BYTES_MAX: usize = 128;

/// Requests in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    requests: DashMap<Name, Vec<Arc<[u64]>>>,
}

/// Whose request, and the id that its client gave it, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    key: KeyId,
    raw_id: Box<str>,
}

impl Name {
    pub(super) fn new(key: &KeyId, raw_id: &str) -> Option<Self> {
        (raw_id.len() <= RAW_ID_BYTES_MAX).then(|| Self { key: key.clone(), raw_id: raw_id.into() })
    }
}

/// One request in the table; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Registration<'a> {
    table: &'a InFlight,
    entry: Option<(Name, Arc<[u64]>)>,
}

impl InFlight {
    /// Enters a request with the ids that we gave to what was sent for it.
    pub(super) fn enter(
        &self,
        name: Option<Name>,
        ours: impl Iterator<Item = u64>,
    ) -> Registration<'_> {
        let entry = name.map(|name| {
            let ours: Arc<[u64]> = ours.collect();
            self.requests.entry(name.clone()).or_default().push(Arc::clone(&ours));
            (name, ours)
        });
        Registration { table: self, entry }
    }

    /// Our ids of the one request of this name; `None` if there are none or several.
    pub(super) fn the_one(&self, name: &Name) -> Option<Arc<[u64]>> {
        let named = self.requests.get(name)?;
        match named.as_slice() {
            [one] => Some(Arc::clone(one)),
            _ => None,
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let Some((name, ours)) = self.entry.take() else { return };
        if let Entry::Occupied(mut named) = self.table.requests.entry(name) {
            named.get_mut().retain(|other| !Arc::ptr_eq(other, &ours));
            if named.get().is_empty() {
                named.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_request_of_the_same_key_is_found() {
        let (mine, yours) = (KeyId::from_random([1; 8]), KeyId::from_random([2; 8]));
        let table = InFlight::default();
        let name = |key| Name::new(key, "1");
        let find = |key| table.the_one(&name(key).unwrap()).map(|ids| ids.to_vec());
        let first = table.enter(name(&mine), [7, 8].into_iter());
        assert_eq!((find(&mine), find(&yours)), (Some(vec![7, 8]), None));
        let second = table.enter(name(&mine), [9].into_iter());
        assert_eq!(find(&mine), None);
        drop(first);
        assert_eq!(find(&mine), Some(vec![9]));
        drop(second);
        assert!(table.requests.is_empty());
        assert!(Name::new(&mine, &"9".repeat(RAW_ID_BYTES_MAX + 1)).is_none());
    }
}
