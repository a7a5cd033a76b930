//! `GET /analytics`: usage in buckets that begin with UTC hours or days, the tools and keys that were used
//! most, and how that compares with the time before.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::query::Query;
use crate::admin::{Admin, Call};
use crate::model::bounds::{ANALYTICS_BUCKETS_MAX, ANALYTICS_TOP_MAX};
use crate::model::time::Time;
use crate::model::usage::{Bucket, Consumer, HOUR_MS, ReportAsked, Tally, UsageReport};

/// Tools and keys by name where nobody says how many.
const TOP_DEFAULT: usize = 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    from: Shown,
    to: Shown,
    granularity: &'static str,
    time_series: Vec<BucketView>,
    tools: Vec<ToolView<'a>>,
    top_consumers: Vec<ConsumerView<'a>>,
    trend: Trend,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_since: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<LabelView<'a>>>,
}

/// Calls with one value of the label that was asked for.
#[derive(Serialize)]
struct LabelView<'a> {
    value: &'a str,
    calls: i64,
    credits: i64,
}

#[derive(Serialize)]
struct BucketView {
    start: Shown,
    end: Shown,
    calls: i64,
    allowed: i64,
    denied: i64,
    credits: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolView<'a> {
    tool: &'a str,
    calls: i64,
    allowed: i64,
    denied: i64,
    credits: i64,
    success_rate: f64,
    avg_credits_per_call: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerView<'a> {
    key_name: &'a str,
    calls: i64,
    credits: i64,
    denied: i64,
    top_tool: &'a str,
    key_id: &'a str,
}

#[derive(Serialize)]
struct Trend {
    current: Totals,
    previous: Totals,
    change: Change,
}

#[derive(Serialize)]
struct Totals {
    calls: i64,
    credits: i64,
    denied: i64,
}

/// In percent; none where there was nothing before.
#[derive(Serialize)]
struct Change {
    calls: Option<f64>,
    credits: Option<f64>,
    denied: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total_calls: i64,
    total_credits: i64,
    total_denied: i64,
    unique_keys: i64,
    unique_tools: i64,
    success_rate: f64,
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let query = Query::of(&call.uri)?;
    let (bucket, granularity) = match query.get("granularity") {
        None | Some("hourly") => (Bucket::Hour, "hourly"),
        Some("daily") => (Bucket::Day, "daily"),
        Some(_) => return Err(Problem::bad("granularity must be hourly or daily")),
    };
    let to = query.time("to")?.unwrap_or_else(|| admin.store.ledger_now(call.now));
    let from = query.time("from")?;
    let from = from.unwrap_or_else(|| Time::from_ms(to.ms().saturating_sub(24 * HOUR_MS)));
    if to < from {
        return Err(Problem::bad("from must not be after to"));
    }
    let (first, behind) = (bucket.start(from), bucket.start(to).saturating_add(bucket.ms()));
    let buckets = usize::try_from(behind.saturating_sub(first) / bucket.ms()).unwrap_or(usize::MAX);
    if buckets > ANALYTICS_BUCKETS_MAX {
        return Err(Problem::bad(format!(
            "from and to are {buckets} buckets apart, which is more than {ANALYTICS_BUCKETS_MAX}: choose a shorter time or granularity=daily"
        )));
    }
    let label = query.get("label").map(str::to_owned);
    let top = query.number("top")?.unwrap_or(TOP_DEFAULT);
    if !(1..=ANALYTICS_TOP_MAX).contains(&top) {
        let message = format!("top must be a whole number from 1 to {ANALYTICS_TOP_MAX}");
        return Err(Problem::bad(message));
    }
    let namespace = call.actor.scope(query.namespace()?)?;
    admin.roll_up().await?;
    // The trend looks at the time before, too.
    let earliest = Time::from_ms(first.saturating_sub(behind.saturating_sub(first)));
    let complete_since = admin.complete_since(namespace.as_deref(), Some(earliest)).await?;
    let asked =
        ReportAsked { from: first, to: behind, bucket, namespace, label: label.clone(), top };
    let report = admin.store.usage_report(asked).await?;
    let UsageReport { current, previous, .. } = report;
    Answer::pretty(&Report {
        from: Shown(from),
        to: Shown(to),
        granularity,
        time_series: series(&report.series, first, buckets, bucket),
        tools: report.tools.iter().map(|(tool, tally)| tool_view(tool, *tally)).collect(),
        top_consumers: report.consumers.iter().map(consumer_view).collect(),
        trend: trend(previous, current),
        summary: Summary {
            total_calls: all(current),
            total_credits: current.credits,
            total_denied: current.denied,
            unique_keys: report.keys,
            unique_tools: report.tools_used,
            success_rate: percent(current.allowed, all(current)),
        },
        complete_since,
        labels: label.map(|_| report.labels.iter().map(label_view).collect()),
    })
}

fn trend(previous: Tally, current: Tally) -> Trend {
    Trend {
        current: totals(current),
        previous: totals(previous),
        change: Change {
            calls: change(all(previous), all(current)),
            credits: change(previous.credits, current.credits),
            denied: change(previous.denied, current.denied),
        },
    }
}

/// Every bucket, those without usage too.
fn series(known: &[(i64, Tally)], first: i64, count: usize, bucket: Bucket) -> Vec<BucketView> {
    let mut known = known.iter().peekable();
    let mut start = first;
    let mut all_buckets = Vec::with_capacity(count);
    for _ in 0..count {
        let tally = known.next_if(|(of, _)| *of == start).map_or_else(Tally::default, |(_, t)| *t);
        let end = start.saturating_add(bucket.ms());
        all_buckets.push(BucketView {
            start: Shown(Time::from_ms(start)),
            end: Shown(Time::from_ms(end)),
            calls: all(tally),
            allowed: tally.allowed,
            denied: tally.denied,
            credits: tally.credits,
        });
        start = end;
    }
    all_buckets
}

fn label_view((value, tally): &(String, Tally)) -> LabelView<'_> {
    LabelView { value, calls: tally.allowed, credits: tally.credits }
}

fn tool_view(tool: &str, tally: Tally) -> ToolView<'_> {
    let calls = all(tally);
    ToolView {
        tool,
        calls,
        allowed: tally.allowed,
        denied: tally.denied,
        credits: tally.credits,
        success_rate: percent(tally.allowed, calls),
        avg_credits_per_call: rounded(ratio(tally.credits, tally.allowed), 100.0),
    }
}

fn consumer_view(consumer: &Consumer) -> ConsumerView<'_> {
    let Consumer { key, name, tally, top_tool } = consumer;
    ConsumerView {
        key_name: name,
        calls: all(*tally),
        credits: tally.credits,
        denied: tally.denied,
        top_tool,
        key_id: key,
    }
}

const fn all(tally: Tally) -> i64 {
    tally.allowed.saturating_add(tally.denied)
}

const fn totals(tally: Tally) -> Totals {
    Totals { calls: all(tally), credits: tally.credits, denied: tally.denied }
}

fn change(before: i64, now: i64) -> Option<f64> {
    (before != 0).then(|| rounded(100.0 * ratio(now.saturating_sub(before), before), 10.0))
}

fn percent(part: i64, whole: i64) -> f64 {
    rounded(100.0 * ratio(part, whole), 10.0)
}

/// 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "shown to people, rounded")]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_percent() {
        assert_eq!(change(0, 5), None);
        assert_eq!(change(3, 4), Some(33.3));
        assert_eq!(change(4, 1), Some(-75.0));
        assert!((percent(2, 3) - 66.7).abs() < f64::EPSILON);
        assert!(percent(0, 0).abs() < f64::EPSILON);
    }
}
