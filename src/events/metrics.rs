//! Counters since the start, for `GET /metrics`. A call touches atomics only; a lock is taken to
//! write the first time that a tool or a path is counted. Names are bounded: beyond that they are
//! counted as `other`.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::denials::DenialCounts;
use super::text_form::Page;
use crate::model::bounds;
use crate::model::name_map::NameMap;
use crate::store::{Compared, CreditsMoved};

/// The name of what is beyond the bound.
const OTHER: &str = "other";

/// Upper ends of the buckets of latencies, in microseconds, and as they are shown.
const BUCKETS: [(u64, &str); 14] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
    (120_000_000, "120"),
];

/// All counters.
#[derive(Debug, Default)]
pub struct Metrics {
    tools: Counters<String, ToolCounts>,
    http: Counters<HttpKind, AtomicU64>,
    upstream: Latency,
    added: Latency,
}

#[derive(Debug, Default)]
struct ToolCounts {
    allowed: AtomicU64,
    charged: AtomicU64,
    refunds: AtomicU64,
}

/// Method, path of the route, status.
type HttpKind = (&'static str, &'static str, u16);

/// A counted request. All of it comes from fixed sets.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest {
    /// The method, if it is a known one.
    pub method: &'static str,
    /// The route, not the path that was asked for.
    pub path: &'static str,
    /// The status of the answer.
    pub status: u16,
}

/// Numbers of this moment that are not counted here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Since the start.
    pub uptime: Duration,
    /// Can the books be asked?
    pub books_up: bool,
    /// What all keys have; none while the books cannot be asked.
    pub keys: Option<KeySums>,
    /// MCP sessions.
    pub sessions: usize,
    /// What became of held credits.
    pub moved: CreditsMoved,
    /// How accounts and journal compared.
    pub compared: Option<Compared>,
    /// Teams.
    pub active_teams: usize,
    /// Calls under way that are held.
    pub open_holds: usize,
    /// Changes that are not on disk yet.
    pub journal_waiting: usize,
    /// Is the journal of shared books copied here? `None` where it is not elsewhere.
    pub copied: Option<bool>,
    /// Alerts that the operator has not read.
    pub alerts_pending: usize,
    /// Alerts that have fired since the start.
    pub alerts_fired: u64,
}

/// Sums over all keys of the books.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeySums {
    /// Keys that may call.
    pub active: u64,
    /// Credits that they can spend.
    pub credits_available: i64,
}

impl Metrics {
    /// Counts a call that ended, with the credits that were held for it and those that were charged.
    pub fn call(&self, tool: &str, held: i64, charged: i64) {
        let gives_back = held > charged;
        let charged = u64::try_from(charged).unwrap_or(0);
        self.tools.with(tool, bounds::TOOL_NAMES_MAX, OTHER, |tool| {
            tool.allowed.fetch_add(1, Ordering::Relaxed);
            tool.charged.fetch_add(charged, Ordering::Relaxed);
            if gives_back {
                tool.refunds.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Counts a call that an operator has refunded.
    pub fn refunded(&self, tool: &str) {
        self.tools.with(tool, bounds::TOOL_NAMES_MAX, OTHER, |tool| {
            tool.refunds.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Counts how long a call took, there and here.
    pub fn took(&self, upstream: Duration, added: Duration) {
        self.upstream.add(upstream);
        self.added.add(added);
    }

    /// Counts an answer.
    pub fn http(&self, HttpRequest { method, path, status }: HttpRequest) {
        self.http.with_key(&(method, path, status), |count| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// The page.
    pub fn text(&self, denials: &DenialCounts, gauges: &Gauges) -> String {
        let mut page = Page::default();
        self.calls(&mut page, denials);
        let http: Vec<_> = self
            .http
            .all(|(method, path, status), count| (*method, *path, status.to_string(), read(count)));
        let http = http.iter().map(|(method, path, status, count)| {
            (vec![("method", *method), ("path", *path), ("status", status.as_str())], *count)
        });
        page.counter("paygate_http_requests_total", "Total HTTP requests", http);
        show_money(&mut page, gauges);
        show_gauges(&mut page, gauges);
        let upstream = "Time until the guarded server has answered";
        self.upstream.show(&mut page, "paygate_upstream_latency_seconds", upstream);
        let added = "Time that Paygate itself adds to a priced call";
        self.added.show(&mut page, "paygate_added_latency_seconds", added);
        page.into_text()
    }

    fn calls(&self, page: &mut Page, denials: &DenialCounts) {
        let tools = self.tools.all(|tool, counts| {
            let ToolCounts { allowed, charged, refunds } = counts;
            (tool.clone(), read(allowed), read(charged), read(refunds))
        });
        let mut by_tool: Vec<_> = denials.by_tool.iter().collect();
        by_tool.sort();
        let allowed = tools.iter().map(|(tool, allowed, ..)| {
            (vec![("status", "allowed"), ("tool", tool.as_str())], *allowed)
        });
        let denied = by_tool
            .iter()
            .map(|(tool, count)| (vec![("status", "denied"), ("tool", tool.as_str())], **count));
        let name = "paygate_tool_calls_total";
        page.counter(name, "Total tool calls processed", allowed.chain(denied));
        let charged = tools.iter().map(|(tool, _, charged, _)| (vec![("tool", &**tool)], *charged));
        page.counter("paygate_credits_charged_total", "Total credits charged", charged);
        let reasons =
            denials.by_reason.iter().map(|(word, count)| (vec![("reason", *word)], *count));
        page.counter("paygate_denials_total", "Total tool call denials", reasons);
        let mut rates: Vec<_> = denials.rates_by_tool.iter().collect();
        rates.sort();
        let rates = rates.iter().map(|(tool, count)| (vec![("tool", tool.as_str())], **count));
        page.counter("paygate_rate_limit_hits_total", "Total rate limit hits", rates);
        let refunds = tools.iter().map(|(tool, .., refunds)| (vec![("tool", &**tool)], *refunds));
        page.counter("paygate_refunds_total", "Total credit refunds", refunds);
    }
}

fn show_money(page: &mut Page, gauges: &Gauges) {
    let total = |credits: i64| [(vec![], u64::try_from(credits).unwrap_or(0))];
    let CreditsMoved { held, captured, released, refunded } = gauges.moved;
    page.gauge("paygate_credits_held", "Credits that calls under way hold", held);
    let help = "Total credits kept of held calls";
    page.counter("paygate_credits_captured_total", help, total(captured));
    let help = "Total credits given back when calls ended";
    page.counter("paygate_credits_released_total", help, total(released));
    let help = "Total credits of charged calls that operators gave back";
    page.counter("paygate_credits_refunded_total", help, total(refunded));
    let Some(Compared { drift, at }) = gauges.compared else { return };
    let help = "Credits of all accounts that the journal does not explain";
    page.gauge("paygate_ledger_drift_credits", help, drift);
    let help = "Seconds since all accounts were compared with the journal";
    page.gauge("paygate_ledger_comparison_age_seconds", help, at.elapsed().as_secs());
}

fn show_gauges(page: &mut Page, gauges: &Gauges) {
    page.gauge("paygate_uptime_seconds", "Server uptime in seconds", gauges.uptime.as_secs());
    let up = u8::from(gauges.books_up);
    page.gauge("paygate_store_up", "Whether the books can be asked", up);
    if let Some(keys) = gauges.keys {
        let help = "Number of active (non-revoked) API keys";
        page.gauge("paygate_active_keys_total", help, keys.active);
        let help = "Total credits across all active keys";
        page.gauge("paygate_total_credits_available", help, keys.credits_available);
    }
    page.gauge("paygate_active_sessions_total", "Number of active MCP sessions", gauges.sessions);
    page.gauge("paygate_pending_alerts_total", "Number of pending alerts", gauges.alerts_pending);
    page.gauge("paygate_active_teams_total", "Number of active teams", gauges.active_teams);
    page.counter(
        "paygate_alerts_fired_total",
        "Total alerts that have fired",
        [(vec![], gauges.alerts_fired)],
    );
    page.gauge("paygate_open_holds", "Priced calls whose credits are held", gauges.open_holds);
    page.gauge(
        "paygate_journal_waiting",
        "Changes of the books that are not on disk yet",
        gauges.journal_waiting,
    );
    if let Some(copied) = gauges.copied {
        let help = "1 while the journals in Redis can be copied into this instance's file";
        page.gauge("paygate_journal_copied", help, u8::from(copied));
    }
}

/// A histogram.
#[derive(Debug, Default)]
struct Latency {
    counts: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Latency {
    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = BUCKETS.iter().position(|(end, _)| micros <= *end);
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn show(&self, page: &mut Page, name: &str, help: &str) {
        page.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut sum = 0_u64;
        for ((_, end), count) in BUCKETS.iter().zip(&self.counts) {
            sum = sum.saturating_add(read(count));
            page.value(&bucket, &[("le", end)], sum);
        }
        // What is added meanwhile must not make the last bucket smaller than one before it.
        let count = read(&self.count).max(sum);
        page.value(&bucket, &[("le", "+Inf")], count);
        let micros = read(&self.micros);
        let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        page.value(&format!("{name}_sum"), &[], seconds);
        page.value(&format!("{name}_count"), &[], count);
    }
}

/// Counters by a key of a bounded set.
#[derive(Debug)]
struct Counters<K, V>(RwLock<NameMap<K, V>>);

impl<K, V> Default for Counters<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash + Ord + Clone, V: Default> Counters<K, V> {
    fn with_key(&self, key: &K, raise: impl Fn(&V)) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(key) {
            return raise(value);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        raise(known.entry(key.clone()).or_default());
    }

    /// In the order of the keys.
    fn all<T>(&self, show: impl Fn(&K, &V) -> T) -> Vec<T> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.iter().collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(key, value)| show(key, value)).collect()
    }
}

impl<V: Default> Counters<String, V> {
    fn with(&self, name: &str, most: usize, other: &str, raise: impl Fn(&V)) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(name) {
            return raise(value);
        }
        let name = if known.len() < most { name } else { other };
        drop(known);
        self.with_key(&name.to_owned(), raise);
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_adds_up() {
        let metrics = Metrics::default();
        metrics.took(Duration::from_micros(200), Duration::from_secs(500));
        metrics.took(Duration::from_millis(3), Duration::ZERO);
        let text = metrics.text(&DenialCounts::default(), &Gauges::default());
        for line in [
            "paygate_upstream_latency_seconds_bucket{le=\"0.0001\"} 0",
            "paygate_upstream_latency_seconds_bucket{le=\"0.00025\"} 1",
            "paygate_upstream_latency_seconds_bucket{le=\"0.005\"} 2",
            "paygate_upstream_latency_seconds_bucket{le=\"+Inf\"} 2",
            "paygate_upstream_latency_seconds_sum 0.003200",
            "paygate_added_latency_seconds_bucket{le=\"120\"} 1",
            "paygate_added_latency_seconds_bucket{le=\"+Inf\"} 2",
            "paygate_added_latency_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("paygate_tool_calls_total"), "{text}");
    }

    #[test]
    fn names_of_tools_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..=bounds::TOOL_NAMES_MAX {
            metrics.call(&number.to_string(), 1, 1);
        }
        let text = metrics.text(&DenialCounts::default(), &Gauges::default());
        assert!(text.contains("paygate_tool_calls_total{status=\"allowed\",tool=\"other\"} 1\n"));
    }
}
