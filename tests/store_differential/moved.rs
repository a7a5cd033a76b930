//! The same books once more after a migration: out of the file into Redis, and out of Redis into a file.

use std::path::Path;

use paygate::ledger::names;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::redis::{RedisPlace, migrate_to_file, migrate_to_redis, repair};
use paygate::store::{Show, Store};
use proptest::prelude::*;

use crate::support::RedisServer;
use crate::world::{Checked, World, once, once_of, open_redis};

/// All that books say of keys and the team.
async fn said(world: &World, store: &dyn Store) -> Vec<String> {
    let (now, mut said) = (store.ledger_now(world.clock), Vec::new());
    for key in &world.keys {
        said.push(format!("{:?}", store.key_by_id(key).await));
        said.push(format!("{:?}", store.account(key).await.map(|account| account.settled(now))));
        let show = Show::with_rate(10, names::RATE);
        said.push(format!("{:?}", store.read(key, show, world.clock).await));
        for id in 0..3 {
            said.push(format!("{:?}", store.recall(key, &once_of(key, id), world.clock).await));
        }
    }
    for id in 0..4 {
        said.push(format!("{:?}", store.repeated(&once(id, 1), world.clock).await));
    }
    said.push(format!("{:?}", store.team_account(&world.team).await.unwrap().settled(now)));
    said.push(format!("{:?}", store.team(&world.team)));
    let keys = store.keys(None).await.unwrap();
    said.push(format!("{:?}", keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>()));
    said
}

fn place(server: &RedisServer) -> RedisPlace {
    RedisPlace { url: server.url().into(), ca: None, sentinel_login: None }
}

/// That there was an answer is in the journal, the answer itself is not.
fn without_answers(said: Vec<String>) -> Vec<String> {
    let answer = |line: String| {
        line.split_once(", answer").map_or(line.clone(), |(head, _)| head.to_owned())
    };
    said.into_iter().map(answer).collect()
}

fn open(world: &World, path: &Path) -> LocalStore {
    let options = LocalOptions { path: Some(path.to_owned()), durability: Durability::None };
    LocalStore::open(&options, world.clock).unwrap()
}

/// Moves what both stores say, each to where the other one is.
pub(crate) async fn compare(world: &World, server: &RedisServer) -> Checked {
    let dir = world.dir.path();
    world.local.close().await.unwrap();
    // A start releases what was under way, in both.
    let local = open(world, &dir.join("books.db"));
    let expected = said(world, &local).await;
    local.close().await.unwrap();
    drop(local);
    let out = dir.join("out.db");
    migrate_to_file(&place(server), &[], &out).await.unwrap();
    let moved = open(world, &out);
    prop_assert_eq!(said(world, &moved).await, &*expected, "out of Redis");
    moved.close().await.unwrap();
    drop(moved);

    server.cli(&["FLUSHALL"]);
    migrate_to_redis(&out, &place(server)).await.unwrap();
    let redis = open_redis(&server.url(), &world.dir, 1_000).await;
    prop_assert_eq!(said(world, &redis).await, &*expected, "and into it again");

    // What is only held is not in the journal.
    if world.waits() {
        return Ok(());
    }
    redis.usage(None).await.unwrap();
    server.cli(&["FLUSHALL"]);
    repair(&place(server), &[dir.join("copy-1000.db")], true).await.unwrap();
    prop_assert_eq!(
        without_answers(said(world, &redis).await),
        without_answers(expected),
        "repaired"
    );
    Ok(())
}
