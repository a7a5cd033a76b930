//! `GET /metrics`: a page that a strict reader takes, on which every number moves, and is the one that
//! the reports show.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde_json::{Value, json};
use support::{Paygate, Request, Setup, eventually};

/// The samples of a page, by name and labels as they are written.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(paygate: &Paygate) -> Self {
        let answer = paygate.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self(samples(&answer.text()))
    }

    fn get(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or(0.0)
    }

    /// What a family counts by one label: its value, and the number.
    fn by(&self, family: &str, label: &str) -> BTreeMap<String, f64> {
        let mut found = BTreeMap::new();
        for (sample, value) in &self.0 {
            let Some(labels) = sample.strip_prefix(&format!("{family}{{")) else { continue };
            let after = labels.split_once(&format!("{label}=\"")).unwrap().1;
            *found.entry(after.split_once('"').unwrap().0.to_owned()).or_insert(0.0) += value;
        }
        found
    }
}

/// Reads the text form as its specification has it, and refuses what a scraper might.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut found, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind, mut helped) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split_once(' ').unwrap().0.clone_into(&mut helped);
            continue;
        }
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, of) = said.split_once(' ').unwrap();
            assert_eq!(helped, name, "help and type go together");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            (family, kind) = (name.to_owned(), of.to_owned());
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let ending = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line}: of {family}?"));
        let endings = if kind == "histogram" { "_bucket _sum _count" } else { "" };
        assert!(endings.split(' ').any(|one| one == ending), "{line}");
        labels(&sample[name.len()..]);
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
        assert!(found.insert(sample.to_owned(), value).is_none(), "{line} comes twice");
    }
    histograms_add_up(&found);
    found
}

/// `{a="…",b="…"}`: names in order, values with their three escapes.
fn labels(text: &str) {
    let Some(inside) = text.strip_prefix('{') else { return assert_eq!(text, "") };
    let mut rest = inside.strip_suffix('}').unwrap();
    let mut last = String::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(name > last.as_str() && name.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
        name.clone_into(&mut last);
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next().unwrap() {
                (_, '\\') => {
                    assert!(matches!(letters.next(), Some((_, '\\' | '"' | 'n'))), "{text}");
                }
                (end, '"') => break end,
                _ => {}
            }
        };
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn histograms_add_up(samples: &BTreeMap<String, f64>) {
    for family in ["paygate_upstream_latency_seconds", "paygate_added_latency_seconds"] {
        let of = |sample: &String| sample.starts_with(&format!("{family}_bucket"));
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter(|(sample, _)| of(sample))
            .map(|(sample, count)| (sample.split('"').nth(1).unwrap().parse().unwrap(), *count))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.len() > 5, "{family}");
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
        let (end, count) = buckets.last().unwrap();
        assert!(end.is_infinite(), "{family}");
        assert!((count - samples[&format!("{family}_count")]).abs() < f64::EPSILON, "{family}");
    }
}

fn get(paygate: &Paygate, path: &str) -> Value {
    let answer = paygate.admin_get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Numbers of a report by name, without those that are 0: the page leaves them out.
fn numbers(object: &Value, member: Option<&str>) -> BTreeMap<String, f64> {
    let all = object.as_object().unwrap().iter();
    let all = all.map(|(name, value)| {
        let value = member.map_or(value, |member| &value[member]);
        (name.clone(), value.as_f64().unwrap())
    });
    all.filter(|(_, value)| *value != 0.0).collect()
}

/// Calls that are paid, fail, are refused for several reasons, and one that is refunded.
fn use_it(paygate: &Paygate) {
    let body = json!({"name": "Ada", "credits": 50});
    let (ada, id) = paygate.create_key(&body);
    let (poor, _) = paygate.create_key(&json!({"name": "Bob", "credits": 3}));
    let mut last = String::new();
    for tool in ["instant", "instant", "echo_raw", "fail", "error", "echo_raw", "echo_raw"] {
        let answer = paygate.call(&ada, tool, &json!({}));
        last = answer.header("x-paygate-call-id").map_or(last, str::to_owned);
    }
    for _ in 0..3 {
        paygate.call(&poor, "instant", &json!({}));
    }
    paygate.call("pg_unknown", "instant", &json!({}));
    let refund = paygate.admin_post(&format!("/calls/{last}/refund"), &json!({"reason": "sorry"}));
    assert_eq!(refund.status, 200, "{}", refund.text());
    let team = paygate.admin_post("/teams", &json!({"name": "T"})).json();
    let team = team["team"]["id"].as_str().unwrap().to_owned();
    let assign = paygate.admin_post("/teams/assign", &json!({"teamId": team, "key": id}));
    assert_eq!(assign.status, 200, "{}", assign.text());
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let session = paygate.rpc(&ada, "initialize", &hello);
    assert!(session.header("mcp-session-id").is_some(), "{}", session.text());
}

#[test]
#[expect(clippy::float_cmp, reason = "whole numbers")]
fn every_number_moves_and_is_that_of_the_reports() {
    let config = json!({"defaultCreditsPerCall": 2,
        "toolPricing": {"echo_raw": {"creditsPerCall": 5, "rateLimitPerMin": 2}}});
    let paygate = Setup::new().ephemeral().without_child_log().config(config).start();
    let rules = json!({"rules": [{"type": "credits_low", "threshold": 2}]});
    assert_eq!(paygate.admin_post("/alerts", &rules).status, 200);
    use_it(&paygate);
    eventually("the alert and the first comparison", || {
        let page = Page::of(&paygate);
        page.get("paygate_pending_alerts_total") == 1.0
            && page.0.contains_key("paygate_ledger_drift_credits")
    });
    // Everything is over, so a page and a report tell of the same.
    let (page, usage) = (Page::of(&paygate), get(&paygate, "/status")["usage"].clone());
    let calls = |status: &str| {
        let of = format!("paygate_tool_calls_total{{status=\"{status}\",tool=\"");
        let found = page.0.iter().filter_map(|(sample, value)| {
            Some((sample.strip_prefix(&of)?.strip_suffix("\"}")?.to_owned(), *value))
        });
        found.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(calls("denied"), numbers(&usage["perTool"], Some("denied")));
    let events = get(&paygate, "/usage")["events"].as_array().unwrap().clone();
    let (mut ended, mut charged, mut given_back) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::<String, f64>::new());
    for event in events.iter().filter(|event| event["allowed"] == true) {
        let tool = event["tool"].as_str().unwrap().to_owned();
        let credits = event["creditsCharged"].as_f64().unwrap();
        let is_refund = event["outcome"] == "refund";
        if is_refund || credits == 0.0 {
            *given_back.entry(tool.clone()).or_default() += 1.0;
        }
        if !is_refund {
            *ended.entry(tool.clone()).or_insert(0.0) += 1.0;
        }
        if credits > 0.0 {
            *charged.entry(tool).or_insert(0.0) += credits;
        }
    }
    assert_eq!(calls("allowed"), ended);
    assert_eq!(page.by("paygate_credits_charged_total", "tool"), charged);
    assert_eq!(page.by("paygate_refunds_total", "tool"), given_back);
    assert_eq!(
        given_back,
        [("echo_raw", 1.0), ("error", 1.0), ("fail", 1.0)]
            .map(|(tool, count)| (tool.to_owned(), count))
            .into()
    );
    assert_eq!(page.by("paygate_denials_total", "reason"), numbers(&usage["denyReasons"], None));
    let hits = [("echo_raw".to_owned(), 1.0)].into();
    assert_eq!(page.by("paygate_rate_limit_hits_total", "tool"), hits);
    let spent = usage["totalCreditsSpent"].as_f64().unwrap();
    let (captured, refunded) =
        (page.get("paygate_credits_captured_total"), page.get("paygate_credits_refunded_total"));
    assert_eq!((captured, refunded, captured - refunded), (16.0, 5.0, spent));
    assert_eq!(page.get("paygate_credits_released_total"), 4.0, "two calls that failed");
    let keys = get(&paygate, "/keys");
    let keys = keys.as_array().unwrap();
    let credits: f64 = keys.iter().map(|key| key["credits"].as_f64().unwrap()).sum();
    for (sample, value) in [
        ("paygate_ledger_drift_credits", 0.0),
        ("paygate_credits_held", 0.0),
        ("paygate_open_holds", 0.0),
        ("paygate_active_sessions_total", 1.0),
        ("paygate_active_teams_total", 1.0),
        ("paygate_alerts_fired_total", 1.0),
        ("paygate_upstream_latency_seconds_count", 7.0),
        ("paygate_added_latency_seconds_count", 7.0),
        ("paygate_http_requests_total{method=\"POST\",path=\"/mcp\",status=\"200\"}", 12.0),
        ("paygate_http_requests_total{method=\"POST\",path=\"/teams\",status=\"201\"}", 1.0),
    ] {
        assert_eq!(page.get(sample), value, "{sample}");
    }
    for present in ["paygate_uptime_seconds", "paygate_journal_waiting"] {
        assert!(page.0.contains_key(present), "{present}");
    }
    // Sums over all keys may be 15 seconds old.
    eventually("the sums over all keys", || {
        let page = Page::of(&paygate);
        page.get("paygate_active_keys_total") == 2.0
            && page.get("paygate_total_credits_available") == credits
    });
}

#[test]
#[expect(clippy::float_cmp, reason = "whole numbers")]
fn a_call_under_way_is_held_and_how_long_it_took_is_told() {
    let config = json!({"defaultCreditsPerCall": 7});
    let setup = Setup::new().without_child_log().config(config);
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    let held = |paygate: &Paygate| {
        let page = Page::of(paygate);
        (page.get("paygate_credits_held"), page.get("paygate_open_holds"))
    };
    thread::scope(|scope| {
        let call = scope.spawn(|| paygate.call(&raw, "sleep", &json!({"ms": 600})));
        eventually("it is held", || held(&paygate) == (7.0, 1.0));
        assert_eq!(get(&paygate, &format!("/keys/{id}"))["held"], 7);
        assert_eq!(call.join().unwrap().status, 200);
    });
    eventually("it has ended", || held(&paygate) == (0.0, 0.0));
    let page = Page::of(&paygate);
    assert_eq!(page.get("paygate_credits_captured_total"), 7.0);
    let took = page.get("paygate_upstream_latency_seconds_sum");
    assert!((0.6..60.0).contains(&took), "{took}");
    assert_eq!(page.get("paygate_upstream_latency_seconds_bucket{le=\"0.5\"}"), 0.0);
    let added = page.get("paygate_added_latency_seconds_sum");
    assert!(added > 0.0 && added < took, "{added}");
    // A start compares what the file says; counters begin anew.
    paygate.kill9();
    let paygate = setup.start();
    eventually("the books are compared", || {
        Page::of(&paygate).0.get("paygate_ledger_drift_credits") == Some(&0.0)
    });
    let page = Page::of(&paygate);
    assert!(page.get("paygate_ledger_comparison_age_seconds") < 60.0);
    assert_eq!(page.get("paygate_credits_captured_total"), 0.0);
}

#[test]
fn a_flood_of_made_up_names_makes_no_series() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let (raw, _) = paygate.create_key(&json!({"credits": 10}));
    let flood = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let name = format!("junk-{number}\"\\\n");
            paygate.call(&raw, &name, &json!({}));
            paygate.call("pg_unknown", &name, &json!({}));
            paygate.rpc(&raw, &name, &json!({}));
            let batch = json!({"calls": [{"name": name, "arguments": {}}]});
            paygate.rpc(&raw, "tools/call_batch", &batch);
            paygate.get(&format!("/junk/{number}"));
            paygate.send(&Request::new(&format!("JUNK{number}"), "/mcp"));
            let foreign = Request::new("GET", "/mcp").header("Origin", "https://junk.example");
            paygate.send(&foreign);
        }
    };
    let series = || Page::of(&paygate).0.into_keys().collect::<BTreeSet<_>>();
    flood(0..3);
    // The number of the first comparison is there once it was made.
    eventually("the books are compared", || {
        series().iter().any(|series| series == "paygate_ledger_drift_credits")
    });
    let before = series();
    flood(3..60);
    assert_eq!(series(), before);
    let junk: Vec<_> = before.iter().filter(|series| series.contains("junk")).collect();
    assert!(junk.is_empty(), "{junk:?}");
    let refused = "paygate_http_requests_total{method=\"GET\",path=\"/mcp\",status=\"403\"}";
    assert!(before.contains(refused), "{before:?}");
}
