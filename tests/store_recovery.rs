//! Random operations on the embedded store, with crashes at any moment: what a new process finds in
//! the file is compared with a plain model of what was acknowledged. Accounts are saved all the
//! time, so that crashes fall into the middle of that too.
//!
//! A crash is the file as another process would find it: copied, with its log, while it is open.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails a test panics; random numbers are small"
)]

#[path = "store_recovery/model.rs"]
mod model;
#[path = "store_recovery/races.rs"]
mod races;
#[path = "store_recovery/world.rs"]
mod world;

use world::World;

/// Lives of the books for each seed: each ends in a crash or a clean stop.
const LIVES: usize = 6;
const OPERATIONS: usize = 60;

async fn run(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..LIVES {
        for _ in 0..OPERATIONS {
            world.act().await;
        }
        world.end_life().await;
    }
    world.finish().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_any_crash() {
    for seed in 1..=16 {
        run(seed).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_any_crash_with_other_seeds() {
    for seed in 101..=116 {
        run(seed).await;
    }
}
