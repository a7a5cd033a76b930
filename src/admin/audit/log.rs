//! `GET /audit`, `/audit/stats` and `/audit/export`: what operators did and who was not let in. Whoever
//! is bound to a tenant sees that tenant's entries only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem, to_json};
use crate::admin::wire::csv;
use crate::admin::wire::query::Query;
use crate::admin::wire::stream::{self, Source};
use crate::admin::{Admin, Call};
use crate::model::audit::{AuditFilter, AuditRow};
use crate::store::{AuditOrder, AuditPage};

/// Entries of an answer where nobody says how many, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Most words in `types`.
const KINDS_MAX: usize = 50;
/// Entries that are read at a time for an export.
const ROWS_PER_PIECE: usize = 500;

/// One entry, in the order of the documentation; members after `metadata` are Paygate's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView<'a> {
    id: i64,
    timestamp: Shown,
    #[serde(rename = "type")]
    kind: &'a str,
    actor: &'a str,
    message: &'a str,
    metadata: Option<&'a RawValue>,
    actor_id: Option<&'a str>,
    namespace: Option<&'a str>,
    target: Option<&'a str>,
}

#[derive(Serialize)]
struct Page<'a> {
    total: i64,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none", rename = "completeSince")]
    complete_since: Option<Shown>,
    events: Vec<EventView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    total_events: i64,
    oldest_event: Option<Shown>,
    newest_event: Option<Shown>,
    events_by_type: BTreeMap<String, i64>,
    events_last_hour: i64,
    events_last24h: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_since: Option<Shown>,
}

pub(in crate::admin) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let filter = filter(&call, &query)?;
    let limit = query.number("limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let offset = query.number("offset")?.unwrap_or(0);
    let total = admin.store.audit_totals(filter.clone()).await?.total;
    let complete_since = complete_since(&admin, &filter).await?;
    let page = AuditPage {
        order: AuditOrder::NewestFirst,
        after: query.cursor(admin.store.cursor_mark())?,
        skip: offset,
        limit: limit.saturating_add(1),
    };
    let mut rows = admin.store.audit(filter, page).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| has_more);
    let events = rows.iter().map(view).collect();
    let answer = Answer::pretty(&Page { total, offset, limit, complete_since, events })?;
    Ok(answer.marked_cursor(next, admin.store.cursor_mark()))
}

pub(in crate::admin) async fn stats(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let filter = filter(&call, &Query::of(&call.uri)?)?;
    let since = |ago: Duration| {
        let since = Some(call.now.minus(ago));
        admin.store.audit_totals(AuditFilter { since, ..filter.clone() })
    };
    let hour = since(Duration::from_hours(1)).await?.total;
    let day = since(Duration::from_hours(24)).await?.total;
    let complete_since = complete_since(&admin, &filter).await?;
    let all = admin.store.audit_totals(filter).await?;
    Answer::pretty(&Stats {
        total_events: all.total,
        oldest_event: all.oldest.map(Shown),
        newest_event: all.newest.map(Shown),
        events_by_type: all.by_kind.into_iter().collect(),
        events_last_hour: hour,
        events_last24h: day,
        complete_since,
    })
}

async fn complete_since(admin: &Admin, filter: &AuditFilter) -> Result<Option<Shown>, Problem> {
    admin.complete_since(filter.namespace.as_deref(), filter.since).await
}

/// The whole log, or what a filter leaves of it: JSON oldest first, CSV newest first.
pub(in crate::admin) async fn export(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let filter = filter(&call, &query)?;
    let form = match query.get("format") {
        None | Some("json") => Form::Json,
        Some("csv") => Form::Csv,
        Some(_) => return Err(Problem::bad("format must be json or csv")),
    };
    let totals = admin.store.audit_totals(filter.clone()).await?;
    let complete = complete_since(&admin, &filter).await?;
    // What is written meanwhile is not counted, so it is not shown either.
    let filter = AuditFilter { up_to: Some(totals.newest_id), ..filter };
    let (count, stage) = (totals.total, Stage::Head);
    let body = stream::body(Export { admin, filter, form, count, complete, after: None, stage });
    Ok(match form {
        Form::Json => Answer::streamed(body),
        Form::Csv => Answer::streamed(body)
            .complete_since(complete.as_ref())
            .with(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"))
            .with(
                CONTENT_DISPOSITION,
                HeaderValue::from_static("attachment; filename=\"paygate-audit.csv\""),
            ),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

enum Stage {
    Head,
    First,
    Rest,
    Done,
}

struct Export {
    admin: Arc<Admin>,
    filter: AuditFilter,
    form: Form,
    count: i64,
    complete: Option<Shown>,
    after: Option<i64>,
    stage: Stage,
}

#[async_trait]
impl Source for Export {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match self.stage {
            Stage::Done => return Ok(None),
            Stage::Head => {
                self.stage = Stage::First;
                return Ok(Some(match self.form {
                    Form::Json => {
                        let complete = match &self.complete {
                            Some(since) => format!("\"completeSince\":{},", to_json(since)?),
                            None => String::new(),
                        };
                        format!("{{\"count\":{},{complete}\"events\":[", self.count).into()
                    }
                    Form::Csv => csv::line(CSV_HEAD).into(),
                }));
            }
            Stage::First | Stage::Rest => {}
        }
        let order = match self.form {
            Form::Json => AuditOrder::OldestFirst,
            Form::Csv => AuditOrder::NewestFirst,
        };
        let page = AuditPage { order, after: self.after, skip: 0, limit: ROWS_PER_PIECE };
        let rows = self.admin.store.audit(self.filter.clone(), page).await?;
        let mut text = String::new();
        for row in &rows {
            match self.form {
                Form::Json => {
                    text.push_str(if matches!(self.stage, Stage::First) { "\n" } else { ",\n" });
                    text.push_str(&to_json(&view(row))?);
                }
                Form::Csv => text.push_str(&csv_line(row)),
            }
            self.stage = Stage::Rest;
        }
        self.after = rows.last().map(|row| row.id);
        if rows.len() < ROWS_PER_PIECE {
            self.stage = Stage::Done;
            if self.form == Form::Json {
                text.push_str("\n]}");
            }
        }
        Ok(Some(text.into()))
    }
}

const CSV_HEAD: [&str; 8] =
    ["id", "timestamp", "type", "actor", "message", "actorId", "namespace", "target"];

fn csv_line(row: &AuditRow) -> String {
    let (id, at) = (row.id.to_string(), row.at.to_string());
    let [actor_id, namespace, target] =
        [&row.actor_id, &row.namespace, &row.target].map(|text| text.as_deref().unwrap_or(""));
    csv::line([&id, &at, &row.kind, &row.actor, &row.message, actor_id, namespace, target])
}

fn view(row: &AuditRow) -> EventView<'_> {
    EventView {
        id: row.id,
        timestamp: Shown(row.at),
        kind: &row.kind,
        actor: &row.actor,
        message: &row.message,
        metadata: serde_json::from_str(&row.metadata).ok(),
        actor_id: row.actor_id.as_deref(),
        namespace: row.namespace.as_deref(),
        target: row.target.as_deref(),
    }
}

fn filter(call: &Call, query: &Query) -> Result<AuditFilter, Problem> {
    let kinds: Vec<String> = query
        .get("types")
        .into_iter()
        .flat_map(|kinds| kinds.split(','))
        .map(|kind| kind.trim().to_owned())
        .filter(|kind| !kind.is_empty())
        .collect();
    if kinds.len() > KINDS_MAX {
        return Err(Problem::bad(format!("types has more than {KINDS_MAX} entries")));
    }
    Ok(AuditFilter {
        kinds,
        actor: query.get("actor").map(str::to_owned),
        since: query.time("since")?,
        until: query.time("until")?,
        namespace: call.actor.scope(query.namespace()?)?,
        up_to: None,
    })
}
