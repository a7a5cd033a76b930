//! Selling from leases while Redis is away, beside the embedded store: both write each call to a disk of their own
//! before its answer leaves.

use serde_json::{Value, json};

use crate::contestants::{Contestant, setup_with};
use crate::load::{Load, Spread, Tool};
use crate::parts::{CELLS, Cell, Settings, measure, table};
use crate::report::goal;
use crate::support::{RedisServer, Request, eventually, rpc_request};

const SHARE_WANTED: f64 = 0.9;
/// An instance has leases of so many keys, each for a thousand calls: together enough for a slice or two.
const KEYS: usize = 1_000;
const CREDITS_ON_LEASE: i64 = 1_000_000;

/// Calls a second from leases beside those of the embedded store, over as many keys.
pub fn leases(settings: &Settings) -> String {
    let redis = RedisServer::start();
    let more = json!({ "redisUrl": redis.url(), "redis": { "onUnavailable": "lease" } });
    let contestants = [
        Contestant::paygate("embedded, durability answer", "answer", KEYS),
        Contestant::started("Redis away, leases", &setup_with("answer", more), KEYS),
    ];
    let cells: Vec<_> = CELLS[..3]
        .iter()
        .map(|cell| {
            go_away(settings, &redis, &contestants[1]);
            measure(settings, &contestants, *cell, || go_away(settings, &redis, &contestants[1]))
        })
        .collect();
    redis.thaw();
    let title = "embedded";
    let mut text = format!("### Leases\n\n{}\n", table(&cells, title).to_markdown());
    for series in &cells {
        let ratio = series[1].ratio(&series[0]);
        let what = format!("{} connections: at least {SHARE_WANTED}", series[0].connections());
        let measured = format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max);
        let is_met = ratio.median >= SHARE_WANTED;
        text += &goal(&what, is_met, ratio.max >= SHARE_WANTED, &measured);
    }
    text
}

/// Redis comes back, every key has a whole lease again, and Redis goes.
fn go_away(settings: &Settings, redis: &RedisServer, contestant: &Contestant) {
    redis.thaw();
    let health = || {
        let health = Request::new("GET", "/health").send(&contestant.address.to_string());
        health.map_or(Value::Null, |health| health.json()["redis"].clone())
    };
    // What is known of keys is read anew once news are heard again, and has to be known when Redis goes.
    eventually("Redis is there", || {
        let health = health();
        health["connected"] == true && health["pubsub"] == true
    });
    let once = Cell { tool: Tool::Instant, connections: 1 };
    let each = Load { spread: Spread::EachOnce, ..settings.load(contestant, once) };
    each.run();
    eventually("all of it is on lease", || health()["leasedCredits"] == CREDITS_ON_LEASE);
    redis.freeze();
    let (key, address) = (&contestant.keys[0], contestant.address.to_string());
    eventually("it is sold from leases", || {
        let asked = rpc_request(key, "tools/call", &json!({"name": "instant", "arguments": {}}));
        asked.send(&address).is_ok_and(|answer| answer.json()["result"].is_object())
    });
}
