//! Refusals, which every instance tells the others of: a stream that all of them copy, so that usage is
//! the same wherever it is asked for. They are statistics; while Redis is away they wait here.

use redis::cmd;

use super::books::Books;
use super::names;
use crate::model::bounds::{REDIS_REFUSED_ENTRIES_MAX, REDIS_REFUSED_WAITING_MAX};
use crate::model::usage::Refused;
use crate::store::StoreError;
use crate::store::local::copied_rows::ToldRefusal;

impl Books {
    /// Tells of what waits, before the end.
    pub(super) async fn write_waiting_refusals(&self) {
        if let Err(error) = self.note_refused(Vec::new()).await {
            tracing::warn!(target: "store", %error, "some refusals were not written down");
        }
    }

    /// Tells all instances of refusals, and of those that could not be told of before.
    pub(super) async fn note_refused(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.memory().refused);
        let more = refused.into_iter().map(ToldRefusal::from);
        let mut all: Vec<ToldRefusal> = waiting.into_iter().chain(more).collect();
        let Some(first) = all.first() else { return Ok(()) };
        let at = first.at();
        if all.len() > REDIS_REFUSED_WAITING_MAX {
            let lost = all.len().saturating_sub(REDIS_REFUSED_WAITING_MAX);
            tracing::warn!(target: "store", lost, "refusals were not written down: too many waited for Redis");
            all.truncate(REDIS_REFUSED_WAITING_MAX);
        }
        let text = serde_json::to_string(&all)
            .map_err(|error| StoreError::Read(format!("refusals cannot be written: {error}")))?;
        let mut add = cmd("XADD");
        add.arg(names::REFUSED).arg("MAXLEN").arg("~").arg(REDIS_REFUSED_ENTRIES_MAX).arg("*");
        add.arg("at").arg(at).arg("kind").arg("refused").arg("amount").arg("0");
        add.arg("detail").arg(text);
        let told: Result<String, StoreError> = self.link.ask(&add).await;
        told.map(drop).inspect_err(|_| {
            let mut memory = self.memory();
            memory.refused.splice(0..0, all);
        })
    }
}
