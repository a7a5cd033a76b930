//! Books in Redis beside the embedded ones: one instance, the same load in turn.

use std::process::Command;

use serde_json::json;

use crate::alone::Scripts;
use crate::contestants::{Contestant, setup_with};
use crate::load::Load;
use crate::parts::{CELLS, Cell, Series, Settings, measure, table};
use crate::report::{Spread, goal, seconds, time};
use crate::support::RedisServer;

const SHARE_WANTED: f64 = 0.5;
const SLOWER_WANTED: f64 = 0.001;
const REQUESTS: &str = "200000";

/// Calls a second with each kind of books.
pub fn shared(settings: &Settings) -> String {
    let quick = RedisServer::start();
    let durable =
        RedisServer::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let over = |label, redis: &RedisServer| {
        let more = json!({ "redisUrl": redis.url() });
        Contestant::started(label, &setup_with("answer", more), 1)
    };
    let contestants = [
        Contestant::paygate("embedded, durability none", "none", 1),
        Contestant::paygate("embedded, durability answer", "answer", 1),
        over("Redis in memory", &quick),
        over("Redis, appendfsync always", &durable),
    ];
    let mut cells = Vec::new();
    let mut scripts = String::new();
    for cell in &CELLS[..3] {
        let before = calls_of(&quick);
        let ended = journal_of(&quick);
        cells.push(measure(settings, &contestants, *cell, || ()));
        let each = (calls_of(&quick) - before) / (journal_of(&quick) - ended).max(1.0);
        scripts += &goal(
            &format!("{} connections: two scripts a call at most", cell.connections),
            each <= 2.01,
            each <= 2.01,
            &format!("{each:.3}"),
        );
    }
    let title = "embedded, none";
    let mut text = format!("### Books in Redis\n\n{}\n", table(&cells, title).to_markdown());
    for series in &cells {
        for (own, beside) in [(2, 0), (3, 1)] {
            let ratio = series[own].ratio(&series[beside]);
            let what = format!(
                "{} connections, {} beside {}: at least {SHARE_WANTED}",
                series[0].connections(),
                contestants[own].label,
                contestants[beside].label
            );
            let measured = format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max);
            let is_met = ratio.median >= SHARE_WANTED;
            text += &goal(&what, is_met, ratio.max >= SHARE_WANTED, &measured);
        }
    }
    text += &format!("\nScripts a call (`INFO commandstats`), in memory:\n\n{scripts}");
    text += "\nOnly as many calls as half of what is possible with Redis:\n\n";
    for (cell, series) in CELLS[..3].iter().zip(&cells) {
        for (own, beside) in [(2, 0), (3, 1)] {
            let pair = (&contestants[own], &contestants[beside]);
            text += &half_load(settings, *cell, pair, &series[own]);
        }
    }
    text += &alone(settings, &contestants[2], &quick);
    text + &format!("\nThe same Redis by itself, plain SET: {}\n", plain_sets(&quick))
}

/// How much slower the slowest of a hundred calls are than with the embedded store.
fn half_load(
    settings: &Settings,
    cell: Cell,
    (own, beside): (&Contestant, &Contestant),
    best: &Series,
) -> String {
    let rate = best.calls_per_second().median / 2.0;
    let p99 = |contestant: &Contestant| {
        let load = Load { at_most: Some(rate), ..settings.load(contestant, cell) };
        seconds(load.run().p99)
    };
    let pairs: Vec<(f64, f64)> = (0..settings.repeats).map(|_| (p99(own), p99(beside))).collect();
    let slower = Spread::of(pairs.iter().map(|(own, beside)| own - beside));
    let (own_p99, beside_p99) =
        (Spread::of(pairs.iter().map(|pair| pair.0)), Spread::of(pairs.iter().map(|pair| pair.1)));
    let what = format!(
        "{} connections, {rate:.0} calls/s, {}: p99 at most 1 ms above that of {}",
        cell.connections, own.label, beside.label
    );
    let measured = format!(
        "{} beside {}, {} more ({}..{})",
        time(own_p99.median),
        time(beside_p99.median),
        time(slower.median),
        time(slower.min),
        time(slower.max)
    );
    let (is_met, is_near) = (slower.median < SLOWER_WANTED, slower.min < SLOWER_WANTED);
    goal(&what, is_met, is_near, &measured)
}

/// The very same scripts without Paygate.
fn alone(settings: &Settings, contestant: &Contestant, redis: &RedisServer) -> String {
    let one = settings.load(contestant, CELLS[0]);
    let one = Load { warm_up: std::time::Duration::ZERO, at_most: Some(20.0), ..one };
    let one = Load { duration: std::time::Duration::from_millis(200), ..one };
    let scripts = Scripts::seen(redis.port(), || {
        std::thread::spawn(move || one.run()).join().expect("a call is made");
    });
    let mut text = String::from("\nThe scripts of a call by themselves, one call to a script:\n\n");
    for cell in &CELLS[..3] {
        let rates = (0..settings.repeats)
            .map(|_| scripts.run(redis.port(), cell.connections, settings.slice));
        let rate = Spread::of(rates);
        text += &format!(
            "- {} connections: {:.0} calls/s ({:.0}..{:.0})\n",
            cell.connections, rate.median, rate.min, rate.max
        );
    }
    text
}

/// Scripts that a Redis has run so far.
fn calls_of(redis: &RedisServer) -> f64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = line.and_then(|rest| rest.split(',').next());
    calls.map_or(0.0, |calls| calls.parse().expect("a number"))
}

/// Calls that have ended there.
fn journal_of(redis: &RedisServer) -> f64 {
    redis.cli(&["HGET", "pg:{default}:meta", "seq"]).parse().unwrap_or(0.0)
}

/// What redis-benchmark says of the smallest write.
fn plain_sets(redis: &RedisServer) -> String {
    let port = redis.port().to_string();
    let args = ["-p", &port, "-c", "64", "-n", REQUESTS, "-q", "-t", "set"];
    let output = Command::new("redis-benchmark").args(args).output();
    let output = output.expect("redis-benchmark runs; scripts/test need installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.rsplit(['\r', '\n']).find(|line| line.contains("per second")).unwrap_or("?").to_owned()
}
