//! What the journal rows of this life add to the sums of usage. The writer notes it beside each row, so
//! that nobody has to read the rows again, and writes it in one commit with the number of the last
//! row that it covers. Rows of a life before that the sums do not have are folded from the journal; see
//! `roll_up.rs`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use super::queue::Write;
use super::roll_up::{self, LabelSum, Sum, labels_of};
use super::rows::{Ended, JournalRow};
use crate::model::bounds::{USAGE_GROUPS_MAX, USAGE_LABELS_OPEN_MAX};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::labels::Labels;
use crate::model::text::Text;
use crate::model::usage::Bucket;

/// Calls and credits.
type Used = (i64, i64);

pub(super) struct Tally {
    /// The last row before those noted here; shared with those who fold what is before it.
    from: Arc<AtomicI64>,
    /// By hour, key and tool.
    calls: HashMap<(i64, AccountId, Text), Used>,
    /// By hour and key, and what the client says that the call was for.
    labels: HashMap<(i64, AccountId, Labels), Used>,
    /// Labels of calls that have not ended.
    open: IdMap<CallId, Labels>,
    /// Are there calls under way whose labels found no room there?
    has_others: bool,
    /// First row of each hour.
    marks: BTreeMap<i64, i64>,
}

impl Tally {
    /// Notes rows after the last one of the life before.
    pub(super) fn after(from: Arc<AtomicI64>) -> Self {
        let (calls, labels) = (HashMap::new(), HashMap::new());
        Self {
            from,
            calls,
            labels,
            open: IdMap::default(),
            has_others: false,
            marks: BTreeMap::new(),
        }
    }

    /// Notes what is written.
    pub(super) fn note(
        &mut self,
        connection: &Connection,
        write: &Write,
        seq: i64,
    ) -> rusqlite::Result<()> {
        if let Write::Labels { call, labels, .. } = write {
            if self.open.len() < USAGE_LABELS_OPEN_MAX {
                self.open.insert(*call, labels.clone());
            } else {
                self.has_others = true;
            }
        }
        if let Write::Journal(row) = write
            && seq > self.from.load(Ordering::Relaxed)
        {
            self.row(connection, row, seq)?;
        }
        Ok(())
    }

    fn row(&mut self, connection: &Connection, row: &JournalRow, seq: i64) -> rusqlite::Result<()> {
        let hour = Bucket::Hour.start(row.at());
        self.marks.entry(hour).or_insert(seq);
        let ended = row.ended();
        let is_refund = row.is_refund();
        let mut all = (0, 0);
        for (tool, charged) in ended.iter() {
            let more = (i64::from(!is_refund), charged);
            all = added(all, more);
            let place = (hour, row.account().clone(), tool.clone());
            match self.calls.entry(place) {
                Entry::Occupied(mut known) => *known.get_mut() = added(*known.get(), more),
                Entry::Vacant(place) => {
                    place.insert(more);
                }
            }
        }
        let (Some(call), false) = (row.call(), matches!(ended, Ended::Nothing)) else {
            return Ok(());
        };
        let labels = match self.open.remove(&call) {
            Some(labels) => Some(labels),
            // It began in a life before, or was refunded, or there were too many.
            None if !row.is_whole_call() || self.has_others => labels_of(connection, &call)?,
            None => None,
        };
        if let Some(labels) = labels {
            let used = self.labels.entry((hour, row.account().clone(), labels)).or_default();
            *used = added(*used, all);
        }
        Ok(())
    }

    /// Is it time to write it, whoever asks?
    pub(super) fn is_full(&self) -> bool {
        self.calls.len().max(self.labels.len()) >= USAGE_GROUPS_MAX
    }

    /// Adds all of it to the sums, which are then true up to `seq`. Not while rows before are missing:
    /// then these rows have to be folded as well if there are too many of them.
    pub(super) fn write(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        let from = self.from.load(Ordering::Relaxed);
        if seq <= from || (roll_up::rolled(connection)? != from && !self.is_full()) {
            return Ok(());
        }
        if roll_up::rolled(connection)? == from {
            let mut all: Vec<Sum> = self.calls.drain().map(sum).collect();
            // Neighbours in the file share its pages.
            all.sort_unstable_by(|one, other| {
                (one.hour, &one.key, &one.tool).cmp(&(other.hour, &other.key, &other.tool))
            });
            let marks: Vec<_> = self.marks.iter().map(|(hour, seq)| (*hour, *seq)).collect();
            let labels = label_sums(connection, self.labels.drain())?;
            roll_up::add_all(connection, &all, &marks, &labels)?;
            roll_up::set_rolled(connection, seq)?;
        }
        self.calls.clear();
        self.labels.clear();
        self.marks.clear();
        self.from.store(seq, Ordering::Relaxed);
        Ok(())
    }
}

const fn added((calls, credits): Used, more: Used) -> Used {
    (calls.saturating_add(more.0), credits.saturating_add(more.1))
}

fn sum(((hour, key, tool), (calls, credits)): ((i64, AccountId, Text), Used)) -> Sum {
    Sum { hour, key: key.as_str().to_owned(), tool: tool.as_str().to_owned(), calls, credits }
}

fn label_sums(
    connection: &Connection,
    labels: impl Iterator<Item = ((i64, AccountId, Labels), Used)>,
) -> rusqlite::Result<Vec<LabelSum>> {
    let mut sums = BTreeMap::<(i64, String, String, String), Used>::new();
    for ((hour, key, labels), used) in labels {
        let namespace = roll_up::namespace_of(connection, key.as_str())?;
        let labels: BTreeMap<String, String> =
            serde_json::from_str(labels.as_str()).unwrap_or_default();
        for (name, value) in labels {
            let sum = sums.entry((hour, namespace.clone(), name, value)).or_default();
            *sum = added(*sum, used);
        }
    }
    let flat = |((hour, namespace, name, value), (calls, credits))| {
        (hour, namespace, name, value, calls, credits)
    };
    Ok(sums.into_iter().map(flat).collect())
}
