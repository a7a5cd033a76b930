//! What the journal rows of this life add to the sums of usage. The writer notes it beside each row, so
//! that nobody has to read the rows again, and writes it seldom: the more calls there are to a sum, the
//! fewer sums are written. They are written a piece with each commit, in the order of their table, and
//! the commit says how far that is; the last piece makes the sums true up to a journal row. Rows of a
//! life before that the sums do not have are folded from the journal; see `roll_up.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use super::queue::Write;
use super::roll_up::{self, LabelSum, Sum, labels_of};
use super::rows::{Ended, JournalRow};
use crate::model::bounds::{
    USAGE_GROUPS_MAX, USAGE_LABELS_OPEN_MAX, USAGE_SUMS_AWAITED, USAGE_SUMS_PER_COMMIT,
};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId};
use crate::model::labels::Labels;
use crate::model::name_map::NameMap;
use crate::model::text::Text;
use crate::model::usage::Bucket;

/// Calls and credits.
type Used = (i64, i64);

pub(super) struct Tally {
    /// The last row before those noted here; shared with those who fold what is before it.
    from: Arc<AtomicI64>,
    noted: Noted,
    /// What was noted before and is on its way to the file.
    writing: Option<Writing>,
    /// Does somebody wait for all of it?
    is_awaited: bool,
    /// Labels of calls that have not ended.
    open: IdMap<CallId, Labels>,
    /// Are there calls under way whose labels found no room there?
    has_others: bool,
}

/// What some rows add.
#[derive(Default)]
struct Noted {
    /// By hour, tool and key.
    calls: BTreeMap<i64, NameMap<Text, IdMap<AccountId, Used>>>,
    /// How many of those there are.
    groups: usize,
    /// By hour and key, and what the client says that the call was for.
    labels: HashMap<(i64, AccountId, Labels), Used>,
    /// First row of each hour.
    marks: BTreeMap<i64, i64>,
}

/// Sums that are written a few at a time.
struct Writing {
    /// The last row that they are about.
    up_to: i64,
    /// The next ones last.
    left: Vec<Sum>,
}

impl Tally {
    /// Notes rows after the last one of the life before.
    pub(super) fn after(from: Arc<AtomicI64>) -> Self {
        let (noted, open) = (Noted::default(), IdMap::default());
        Self { from, noted, writing: None, is_awaited: false, open, has_others: false }
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
        let ended = row.ended();
        let is_refund = row.is_refund();
        let mut all = (0, 0);
        self.noted.marks.entry(hour).or_insert(seq);
        for (tool, charged) in ended.iter() {
            let more = (i64::from(!is_refund), charged);
            all = added(all, more);
            self.noted.add(hour, tool, row.account(), more);
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
            let used = self.noted.labels.entry((hour, row.account().clone(), labels)).or_default();
            *used = added(*used, all);
        }
        Ok(())
    }

    /// Is there more to write, whatever else there is?
    pub(super) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Begins to write, for somebody who waits until the sums are true up to `seq`.
    pub(super) fn flush(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        self.is_awaited = true;
        self.begin(connection, seq)
    }

    /// Begins to add all of it to the sums. Not while rows before are missing: then these rows have to be
    /// folded as well if there are too many of them.
    fn begin(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        let from = self.from.load(Ordering::Relaxed);
        if self.is_writing() || seq <= from {
            return Ok(());
        }
        if roll_up::rolled(connection)? == from {
            let Noted { calls, labels, marks, groups } = std::mem::take(&mut self.noted);
            // The first piece has what is not many.
            roll_up::add_marks(connection, &marks.into_iter().collect::<Vec<_>>())?;
            roll_up::add_labels(connection, &label_sums(connection, labels.into_iter())?)?;
            let mut left = Vec::with_capacity(groups);
            left.extend(calls.into_iter().flat_map(|(hour, tools)| sums(hour, tools)));
            // Neighbours in the file share its pages.
            left.sort_unstable_by(|one: &Sum, other| other.place.cmp(&one.place));
            self.writing = Some(Writing { up_to: seq, left });
        } else if self.noted.is_full() {
            self.noted = Noted::default();
            self.from.store(seq, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the next piece, and says in the same commit how far it goes: a crash neither loses nor
    /// repeats one. The last one makes the sums true up to its row.
    pub(super) fn write(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        if self.noted.is_full() {
            self.begin(connection, seq)?;
        }
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let few = match std::mem::take(&mut self.is_awaited) {
            _ if self.noted.is_full() => usize::MAX,
            true => USAGE_SUMS_AWAITED,
            false => USAGE_SUMS_PER_COMMIT,
        };
        let mut piece = writing.left.split_off(writing.left.len().saturating_sub(few));
        piece.reverse();
        roll_up::add_sums(connection, &piece)?;
        if let Some(last) = piece.last().filter(|_| !writing.left.is_empty()) {
            return roll_up::set_piece(connection, writing.up_to, &last.place);
        }
        roll_up::set_rolled(connection, writing.up_to)?;
        self.from.store(writing.up_to, Ordering::Relaxed);
        self.writing = None;
        Ok(())
    }
}

impl Noted {
    fn add(&mut self, hour: i64, tool: &Text, key: &AccountId, more: Used) {
        let tools = self.calls.entry(hour).or_default();
        if !tools.contains_key(tool) {
            tools.insert(tool.clone(), IdMap::default());
        }
        let Some(keys) = tools.get_mut(tool) else { return };
        if let Some(used) = keys.get_mut(key) {
            *used = added(*used, more);
        } else {
            keys.insert(key.clone(), more);
            self.groups = self.groups.saturating_add(1);
        }
    }

    fn is_full(&self) -> bool {
        self.groups.max(self.labels.len()) >= USAGE_GROUPS_MAX
    }
}

const fn added((calls, credits): Used, more: Used) -> Used {
    (calls.saturating_add(more.0), credits.saturating_add(more.1))
}

/// The sums of an hour.
fn sums(hour: i64, tools: NameMap<Text, IdMap<AccountId, Used>>) -> impl Iterator<Item = Sum> {
    tools.into_iter().flat_map(move |(tool, keys)| {
        keys.into_iter().map(move |(key, (calls, credits))| Sum {
            place: (hour, key, tool.clone()),
            calls,
            credits,
        })
    })
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

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    const KEYS: usize = 2 * USAGE_SUMS_PER_COMMIT + 100;

    fn key(number: i64) -> AccountId {
        AccountId::new(&format!("key_{number:016x}"))
    }

    /// Books with a call of each key, and the notes of them.
    fn books() -> (Connection, Tally) {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        let mut tally = Tally::after(Arc::default());
        let insert = "INSERT INTO journal VALUES (?1, 5, 'call', x'00112233445566778899aabbccddeeff', ?2, 2, ?3)";
        for number in 1..=last() {
            let tool = if number % 3 == 0 { "a" } else { "b" };
            let detail = format!(r#"{{"calls":[["{tool}",2,2,"result"]]}}"#);
            let key = key(number);
            connection.execute(insert, (number, key.as_str(), detail)).unwrap();
            tally.noted.add(0, &tool.into(), &key, (1, 2));
            tally.noted.marks.entry(0).or_insert(1);
        }
        (connection, tally)
    }

    fn last() -> i64 {
        i64::try_from(KEYS).unwrap()
    }

    fn assert_each_is_counted_once(connection: &Connection, when: &str) {
        let ask = |sql: &str| -> (i64, i64, i64) {
            connection.query_row(sql, [], |row| row.try_into()).unwrap()
        };
        for table in ["usage_hours", "usage_days"] {
            let found = ask(&format!("SELECT count(*), sum(calls), sum(credits) FROM {table}"));
            assert_eq!(found, (last(), last(), 2 * last()), "{table}, {when}");
        }
        let found = ask("SELECT count(*), sum(calls), sum(credits) FROM usage_tools");
        assert_eq!(found, (2, last(), 2 * last()), "{when}");
        assert_eq!(ask("SELECT count(*), 0, 0 FROM usage_pieces").0, 0, "{when}");
        assert_eq!(roll_up::rolled(connection), Ok(last()), "{when}");
    }

    #[test]
    fn a_crash_between_pieces_counts_nothing_twice() {
        for pieces in 0..=3 {
            let (connection, mut tally) = books();
            tally.begin(&connection, last()).unwrap();
            for _ in 0..pieces {
                tally.write(&connection, last()).unwrap();
            }
            assert_eq!(tally.is_writing(), pieces < 3, "{pieces}");
            drop(tally);
            // What the next start does.
            while let Some(more) = roll_up::fold(&connection, last() + 7).unwrap() {
                roll_up::write_roll_up(&connection, &more).unwrap();
            }
            assert_each_is_counted_once(&connection, &format!("after {pieces} pieces"));
        }
    }

    #[test]
    fn what_comes_while_pieces_are_written_is_written_after_them() {
        let (connection, mut tally) = books();
        tally.begin(&connection, last()).unwrap();
        tally.write(&connection, last()).unwrap();
        tally.noted.add(0, &"a".into(), &key(1), (1, 2));
        let after = last() + 1;
        tally.begin(&connection, after).unwrap();
        while tally.is_writing() {
            tally.write(&connection, after).unwrap();
        }
        assert_each_is_counted_once(&connection, "the pieces alone");
        tally.begin(&connection, after).unwrap();
        tally.write(&connection, after).unwrap();
        assert_eq!(roll_up::rolled(&connection), Ok(after));
        let calls = "SELECT sum(calls) FROM usage_hours";
        assert_eq!(connection.query_row(calls, [], |row| row.get(0)), Ok(after));
    }
}
