//! What is lost on the wire: requests, answers, both ways and one.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use paygate::ledger::CreditKind;
use paygate::model::audit::AuditEvent;
use paygate::model::ids::CallId;
use paygate::model::key::Key;
use paygate::model::usage::Refused;
use paygate::store::redis::RedisReach;
use paygate::store::{
    Credited, Deed, ItemEnd, Parking, Resumed, Settlement, Show, Store, StoreError, clock,
    settlement,
};

use super::support::{Fault, RedisServer, Wire};
use super::{Instance, LIFE, PRICE, is_refused, journal, open, patience, soon, try_open};

/// A server, a wire to it, and an instance at the end of the wire.
pub(crate) async fn wired() -> (RedisServer, Wire, Instance) {
    let server = RedisServer::start();
    let wire = Wire::to(server.port());
    let instance = open(&wire.url()).await;
    (server, wire, instance)
}

/// Faults that one more attempt makes good.
const FAULTS: [Fault; 5] =
    [Fault::LoseRequest, Fault::LoseAnswer, Fault::Silence, Fault::Swallow, Fault::HalfClose];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_on_the_wire_is_done_once() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 1_000).await;
    let mut sold = 0;
    // A hold has these words in it, the end of a call those.
    for text in ["\"bounds\"", "\"kind\":\"capture\""] {
        for fault in FAULTS {
            wire.plan(text, fault);
            instance.sell(&key).await.unwrap_or_else(|error| panic!("{text} {fault:?}: {error:?}"));
            sold += 1;
            let account = instance.account(&key.id).await.unwrap();
            let left = (account.available(), account.held());
            assert_eq!(left, (1_000 - sold * PRICE, 0), "{text} {fault:?}");
        }
    }
    let mut granted = 1_000;
    for fault in FAULTS {
        wire.plan("\"kind\":\"grant\"", fault);
        let before = instance.account(&key.id).await.unwrap().available();
        let (kind, deed) = (CreditKind::Grant, Deed::default());
        let now = paygate::store::clock::now();
        let credited = instance.credit(&key.id, 10, kind, deed, now).await.unwrap();
        assert_eq!(credited, Credited::Made(before + 10), "{fault:?}");
        granted += 10;
    }
    assert_eq!(wire.met(), 15, "every fault was met");
    instance.expect_exact(&[server.port()], &key, granted - sold * PRICE).await;
    assert_eq!(journal(server.port(), &key).unwrap().ends.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_refused_is_released_long_before_its_deadline() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 2 * PRICE).await;
    // From now on Redis knows the scripts.
    instance.sell(&key).await.unwrap();
    // Nothing comes back, but all of it arrives.
    wire.mute(true);
    let before = Instant::now();
    let held = instance.held(&instance.charge(&key)).await;
    assert!(is_refused(&held), "{held:?}");
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    let raw = server.cli(&["HGET", &format!("pg:{{default}}:{}", key.id), "held"]);
    assert_eq!(raw, PRICE.to_string(), "it is held, and nobody knows");
    assert!(instance.health().is_err());
    wire.mute(false);
    // Its last credits: they can be spent again.
    soon("its credits are free", async || instance.sell(&key).await.is_ok()).await;
    soon("and it says so", async || instance.health().is_ok()).await;
    instance.expect_exact(&[server.port()], &key, 0).await;
    let mut ends: Vec<_> =
        journal(server.port(), &key).unwrap().ends.into_values().flatten().collect();
    ends.sort();
    assert_eq!(ends, ["capture", "capture", "release"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_for_an_answer_that_could_not_be_booked() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 11 * PRICE).await;
    instance.sell(&key).await.unwrap();
    // It is captured, and nobody hears of it: it is given back.
    let heard = instance.charge(&key);
    instance.held(&heard).await.unwrap();
    wire.mute(true);
    assert!(instance.paid(&heard).await.is_err(), "the customer gets no answer");
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0", "it is booked");
    wire.mute(false);
    instance.sells_again(&key).await;
    instance.expect_exact(&[server.port()], &key, 9 * PRICE).await;
    // It never arrives: it is released.
    let unheard = instance.charge(&key);
    instance.held(&unheard).await.unwrap();
    for _ in 0..4 {
        wire.plan("\"kind\":\"capture\"", Fault::LoseRequest);
    }
    assert!(instance.paid(&unheard).await.is_err());
    soon("it is released", async || {
        instance.account(&key.id).await.is_ok_and(|account| account.held() == 0)
    })
    .await;
    instance.expect_exact(&[server.port()], &key, 9 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_wire_is_slow_and_nothing_else() {
    let server = RedisServer::start();
    let wire = Wire::to(server.port());
    // So that a busy machine is not taken for a broken wire.
    let reach = RedisReach { answer_timeout: Duration::from_secs(5), ..patience() };
    let instance = try_open(&wire.url(), reach).await.unwrap();
    let key = instance.key(1, "default", 100).await;
    wire.delay(Duration::from_millis(100));
    for _ in 0..5 {
        instance.sell(&key).await.unwrap();
    }
    wire.delay(Duration::ZERO);
    instance.expect_exact(&[server.port()], &key, 100 - 5 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_arrives_late_is_not_held() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 100).await;
    instance.sell(&key).await.unwrap();
    // Asked again in time: it is sold, and what arrives then finds its call ended.
    let late = Fault::Late(Duration::from_millis(1_500));
    wire.plan("\"bounds\"", late);
    instance.sell(&key).await.unwrap();
    // Nobody is heard in time: it is refused, and what arrives then finds that nobody waits.
    wire.plan("\"bounds\"", late);
    wire.plan("\"bounds\"", late);
    let held = instance.held(&instance.charge(&key)).await;
    assert!(is_refused(&held), "{held:?}");
    soon("they have arrived", async || wire.late() == 3).await;
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0");
    instance.expect_exact(&[server.port()], &key, 100 - 2 * PRICE).await;
    assert_eq!(journal(server.port(), &key).unwrap().ends.len(), 2);
}

/// One that is asked for again, held, paid and ended before the first question arrives would be held once
/// more, and nobody would know.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_arrives_late_though_in_time_is_held_once() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 100).await;
    instance.sell(&key).await.unwrap();
    // Later than its answer is waited for, and sooner than its customer gives up.
    wire.plan("\"bounds\"", Fault::Late(Duration::from_millis(750)));
    let charge = instance.charge(&key);
    instance.held(&charge).await.unwrap();
    instance.paid(&charge).await.unwrap();
    // Meanwhile one that is held all the time, and is left alone.
    wire.plan("\"bounds\"", Fault::LoseAnswer);
    let long = instance.charge(&key);
    instance.held(&long).await.unwrap();
    soon("it has arrived", async || wire.late() == 1).await;
    soon("all ends are known", async || instance.unsettled() == 0).await;
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "1", "the long one");
    instance.paid(&long).await.unwrap();
    instance.expect_exact(&[server.port()], &key, 100 - 3 * PRICE).await;
}

impl Instance {
    /// A call that waits for its next round.
    pub(crate) async fn waiting(&self, key: &Key, state: &str) -> CallId {
        let charge = self.charge(key);
        self.held(&charge).await.unwrap();
        let (call, key, state) = (charge.call, key.id.clone(), state.to_owned());
        let until = clock::now().plus(LIFE);
        self.park(Parking { call, key, state, until }, Show::BALANCE, clock::now()).await.unwrap();
        call
    }

    pub(crate) async fn release(&self, key: &Key, call: CallId) {
        let end = [ItemEnd { paid: false, outcome: "cancelled" }];
        let release = settlement(&self.charge(key), &end, Show::BALANCE);
        self.settle(Settlement { call, ..release }, clock::now()).await.unwrap();
    }

    pub(crate) async fn go_on(
        &self,
        key: &Key,
        call: CallId,
        state: &str,
    ) -> Result<Resumed, StoreError> {
        let now = clock::now();
        self.resume(&key.id, call, state, None, now, now.plus(LIFE)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_nobody_hears_of_is_released_long_before_its_deadline() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 2 * PRICE).await;
    // A fault that one more attempt makes good: it is gone on with, once.
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let call = instance.waiting(&key, "round").await;
        wire.plan("resume", fault);
        let resumed = instance.go_on(&key, call, "round").await.unwrap();
        assert_eq!(resumed.price, PRICE, "{fault:?}");
        assert_eq!(wire.met(), number + 1);
        let again = instance.go_on(&key, call, "round").await;
        assert!(matches!(again, Err(StoreError::NotOpen)), "{fault:?}: {again:?}");
        soon("all ends are known", async || instance.unsettled() == 0).await;
        assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "1", "it is open");
        instance.release(&key, call).await;
    }
    // All of it arrives, and nothing comes back: it is released.
    let call = instance.waiting(&key, "round").await;
    wire.mute(true);
    let resumed = instance.go_on(&key, call, "round").await;
    assert!(matches!(resumed, Err(StoreError::Unavailable(_))), "{resumed:?}");
    wire.mute(false);
    instance.expect_exact(&[server.port()], &key, 2 * PRICE).await;
    // It never arrives: it waits on, and its customer may ask again.
    let call = instance.waiting(&key, "round").await;
    for _ in 0..3 {
        wire.plan("resume", Fault::LoseRequest);
    }
    assert!(instance.go_on(&key, call, "round").await.is_err());
    soon("it is gone on with", async || instance.go_on(&key, call, "round").await.is_ok()).await;
    soon("all ends are known", async || instance.unsettled() == 0).await;
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "1", "it is open");
    instance.release(&key, call).await;
    instance.expect_exact(&[server.port()], &key, 2 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stops_leaves_no_loose_ends() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 2 * PRICE).await;
    instance.sell(&key).await.unwrap();
    wire.mute(true);
    assert!(is_refused(&instance.held(&instance.charge(&key)).await));
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "1", "it is held, and nobody knows");
    wire.mute(false);
    instance.close().await.unwrap();
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0");
}

/// What is told of beside money: each entry once, whatever is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_answer_was_lost_is_written_once() {
    let (server, wire, instance) = wired().await;
    let refused = || {
        let (key, namespace, tool) = (String::new(), String::new(), "a".to_owned());
        vec![Refused {
            at: clock::now(),
            key,
            namespace,
            tool,
            reason: "invalid_api_key",
            count: 1,
        }]
    };
    let event = || AuditEvent {
        at: clock::now(),
        kind: "admin.auth_failed",
        actor: "nobody".to_owned(),
        actor_id: None,
        namespace: None,
        target: None,
        message: "no".to_owned(),
        metadata: serde_json::Map::new(),
    };
    let length = |stream: &str| server.cli(&["XLEN", stream]).parse::<usize>().unwrap();
    for (number, fault) in FAULTS.into_iter().enumerate() {
        wire.plan("XADD", fault);
        instance.note_refused(refused()).await.unwrap();
        assert_eq!(length("pg:{_}:refused"), number + 1, "{fault:?}");
        wire.plan("XADD", fault);
        instance.record(event()).await.unwrap();
        assert_eq!(length("pg:{_}:journal"), number + 1, "{fault:?}");
    }
    assert_eq!(wire.met(), 2 * FAULTS.len());
    // Nothing is heard for long, and later it is told of again, with what came since.
    wire.mute(true);
    assert!(instance.note_refused(refused()).await.is_err());
    assert!(instance.note_refused(refused()).await.is_err());
    wire.mute(false);
    soon("it is told of", async || instance.note_refused(Vec::new()).await.is_ok()).await;
    assert_eq!(length("pg:{_}:refused"), FAULTS.len() + 2);
}

/// After an outage many calls have loose ends, and over a long wire each of them takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn many_loose_ends_are_seen_to_at_once() {
    const CALLS: i64 = 250;
    let server = RedisServer::start();
    let wire = Wire::to(server.port());
    let reach = RedisReach { answer_timeout: Duration::from_secs(2), ..patience() };
    let instance = try_open(&wire.url(), reach).await.unwrap();
    let key = instance.key(1, "default", CALLS * PRICE).await;
    wire.mute(true);
    let charges: Vec<_> = (0..CALLS).map(|_| instance.charge(&key)).collect();
    let held = join_all(charges.iter().map(|charge| instance.held(charge))).await;
    assert!(held.iter().all(is_refused));
    // One after another they would take longer than anybody waits.
    wire.delay(Duration::from_millis(200));
    wire.mute(false);
    soon("all ends are known", async || instance.unsettled() == 0).await;
    wire.delay(Duration::ZERO);
    instance.expect_exact(&[server.port()], &key, CALLS * PRICE).await;
}
