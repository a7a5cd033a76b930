//! The journal of a tenant as its stream has it: read back for the little that needs it. Instances are
//! to copy it into a database of their own (issue 5); until then a call is looked for in the stream.

use redis::cmd;

use super::books::Books;
use super::calls::call_text;
use super::names::Names;
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;
use crate::store::local::refunds::Found;
use crate::store::local::rows::entries;
use crate::store::{FoundCall, StoreError};

/// Rows that are read at once.
const ROWS: usize = 1_000;

/// One entry of a stream.
type Entry = (String, Vec<(String, String)>);

/// A row of the journal.
pub(super) struct Row {
    at: Time,
    pub(super) kind: String,
    pub(super) call: String,
    account: AccountId,
    amount: i64,
    pub(super) detail: String,
}

impl Row {
    fn read((_, fields): &Entry) -> Option<Self> {
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        Some(Self {
            at: Time::from_ms(field("at")?.parse().ok()?),
            kind: field("kind")?,
            call: field("call").unwrap_or_default(),
            account: AccountId::new(&field("account").unwrap_or_default()),
            amount: field("amount")?.parse().ok()?,
            detail: field("detail")?,
        })
    }

    /// The word for how a call ended.
    pub(super) fn end(&self) -> Option<String> {
        let detail: serde_json::Value = serde_json::from_str(&self.detail).ok()?;
        Some(detail.get("end")?.as_str()?.to_owned())
    }
}

impl Books {
    /// How a call ended, from the rows behind one.
    pub(super) async fn ended_since(
        &self,
        names: &Names,
        seq: i64,
        call: CallId,
    ) -> Result<Option<String>, StoreError> {
        let (call, mut after) = (call_text(&call), format!("({seq}-0"));
        loop {
            let mut range = cmd("XRANGE");
            range.arg(names.journal()).arg(&after).arg("+").arg("COUNT").arg(ROWS);
            let rows: Vec<Entry> = self.link.ask(&range).await?;
            let mut found = rows.iter().filter_map(Row::read);
            if let Some(row) = found.find(|row| row.kind == "call" && row.call == call) {
                return Ok(row.end());
            }
            match rows.last() {
                Some((id, _)) if rows.len() == ROWS => after = format!("({id}"),
                _ => return Ok(None),
            }
        }
    }

    /// The call with an id, whosever it is.
    pub(super) async fn find_call(&self, call: CallId) -> Result<Option<FoundCall>, StoreError> {
        let known = self.memory().known.clone();
        for namespace in known {
            if let Some(found) = self.find_call_in(&namespace, call).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// From the newest row back, because most refunds are of late calls.
    async fn find_call_in(
        &self,
        namespace: &str,
        call: CallId,
    ) -> Result<Option<FoundCall>, StoreError> {
        let (names, text) = (Names::of(namespace), call_text(&call));
        let (mut found, mut before) = (Found::new(call), "+".to_owned());
        loop {
            let mut range = cmd("XREVRANGE");
            range.arg(names.journal()).arg(&before).arg("-").arg("COUNT").arg(ROWS);
            let rows: Vec<Entry> = self.link.ask(&range).await?;
            let theirs = rows.iter().filter_map(Row::read).filter(|row| row.call == text);
            for row in theirs {
                let (at, amount) = (row.at, row.amount);
                let read =
                    entries(at, &row.kind, Some(call.bytes()), &row.account, amount, &row.detail);
                let Some((entries, _)) = read else { continue };
                if let Some(whole) = found.row(&row.account, &row.detail, entries, 0) {
                    return Ok(Some(whole));
                }
            }
            match rows.last() {
                Some((id, _)) if rows.len() == ROWS => before = format!("({id}"),
                _ => return Ok(None),
            }
        }
    }
}
