//! The journal of a tenant as its stream has it.

use std::collections::HashMap;

use redis::{Value, cmd};

use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::redis::books::Books;
use crate::store::redis::calls::call_text;
use crate::store::redis::journals::streams::append;
use crate::store::redis::link::Link;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::lists::CHUNK;
use crate::store::told::Told;

/// Rows that are read at once.
pub(in crate::store::redis) const ROWS: usize = 1_000;

/// One entry of a stream.
pub(in crate::store::redis) type Entry = (String, Vec<(String, String)>);

/// A row of the journal.
pub(in crate::store::redis) struct Row {
    /// Its number; of the journal that belongs to no tenant, the moment of its writing.
    pub(in crate::store::redis) number: i64,
    pub(in crate::store::redis) at: Time,
    pub(in crate::store::redis) kind: String,
    pub(in crate::store::redis) call: String,
    pub(in crate::store::redis) account: AccountId,
    pub(in crate::store::redis) amount: i64,
    pub(in crate::store::redis) detail: String,
    pub(in crate::store::redis) labels: String,
    /// What is left after it, where it changed that.
    pub(in crate::store::redis) balance: String,
    /// What a record's text leaves out, or what is remembered of a call.
    pub(in crate::store::redis) more: String,
    /// What tells its history from any other; empty if a repair or a migration has written it.
    pub(in crate::store::redis) mark: String,
}

impl Row {
    pub(in crate::store::redis) fn read(entry: &Entry) -> Option<Self> {
        let (id, fields) = entry;
        Self::of(id, fields.clone())
    }

    /// The row that an entry is; every call has one, so nothing in it is copied.
    fn of(id: &str, fields: Vec<(String, String)>) -> Option<Self> {
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

    /// The same; one that is none is told to the operator and passed over.
    pub(in crate::store::redis) fn read_or_tell(
        journal: &str,
        (id, fields): Entry,
    ) -> Option<Self> {
        let row = Self::of(&id, fields);
        if row.is_none() {
            tracing::error!(target: "store", %journal, row = %id, "a row cannot be read");
        }
        row
    }

    /// The row as it is told of.
    pub(in crate::store::redis) fn told(&self) -> Told {
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
    pub(in crate::store::redis) fn calls(&self) -> Vec<(String, i64, i64, String)> {
        #[derive(serde::Deserialize)]
        struct Calls {
            #[serde(default)]
            calls: Vec<(String, i64, i64, String)>,
        }
        serde_json::from_str(&self.detail).map_or_else(|_| Vec::new(), |Calls { calls }| calls)
    }

    /// The word for how a call ended.
    pub(in crate::store::redis) fn end(&self) -> Option<String> {
        let detail: serde_json::Value = serde_json::from_str(&self.detail).ok()?;
        Some(detail.get("end")?.as_str()?.to_owned())
    }
}

/// How far a tenant's journal goes.
pub(in crate::store::redis) struct JournalEnd {
    pub(in crate::store::redis) namespace: String,
    /// Which books it is of; empty if there are none.
    pub(in crate::store::redis) epoch: String,
    pub(in crate::store::redis) seq: i64,
}

impl Books {
    /// How far the journals of all tenants go.
    pub(in crate::store::redis) async fn journal_ends(
        &self,
    ) -> Result<Vec<JournalEnd>, StoreError> {
        let known: Vec<String> = self.link.ask(cmd("SMEMBERS").arg(names::NAMESPACES)).await?;
        let mut ends = Vec::with_capacity(known.len());
        for chunk in known.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for namespace in chunk {
                commands.cmd("HMGET").arg(Names::of(namespace).meta()).arg("epoch").arg("seq");
            }
            let found: Vec<(Option<String>, Option<i64>)> = self.link.ask_all(&commands).await?;
            ends.extend(chunk.iter().zip(found).map(|(namespace, (epoch, seq))| JournalEnd {
                namespace: namespace.clone(),
                epoch: epoch.unwrap_or_default(),
                seq: seq.unwrap_or(0),
            }));
        }
        Ok(ends)
    }

    /// How a call ended, from the rows behind one.
    pub(in crate::store::redis) async fn ended_since(
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

/// Adds a row to the journal of what belongs to no tenant, once.
pub(in crate::store::redis) fn common_row(
    kind: &str,
    at: i64,
    account: &str,
    detail: &str,
) -> Result<redis::Cmd, StoreError> {
    let at = at.to_string();
    let all =
        [("at", &*at), ("kind", kind), ("account", account), ("amount", "0"), ("detail", detail)];
    let fields: Vec<_> = all.into_iter().filter(|field| *field != ("account", "")).collect();
    append(names::JOURNAL, REDIS_JOURNAL_ROWS_MAX, &fields)
}

/// Has a stream ever had more entries than now?
pub(in crate::store::redis) async fn was_trimmed(
    link: &Link,
    stream: &str,
) -> Result<bool, StoreError> {
    let mut info = cmd("XINFO");
    let facts: HashMap<String, Value> = link.ask(info.arg("STREAM").arg(stream)).await?;
    let count = |name: &str| match facts.get(name) {
        Some(Value::Int(count)) => *count,
        Some(_) | None => 0,
    };
    Ok(count("entries-added") > count("length"))
}
