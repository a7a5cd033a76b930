//! The places of keys in the order of their making. No two have the same one, because a page of keys goes on
//! behind a place; but keys that were made while Redis had lost its count have places that others had before.

use std::collections::{BTreeMap, HashSet};

use redis::cmd;

use crate::model::ids::AccountId;
use crate::store::StoreError;
use crate::store::image::Image;
use crate::store::redis::link::Link;
use crate::store::redis::names;
use crate::store::redis::records::lists::CHUNK;

/// Places as journals tell of them, tenant after tenant.
#[derive(Default)]
pub(in crate::store::redis) struct Places {
    taken: HashSet<i64>,
    top: i64,
    shared: Vec<(String, AccountId, i64)>,
}

/// New places of a tenant's keys.
pub(in crate::store::redis) type NewPlaces = BTreeMap<AccountId, i64>;

impl Places {
    /// What is given next comes behind all that was.
    pub(in crate::store::redis) async fn begin(link: &Link) -> Result<Self, StoreError> {
        let order: Option<i64> = link.ask(cmd("GET").arg(names::ORDER)).await?;
        let mut last = cmd("ZREVRANGE");
        last.arg(names::KEYS).arg(0).arg(0).arg("WITHSCORES");
        let last: Vec<(String, i64)> = link.ask(&last).await?;
        let last = last.first().map_or(0, |(_, place)| *place);
        Ok(Self { top: order.unwrap_or(0).max(last), ..Self::default() })
    }

    /// Takes the places of a tenant's keys.
    pub(in crate::store::redis) fn take(&mut self, namespace: &str, image: &Image) {
        for (id, (place, _)) in &image.keys {
            self.top = self.top.max(*place);
            if !self.taken.insert(*place) {
                self.shared.push((namespace.to_owned(), id.clone(), *place));
            }
        }
    }

    /// Places of their own for those that share one, by tenant; and what that is, in words.
    pub(in crate::store::redis) fn finish(self) -> (BTreeMap<String, NewPlaces>, Vec<String>) {
        let (mut new, mut lines, mut top) = (BTreeMap::new(), Vec::new(), self.top);
        for (namespace, id, place) in self.shared {
            top = top.saturating_add(1);
            lines.push(format!(
                "{namespace}: {id}: place {place} is another key's too, it gets {top}"
            ));
            new.entry(namespace).or_insert_with(NewPlaces::new).insert(id, top);
        }
        (new, lines)
    }
}

/// Keys that share a place with another one, in words.
pub(in crate::store::redis) async fn shared(link: &Link) -> Result<Vec<String>, StoreError> {
    let (mut shared, mut begin, mut before) = (Vec::new(), 0_usize, None::<(String, i64)>);
    loop {
        let (mut range, end) = (cmd("ZRANGE"), begin.saturating_add(CHUNK).saturating_sub(1));
        range.arg(names::KEYS).arg(begin).arg(end).arg("WITHSCORES");
        let keys: Vec<(String, i64)> = link.ask(&range).await?;
        let is_over = keys.len() < CHUNK;
        for (key, place) in keys {
            if let Some((other, _)) = before.filter(|(other, last)| *last == place && *other != key)
            {
                shared.push(format!(
                    "{other} and {key} both have place {place} in the order of keys"
                ));
            }
            before = Some((key, place));
        }
        if is_over {
            return Ok(shared);
        }
        begin = begin.saturating_add(CHUNK);
    }
}
