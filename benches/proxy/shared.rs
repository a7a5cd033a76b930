//! Books in Redis beside the embedded ones: one instance, the same load in turn.

use std::process::Command;

use serde_json::json;

use crate::contestants::{Contestant, setup_with};
use crate::parts::{CELLS, Settings, measure, table};
use crate::report::goal;
use crate::support::RedisServer;

const SHARE_WANTED: f64 = 0.5;
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
    let cells: Vec<_> =
        CELLS[..3].iter().map(|cell| measure(settings, &contestants, *cell, || ())).collect();
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
    text + &format!("\nThe same Redis by itself, plain SET: {}\n", plain_sets(&quick))
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
