//! Refusals, which every instance tells the others of: a stream that all of them copy, so that usage is
//! the same wherever it is asked for. They are statistics; while Redis is away they wait here.

use crate::model::bounds::{REDIS_REFUSED_ENTRIES_MAX, REDIS_REFUSED_WAITING_MAX};
use crate::model::usage::Refused;
use crate::store::StoreError;
use crate::store::local::copied_rows::ToldRefusal;
use crate::store::redis::books::Books;
use crate::store::redis::journals::streams::{append_marked, new_mark};
use crate::store::redis::names;

/// Those that Redis was not told of yet.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Waiting {
    /// Entries that were asked for and may be written, with their marks.
    asked: Vec<(String, Vec<ToldRefusal>)>,
    more: Vec<ToldRefusal>,
}

impl Waiting {
    fn add(&mut self, more: impl Iterator<Item = ToldRefusal>) {
        self.more.extend(more);
        let asked: usize = self.asked.iter().map(|(_, some)| some.len()).sum();
        let lost = asked.saturating_add(self.more.len()).saturating_sub(REDIS_REFUSED_WAITING_MAX);
        if lost > 0 {
            tracing::warn!(target: "store", lost, "refusals were not written down: too many waited for Redis");
            self.more.truncate(self.more.len().saturating_sub(lost));
        }
    }

    /// The entry to ask for next.
    fn next(&mut self) -> Result<Option<(String, Vec<ToldRefusal>)>, StoreError> {
        if let Some(asked) = self.asked.pop() {
            return Ok(Some(asked));
        }
        let more = std::mem::take(&mut self.more);
        Ok(if more.is_empty() { None } else { Some((new_mark()?, more)) })
    }
}

impl Books {
    /// Tells of what waits, before the end.
    pub(in crate::store::redis) async fn write_waiting_refusals(&self) {
        if let Err(error) = self.note_refused(Vec::new()).await {
            tracing::warn!(target: "store", %error, "some refusals were not written down");
        }
    }

    /// Tells all instances of refusals, and of those that could not be told of before.
    pub(in crate::store::redis) async fn note_refused(
        &self,
        refused: Vec<Refused>,
    ) -> Result<(), StoreError> {
        self.memory().refused.add(refused.into_iter().map(ToldRefusal::from));
        loop {
            let next = self.memory().refused.next()?;
            let Some((mark, some)) = next else { return Ok(()) };
            if let Err(error) = self.tell_refused(&mark, &some).await {
                self.memory().refused.asked.push((mark, some));
                return Err(error);
            }
        }
    }

    async fn tell_refused(&self, mark: &str, some: &[ToldRefusal]) -> Result<(), StoreError> {
        let text = serde_json::to_string(some)
            .map_err(|error| StoreError::Read(format!("refusals cannot be written: {error}")))?;
        let at = some.first().map_or(0, ToldRefusal::at).to_string();
        let fields = [("at", &*at), ("kind", "refused"), ("amount", "0"), ("detail", &*text)];
        let add = append_marked(names::REFUSED, REDIS_REFUSED_ENTRIES_MAX, &fields, mark);
        self.link.ask::<Option<String>>(&add).await.map(drop)
    }
}
