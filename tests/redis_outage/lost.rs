//! What is lost on the wire: requests, answers, both ways and one.

use std::time::{Duration, Instant};

use paygate::ledger::CreditKind;
use paygate::store::{Credited, Deed, Store};

use super::support::{Fault, RedisServer, Wire};
use super::{Instance, PRICE, is_refused, journal, open, soon};

/// A server, a wire to it, and an instance at the end of the wire.
async fn wired() -> (RedisServer, Wire, Instance) {
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
    let (server, wire, instance) = wired().await;
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
