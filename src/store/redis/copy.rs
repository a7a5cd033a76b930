//! Following the journals into this instance's own file, from which it answers what nobody pays by: usage,
//! reports, the audit log, which call is to be refunded.

use redis::cmd;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::books::Books;
use super::journal::{Entry, ROWS, Row};
use super::names::{self, Names};
use crate::model::audit::AuditRow;
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::local::copied::CopiedRow;

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

impl Books {
    /// Copies all that has happened before this question.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _alone = self.copying.lock().await;
        let known: Vec<String> = self.link.ask(cmd("SMEMBERS").arg(names::NAMESPACES)).await?;
        let mut followed = self.copy.followed().await?;
        for namespace in known {
            let names = Names::of(&namespace);
            let epoch: Option<String> =
                self.link.ask(cmd("HGET").arg(names.meta()).arg("epoch")).await?;
            let epoch = epoch.unwrap_or_default();
            let place = followed.remove(&names.journal());
            // Other books under the same name are followed from their beginning.
            let last = place.filter(|(known, _)| *known == epoch).map(|(_, last)| last);
            self.copy_journal(names.journal(), &namespace, &epoch, last).await?;
        }
        let last = followed.remove(names::JOURNAL).map(|(_, last)| last);
        self.copy_journal(names::JOURNAL.to_owned(), "", "", last).await
    }

    async fn copy_journal(
        &self,
        journal: String,
        namespace: &str,
        epoch: &str,
        last: Option<String>,
    ) -> Result<(), StoreError> {
        let mut after = last.map_or_else(|| "-".to_owned(), |last| format!("({last}"));
        loop {
            let mut range = cmd("XRANGE");
            range.arg(&journal).arg(&after).arg("+").arg("COUNT").arg(ROWS);
            let entries: Vec<Entry> = self.link.ask(&range).await?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            let rows = entries.iter().filter_map(Row::read);
            let rows = rows.filter_map(|row| row.copied(namespace)).collect();
            let (is_all, last) = (entries.len() < ROWS, last.clone());
            after = format!("({last}");
            self.copy.append(journal.clone(), epoch.to_owned(), last, rows).await?;
            if is_all {
                return Ok(());
            }
        }
    }
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
            "grant" | "adjust" | "call" | "refund" => {
                let call = CallId::parse(&format!("call_{call}"));
                let (account, labels) = (account.as_str().to_owned(), self.labels);
                Some(CopiedRow::Money { at, kind, call, account, amount, detail, labels })
            }
            _ => None,
        }
    }
}

/// The entry; a change of credits adds the balance after it.
fn audit(detail: &str, balance: &str) -> Option<AuditRow> {
    let mut audit: Audit = serde_json::from_str(detail).ok()?;
    if let Ok(balance) = balance.parse::<i64>() {
        audit.metadata.insert("newBalance".to_owned(), balance.into());
    }
    let Audit { at, kind, actor, actor_id, namespace, target, message, metadata } = audit;
    let (at, metadata) = (Time::from_ms(at), Value::from(metadata).to_string());
    Some(AuditRow { id: 0, at, kind, actor, actor_id, namespace, target, message, metadata })
}
