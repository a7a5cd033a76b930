//! The same random operations on the embedded store and on books in a real Redis: the same answers,
//! the same accounts after every step, and the same journal at the end. Time is passed in.
//!
//! The seed is fixed, so a run is reproducible. For longer runs by hand:
//! `PAYGATE_MODEL_CASES=5000 PAYGATE_MODEL_SEED=7 cargo nextest run --test store_differential`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "store_differential/journal.rs"]
mod journal;
#[path = "store_differential/moved.rs"]
mod moved;
#[path = "support_model/operations.rs"]
#[allow(dead_code, reason = "a book may be asked for more than a store")]
mod operations;
mod support;
#[path = "store_differential/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestError, TestRng, TestRunner,
};

use operations::{Operation, Shape, operation, shape};
use support::RedisServer;
use world::World;

/// What may be done to a store, beside what may be done to a book.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Book(Operation),
    /// Replaces the record of a key; a call that was judged by the old one is refused.
    Change {
        key: usize,
    },
    /// Swaps a key's credential.
    Rotate {
        key: usize,
    },
    /// Holds by a record that is no longer the present one.
    HoldStale {
        key: usize,
        shape: Shape,
    },
    /// Holds that come at the same moment.
    HoldCrowd(Vec<Shape>),
    /// Ends, paid or not, that come at the same moment.
    EndCrowd(Vec<(usize, bool)>),
    /// Would it be held?
    Check(Shape),
    /// Puts a key into the team or takes it out.
    Team {
        key: usize,
        joins: bool,
    },
    /// Credits under an idempotency key of a few.
    Once {
        key: usize,
        id: u8,
        amount: i64,
    },
    Park {
        pick: usize,
        lasts_ms: i64,
    },
    Resume {
        pick: usize,
        lasts_ms: i64,
    },
    /// Captures a call that is to be repeated, and asks for its answer.
    Keep {
        pick: usize,
        id: u8,
    },
    Recall {
        key: usize,
        id: u8,
    },
    /// Goes on with another instance on the same Redis.
    Instance,
    Delete {
        key: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0_usize..2;
    let pick = || 0_usize..64;
    let lasts_ms = || prop_oneof![Just(0_i64), 1_i64..100_000];
    prop_oneof![
        40 => operation().prop_map(Step::Book),
        2 => key().prop_map(|key| Step::Change { key }),
        1 => key().prop_map(|key| Step::Rotate { key }),
        1 => (key(), shape()).prop_map(|(key, shape)| Step::HoldStale { key, shape }),
        3 => prop::collection::vec(shape(), 2..6).prop_map(Step::HoldCrowd),
        4 => prop::collection::vec((pick(), any::<bool>()), 2..6).prop_map(Step::EndCrowd),
        2 => shape().prop_map(Step::Check),
        2 => (key(), any::<bool>()).prop_map(|(key, joins)| Step::Team { key, joins }),
        3 => (key(), 0_u8..4, 0_i64..3)
            .prop_map(|(key, id, amount)| Step::Once { key, id, amount }),
        3 => (pick(), lasts_ms()).prop_map(|(pick, lasts_ms)| Step::Park { pick, lasts_ms }),
        2 => (pick(), lasts_ms()).prop_map(|(pick, lasts_ms)| Step::Resume { pick, lasts_ms }),
        2 => (pick(), 0_u8..3).prop_map(|(pick, id)| Step::Keep { pick, id }),
        2 => (key(), 0_u8..3).prop_map(|(key, id)| Step::Recall { key, id }),
        1 => Just(Step::Instance),
        1 => prop_oneof![9 => Just(0_usize), 1 => Just(1)].prop_map(|key| Step::Delete { key: key + 1 }),
    ]
}

#[test]
fn redis_and_the_embedded_store_agree_after_every_step() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (cases, seed) = (number("PAYGATE_MODEL_CASES", 48), number("PAYGATE_MODEL_SEED", 1));
    let config = Config {
        cases: u32::try_from(cases).expect("fewer cases"),
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/store_differential.txt",
        ))),
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let server = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let steps = prop::collection::vec(step(), 1..80);
    let outcome = TestRunner::new_with_rng(config, rng).run(&steps, |steps| {
        runtime.block_on(async {
            server.cli(&["FLUSHALL"]);
            let mut world = World::new(&server).await;
            for step in &steps {
                world.step(step).await?;
                world.compare().await?;
            }
            world.compare_sums().await?;
            world.compare_journals(&server).await?;
            // One in four, because it takes as long as all steps.
            if steps.len() % 4 == 0 { moved::compare(&world, &server).await } else { Ok(()) }
        })
    });
    if let Err(TestError::Fail(reason, steps)) = &outcome {
        panic!("seed {seed}: {reason}\nafter {steps:#?}");
    }
    outcome.expect("the strategy draws operations");
}
