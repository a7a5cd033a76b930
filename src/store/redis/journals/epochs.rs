//! Which books are in Redis: each tenant's have a mark, the epoch, and a repair gives them a new one. It
//! leaves word which books they were before and up to which row, so that every instance finds out by
//! itself whether all that it has written down is in them, and goes on.

use redis::cmd;

use crate::store::StoreError;
use crate::store::redis::books::Books;
use crate::store::redis::journals::journal::{Entry, Row};
use crate::store::redis::memory::Seen;
use crate::store::redis::names::{self, Names};

/// Epochs before the present one, each with the last row that was taken over: `epoch:row epoch:row …`.
#[derive(Clone, Debug, Default)]
pub(in crate::store::redis) struct Was(Vec<(String, i64)>);

/// Repairs that are remembered: an instance that has slept through more is asked for its copy again.
const REMEMBERED: usize = 32;

impl Was {
    pub(in crate::store::redis) fn read(text: &str) -> Self {
        let one = |word: &str| {
            let (epoch, row) = word.split_once(':')?;
            Some((epoch.to_owned(), row.parse().ok()?))
        };
        Self(text.split(' ').filter_map(one).collect())
    }

    pub(in crate::store::redis) fn text(&self) -> String {
        let words: Vec<String> =
            self.0.iter().map(|(epoch, row)| format!("{epoch}:{row}")).collect();
        words.join(" ")
    }

    /// The last row that was taken over of some books.
    pub(in crate::store::redis) fn row(&self, epoch: &str) -> Option<i64> {
        self.0.iter().find(|(known, _)| known == epoch).map(|(_, row)| *row)
    }

    /// One more.
    pub(in crate::store::redis) fn add(&mut self, epoch: &str, row: i64) {
        if !epoch.is_empty() {
            self.0.retain(|(known, _)| known != epoch);
            self.0.push((epoch.to_owned(), row));
            let over = self.0.len().saturating_sub(REMEMBERED);
            self.0.drain(..over);
        }
    }
}

/// Which books, what they were, the last row and its mark, who keeps them closed.
type GoesOn = (Option<String>, Option<String>, Option<i64>, Option<String>, Option<String>);

impl Books {
    /// Are the books in Redis those that a repair has made of the ones with this epoch, with all that this
    /// instance has copied of them? Then it goes on with them.
    pub(in crate::store::redis) async fn goes_on(
        &self,
        namespace: &str,
        before: &str,
    ) -> Result<bool, StoreError> {
        let names = Names::of(namespace);
        let mut get = cmd("HMGET");
        get.arg(names.meta()).arg(&["epoch", "was", "seq", "mark", "closed"]);
        let (epoch, was, seq, mark, closed): GoesOn = self.link.ask(&get).await?;
        let (Some(epoch), Some(was), None) = (epoch, was, closed) else { return Ok(false) };
        let Some(taken_over) = Was::read(&was).row(before) else { return Ok(false) };
        let copied = self.copy.last_told(names.journal(), before.to_owned()).await?;
        if copied > taken_over || self.is_another(&names, before, copied).await? {
            return Ok(false);
        }
        let epochs = (before.to_owned(), epoch.clone());
        self.copy.go_on(names.journal(), epochs, was).await?;
        tracing::warn!(
            target: "store", %namespace, rows = taken_over,
            "the books in Redis were repaired; this instance goes on with them"
        );
        let mark = mark.unwrap_or_default();
        let mut memory = self.memory();
        memory.seen.insert(namespace.to_owned(), Seen { epoch, seq: seq.unwrap_or(0), mark });
        memory.damaged.remove(namespace);
        // Records may be older or newer than those that are known here.
        memory.forget_records();
        Ok(true)
    }

    /// Has Redis another row now where this instance has copied one? Then it has lost that one, and somebody
    /// who had not seen it went on.
    async fn is_another(
        &self,
        names: &Names,
        epoch: &str,
        number: i64,
    ) -> Result<bool, StoreError> {
        let (mut range, id) = (cmd("XRANGE"), format!("{}-0", number.max(0)));
        range.arg(names.journal()).arg(&id).arg(&id);
        let found: Vec<Entry> = self.link.ask(&range).await?;
        let Some(found) = found.first().and_then(Row::read) else { return Ok(false) };
        let copied = self.copy.told(names.journal(), epoch.to_owned(), number).await?;
        Ok(copied.is_some_and(|copied| !copied.is(&found.told())))
    }

    /// Are the books in Redis still those that were copied up to a row? If not, nothing is sold from them.
    pub(in crate::store::redis) async fn is_as_copied(
        &self,
        namespace: &str,
        epoch: &str,
        number: i64,
    ) -> Result<bool, StoreError> {
        if !self.is_another(&Names::of(namespace), epoch, number).await? {
            return Ok(true);
        }
        tracing::error!(
            target: "store", %namespace, row = number,
            "Redis has lost rows that were copied here, and others have gone on without them"
        );
        // No books have so many rows, so every script finds some missing.
        self.saw_row(namespace, epoch, (i64::MAX, ""));
        Ok(false)
    }

    /// A row of these books was copied: from now on nothing is sold from books without it.
    pub(in crate::store::redis) fn saw_row(
        &self,
        namespace: &str,
        epoch: &str,
        (seq, mark): (i64, &str),
    ) {
        let mut memory = self.memory();
        let seen = memory.seen.entry(namespace.to_owned()).or_default();
        if seen.epoch.is_empty() {
            epoch.clone_into(&mut seen.epoch);
        }
        if seen.epoch == epoch && seq > seen.seq {
            seen.seq = seq;
            mark.clone_into(&mut seen.mark);
        }
    }

    /// Who keeps a tenant's books closed, if anybody does.
    pub(in crate::store::redis) async fn closed_by(
        &self,
        namespace: &str,
    ) -> Result<Option<String>, StoreError> {
        let meta = Names::of(namespace).meta();
        let own: Option<String> = self.link.ask(cmd("HGET").arg(meta).arg("closed")).await?;
        match own {
            Some(own) => Ok(Some(own)),
            None => self.link.ask(cmd("GET").arg(names::CLOSED)).await,
        }
    }
}
