//! What arrives when something else has happened since, and what is made good by a later run.

use std::time::Duration;

use futures_util::future::join_all;
use paygate::model::key::Key;
use paygate::model::secret::{Digest, RawKey};
use paygate::model::token::{AdminToken, Role, TokenId};
use paygate::store::{Deed, ItemEnd, Keep, Once, Show, Store, StoreError, clock, settlement};

use super::lost::wired;
use super::support::Fault;
use super::{Instance, LIFE, PRICE, open, open_in, patience, soon};

/// Later than an answer is waited for, and sooner than a customer gives up.
const LATE: Fault = Fault::Late(Duration::from_millis(750));

impl Instance {
    /// A call whose tool has answered, to be kept for a repetition.
    async fn paid_and_kept(&self, key: &Key, number: u8, answer: Option<Vec<u8>>) -> bool {
        let charge = self.charge(key);
        self.held(&charge).await.unwrap();
        let (id, request) = (Digest::of(&[number]), Digest::of(b"request"));
        let once = Once { id, request, note: String::new() };
        let end = [ItemEnd { paid: true, outcome: "result" }];
        let mut end = settlement(&charge, &end, Show::BALANCE);
        end.keep = Some(Keep { once, answer, ttl: LIFE });
        self.settle(end, clock::now()).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_can_repeat_is_given_back_though_it_has_an_idempotency_key() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 10 * PRICE).await;
    instance.sell(&key).await.unwrap();
    // Its answer is too long to be kept; then one that is kept, which a repetition finds.
    for (number, answer, left) in [(1, None, 9), (2, Some(b"{}".to_vec()), 8)] {
        // Only the answers about its end are lost.
        for _ in 0..4 {
            wire.plan("\"kind\":\"capture\"", Fault::Silence);
        }
        assert!(!instance.paid_and_kept(&key, number, answer).await, "nobody hears of it");
        soon("its end is known", async || instance.unsettled() == 0).await;
        instance.expect_exact(&[server.port()], &key, left * PRICE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_for_nothing_is_given_back_by_the_next_run() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 3 * PRICE).await;
    instance.sell(&key).await.unwrap();
    let charge = instance.charge(&key);
    instance.held(&charge).await.unwrap();
    wire.mute(true);
    assert!(instance.paid(&charge).await.is_err(), "its customer gets no answer");
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "0", "it is booked");
    // It is killed before Redis is back.
    let Instance { store, dir, .. } = instance;
    drop(store);
    wire.mute(false);
    // What it was doing lets go of the file a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let instance = open_in(dir, &wire.url(), patience()).await.unwrap();
    soon("its end is known", async || instance.unsettled() == 0).await;
    instance.expect_exact(&[server.port()], &key, 2 * PRICE).await;
    assert_eq!(instance.find_call(charge.call).await.unwrap().unwrap().charged, PRICE);
}

/// Calls that share a script are asked for again together, and their first question may come when some have
/// ended.
#[tokio::test(flavor = "multi_thread")]
async fn holds_that_arrive_late_together_are_held_once() {
    let (server, wire, instance) = wired().await;
    let key = instance.key(1, "default", 10 * PRICE).await;
    instance.sell(&key).await.unwrap();
    let charges: Vec<_> = (0..6).map(|_| instance.charge(&key)).collect();
    // The first goes at once, and the others together behind it.
    let id = charges[3].call.to_string();
    wire.plan(id.trim_start_matches("call_"), LATE);
    for held in join_all(charges.iter().map(|charge| instance.held(charge))).await {
        held.unwrap();
    }
    let (long, short) = charges.split_last().unwrap();
    for paid in join_all(short.iter().map(|charge| instance.paid(charge))).await {
        paid.unwrap();
    }
    soon("they have arrived", async || wire.late() == 1).await;
    soon("all ends are known", async || instance.unsettled() == 0).await;
    assert_eq!(server.cli(&["HLEN", "pg:{default}:holds"]), "1", "the long one");
    instance.paid(long).await.unwrap();
    instance.expect_exact(&[server.port()], &key, 3 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_somebody_goes_on_with_is_not_parked_by_what_comes_late() {
    let (server, wire, instance) = wired().await;
    let other = open(&server.url()).await;
    let key = instance.key(1, "default", 2 * PRICE).await;
    instance.sell(&key).await.unwrap();
    wire.plan("\npark\r", LATE);
    let call = instance.waiting(&key, "round 1").await;
    // Another instance goes on with it, and is at it.
    other.go_on(&key, call, "round 1").await.unwrap();
    soon("the first attempt to park it has arrived", async || wire.late() == 1).await;
    let again = instance.go_on(&key, call, "round 1").await;
    assert!(matches!(again, Err(StoreError::NotOpen)), "{again:?}");
    assert_eq!(server.cli(&["HGET", "pg:{default}:meta", "parked"]), "0");
    other.release(&key, call).await;
    assert_eq!(server.cli(&["HGET", "pg:{default}:meta", "parked"]), "0");
    instance.expect_exact(&[server.port()], &key, PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_that_was_ended_is_not_made_by_what_comes_late() {
    let (server, wire, instance) = wired().await;
    let other = open(&server.url()).await;
    let token = AdminToken {
        id: TokenId::from_random([3; 8]),
        digest: RawKey::from_random([3; 24]).digest(),
        name: "night shift".to_owned(),
        role: Role::Owner,
        namespace: None,
        created_at: clock::now(),
        created_by: "admin".to_owned(),
    };
    wire.plan("night shift", LATE);
    instance.create_token(token.clone(), Deed::default()).await.unwrap();
    other.delete_token(&token.id, Deed::default()).await.unwrap();
    assert!(!instance.has_token(&token.id).await.unwrap());
    soon("the first attempt has arrived", async || wire.late() == 1).await;
    assert_eq!(server.cli(&["HLEN", "pg:{_}:tokens"]), "0");
    assert!(!other.has_token(&token.id).await.unwrap());
}
