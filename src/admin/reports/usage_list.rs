//! `GET /usage`: what became of calls, oldest first, as JSON or CSV. All of it is sent piece by piece; with
//! `limit` it is a page.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use bytes::Bytes;

use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem, to_json};
use crate::admin::wire::query::Query;
use crate::admin::wire::stream::{self, Source};
use crate::admin::wire::{csv, fields};
use crate::admin::{Admin, Call};
use crate::events::usage_form::UsageForm;
use crate::model::bounds::USAGE_READS_MAX;
use crate::model::ids::KeyId;
use crate::model::outcome::{is_outcome, outcomes};
use crate::model::team::TeamId;
use crate::model::time::Time;
use crate::model::usage::{UsageEvent, UsageFilter};

/// Events that are read at a time.
const ROWS_PER_PIECE: usize = 500;

/// Characters of a wrong outcome that a message repeats.
const OUTCOME_SHOWN_CHARS_MAX: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

impl Admin {
    /// Brings the sums of usage up to the present, so that a report has all that was answered before.
    pub(in crate::admin) async fn roll_up(&self) -> Result<(), Problem> {
        Ok(self.store.roll_up_usage(self.options.live.take_refused()).await?)
    }

    /// From when on usage and the audit log are complete, if that is not as far back as is asked for.
    pub(in crate::admin) async fn complete_since(
        &self,
        namespace: Option<&str>,
        asked: Option<Time>,
    ) -> Result<Option<Shown>, Problem> {
        let since = self.store.complete_since(namespace).await?;
        Ok(since.filter(|since| asked.is_none_or(|asked| asked < *since)).map(Shown))
    }
}

pub(in crate::admin) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let form = match query.get("format") {
        None | Some("json") => Form::Json,
        Some("csv") => Form::Csv,
        Some(_) => return Err(Problem::bad("format must be json or csv")),
    };
    let page = query.marked_page(admin.store.cursor_mark())?;
    let mut filter = filter(&admin, &call, &query)?;
    admin.roll_up().await?;
    // What ends meanwhile belongs to another answer.
    filter.until.get_or_insert(admin.store.ledger_now(call.now));
    let since = query.get("since").unwrap_or("all").to_owned();
    let complete = admin.complete_since(filter.namespace.as_deref(), filter.since).await?;
    let (after, stage) = (page.as_ref().and_then(|page| page.after), Stage::Head);
    let list =
        List { admin: Arc::clone(&admin), filter, form, since, complete, after, stage, count: 0 };
    let complete = list.complete;
    let Some(page) = page else {
        return Ok(typed(form, complete, Answer::streamed(stream::body(list))));
    };
    let (text, next) = list.page(page.limit).await?;
    let answer = typed(form, complete, Answer::streamed(axum::body::Body::from(text)));
    Ok(answer.marked_cursor(next, admin.store.cursor_mark()))
}

fn typed(form: Form, complete: Option<Shown>, answer: Answer) -> Answer {
    if form == Form::Json {
        return answer;
    }
    let answer = answer.complete_since(complete.as_ref());
    let name = HeaderValue::from_static("attachment; filename=\"paygate-usage.csv\"");
    answer
        .with(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"))
        .with(CONTENT_DISPOSITION, name)
}

fn filter(admin: &Admin, call: &Call, query: &Query) -> Result<UsageFilter, Problem> {
    let keys = match (query.get("key"), query.get("team")) {
        (Some(_), Some(_)) => return Err(Problem::bad("Give key or team, not both")),
        (Some(key), None) => {
            let id =
                KeyId::parse(key).ok_or_else(|| Problem::bad("key must be the id of a key"))?;
            Some(vec![id.as_str().to_owned()])
        }
        (None, Some(team)) => Some(team_keys(admin, call, team)?),
        (None, None) => None,
    };
    let named = |text: &str| {
        let label = text.split_once(':').filter(|(name, _)| !name.is_empty());
        let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
        label.ok_or_else(|| Problem::bad("label must be a name, a colon and a value"))
    };
    Ok(UsageFilter {
        since: query.time("since")?,
        until: query.time("until")?,
        namespace: call.actor.scope(query.namespace()?)?,
        keys,
        tool: query.get("tool").map(str::to_owned),
        outcome: query.get("outcome").map(outcome).transpose()?,
        label: query.get("label").map(named).transpose()?,
    })
}

/// A word that nothing ends with would find nothing, and look as if there were nothing.
fn outcome(word: &str) -> Result<String, Problem> {
    if matches!(word, "allowed" | "denied") || is_outcome(word) {
        return Ok(word.to_owned());
    }
    let shown = fields::cut(word, OUTCOME_SHOWN_CHARS_MAX);
    Err(Problem::bad(format!(
        "outcome is {shown:?}, which no call ends with: allowed and denied are all of a kind, else it is one of {}",
        outcomes()
    )))
}

/// The keys that are in a team now.
fn team_keys(admin: &Admin, call: &Call, team: &str) -> Result<Vec<String>, Problem> {
    let team = TeamId::parse(team).and_then(|id| admin.store.team(&id));
    let team = team.filter(|team| call.actor.sees(&team.namespace));
    let team = team.ok_or_else(|| Problem::not_found("Team not found"))?;
    Ok(team.members.iter().map(|key| key.as_str().to_owned()).collect())
}

enum Stage {
    Head,
    Rows,
    Done,
}

struct List {
    admin: Arc<Admin>,
    filter: UsageFilter,
    form: Form,
    since: String,
    complete: Option<Shown>,
    after: Option<i64>,
    stage: Stage,
    count: usize,
}

impl List {
    fn head(&self) -> Result<String, Problem> {
        Ok(match self.form {
            Form::Json => {
                let complete = match &self.complete {
                    Some(since) => format!("\"completeSince\":{},", to_json(since)?),
                    None => String::new(),
                };
                format!("{{\"since\":{},{complete}\"events\":[", to_json(&self.since)?)
            }
            Form::Csv => csv::line(CSV_HEAD),
        })
    }

    fn tail(&self) -> String {
        match self.form {
            Form::Json => format!("\n],\"count\":{}}}", self.count),
            Form::Csv => String::new(),
        }
    }

    fn write(&mut self, text: &mut String, event: &UsageEvent) -> Result<(), Problem> {
        match self.form {
            Form::Json => {
                text.push_str(if self.count == 0 { "\n" } else { ",\n" });
                text.push_str(&to_json(&UsageForm::from(event))?);
            }
            Form::Csv => text.push_str(&csv_line(event)),
        }
        self.count += 1;
        Ok(())
    }

    /// Up to so many events at once, and where to go on. Looks at a bounded number of rows: what is
    /// rare may need several pages, some of them empty.
    async fn page(mut self, limit: usize) -> Result<(String, Option<i64>), Problem> {
        let mut text = self.head()?;
        let mut next = None;
        for _ in 0..USAGE_READS_MAX {
            let want = limit - self.count;
            let filter = self.filter.clone();
            let page = self.admin.store.usage_events(filter, self.after, want).await?;
            for event in &page.events {
                self.write(&mut text, event)?;
            }
            next = page.next;
            self.after = next;
            if next.is_none() || self.count >= limit {
                break;
            }
        }
        text.push_str(&self.tail());
        Ok((text, next))
    }
}

#[async_trait]
impl Source for List {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match self.stage {
            Stage::Done => return Ok(None),
            Stage::Head => {
                self.stage = Stage::Rows;
                return Ok(Some(self.head()?.into()));
            }
            Stage::Rows => {}
        }
        loop {
            let filter = self.filter.clone();
            let page = self.admin.store.usage_events(filter, self.after, ROWS_PER_PIECE).await?;
            let mut text = String::new();
            for event in &page.events {
                self.write(&mut text, event)?;
            }
            self.after = page.next;
            if page.next.is_none() {
                self.stage = Stage::Done;
                text.push_str(&self.tail());
            }
            if !text.is_empty() || page.next.is_none() {
                return Ok(Some(text.into()));
            }
        }
    }
}

const CSV_HEAD: [&str; 14] = [
    "timestamp",
    "apiKey",
    "keyName",
    "tool",
    "creditsCharged",
    "allowed",
    "denyReason",
    "namespace",
    "keyId",
    "callId",
    "outcome",
    "price",
    "count",
    "labels",
];

fn csv_line(event: &UsageEvent) -> String {
    let form = UsageForm::from(event);
    let UsageForm { api_key, key_name, tool, deny_reason, call_id, outcome, .. } = form;
    let [charged, price, count] =
        [event.charged, event.price, event.count].map(|number| number.to_string());
    let allowed = if event.allowed { "true" } else { "false" };
    csv::line([
        &event.at.to_string(),
        &api_key,
        key_name,
        tool,
        &charged,
        allowed,
        deny_reason.unwrap_or(""),
        &event.namespace,
        &event.key,
        call_id.as_deref().unwrap_or(""),
        outcome,
        &price,
        &count,
        event.labels.as_deref().unwrap_or(""),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ResolutionKind;
    use crate::upstream::Failure;

    #[test]
    fn whatever_a_call_can_end_with_can_be_asked_for() {
        let ended_by_us = [ResolutionKind::Expired, ResolutionKind::Recovered];
        let words = Failure::ALL.map(Failure::reason).into_iter();
        for word in words.chain(ended_by_us.map(ResolutionKind::word)).chain(["allowed", "denied"])
        {
            assert_eq!(outcome(word).ok().as_deref(), Some(word));
        }
        assert!(outcome("foo").is_err_and(|problem| problem.message().contains("tool_error")));
    }
}
