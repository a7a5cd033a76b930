//! What scripts are asked for one call, to hold it or to end it, and how several calls are put into one
//! script: what they have in common is told once.

use std::sync::Arc;

use serde::Serialize;

use super::calls::call_text;
use super::counters;
use super::names::Names;
use crate::gate::Charge;
use crate::ledger::{Bound, Demand, Posting, Window};
use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::ids::{AccountId, CallId};
use crate::store::detail::{accounts_list, calls_list, number, postings_list};
use crate::store::{CallEnd, PaidTask, Settlement, Show};

/// The places of accounts among the keys of a script, where those of several calls are one list.
struct Places {
    first: usize,
    accounts: Vec<AccountId>,
}

impl Places {
    const fn from(first: usize) -> Self {
        Self { first, accounts: Vec::new() }
    }

    fn of(&mut self, account: &AccountId) -> usize {
        let place = self.accounts.iter().position(|known| known == account);
        let place = place.unwrap_or_else(|| {
            self.accounts.push(account.clone());
            self.accounts.len().saturating_sub(1)
        });
        place.saturating_add(self.first)
    }

    fn all(&mut self, accounts: &[AccountId]) -> Vec<usize> {
        accounts.iter().map(|account| self.of(account)).collect()
    }

    /// The names of the keys, behind those that the script has always.
    fn keys(&self, mut keys: Vec<String>, names: &Names) -> Vec<String> {
        keys.extend(self.accounts.iter().map(|account| names.account(account)));
        keys
    }
}

/// What a script is given.
pub(super) struct Given {
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<Vec<u8>>,
}

/// What a charge asks for, as the script reads it.
#[derive(PartialEq, Eq)]
pub(super) struct Asked {
    /// The payer, then the others by their place, then its team if that has no place.
    pub(super) accounts: Vec<AccountId>,
    /// The tenant's revision, and those of accounts.
    tenant: u64,
    revisions: Vec<(AccountId, u64)>,
    bounds: String,
    /// Of its record the lines before the postings, these, and those behind them.
    lines: String,
    postings: String,
    others: String,
}

impl Asked {
    pub(super) fn of(charge: &Charge) -> Self {
        let payer = charge.key.account();
        let amounts: Vec<Posting> = charge.demands.iter().map(posting).collect();
        let (mut postings, mut others, mut calls) = (String::new(), String::new(), String::new());
        let beside = postings_list(&mut postings, &amounts, &payer);
        if !beside.is_empty() {
            accounts_list(&mut others, &beside);
        }
        let open: Vec<CallEnd> = charge.items.iter().map(CallEnd::open).collect();
        calls_list(&mut calls, &open);
        let labels = charge.labels.as_ref().map_or("", |labels| labels.as_str());
        let lines = format!("\n{}\n{calls}\n{labels}", charge.key);
        let mut revisions = vec![(payer.clone(), charge.key_revision)];
        let mut accounts = vec![payer];
        accounts.extend(beside.into_iter().cloned());
        if let Some((team, revision)) = &charge.team {
            let team = team.account();
            if !accounts.contains(&team) {
                accounts.push(team.clone());
            }
            revisions.push((team, *revision));
        }
        let (tenant, bounds) = (charge.namespace_revision, bounds(&charge.demands));
        Self { accounts, tenant, revisions, bounds, lines, postings, others }
    }

    /// Which records it was judged by is not asked.
    pub(super) fn whatever_records(mut self) -> Self {
        self.revisions.clear();
        self
    }

    fn conditions(&self, places: &mut Places) -> String {
        let accounts = places.all(&self.accounts);
        let mut revisions = Vec::with_capacity(3);
        if !self.revisions.is_empty() {
            revisions.push(format!("[1,\"{}\"]", self.tenant));
        }
        for (account, revision) in &self.revisions {
            revisions.push(format!("[{},\"{revision}\"]", places.of(account)));
        }
        let revisions = revisions.join(",");
        format!("{{\"accounts\":{accounts:?},\"revs\":[{revisions}],\"bounds\":{}}}", self.bounds)
    }
}

fn posting(demand: &Demand) -> Posting {
    Posting {
        account: demand.account.clone(),
        counter: demand.counter.clone(),
        window: demand.window,
        amount: demand.amount,
        refund: demand.refund,
    }
}

/// For each posting `false`, `[1,most]` or `[-1,least]`.
fn bounds(demands: &[Demand]) -> String {
    let mut text = String::from("[");
    for (index, demand) in demands.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        let (head, limit) = match demand.bound {
            Bound::Free => {
                text.push_str("false");
                continue;
            }
            Bound::AtMost(most) => ("[1,", most),
            Bound::AtLeast(least) => ("[-1,", least),
        };
        text.push_str(head);
        number(&mut text, limit);
        text.push(']');
    }
    text.push(']');
    text
}

/// One call that is to be held.
#[derive(Clone)]
pub(super) struct AskedHold {
    pub(super) call: CallId,
    pub(super) length_ms: i64,
    /// After this moment it is not done any more, or 0.
    pub(super) latest_ms: i64,
    pub(super) asked: Arc<Asked>,
}

impl AskedHold {
    /// What the script is given for all of them.
    pub(super) fn for_all(names: &Names, holds: &[Self]) -> Given {
        let mut places = Places::from(4);
        let (mut kinds, mut args): (Vec<&Asked>, _) = (Vec::new(), vec![Vec::new()]);
        let mut calls = Vec::with_capacity(holds.len().saturating_mul(4));
        for hold in holds {
            let asked = &*hold.asked;
            let known = kinds.iter().rposition(|kind| std::ptr::eq(*kind, asked) || *kind == asked);
            let kind = known.unwrap_or_else(|| {
                kinds.push(asked);
                args.push(asked.conditions(&mut places).into_bytes());
                let lines = [&asked.lines, &asked.postings, &asked.others];
                args.extend(lines.map(|line| line.clone().into_bytes()));
                kinds.len().saturating_sub(1)
            });
            calls.push(call_text(&hold.call).into_bytes());
            calls.push(hold.length_ms.to_string().into_bytes());
            calls.push(hold.latest_ms.to_string().into_bytes());
            calls.push(kind.saturating_add(1).to_string().into_bytes());
        }
        if let Some(count) = args.first_mut() {
            *count = kinds.len().to_string().into_bytes();
        }
        args.extend(calls);
        let keys = places.keys(vec![names.meta(), names.holds(), names.due()], names);
        Given { keys, args }
    }
}

/// Which hold of a call is meant.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Which {
    Any,
    /// One that was made once more: not the one of this moment. It leaves nothing, not even its end.
    Second(String),
    /// The one that was gone on with in this turn.
    InTurn(String),
}

/// One call that is to be ended.
pub(super) struct AskedEnd {
    pub(super) call: CallId,
    which: Which,
    /// The payer, then the others by their place.
    accounts: Vec<AccountId>,
    kind: &'static str,
    kept: Vec<i64>,
    charged: i64,
    /// What its row's detail ends with.
    tail: String,
    /// The field of the counter that the answer shows.
    show: String,
    keep: Option<AskedKeep>,
    paid: Option<PaidTask>,
}

/// What is kept for repetitions.
struct AskedKeep {
    id: String,
    request: String,
    ttl_ms: i64,
    answer: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct EndText<'a> {
    call: &'a str,
    kind: &'a str,
    kept: &'a [i64],
    accounts: &'a [usize],
    charged: i64,
    tail: &'a str,
    show: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_since: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<KeepText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_call: Option<String>,
}

#[derive(Serialize)]
struct KeepText<'a> {
    id: &'a str,
    request: &'a str,
    ttl: i64,
    answer: usize,
}

impl AskedEnd {
    pub(super) fn of(
        settlement: &Settlement,
        task: Option<PaidTask>,
        accounts: &[AccountId],
    ) -> Self {
        let keep = settlement.keep.as_ref().map(|keep| AskedKeep {
            id: hex::encode(keep.once.id.bytes()),
            request: hex::encode(keep.once.request.bytes()),
            ttl_ms: i64::try_from(keep.ttl.as_millis()).unwrap_or(i64::MAX),
            answer: keep.answer.clone(),
        });
        Self {
            call: settlement.call,
            which: Which::Any,
            accounts: accounts.to_vec(),
            kind: settlement.kind.word(),
            kept: settlement.kept.clone(),
            charged: settlement.charged,
            tail: tail(&settlement.ends),
            show: shown_field(&settlement.show),
            keep,
            paid: task,
        }
    }

    /// The release of a call that nobody has ended.
    pub(super) fn release(
        call: CallId,
        kind: &'static str,
        kept: Vec<i64>,
        accounts: &[AccountId],
        ends: &[CallEnd],
    ) -> Self {
        let (accounts, tail, show) = (accounts.to_vec(), tail(ends), "-".to_owned());
        let (which, charged, keep, paid) = (Which::Any, 0, None, None);
        Self { call, which, accounts, kind, kept, charged, tail, show, keep, paid }
    }

    /// If the hold is the one that is meant.
    pub(super) fn only(mut self, which: Which) -> Self {
        if matches!(which, Which::Second(_)) {
            self.kind = "undo";
            self.kept.fill(0);
        }
        self.which = which;
        self
    }

    /// Is an answer to be kept, which may be long?
    pub(super) const fn keeps(&self) -> bool {
        self.keep.is_some()
    }

    fn is_plain(&self) -> bool {
        self.which == Which::Any && self.keep.is_none() && self.paid.is_none()
    }

    fn is_like(&self, other: &Self) -> bool {
        self.accounts == other.accounts
            && (self.kind, self.charged) == (other.kind, other.charged)
            && self.kept == other.kept
            && (&self.tail, &self.show) == (&other.tail, &other.show)
    }

    /// What the script is given for all of them.
    pub(super) fn for_all(names: &Names, ends: &[Self]) -> Given {
        let mut places = Places::from(6);
        let mut args = vec![REDIS_JOURNAL_ROWS_MAX.to_string().into_bytes(), Vec::new()];
        // The last one that others may be like.
        let mut model: Option<(usize, &Self)> = None;
        let mut text = String::from("[");
        for (index, end) in ends.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            let call = call_text(&end.call);
            if let Some((place, model)) = model
                && end.is_plain()
                && end.is_like(model)
            {
                text.push_str(&like(&call, place));
                continue;
            }
            if end.is_plain() {
                model = Some((index.saturating_add(1), end));
            }
            text.push_str(&end.text(&call, &places.all(&end.accounts), &mut args));
        }
        text.push(']');
        if let Some(all) = args.get_mut(1) {
            *all = text.into_bytes();
        }
        let keys = vec![names.meta(), names.holds(), names.due(), names.journal(), names.kept()];
        Given { keys: places.keys(keys, names), args }
    }

    /// The whole resolution; the answer to be kept is put behind.
    fn text(&self, call: &str, accounts: &[usize], args: &mut Vec<Vec<u8>>) -> String {
        let keep = self.keep.as_ref().map(|keep| {
            let answer = keep.answer.as_ref().map_or(0, |answer| {
                args.push(answer.clone());
                // Every script has three before ours.
                args.len().saturating_add(3)
            });
            KeepText { id: &keep.id, request: &keep.request, ttl: keep.ttl_ms, answer }
        });
        let (not_since, turn) = match &self.which {
            Which::Any => (None, None),
            Which::Second(since) => (Some(since.as_str()), None),
            Which::InTurn(turn) => (None, Some(turn.as_str())),
        };
        let text = EndText {
            call,
            kind: self.kind,
            kept: &self.kept,
            accounts,
            charged: self.charged,
            tail: &self.tail,
            show: &self.show,
            not_since,
            turn,
            keep,
            paid: self.paid.as_ref().map(|paid| paid.until.ms()),
            paid_call: self.paid.as_ref().map(|paid| call_text(&paid.call)),
        };
        // Only texts and numbers: nothing in it can fail to be written.
        serde_json::to_string(&text).unwrap_or_default()
    }
}

/// A resolution that is as an earlier one.
fn like(call: &str, place: usize) -> String {
    format!("{{\"call\":\"{call}\",\"like\":{place}}}")
}

fn tail(ends: &[CallEnd]) -> String {
    let mut tail = String::new();
    if !ends.is_empty() {
        tail.push_str(",\"calls\":");
        calls_list(&mut tail, ends);
    }
    tail
}

/// The field of the counter that an answer shows; one that is never there for none.
pub(super) fn shown_field(show: &Show) -> String {
    let rate = show.rate.as_ref();
    rate.map_or_else(|| "-".to_owned(), |(_, name)| counters::field(name, Window::MINUTE))
}
