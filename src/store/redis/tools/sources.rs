//! Where the rows of a tenant's journal are: in Redis, and in the copies that instances keep.

use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::local::copied_told::{ToldBook, ToldCopy};
use crate::store::redis::journals::epochs::Was;
use crate::store::redis::names::Names;
use crate::store::redis::tools::whole::Whole;
use crate::store::replay::Replay;
use crate::store::told::Told;

/// An instance's copy, and where it is.
pub(in crate::store::redis) struct InstanceCopy {
    pub(in crate::store::redis) path: PathBuf,
    pub(in crate::store::redis) rows: ToldCopy,
    pub(in crate::store::redis) books: Vec<ToldBook>,
}

impl InstanceCopy {
    pub(in crate::store::redis) fn open(path: &Path) -> Result<Self, StoreError> {
        let rows = ToldCopy::open(path)?;
        let books = rows.books()?;
        Ok(Self { path: path.to_owned(), rows, books })
    }

    pub(in crate::store::redis) fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>, StoreError> {
        paths.iter().map(|path| Self::open(path)).collect()
    }

    /// What it has of a tenant.
    pub(in crate::store::redis) fn of(&self, namespace: &str) -> Option<&ToldBook> {
        let journal = Names::of(namespace).journal();
        self.books.iter().find(|book| book.journal == journal)
    }
}

/// Tenants in Redis and in copies.
pub(in crate::store::redis) async fn namespaces(
    whole: &Whole,
    copies: &[InstanceCopy],
) -> Result<Vec<String>, StoreError> {
    let mut known = whole.namespaces().await?;
    for copy in copies {
        let journals = copy.books.iter().filter_map(|book| Names::of_journal(&book.journal));
        known.extend(journals.map(str::to_owned));
    }
    known.sort();
    known.dedup();
    Ok(known)
}

/// What a copy has of these books, and up to which row it counts.
pub(in crate::store::redis) struct Part<'a> {
    pub(in crate::store::redis) copy: &'a InstanceCopy,
    pub(in crate::store::redis) book: &'a ToldBook,
    pub(in crate::store::redis) up_to: i64,
}

/// All that has rows of a tenant's journal.
pub(in crate::store::redis) struct Sources<'a> {
    pub(in crate::store::redis) whole: &'a Whole,
    pub(in crate::store::redis) names: Names,
    pub(in crate::store::redis) parts: Vec<Part<'a>>,
}

impl<'a> Sources<'a> {
    /// Those copies that follow the books of an epoch, or what these were before repairs.
    pub(in crate::store::redis) fn of(
        whole: &'a Whole,
        namespace: &str,
        copies: &'a [InstanceCopy],
        (epoch, was): (&str, &Was),
    ) -> Self {
        let part = |copy: &'a InstanceCopy| {
            let book = copy.of(namespace)?;
            let up_to = if book.epoch == epoch { Some(book.last) } else { was.row(&book.epoch) };
            Some(Part { copy, book, up_to: up_to?.min(book.last) })
        };
        let parts = copies.iter().filter_map(part).collect();
        Self { whole, names: Names::of(namespace), parts }
    }

    /// The next rows behind one, from whoever has them; those after a gap if nobody has.
    pub(in crate::store::redis) async fn next(&self, after: i64) -> Result<Vec<Told>, StoreError> {
        let is_next =
            |rows: &[Told]| rows.first().is_some_and(|told| told.row == after.saturating_add(1));
        let mut nearest = self.whole.rows(&self.names, after).await?;
        if is_next(&nearest) {
            return Ok(nearest);
        }
        for Part { copy, book, up_to } in &self.parts {
            let mut rows = copy.rows.rows(book, after)?;
            rows.retain(|told| told.row <= *up_to);
            let first = |rows: &[Told]| rows.first().map_or(i64::MAX, |told| told.row);
            if first(&rows) < first(&nearest) {
                nearest = rows;
            }
        }
        Ok(nearest)
    }

    /// Takes all rows up to one; what is nowhere shows in the replay.
    pub(in crate::store::redis) async fn replay(
        &self,
        replay: &mut Replay,
        up_to: i64,
    ) -> Result<(), StoreError> {
        while replay.row() < up_to {
            let after = replay.row();
            let rows = self.next(after).await?;
            let rows = rows.into_iter().take_while(|told| told.row <= up_to);
            for (index, told) in rows.enumerate() {
                // What follows a gap may begin earlier in another place.
                if index > 0 && told.row != replay.row().saturating_add(1) {
                    break;
                }
                replay.take(&told);
            }
            if replay.row() == after {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Rows behind one up to another, as copies have them.
    pub(in crate::store::redis) fn lost(
        &self,
        after: i64,
        up_to: i64,
    ) -> Result<Vec<Told>, StoreError> {
        let mut found: Vec<Told> = Vec::new();
        loop {
            let last = found.last().map_or(after, |told| told.row);
            let mut next = Vec::new();
            for Part { copy, book, .. } in &self.parts {
                let rows = copy.rows.rows(book, last)?;
                if rows.first().is_some_and(|told| told.row == last.saturating_add(1)) {
                    next = rows;
                    break;
                }
            }
            next.retain(|told| told.row <= up_to);
            if next.is_empty() {
                return Ok(found);
            }
            found.extend(next);
        }
    }
}
