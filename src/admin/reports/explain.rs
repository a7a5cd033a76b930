//! `GET /calls/{id}`: what was decided of a call, charged, and why, from the journal. For support: the
//! same numbers that `ledger verify` proves.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::{Admin, Call};
use crate::ledger::{Posting, ResolutionKind, Reversal, Window};
use crate::model::ids::CallId;
use crate::model::team::TeamId;
use crate::store::{ExplainedCall, ExplainedItem, ExplainedRow};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallView<'a> {
    call_id: String,
    key_id: &'a str,
    key_name: Option<&'a str>,
    namespace: &'a str,
    team_id: Option<&'a str>,
    labels: Option<&'a RawValue>,
    state: &'static str,
    price: i64,
    charged: i64,
    given_back: i64,
    held_at: Shown,
    held_until: Option<Shown>,
    waits_for: Option<&'static str>,
    ended_at: Option<Shown>,
    end: Option<&'static str>,
    calls: Vec<ItemView<'a>>,
    amounts: Vec<AmountView<'a>>,
    journal: Vec<RowView<'a>>,
}

#[derive(Serialize)]
struct ItemView<'a> {
    tool: &'a str,
    price: i64,
    charged: i64,
    outcome: &'a str,
}

/// What was reserved of one counter, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AmountView<'a> {
    account: &'a str,
    counter: &'a str,
    window: String,
    reserved: i64,
    kept: Option<i64>,
    given_back: i64,
}

/// A row of the journal.
#[derive(Serialize)]
struct RowView<'a> {
    seq: i64,
    at: Shown,
    kind: &'a str,
    amount: i64,
    reason: Option<&'a str>,
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let unknown = || Problem::not_found("Call not found");
    let id = CallId::parse(&call.id).ok_or_else(unknown)?;
    let found = admin.store.explain_call(id).await?;
    let found = found.filter(|found| call.actor.sees(&found.namespace)).ok_or_else(unknown)?;
    Answer::pretty(&view(&found))
}

fn view(found: &ExplainedCall) -> CallView<'_> {
    let sum = |of: fn(&ExplainedItem) -> i64| {
        found.items.iter().fold(0_i64, |sum, item| sum.saturating_add(of(item)))
    };
    let charged = if found.end.is_some() { sum(|item| item.charged) } else { 0 };
    let given_back = found.refund.as_ref().map_or(0, Reversal::credits);
    let state = match (&found.end, &found.refund) {
        (None, _) => "held",
        (Some(_), Some(_)) => "refunded",
        (Some(_), None) if charged > 0 => "charged",
        (Some(_), None) => "free",
    };
    let mut accounts = found.hold.postings.iter().map(|posting| posting.account.as_str());
    let until = || found.waits.as_ref().map_or(found.hold.deadline, |(_, until)| *until);
    CallView {
        call_id: found.call.to_string(),
        key_id: &found.key,
        key_name: found.key_name.as_deref(),
        namespace: &found.namespace,
        team_id: accounts.find(|account| TeamId::parse(account).is_some()),
        labels: found.labels.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        state,
        price: sum(|item| item.price),
        charged,
        given_back,
        held_at: Shown(found.hold.at),
        held_until: found.end.is_none().then(|| Shown(until())),
        waits_for: found.waits.as_ref().map(|(state, _)| waits_for(state)),
        ended_at: found.end.as_ref().map(|end| Shown(end.at)),
        end: found.end.as_ref().map(|end| end_word(end.kind)),
        calls: found.items.iter().map(item_view).collect(),
        amounts: amounts(found),
        journal: found.rows.iter().map(row_view).collect(),
    }
}

/// What an open hold waits for. The rest of the state belongs to the customer.
fn waits_for(state: &str) -> &'static str {
    if state.starts_with("task") { "task" } else { "round" }
}

const fn end_word(kind: ResolutionKind) -> &'static str {
    match kind {
        ResolutionKind::Captured => "captured",
        ResolutionKind::Released => "released",
        ResolutionKind::Expired => "expired",
        ResolutionKind::Recovered => "recovered",
    }
}

fn item_view(item: &ExplainedItem) -> ItemView<'_> {
    let ExplainedItem { tool, price, charged, outcome } = item;
    ItemView { tool, price: *price, charged: *charged, outcome }
}

fn row_view(row: &ExplainedRow) -> RowView<'_> {
    let ExplainedRow { seq, at, kind, amount, reason } = row;
    RowView { seq: *seq, at: Shown(*at), kind, amount: *amount, reason: reason.as_deref() }
}

fn amounts<'a>(found: &'a ExplainedCall) -> Vec<AmountView<'a>> {
    let postings = found.hold.postings.iter().enumerate();
    let view = |(index, posting): (usize, &'a Posting)| {
        let (kept, given_back) = found.kept(index, posting);
        AmountView {
            account: posting.account.as_str(),
            counter: posting.counter.as_str(),
            window: window_word(posting.window),
            reserved: posting.amount,
            kept,
            given_back,
        }
    };
    postings.map(view).collect()
}

fn window_word(window: Window) -> String {
    match window {
        Window::Lifetime => "ever".to_owned(),
        Window::Day => "day".to_owned(),
        Window::Month => "month".to_owned(),
        Window::Rolling(60_000) => "minute".to_owned(),
        Window::Rolling(length_ms) => format!("{length_ms} ms"),
    }
}
