//! Books with some calls in them, for the tests of stores: keys by number, charges, and calls from their hold
//! to their end.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper that fails a test panics"
)]

use std::sync::Arc;
use std::time::Duration;

use paygate::gate::{self, CallFacts, Charge, Policy, Request, ToolPolicy};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{IpAllowlist, Key};
use paygate::model::secret::RawKey;
use paygate::model::team::Team;
use paygate::model::time::Time;
use paygate::store::{Creation, ItemEnd, Show, Store, settlement};

pub const NOW: i64 = 1_800_000_000_000;

pub const PAID: ItemEnd = ItemEnd { paid: true, outcome: "result" };
pub const FREE: ItemEnd = ItemEnd { paid: false, outcome: "timeout" };

pub fn now() -> Time {
    Time::from_ms(NOW)
}

pub fn deadline() -> Time {
    now().plus(Duration::from_mins(1))
}

pub fn raw(number: u8) -> RawKey {
    RawKey::from_random([number; 24])
}

pub fn key(number: u8) -> Key {
    let id = KeyId::from_random([number; 8]);
    let mut key = Key::new(id, &raw(number), &format!("customer {number}"), now());
    key.tags = [("plan".to_owned(), "gold \"x\"\n".to_owned())].into();
    key.ip_allowlist = IpAllowlist::parse(["10.0.0.0/8"].into_iter()).unwrap();
    key.revision = 1;
    key
}

pub async fn made(store: &dyn Store, number: u8, credits: i64) -> Arc<Key> {
    match store.create_key(key(number), credits, None.into(), now()).await.unwrap() {
        Creation::Made(key) => key,
        Creation::Repeated(note) => panic!("repeated: {note}"),
    }
}

pub fn charge_of(key: &Key, team: Option<&Team>, call: [u8; 16], tools: &[&str]) -> Charge {
    let mut policy = Policy { default_price: 2, key_rate: 1_000, ..Policy::default() };
    policy.tools.insert("dear".to_owned(), ToolPolicy::new("dear", Some(30), 5, 0));
    let calls: Vec<CallFacts<'_>> =
        tools.iter().map(|tool| CallFacts { tool, arguments: None }).collect();
    let request = Request {
        now: now(),
        address: "10.0.0.1".parse().unwrap(),
        credential_shown: true,
        key: Some(key),
        namespace: None,
        team,
        calls: &calls,
        in_batch: tools.len() > 1,
    };
    gate::admit(&policy, &request, CallId::from_random(call)).unwrap()
}

pub fn charge(key: &Key, call: u8, tools: &[&str]) -> Charge {
    charge_of(key, None, [call; 16], tools)
}

/// A call from its hold to its end; what is left then.
pub async fn call(store: &dyn Store, key: &Key, id: u8, tools: &[&str], ends: &[ItemEnd]) -> i64 {
    let charge = charge(key, id, tools);
    store.hold(&charge, now(), deadline()).await.unwrap();
    let (reading, durable) =
        store.settle(settlement(&charge, ends, Show::BALANCE), now()).await.unwrap();
    durable.wait().await.unwrap();
    reading.available
}
