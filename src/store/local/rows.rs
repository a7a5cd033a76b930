//! Journal rows: what an entry of the ledger looks like in the `journal` table, both ways.
//!
//! `detail` is JSON, so that an operator can read it with any SQLite tool:
//! `{"held":…,"until":…,"postings":[["counter@window",amount]…],"kept":[…],
//! "calls":[[tool,price,charged,outcome]…],"accounts":[…],"reason":…}` (postings: see `posting.rs`). A call that
//! ended before its hold was written is one row of kind `call`, without `kept` if all of it stayed;
//! otherwise it is a `hold` and, later, a row named after its end. A `refund` says what is given back, an
//! `import` what an account brings from other books, with `"last"` for its last call there.

use std::borrow::Cow;
use std::ops::Range;

use rusqlite::{CachedStatement, Connection, Row, Statement};
use serde::Deserialize;

use crate::ledger::{
    CreditKind, Entry, Hold, Opening, Posting, Resolution, ResolutionKind, Reversal,
};
use crate::model::ids::{AccountId, CallId};
use crate::model::text::Text;
use crate::model::time::Time;
use crate::store::CallEnd;
use crate::store::detail::DetailText;
use crate::store::posting::PostingRow;

/// One row to write. Its `detail` is a piece of its batch's text: written down where the change is
/// made, so that the writer only copies it and no thread frees what another one has allocated.
#[derive(Debug)]
pub(super) struct JournalRow {
    at: Time,
    kind: &'static str,
    call: Option<CallId>,
    account: AccountId,
    amount: i64,
    detail: Range<usize>,
    effect: Effect,
    ended: Ended,
}

/// The calls whose end a row tells of: tool and credits.
#[derive(Debug)]
pub(super) enum Ended {
    Nothing,
    One(Text, i64),
    Many(Vec<(Text, i64)>),
}

impl Ended {
    fn of(calls: &[CallEnd]) -> Self {
        match calls {
            [] => Self::Nothing,
            [one] => Self::One(one.tool.clone(), one.charged),
            many => Self::Many(many.iter().map(|one| (one.tool.clone(), one.charged)).collect()),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, i64)> {
        let (one, many) = match self {
            Self::Nothing => (None, [].as_slice()),
            Self::One(tool, charged) => (Some((tool, *charged)), [].as_slice()),
            Self::Many(all) => (None, all.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|(tool, charged)| (tool, *charged)))
    }
}

/// What a row does to the holds that have a row and are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Opens(CallId),
    Ends(CallId),
    Neither,
}

/// The end of a hold.
pub(super) struct End<'a> {
    pub(super) resolution: &'a Resolution,
    pub(super) payer: &'a AccountId,
    pub(super) charged: i64,
    pub(super) calls: &'a [CallEnd],
}

/// What [`JournalRow::insert`] is run with.
pub(super) fn inserting(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO journal (seq, at, kind, call, account, amount, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
}

impl JournalRow {
    pub(super) fn credit(
        text: &mut String,
        (at, kind): (Time, CreditKind),
        account: AccountId,
        amount: i64,
        reason: Option<&str>,
    ) -> Self {
        let detail = DetailText::of(text, |detail| detail.reason(reason));
        let (kind, effect, ended) = (credit_word(kind), Effect::Neither, Ended::Nothing);
        Self { at, kind, call: None, account, amount, detail, effect, ended }
    }

    pub(super) fn hold(
        text: &mut String,
        hold: &Hold,
        payer: &AccountId,
        calls: &[CallEnd],
    ) -> Self {
        let detail = DetailText::of(text, |detail| {
            detail.hold(hold, payer);
            detail.calls(calls);
        });
        let amount = calls.iter().fold(0_i64, |sum, call| sum.saturating_add(call.price));
        let (call, account, effect) = (Some(hold.call), payer.clone(), Effect::Opens(hold.call));
        let ended = Ended::Nothing;
        Self { at: hold.at, kind: "hold", call, account, amount, detail, effect, ended }
    }

    pub(super) fn refund(
        text: &mut String,
        reversal: &Reversal,
        account: AccountId,
        calls: &[CallEnd],
        reason: Option<&str>,
    ) -> Self {
        let detail = DetailText::of(text, |detail| {
            detail.reversal(reversal, &account);
            detail.calls(calls);
            detail.reason(reason);
        });
        let (call, amount, effect) = (Some(reversal.call), reversal.credits(), Effect::Neither);
        let ended = Ended::of(calls);
        Self { at: reversal.at, kind: "refund", call, account, amount, detail, effect, ended }
    }

    pub(super) fn opening(text: &mut String, opening: &Opening, reason: Option<&str>) -> Self {
        let detail = DetailText::of(text, |detail| {
            detail.opening(opening);
            detail.reason(reason);
        });
        let (account, amount) = (opening.account.clone(), opening.credits());
        let (call, effect, ended) = (None, Effect::Neither, Ended::Nothing);
        Self { at: opening.at, kind: "import", call, account, amount, detail, effect, ended }
    }

    pub(super) const fn effect(&self) -> Effect {
        self.effect
    }

    pub(super) const fn at(&self) -> Time {
        self.at
    }

    pub(super) const fn call(&self) -> Option<CallId> {
        self.call
    }

    pub(super) const fn account(&self) -> &AccountId {
        &self.account
    }

    pub(super) const fn ended(&self) -> &Ended {
        &self.ended
    }

    pub(super) fn is_refund(&self) -> bool {
        self.kind == "refund"
    }

    /// Is it both beginning and end of a call?
    pub(super) fn is_whole_call(&self) -> bool {
        self.kind == "call"
    }

    /// `text` is what the row was made with.
    pub(super) fn insert(
        &self,
        statement: &mut Statement<'_>,
        seq: i64,
        text: &str,
    ) -> rusqlite::Result<()> {
        let Self { at, kind, call, account, amount, detail, effect: _, ended: _ } = self;
        let call = call.as_ref().map(|call| call.bytes().as_slice());
        // A row of another text would be none, which the table does not take.
        let detail = text.get(detail.clone());
        statement.execute((seq, at.ms(), kind, call, account.as_str(), amount, detail))?;
        Ok(())
    }
}

impl End<'_> {
    /// The row that ends a hold which has a row.
    pub(super) fn row(&self, text: &mut String) -> JournalRow {
        let detail = DetailText::of(text, |detail| {
            detail.kept(&self.resolution.kept);
            detail.calls(self.calls);
        });
        let effect = Effect::Ends(self.resolution.call);
        self.row_of_kind(self.resolution.kind.word(), detail, effect)
    }

    /// The one row of a hold that has none yet.
    pub(super) fn row_with_hold(&self, text: &mut String, hold: &Hold) -> JournalRow {
        let detail = DetailText::of(text, |detail| {
            detail.hold(hold, self.payer);
            detail.end(self.resolution.kind.word());
            let all = hold.postings.iter().map(|posting| posting.amount);
            if !all.eq(self.resolution.kept.iter().copied()) {
                detail.kept(&self.resolution.kept);
            }
            detail.calls(self.calls);
        });
        self.row_of_kind("call", detail, Effect::Neither)
    }

    fn row_of_kind(&self, kind: &'static str, detail: Range<usize>, effect: Effect) -> JournalRow {
        JournalRow {
            at: self.resolution.at,
            kind,
            call: Some(self.resolution.call),
            account: self.payer.clone(),
            amount: self.charged,
            detail,
            effect,
            ended: Ended::of(self.calls),
        }
    }
}

/// `detail` as it is read.
#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(default)]
    held: Option<i64>,
    #[serde(default)]
    until: Option<i64>,
    #[serde(default)]
    last: Option<i64>,
    #[serde(default)]
    end: Option<Cow<'a, str>>,
    #[serde(default)]
    postings: Vec<PostingRow>,
    #[serde(default)]
    kept: Vec<i64>,
    #[serde(default)]
    calls: Vec<(Cow<'a, str>, i64, i64, Cow<'a, str>)>,
    #[serde(default)]
    accounts: Vec<Cow<'a, str>>,
}

impl Detail<'_> {
    fn postings(&self, payer: &AccountId) -> Option<Vec<Posting>> {
        self.postings.iter().map(|row| row.posting(payer, &self.accounts)).collect()
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

/// A row as entries, and what its calls say that they were charged.
pub(in crate::store) fn entries(
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
    let detail: Detail<'_> = serde_json::from_str(detail).ok()?;
    if kind == "import" {
        let (account, last_call) = (payer.clone(), detail.last.map(Time::from_ms));
        let postings = detail.postings(payer)?;
        return Some((vec![Entry::Opening(Opening { at, account, last_call, postings })], 0));
    }
    let call = CallId::from_random(call?.try_into().ok()?);
    let hold = || {
        let (held, until) = (Time::from_ms(detail.held?), Time::from_ms(detail.until?));
        Some(Entry::Hold(Hold {
            call,
            at: held,
            deadline: until,
            postings: detail.postings(payer)?,
        }))
    };
    let end = |word: &str, kept: Vec<i64>| {
        let kind = ResolutionKind::from_word(word)?;
        Some(Entry::Resolution(Resolution { call, at, kind, kept }))
    };
    let charged = detail.calls.iter().fold(0_i64, |sum, call| sum.saturating_add(call.2));
    let reversal = || {
        let (held_at, postings) = (Time::from_ms(detail.held?), detail.postings(payer)?);
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
        let opening = Opening {
            at: Time::from_ms(10),
            account: payer.clone(),
            last_call: Some(Time::from_ms(2)),
            postings: vec![
                posting(&payer, names::BALANCE, Window::Lifetime, 7, Refund::Back),
                posting(&payer, names::CALLS_DAY, Window::Day, 2, Refund::Back),
            ],
        };
        let reason = "a \"gift\"\n\u{1}";
        let mut text = String::new();
        let end = End { resolution: &resolution, payer: &payer, charged: 3, calls: &calls };
        let granted = (Time::from_ms(1), CreditKind::Grant);
        let rows = [
            JournalRow::credit(&mut text, granted, payer.clone(), 10, Some(reason)),
            JournalRow::hold(&mut text, &hold, &payer, &calls),
            end.row(&mut text),
            end.row_with_hold(&mut text, &hold),
            JournalRow::refund(&mut text, &reversal, payer.clone(), &calls, Some(reason)),
            JournalRow::opening(&mut text, &opening, Some(reason)),
        ];
        let (opens, ends) = (Effect::Opens(hold.call), Effect::Ends(hold.call));
        let neither = Effect::Neither;
        let effects: Vec<_> = rows.iter().map(JournalRow::effect).collect();
        assert_eq!(effects, [neither, opens, ends, neither, neither, neither]);
        for (seq, row) in (1..).zip(&rows) {
            row.insert(&mut inserting(&connection).unwrap(), seq, &text).unwrap();
        }
        let with_reason = "SELECT count(*) FROM journal
            WHERE detail ->> '$.reason' = ?1 AND kind IN ('grant', 'refund', 'import')";
        let found = connection.query_row(with_reason, [reason], |row| row.get::<_, i64>(0));
        assert_eq!(found, Ok(3));
        let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM journal")).unwrap();
        let mut found = Vec::new();
        let mut read = statement.query([]).unwrap();
        while let Some(row) = read.next().unwrap() {
            found.extend(ReadRow::read(row).unwrap().unwrap().entries);
        }
        let (hold, end) = (Entry::Hold(hold), Entry::Resolution(resolution));
        assert_eq!(
            found,
            [
                credit,
                hold.clone(),
                end.clone(),
                hold,
                end,
                Entry::Reversal(reversal),
                Entry::Opening(opening)
            ]
        );
    }
}
