//! The journal of a tenant as its stream has it.

use std::collections::HashMap;

use redis::{Value, cmd};

use super::books::Books;
use super::calls::call_text;
use super::link::Link;
use super::names::Names;
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::told::Told;

/// Rows that are read at once.
pub(super) const ROWS: usize = 1_000;

/// One entry of a stream.
pub(super) type Entry = (String, Vec<(String, String)>);

/// A row of the journal.
pub(super) struct Row {
    /// Its number; of the journal that belongs to no tenant, the moment of its writing.
    pub(super) number: i64,
    pub(super) at: Time,
    pub(super) kind: String,
    pub(super) call: String,
    pub(super) account: AccountId,
    pub(super) amount: i64,
    pub(super) detail: String,
    pub(super) labels: String,
    /// What is left after it, where it changed that.
    pub(super) balance: String,
    /// What a record's text leaves out, or what is remembered of a call.
    pub(super) more: String,
    /// What tells its history from any other; empty if a repair or a migration has written it.
    pub(super) mark: String,
}

impl Row {
    pub(super) fn read(entry: &Entry) -> Option<Self> {
        Self::of(entry.clone())
    }

    /// The row that an entry is; every call has one, so nothing in it is copied.
    pub(super) fn of((id, fields): Entry) -> Option<Self> {
        let (mut at, mut amount, mut kind, mut detail) = (None, None, None, None);
        let mut row = Self {
            number: id.split('-').next()?.parse().ok()?,
            at: Time::ZERO,
            kind: String::new(),
            call: String::new(),
            account: AccountId::new(""),
            amount: 0,
            detail: String::new(),
            labels: String::new(),
            balance: String::new(),
            more: String::new(),
            mark: String::new(),
        };
        for (name, value) in fields {
            match name.as_str() {
                "at" => at = value.parse().ok(),
                "amount" => amount = value.parse().ok(),
                "kind" => kind = Some(value),
                "detail" => detail = Some(value),
                "account" => row.account = AccountId::new(&value),
                "call" => row.call = value,
                "labels" => row.labels = value,
                "balance" => row.balance = value,
                "more" => row.more = value,
                "mark" => row.mark = value,
                _ => {}
            }
        }
        (row.at, row.amount) = (Time::from_ms(at?), amount?);
        (row.kind, row.detail) = (kind?, detail?);
        Some(row)
    }

    /// The row as it is told of.
    pub(super) fn told(&self) -> Told {
        let Self { number, at, kind, call, account, amount, detail, labels, more, balance, .. } =
            self;
        Told {
            row: *number,
            at: *at,
            kind: kind.clone(),
            call: call.clone(),
            account: account.as_str().to_owned(),
            amount: *amount,
            detail: detail.clone(),
            labels: labels.clone(),
            // What a change of credits left is in its entry of the audit log.
            more: if kind == "audit" { balance.clone() } else { more.clone() },
        }
    }

    /// Its calls: tool, price, credits charged, outcome.
    pub(super) fn calls(&self) -> Vec<(String, i64, i64, String)> {
        #[derive(serde::Deserialize)]
        struct Calls {
            #[serde(default)]
            calls: Vec<(String, i64, i64, String)>,
        }
        serde_json::from_str(&self.detail).map_or_else(|_| Vec::new(), |Calls { calls }| calls)
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
}

/// Has a stream ever had more entries than now?
pub(super) async fn was_trimmed(link: &Link, stream: &str) -> Result<bool, StoreError> {
    let mut info = cmd("XINFO");
    let facts: HashMap<String, Value> = link.ask(info.arg("STREAM").arg(stream)).await?;
    let count = |name: &str| match facts.get(name) {
        Some(Value::Int(count)) => *count,
        Some(_) | None => 0,
    };
    Ok(count("entries-added") > count("length"))
}
