//! `paygate ledger repair`.

use std::time::{Duration, Instant};

use paygate::ledger::ResolutionKind;
use paygate::model::ids::CallId;
use paygate::store::{CallState, HoldRefused, Store, StoreError};

use crate::life::{
    PAID, call, copy_of, fill, id, instance, make, now, paygate, raw, said, says_again, sells,
    team_id,
};
use crate::support::{Ended, PATIENCE, RedisServer, eventually};

fn repair(server: &RedisServer, copies: &[&str], more: &[&str]) -> Ended {
    let url = server.url();
    let copies: Vec<String> =
        copies.iter().map(|copy| copy_of(server, copy).display().to_string()).collect();
    let mut args = vec!["ledger", "repair", "--redis", &url];
    for copy in &copies {
        args.extend(["--db", copy]);
    }
    args.extend(more);
    paygate(&args)
}

/// Waits: what was lost is looked for every second.
async fn soon(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn refuses(store: &dyn Store, call: u8) {
    let held = sells(store, call).await;
    let is_refused = matches!(held, Err(HoldRefused::Unavailable(StoreError::Unavailable(_))));
    assert!(is_refused, "{held:?}");
}

/// Two instances with everything in their books.
async fn two(server: &RedisServer) -> [Box<dyn Store>; 2] {
    let one = instance(server, "one.db").await;
    fill(&one).await;
    let other = instance(server, "other.db").await;
    for store in [&one, &other] {
        store.usage(None).await.unwrap();
    }
    [Box::new(one), Box::new(other)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_gets_its_books_back_and_instances_go_on() {
    let server = RedisServer::start();
    let [one, other] = two(&server).await;
    // The first one knows of one call more.
    call(&*one, 1, 20, PAID).await;
    one.usage(None).await.unwrap();
    let before = said(&*one).await;
    server.cli(&["FLUSHALL"]);
    refuses(&*one, 30).await;
    refuses(&*other, 31).await;
    assert!(one.health().unwrap_err().to_string().contains("come back with less"));

    let proposed = repair(&server, &["other.db", "one.db"], &[]);
    assert_eq!((proposed.code(), proposed.stderr.as_str()), (Some(0), ""), "{proposed:#?}");
    for words in
        ["call call_14141414", "grant key_0101010101010101, 100 credits", "nothing was written"]
    {
        assert!(proposed.stdout.contains(words), "{words} is missing in {}", proposed.stdout);
    }
    assert_eq!(server.cli(&["DBSIZE"]), "0", "a proposal writes nothing");
    let applied = repair(&server, &["other.db", "one.db"], &["--apply"]);
    assert_eq!((applied.code(), applied.stderr.as_str()), (Some(0), ""), "{applied:#?}");
    assert!(applied.stdout.contains("the books agree"), "{applied:#?}");

    // No restart. What was only held is released; all else is as it was.
    let stores = [one, other];
    for (number, store) in (40..).zip(&stores) {
        sells(&**store, number).await.unwrap();
        // Each tenant's books are looked at in turn.
        eventually("it is well", || store.health().is_ok());
    }
    let account = stores[0].account(&id(1)).await.unwrap();
    // 100 − 3 (calls) × 3 for calls 6, 8 and 20, − 2 × 3 since.
    assert_eq!((account.available(), account.held()), (85, 0));
    says_again(&*stores[1], before, "key_0101010101010101").await;
    let keys = stores[1].keys(None).await.unwrap();
    let ids: Vec<_> = keys.iter().map(|(key, _)| key.id.clone()).collect();
    assert_eq!(ids, [id(1), id(2), id(3)], "in the order of their making");

    for store in &stores {
        store.usage(None).await.unwrap();
    }
    for _ in 0..2 {
        let again = repair(&server, &["one.db", "other.db"], &["--apply"]);
        assert_eq!(again.code(), Some(0), "{again:#?}");
        assert!(again.stdout.contains("nothing was missing"), "{again:#?}");
    }
    sells(&*stores[0], 50).await.unwrap();
    assert_eq!(stores[0].account(&id(1)).await.unwrap().available(), 82);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_is_brought_up_to_what_instances_have_seen() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let [one, other] = two(&server).await;
    assert_eq!(server.cli(&["SAVE"]), "OK");
    for number in 20..25 {
        call(&*other, 2, number, PAID).await;
    }
    other
        .delete_key(&id(3), None.into(), paygate::model::time::Time::from_ms(1_800_000_000_000))
        .await
        .unwrap();
    other.usage(None).await.unwrap();
    let before = said(&*other).await;
    let open = server.cli(&["HLEN", "pg:{default}:holds"]);
    assert_eq!(server.cli(&["DEBUG", "RELOAD", "NOSAVE"]), "OK");
    refuses(&*other, 30).await;

    // Who has not seen the lost rows has nothing to bring.
    let useless = repair(&server, &["one.db"], &[]);
    assert!(useless.stdout.contains("Redis has all that these copies know"), "{useless:#?}");
    repair(&server, &["one.db", "other.db"], &["--apply"]).expect_success();
    says_again(&*other, before, "no line").await;
    assert_eq!(
        server.cli(&["HLEN", "pg:{default}:holds"]),
        open,
        "open calls of the snapshot go on"
    );
    for (number, store) in (40..).zip([one, other]) {
        sells(&*store, number).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_left_to_people() {
    let server = RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"]);
    let [one, other] = two(&server).await;
    assert_eq!(server.cli(&["SAVE"]), "OK");
    call(&*one, 2, 20, PAID).await;
    one.usage(None).await.unwrap();
    assert_eq!(server.cli(&["DEBUG", "RELOAD", "NOSAVE"]), "OK");
    // It has not seen the lost call, and sells on.
    call(&*other, 2, 21, PAID).await;
    other.usage(None).await.unwrap();
    let undecided = repair(&server, &["one.db", "other.db"], &["--apply"]);
    assert_eq!(undecided.code(), Some(1), "{undecided:#?}");
    for words in ["one.db", "not the same", "nothing was written"] {
        assert!(undecided.stderr.contains(words), "{words} is missing in {}", undecided.stderr);
    }
    call(&*other, 2, 22, PAID).await;
    // As many rows as the first one has seen are there again, but not the same.
    one.usage(None).await.unwrap();
    refuses(&*one, 61).await;

    server.cli(&["FLUSHALL"]);
    let stranger = instance(&server, "stranger.db").await;
    fill(&stranger).await;
    let others = repair(&server, &["one.db"], &["--apply"]);
    assert_eq!(others.code(), Some(1));
    assert!(others.stderr.contains("other books"), "{others:#?}");
    sells(&stranger, 60).await.unwrap();
}

/// Versions before this one could hold a call once more when it had ended; nobody paid for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_released_behind_its_charge_keeps_no_books_from_being_repaired() {
    let server = RedisServer::start();
    let store = instance(&server, "one.db").await;
    fill(&store).await;
    call(&store, 2, 70, PAID).await;
    let last = server.cli(&["--raw", "XREVRANGE", "pg:{default}:journal", "+", "-", "COUNT", "1"]);
    let words: Vec<String> = last
        .lines()
        .skip(1)
        .map(|word| {
            let kept = "\"end\":\"expire\",\"kept\":[";
            let nothing = |detail: &str| {
                let postings: serde_json::Value = serde_json::from_str(detail).unwrap();
                let count = postings["postings"].as_array().unwrap().len();
                let kept = format!("{kept}{}]", vec!["0"; count].join(","));
                let detail = detail.replace(",3,\"result\"]", ",0,\"expire\"]");
                detail.replace("\"end\":\"capture\"", &kept)
            };
            if word.starts_with('{') { nothing(word) } else { word.to_owned() }
        })
        .collect();
    let (number, mut add) = (last.lines().next().unwrap(), Vec::new());
    let next = number.trim_end_matches("-0").parse::<u64>().unwrap() + 1;
    let id = format!("{next}-0");
    add.extend(["XADD", "pg:{default}:journal", &id]);
    for pair in words.chunks_exact(2) {
        add.extend([pair[0].as_str(), if pair[0] == "amount" { "0" } else { &pair[1] }]);
    }
    server.cli(&add);
    server.cli(&["HSET", "pg:{default}:meta", "seq", &next.to_string()]);

    let verified = paygate(&["ledger", "verify", "--redis", &server.url()]);
    assert_eq!(verified.code(), Some(0), "{verified:#?}");
    assert!(verified.stdout.contains("1 calls held and released once more"), "{verified:#?}");
    let id = CallId::from_random([70; 16]);
    let found = store.find_call(id).await.unwrap().unwrap();
    assert_eq!(found.state, CallState::Charged);
    let explained = store.explain_call(id).await.unwrap().unwrap();
    assert_eq!(explained.end.unwrap().kind, ResolutionKind::Captured);
    store.close().await.unwrap();
    drop(store);
    repair(&server, &["one.db"], &["--apply"]).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_gone_is_named_and_a_repair_brings_it_back() {
    let server = RedisServer::start();
    let [one, other] = two(&server).await;
    for store in [&one, &other] {
        // Of its team nothing is known here but what a key of it says.
        drop(store.key_by_id(&id(2)).await.unwrap());
    }
    for gone in [id(2).to_string(), team_id().to_string()] {
        server.cli(&["DEL", &format!("pg:{{default}}:{gone}")]);
        let third = instance(&server, "third.db").await;
        for store in [&third as &dyn Store, &*one] {
            let error = match store.key_by_id(&id(2)).await {
                Ok(_) => store.key_by_digest(raw(2).digest(), now()).await.map(|_| ()),
                Err(error) => Err(error),
            };
            // Whoever has read the team before goes on with that until a hold finds it old.
            if let Err(error) = error {
                assert!(error.to_string().contains("ledger repair"), "{error}");
                assert!(store.concern().unwrap().contains(&gone), "{:?}", store.concern());
                store.health().unwrap();
            }
        }
        assert!(third.concern().is_some(), "{gone}");
        third.close().await.unwrap();
        repair(&server, &["one.db", "other.db"], &["--apply"]).expect_success();
        for (number, store) in (70..).zip([&one, &other]) {
            store.usage(None).await.unwrap();
            drop(sells(&**store, number).await);
            assert_eq!(store.concern(), None);
            store.key_by_digest(raw(2).digest(), now()).await.unwrap().expect("it is back");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_made_while_the_count_was_lost_get_places_of_their_own() {
    let server = RedisServer::start();
    let [one, other] = two(&server).await;
    server.cli(&["FLUSHALL"]);
    let stranger = instance(&server, "stranger.db").await;
    make(&stranger, 9, "new", 10).await;
    // Nothing tells these books from any others but what messages are sealed with.
    let others = repair(&server, &["one.db", "other.db"], &["--apply"]);
    assert_eq!(others.code(), Some(1), "{others:#?}");
    for words in ["other books than Redis has", "delete pg:seal", "nothing was written"] {
        assert!(others.stderr.contains(words), "{words} is missing in {}", others.stderr);
    }
    server.cli(&["DEL", "pg:seal"]);
    let applied = repair(&server, &["one.db", "other.db"], &["--apply"]).expect_success();
    assert!(
        applied.stdout.contains("new: key_0909090909090909: place 1 is another key's too"),
        "{applied:#?}"
    );

    soon("they go on", async || one.keys(None).await.is_ok()).await;
    make(&*one, 10, "new", 10).await;
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = one.keys_page(None, after, 1).await.unwrap();
        found.extend(page.keys.into_iter().map(|(key, _)| key.id.clone()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [id(1), id(2), id(3), id(9), id(10)], "one by one, none left out");

    let url = server.url();
    paygate(&["ledger", "verify", "--redis", &url]).expect_success();
    server.cli(&["ZADD", "pg:keys", "1", "new key_0909090909090909"]);
    let tied = paygate(&["ledger", "verify", "--redis", &url]);
    assert_eq!(tied.code(), Some(1), "{tied:#?}");
    assert!(tied.stdout.contains("both have place 1 in the order of keys"), "{tied:#?}");
    let file = copy_of(&server, "file.db").display().to_string();
    let moved = paygate(&["migrate", "--from", &url, "--to", &file]);
    assert!(moved.stderr.contains("gives each a place of its own"), "{moved:#?}");
    for store in [&one, &other] {
        store.usage(None).await.unwrap();
    }
    repair(&server, &["one.db", "other.db"], &["--apply"]).expect_success();
}
