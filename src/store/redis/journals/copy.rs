//! Following the journals into this instance's own file, from which it answers what nobody pays by: usage,
//! reports, the audit log, which call is to be refunded.

use std::collections::HashMap;

use redis::cmd;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::audit::AuditRow;
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::local::copied::Followed;
use crate::store::local::copied_rows::CopiedRow;
use crate::store::redis::books::Books;
use crate::store::redis::journals::journal::{Entry, JournalEnd, ROWS, Row, was_trimmed};
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::keys::record_text;
use crate::store::redis::records::lists::CHUNK;

/// An entry of the audit log as `deeds.rs` writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audit {
    at: i64,
    kind: String,
    actor: String,
    actor_id: Option<String>,
    namespace: Option<String>,
    target: Option<String>,
    message: String,
    metadata: Map<String, Value>,
}

/// Which rows of a journal are to be copied.
struct Span<'a> {
    journal: String,
    /// Its tenant; empty if it belongs to none.
    namespace: &'a str,
    epoch: &'a str,
    before: Option<Followed>,
    /// The last id, or `+`.
    up_to: &'a str,
}

/// The number of a row by its id.
fn number(id: &str) -> Option<i64> {
    id.split('-').next()?.parse().ok()
}

impl Books {
    /// Copies all that has happened before this question.
    pub(in crate::store::redis) async fn catch_up(&self) -> Result<(), StoreError> {
        let copied = self.copy_all().await;
        let now = match &copied {
            Ok(()) => None,
            // Redis not being there is said elsewhere.
            Err(StoreError::Read(why)) => Some(why.clone()),
            Err(_) => return copied,
        };
        let before = std::mem::replace(&mut self.memory().copy_trouble, now.clone());
        match (before, now) {
            (None, Some(why)) => tracing::error!(
                target: "store",
                "the journals are not copied any more, and a repair would miss what comes now: {why}"
            ),
            (Some(_), None) => tracing::info!(target: "store", "the journals are copied again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        copied
    }

    async fn copy_all(&self) -> Result<(), StoreError> {
        let _alone = self.copying.lock().await;
        let mut followed = self.copy.followed().await?;
        for JournalEnd { namespace, epoch, seq } in self.journal_ends().await? {
            if !self.follows(&mut followed, &namespace, &epoch).await? {
                continue;
            }
            let before = take(&mut followed, &namespace, &epoch);
            if before.as_ref().and_then(|before| number(&before.last)) < Some(seq) {
                let (journal, up_to) = (Names::of(&namespace).journal(), "+");
                let (namespace, epoch) = (namespace.as_str(), epoch.as_str());
                self.copy_span(Span { journal, namespace, epoch, before, up_to }).await?;
            }
        }
        for stream in [names::JOURNAL, names::REFUSED] {
            let (journal, before) = (stream.to_owned(), followed.remove(stream));
            self.copy_span(Span { journal, namespace: "", epoch: "", before, up_to: "+" }).await?;
        }
        Ok(())
    }

    /// Copies the journal of a tenant up to a row; is no row of it missing? For whoever holds the right to
    /// copy.
    pub(in crate::store::redis) async fn copy_up_to(
        &self,
        namespace: &str,
        epoch: &str,
        seq: i64,
    ) -> Result<bool, StoreError> {
        let mut followed = self.copy.followed().await?;
        let before = take(&mut followed, namespace, epoch);
        let (journal, up_to) = (Names::of(namespace).journal(), format!("{seq}-0"));
        self.copy_span(Span { journal, namespace, epoch, before, up_to: &up_to }).await?;
        let followed = self.copy.followed().await?.remove(&Names::of(namespace).journal());
        Ok(followed.is_none_or(|followed| followed.since.is_none()))
    }

    async fn copy_span(&self, span: Span<'_>) -> Result<(), StoreError> {
        let Span { journal, namespace, epoch, mut before, up_to } = span;
        if before.is_none() && namespace.is_empty() {
            before = self.begin_behind_lost(&journal).await?;
        }
        let copied = before.as_ref().and_then(|before| number(&before.last));
        if let Some(copied) = copied.filter(|_| !namespace.is_empty())
            && !self.is_as_copied(namespace, epoch, copied).await?
        {
            return Ok(());
        }
        loop {
            let next = self.next_entries(&journal, before.as_ref(), up_to).await?;
            let Some(newest) = next.entries.last().map(|(id, _)| id.clone()) else {
                return Ok(());
            };
            let mut since = before.as_ref().and_then(|before| before.since);
            if next.is_behind_gap {
                let first = next.entries.first();
                since = first.and_then(Row::read).map(|row| row.at).max(since);
                tracing::warn!(
                    target: "store", %journal, first = first.map_or("", |(id, _)| id),
                    "rows left Redis before this instance had copied them; reports say from when on they are complete"
                );
                if !namespace.is_empty() {
                    self.copy_keys(namespace).await?;
                }
            }
            let now = Followed { epoch: epoch.to_owned(), last: newest.clone(), since };
            let read = |entry| Row::read_or_tell(&journal, entry);
            let rows: Vec<Row> = next.entries.into_iter().filter_map(read).collect();
            if let Some(at) = rows.iter().map(|row| row.at).max() {
                // Reports end with the present, and what has been copied is not after it.
                self.memory().saw_time(at);
            }
            let (told, mark) = (rows.iter().map(Row::told).collect(), mark_of(&rows));
            let rows = rows.into_iter().filter_map(|row| row.copied(namespace)).collect();
            let rows = (rows, told);
            let is_ours = self.copy.append(journal.clone(), before, now.clone(), rows).await?;
            if is_ours && !namespace.is_empty() {
                self.saw_row(namespace, epoch, (number(&newest).unwrap_or(0), &mark));
            }
            if next.is_all || !is_ours {
                return Ok(());
            }
            before = Some(now);
        }
    }

    /// Where a stream was lost, and a repair has left word how far it had gone: whoever has not copied it begins
    /// behind that, and says so.
    async fn begin_behind_lost(&self, stream: &str) -> Result<Option<Followed>, StoreError> {
        let was: Option<String> = self.link.ask(cmd("HGET").arg(names::WAS).arg(stream)).await?;
        let Some(last) = was else { return Ok(None) };
        let since = number(&last).map(|ms| Time::from_ms(ms.saturating_add(1)));
        let begun = Followed { epoch: String::new(), last, since };
        let nothing = (Vec::new(), Vec::new());
        let is_ours = self.copy.append(stream.to_owned(), None, begun.clone(), nothing).await?;
        Ok(Some(begun).filter(|_| is_ours))
    }

    /// Was a stream lost, and this instance has all of it up to there that any copy had?
    async fn has_all_of_lost(&self, stream: &str, last: &str) -> Result<bool, StoreError> {
        let was: Option<String> = self.link.ask(cmd("HGET").arg(names::WAS).arg(stream)).await?;
        let place = |id: &str| {
            let (ms, count) = id.split_once('-').unwrap_or((id, "0"));
            (ms.parse().unwrap_or(0_i64), count.parse().unwrap_or(0_i64))
        };
        let has_all = was.is_some_and(|was| place(last) >= place(&was));
        Ok(has_all && !was_trimmed(&self.link, stream).await?)
    }

    async fn next_entries(
        &self,
        journal: &str,
        before: Option<&Followed>,
        up_to: &str,
    ) -> Result<Next, StoreError> {
        let is_numbered = Names::of_journal(journal).is_some();
        let after = match before {
            None => "-".to_owned(),
            Some(before) if is_numbered => format!("({}", before.last),
            // If it is still there, nothing that came after it has gone.
            Some(before) => before.last.clone(),
        };
        let mut range = cmd("XRANGE");
        range.arg(journal).arg(after).arg(up_to).arg("COUNT").arg(ROWS);
        let mut entries: Vec<Entry> = self.link.ask(&range).await?;
        let is_all = entries.len() < ROWS;
        let is_behind_gap = match (entries.first(), before) {
            (None, _) => false,
            (Some((first, _)), _) if is_numbered => {
                let last = before.and_then(|before| number(&before.last)).unwrap_or(0);
                number(first).is_some_and(|first| first > last.saturating_add(1))
            }
            (Some((first, _)), Some(before)) => {
                *first != before.last && !self.has_all_of_lost(journal, &before.last).await?
            }
            (Some(_), None) => was_trimmed(&self.link, journal).await?,
        };
        if let Some(before) = before.filter(|_| !is_numbered && !is_behind_gap) {
            entries.retain(|(id, _)| *id != before.last);
        }
        Ok(Next { entries, is_all, is_behind_gap })
    }

    /// Copies the keys of a tenant as they are now: the rows that told of them have gone.
    async fn copy_keys(&self, namespace: &str) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.keys_page(Some(namespace), after, CHUNK).await?;
            let mut rows = Vec::with_capacity(page.keys.len());
            for (key, _) in page.keys {
                let (id, namespace) = (key.id.clone(), key.namespace.clone());
                rows.push(CopiedRow::Key { id, namespace, record: record_text(&key)? });
            }
            self.copy.add(rows).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// From when on this instance's copy of what is asked for is complete, if it does not go back to the
    /// beginning.
    pub(in crate::store::redis) async fn complete_since(
        &self,
        namespace: Option<&str>,
    ) -> Result<Option<Time>, StoreError> {
        let followed = self.copy.followed().await?;
        let counts = |journal: &str| {
            let own = Names::of_journal(journal);
            own.is_none() || namespace.is_none() || own == namespace
        };
        let counted = followed.iter().filter(|(journal, _)| counts(journal));
        Ok(counted.filter_map(|(_, followed)| followed.since).max())
    }
}

/// What is to be copied next.
struct Next {
    entries: Vec<Entry>,
    /// There are no more.
    is_all: bool,
    /// Others before them have gone.
    is_behind_gap: bool,
}

impl Books {
    /// Are these the books that were copied so far, or those that a repair has made of them? Others under
    /// the same name are nothing that this instance may sell from, and are not mixed with its own.
    async fn follows(
        &self,
        followed: &mut HashMap<String, Followed>,
        namespace: &str,
        epoch: &str,
    ) -> Result<bool, StoreError> {
        let Some(known) = followed.get_mut(&Names::of(namespace).journal()) else {
            return Ok(true);
        };
        if known.epoch != epoch {
            if !self.goes_on(namespace, &known.epoch).await? {
                return Ok(false);
            }
            epoch.clone_into(&mut known.epoch);
        }
        Ok(true)
    }
}

/// The mark of the last row.
fn mark_of(rows: &[Row]) -> String {
    rows.last().map(|row| row.mark.clone()).unwrap_or_default()
}

/// How far a tenant's journal was copied. Other books under the same name are followed from their
/// beginning.
fn take(
    followed: &mut HashMap<String, Followed>,
    namespace: &str,
    epoch: &str,
) -> Option<Followed> {
    followed.remove(&Names::of(namespace).journal()).filter(|known| known.epoch == epoch)
}

impl Row {
    /// The row as it is copied; `None` for what no report needs.
    fn copied(self, namespace: &str) -> Option<CopiedRow> {
        let namespace = namespace.to_owned();
        let Self { at, kind, call, account, amount, detail, .. } = self;
        match kind.as_str() {
            "key" => {
                let id = KeyId::parse(account.as_str())?;
                Some(CopiedRow::Key { id, namespace, record: detail })
            }
            "deleted" => {
                Some(CopiedRow::Deleted { id: KeyId::parse(account.as_str())?, namespace, at })
            }
            "audit" => audit(&detail, &self.balance).map(CopiedRow::Audit),
            "refused" => serde_json::from_str(&detail).ok().map(CopiedRow::Refused),
            "grant" | "adjust" | "call" | "refund" | "import" => {
                let call = CallId::parse(&format!("call_{call}"));
                let (account, labels) = (account.as_str().to_owned(), self.labels);
                Some(CopiedRow::Money { at, kind, call, account, amount, detail, labels })
            }
            _ => None,
        }
    }
}

/// The entry; a change of credits adds the balance after it.
pub(in crate::store::redis) fn audit(detail: &str, balance: &str) -> Option<AuditRow> {
    let mut audit: Audit = serde_json::from_str(detail).ok()?;
    if let Ok(balance) = balance.parse::<i64>() {
        audit.metadata.insert("newBalance".to_owned(), balance.into());
    }
    let Audit { at, kind, actor, actor_id, namespace, target, message, metadata } = audit;
    let (at, metadata) = (Time::from_ms(at), Value::from(metadata).to_string());
    Some(AuditRow { id: 0, at, kind, actor, actor_id, namespace, target, message, metadata })
}
