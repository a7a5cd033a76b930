//! Journal rows: what an entry of the ledger looks like in the `journal` table, both ways.
//!
//! `detail` is JSON, so that an operator can read it with any SQLite tool:
//! `{"held":…,"until":…,"postings":[["counter@window",amount]…],"kept":[…],
//! "calls":[[tool,price,charged,outcome]…],"accounts":[…],"reason":…}` (postings: see `posting.rs`). A call that
//! ended before its hold was written is one row of kind `call`, without `kept` if all of it stayed;
//! otherwise it is a `hold` and, later, a row named after its end. A `refund` says what is given back.

use std::borrow::Cow;

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use super::posting::PostingRow;
use crate::ledger::{CreditKind, Entry, Hold, Posting, Resolution, ResolutionKind, Reversal};
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;
use crate::store::CallEnd;

/// One row to write.
#[derive(Debug)]
pub(super) enum JournalRow {
    Credit { at: Time, account: AccountId, amount: i64, kind: CreditKind, reason: Option<String> },
    Hold { hold: Hold, payer: AccountId, calls: Vec<CallEnd> },
    End { resolution: Resolution, payer: AccountId, charged: i64, calls: Vec<CallEnd> },
    Call { hold: Hold, resolution: Resolution, payer: AccountId, charged: i64, calls: Vec<CallEnd> },
    Refund { reversal: Reversal, payer: AccountId, calls: Vec<CallEnd>, reason: Option<String> },
}

#[derive(Default, Serialize, Deserialize)]
struct Detail<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    held: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    end: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    postings: Vec<PostingRow>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    kept: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    calls: Vec<(Cow<'a, str>, i64, i64, Cow<'a, str>)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    accounts: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Cow<'a, str>>,
}

impl JournalRow {
    pub(super) fn insert(&self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO journal (seq, at, kind, call, account, amount, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let (at, kind, call, account, amount) = match self {
            Self::Credit { at, account, amount, kind, .. } => {
                (*at, credit_word(*kind), None, account, *amount)
            }
            Self::Hold { hold, payer, calls } => {
                let price = calls.iter().fold(0_i64, |sum, call| sum.saturating_add(call.price));
                (hold.at, "hold", Some(hold.call), payer, price)
            }
            Self::End { resolution, payer, charged, .. } => {
                (resolution.at, resolution.kind.word(), Some(resolution.call), payer, *charged)
            }
            Self::Call { resolution, payer, charged, .. } => {
                (resolution.at, "call", Some(resolution.call), payer, *charged)
            }
            Self::Refund { reversal, payer, .. } => {
                (reversal.at, "refund", Some(reversal.call), payer, reversal.credits())
            }
        };
        let detail =
            self.detail().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let call = call.as_ref().map(|call| call.bytes().as_slice());
        statement.execute((seq, at.ms(), kind, call, account.as_str(), amount, detail))?;
        Ok(())
    }

    fn detail(&self) -> Result<String, serde_json::Error> {
        let mut detail = Detail::default();
        match self {
            Self::Credit { reason, .. } => detail.reason = reason.as_deref().map(Cow::from),
            Self::Hold { hold, payer, calls } => {
                detail.hold(hold, payer);
                detail.calls(calls);
            }
            Self::Refund { reversal, payer, calls, reason } => {
                detail.held = Some(reversal.held_at.ms());
                detail.postings(&reversal.postings, payer);
                detail.calls(calls);
                detail.reason = reason.as_deref().map(Cow::from);
            }
            Self::End { resolution, calls, .. } => {
                detail.kept.clone_from(&resolution.kept);
                detail.calls(calls);
            }
            Self::Call { hold, resolution, payer, calls, .. } => {
                detail.hold(hold, payer);
                detail.end = Some(resolution.kind.word().into());
                detail.kept(&resolution.kept);
                detail.calls(calls);
            }
        }
        serde_json::to_string(&detail)
    }
}

impl<'a> Detail<'a> {
    fn hold(&mut self, hold: &'a Hold, payer: &'a AccountId) {
        (self.held, self.until) = (Some(hold.at.ms()), Some(hold.deadline.ms()));
        self.postings(&hold.postings, payer);
    }

    fn postings(&mut self, postings: &'a [Posting], payer: &'a AccountId) {
        for posting in postings {
            let place = self.place_of(&posting.account, payer);
            self.postings.push(PostingRow::new(posting, place));
        }
    }

    fn place_of(&mut self, account: &'a AccountId, payer: &AccountId) -> usize {
        if account == payer {
            return 0;
        }
        let found = self.accounts.iter().position(|known| known == account.as_str());
        let place = found.unwrap_or_else(|| {
            self.accounts.push(account.as_str().into());
            self.accounts.len() - 1
        });
        place + 1
    }

    fn calls(&mut self, calls: &'a [CallEnd]) {
        let row = |call: &'a CallEnd| {
            (call.tool.as_str().into(), call.price, call.charged, call.outcome.into())
        };
        self.calls = calls.iter().map(row).collect();
    }

    fn read_postings(&self, payer: &AccountId) -> Option<Vec<Posting>> {
        self.postings.iter().map(|row| row.posting(payer, &self.accounts)).collect()
    }

    /// What stays, unless it is all of it.
    fn kept(&mut self, kept: &[i64]) {
        if !kept.iter().copied().eq(self.postings.iter().map(PostingRow::amount)) {
            kept.clone_into(&mut self.kept);
        }
    }

    /// What stays of a whole call.
    fn kept_of_call(&self) -> Vec<i64> {
        if self.kept.is_empty() {
            return self.postings.iter().map(PostingRow::amount).collect();
        }
        self.kept.clone()
    }
}

const fn credit_word(kind: CreditKind) -> &'static str {
    match kind {
        CreditKind::Grant => "grant",
        CreditKind::Adjustment => "adjust",
    }
}

/// A row that was read, as entries of the ledger: one, or two for a whole call.
#[derive(Debug)]
pub(super) struct ReadRow {
    pub(super) seq: i64,
    pub(super) payer: AccountId,
    pub(super) amount: i64,
    /// What its calls say that they were charged, together.
    pub(super) calls_charged: i64,
    pub(super) entries: Vec<Entry>,
}

/// What [`ReadRow::read`] needs, in this order.
pub(super) const COLUMNS: &str = "seq, at, kind, call, account, amount, detail";

impl ReadRow {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, String>> {
        let seq: i64 = row.get(0)?;
        let at = Time::from_ms(row.get(1)?);
        let kind = row.get_ref(2)?.as_str()?;
        let call: Option<&[u8]> = row.get_ref(3)?.as_blob_or_null()?;
        let payer = AccountId::new(row.get_ref(4)?.as_str()?);
        let amount: i64 = row.get(5)?;
        let detail = row.get_ref(6)?.as_str()?;
        let entries = entries(at, kind, call, &payer, amount, detail);
        Ok(entries
            .map(|(entries, calls_charged)| Self { seq, payer, amount, calls_charged, entries })
            .ok_or_else(|| format!("journal row {seq} (kind {kind}) cannot be read")))
    }
}

fn entries(
    at: Time,
    kind: &str,
    call: Option<&[u8]>,
    payer: &AccountId,
    amount: i64,
    detail: &str,
) -> Option<(Vec<Entry>, i64)> {
    let credit = |kind| (vec![Entry::Credit { at, account: payer.clone(), amount, kind }], 0);
    match kind {
        "grant" => return Some(credit(CreditKind::Grant)),
        "adjust" => return Some(credit(CreditKind::Adjustment)),
        _ => {}
    }
    let call = CallId::from_random(call?.try_into().ok()?);
    let detail: Detail<'_> = serde_json::from_str(detail).ok()?;
    let hold = || {
        let (held, until) = (Time::from_ms(detail.held?), Time::from_ms(detail.until?));
        Some(Entry::Hold(Hold {
            call,
            at: held,
            deadline: until,
            postings: detail.read_postings(payer)?,
        }))
    };
    let end = |word: &str, kept: Vec<i64>| {
        let kind = ResolutionKind::from_word(word)?;
        Some(Entry::Resolution(Resolution { call, at, kind, kept }))
    };
    let charged = detail.calls.iter().fold(0_i64, |sum, call| sum.saturating_add(call.2));
    let reversal = || {
        let (held_at, postings) = (Time::from_ms(detail.held?), detail.read_postings(payer)?);
        Some(Entry::Reversal(Reversal { call, at, held_at, postings }))
    };
    let entries = match kind {
        "refund" => vec![reversal()?],
        "hold" => vec![hold()?],
        "call" => vec![hold()?, end(detail.end.as_deref()?, detail.kept_of_call())?],
        word => vec![end(word, detail.kept.clone())?],
    };
    Some((entries, charged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::names;
    use crate::ledger::{Refund, Window};

    #[test]
    fn rows_read_back_as_they_were_written() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE journal (seq, at, kind, call, account, amount, detail)")
            .unwrap();
        let (payer, team) = (AccountId::new("key_1"), AccountId::new("team_1"));
        let posting = |account: &AccountId, counter, window, amount, refund| Posting {
            account: account.clone(),
            counter,
            window,
            amount,
            refund,
        };
        let hold = Hold {
            call: CallId::from_random([7; 16]),
            at: Time::from_ms(5),
            deadline: Time::from_ms(900),
            postings: vec![
                posting(&payer, names::BALANCE, Window::Lifetime, -3, Refund::Back),
                posting(&payer, names::tool_rate("a\"b"), Window::MINUTE, 1, Refund::Stays),
                posting(&team, names::SPENT, Window::Month, 3, Refund::Back),
            ],
        };
        let resolution = Resolution {
            call: hold.call,
            at: Time::from_ms(8),
            kind: ResolutionKind::Captured,
            kept: vec![-3, 1, 3],
        };
        let calls = vec![CallEnd { tool: "a\"b".into(), price: 3, charged: 3, outcome: "result" }];
        let credit = Entry::Credit {
            at: Time::from_ms(1),
            account: payer.clone(),
            amount: 10,
            kind: CreditKind::Grant,
        };
        let reversal = Reversal::of(&hold, &resolution, Time::from_ms(9));
        assert_eq!((reversal.credits(), reversal.postings.len()), (3, 2));
        let rows = [
            JournalRow::Credit {
                at: Time::from_ms(1),
                account: payer.clone(),
                amount: 10,
                kind: CreditKind::Grant,
                reason: Some("a \"gift\"".to_owned()),
            },
            JournalRow::Hold { hold: hold.clone(), payer: payer.clone(), calls: calls.clone() },
            JournalRow::End {
                resolution: resolution.clone(),
                payer: payer.clone(),
                charged: 3,
                calls: calls.clone(),
            },
            JournalRow::Call {
                hold: hold.clone(),
                resolution: resolution.clone(),
                payer: payer.clone(),
                charged: 3,
                calls: calls.clone(),
            },
            JournalRow::Refund { reversal: reversal.clone(), payer, calls, reason: None },
        ];
        for (seq, row) in (1..).zip(&rows) {
            row.insert(&connection, seq).unwrap();
        }
        let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM journal")).unwrap();
        let mut found = Vec::new();
        let mut read = statement.query([]).unwrap();
        while let Some(row) = read.next().unwrap() {
            found.extend(ReadRow::read(row).unwrap().unwrap().entries);
        }
        let (hold, end) = (Entry::Hold(hold), Entry::Resolution(resolution));
        assert_eq!(
            found,
            [credit, hold.clone(), end.clone(), hold, end, Entry::Reversal(reversal)]
        );
    }
}
