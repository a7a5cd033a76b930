//! Two instances, one of which is cut off now and then while both sell, and a naive model of what there is to
//! sell: a list of calls. Whatever happens, the list never adds up to more than the credits and the limits,
//! and in the end the books say what the list says.
//!
//! The seed is fixed. For longer runs by hand:
//! `PAYGATE_MODEL_CASES=500 PAYGATE_MODEL_SEED=7 cargo nextest run --test redis_leases`.

use std::collections::HashMap;

use paygate::ledger::CreditKind;
use paygate::model::team::TeamId;
use paygate::store::{Assigned, CallState, Deed, Store};
use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use super::support::{RedisServer, TempDir, Wire};
use super::*;

const CAPS: Caps = Caps { rate: 10, dear: 4, daily: 25 };
const SPENDING: i64 = 90;
const TEAM_BUDGET: i64 = 130;
const TEAM_DAILY: i64 = 35;
const CREDITS: i64 = 80;
const MINUTE_MS: i64 = 60_000;

#[derive(Clone, Debug)]
enum Step {
    /// A call of a key on one of the instances; it may end at once.
    Call {
        cut_off: bool,
        key: usize,
        dear: bool,
        end: Option<bool>,
    },
    /// An open call ends.
    End {
        pick: usize,
        paid: bool,
    },
    /// Time passes.
    Jump(i64),
    /// Mostly when leases were just looked after.
    Cut {
        is_tended: bool,
    },
    Heal,
    /// Leases are looked after, holds that are late released.
    Tend {
        cut_off: bool,
    },
    /// The one that is cut off now and then is killed and started again.
    Kill,
    Grant {
        key: usize,
        amount: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0_usize..2;
    let end = prop_oneof![2 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    let jump = prop_oneof![
        4 => 1_i64..2_000,
        3 => 10_000_i64..90_000,
        1 => 200_000_i64..400_000,
        1 => Just(8 * 3_600_000),
    ];
    prop_oneof![
        60 => (prop::bool::weighted(0.7), key(), prop::bool::weighted(0.3), end)
            .prop_map(|(cut_off, key, dear, end)| Step::Call { cut_off, key, dear, end }),
        3 => (0_usize..64, any::<bool>()).prop_map(|(pick, paid)| Step::End { pick, paid }),
        5 => jump.prop_map(Step::Jump),
        3 => prop_oneof![3 => Just(true), 1 => Just(false)]
            .prop_map(|is_tended| Step::Cut { is_tended }),
        2 => Just(Step::Heal),
        6 => any::<bool>().prop_map(|cut_off| Step::Tend { cut_off }),
        1 => Just(Step::Kill),
        1 => (key(), 1_i64..20).prop_map(|(key, amount)| Step::Grant { key, amount }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Charged,
    /// It costs nothing, and is in the journal.
    Free,
    /// It costs nothing, and its instance may have died with it.
    Lost,
}

/// A call that was let through.
#[derive(Debug)]
struct Call {
    charge: Charge,
    cut_off: bool,
    on_lease: bool,
    key: usize,
    dear: bool,
    at: Time,
    state: State,
}

struct World {
    server: RedisServer,
    wire: Wire,
    mine: RedisOptions,
    cut_off: Option<RedisStore>,
    other: RedisStore,
    is_cut: bool,
    now: Time,
    keys: Vec<Arc<Key>>,
    team: Arc<Team>,
    granted: Vec<i64>,
    calls: Vec<Call>,
    leased: usize,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let (server, dir) = (RedisServer::start(), TempDir::new());
        let wire = Wire::to(server.port());
        let mine = options(&wire.url(), &dir.path().join("mine.db"), RedisClock::Passed, LEASE);
        let cut_off = open(&mine).await;
        let other = options(&server.url(), &dir.path().join("other.db"), RedisClock::Passed, LEASE);
        let other = open(&other).await;
        let now = Time::parse("2026-01-30T23:50:00Z").unwrap();
        let team = Team {
            id: TeamId::from_random([9; 8]),
            name: "team".to_owned(),
            description: String::new(),
            namespace: "default".to_owned(),
            members: Vec::new(),
            budget: TEAM_BUDGET,
            quota: Some(Quota { daily_call_limit: TEAM_DAILY, ..Quota::default() }),
            tags: [].into(),
            created_at: now,
            active: true,
            revision: 0,
        };
        other.create_team(team.clone(), Deed::default()).await.unwrap();
        let mut keys = Vec::new();
        for number in 1..=2 {
            let key = made(&other, number, CREDITS, now).await;
            let key = Key { spending_limit: SPENDING, ..(*key).clone() };
            let key = other.update_key(key, None.into()).await.unwrap();
            let joined = other.assign_key(&key.id, &team.id, Deed::default()).await.unwrap();
            assert_eq!(joined, Assigned::Done);
            keys.push(other.key_by_id(&key.id).await.unwrap().unwrap());
        }
        let team = other.team(&team.id).unwrap();
        Self {
            server,
            wire,
            mine,
            cut_off: Some(cut_off),
            other,
            is_cut: false,
            now,
            keys,
            team,
            granted: vec![CREDITS; 2],
            calls: Vec::new(),
            leased: 0,
            _dir: dir,
        }
    }

    fn store(&self, cut_off: bool) -> &RedisStore {
        if cut_off { self.cut_off.as_ref().unwrap() } else { &self.other }
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Call { cut_off, key, dear, end } => {
                self.call(*cut_off, *key, *dear, *end).await?;
            }
            Step::End { pick, paid } => {
                let open = |index: &usize| self.calls[*index].state == State::Open;
                let open: Vec<usize> = (0..self.calls.len()).filter(open).collect();
                if let Some(index) = open.get(pick % open.len().max(1)) {
                    self.end(*index, *paid).await;
                }
            }
            Step::Jump(ms) => {
                self.now = self.now.plus(Duration::from_millis(u64::try_from(*ms).unwrap()));
            }
            Step::Cut { is_tended } => {
                if *is_tended && !self.is_cut {
                    tended(self.store(true), self.now).await;
                }
                self.is_cut = true;
                self.wire.cut(true);
            }
            Step::Heal => self.heal().await,
            Step::Tend { cut_off } => {
                let (store, now) = (self.store(*cut_off), self.now);
                let all = (store.tend_leases(now).await, store.expire(now).await);
                prop_assert!((self.is_cut && *cut_off) || (all.0.is_ok() && all.1.is_ok()));
            }
            Step::Kill => {
                self.heal().await;
                for call in self.calls.iter_mut().filter(|call| call.cut_off && call.on_lease) {
                    if call.state == State::Open {
                        call.state = State::Lost;
                    }
                }
                self.cut_off = None;
                self.cut_off = Some(open(&self.mine).await);
            }
            Step::Grant { key, amount } => {
                let (id, kind) = (&self.keys[*key].id, CreditKind::Grant);
                self.other.credit(id, *amount, kind, None.into(), self.now).await.unwrap();
                self.granted[*key] += amount;
            }
        }
        Ok(())
    }

    async fn heal(&mut self) {
        if self.is_cut {
            self.is_cut = false;
            self.wire.cut(false);
            tended(self.store(true), self.now).await;
        }
    }

    async fn call(
        &mut self,
        cut_off: bool,
        key: usize,
        dear: bool,
        end: Option<bool>,
    ) -> Result<(), TestCaseError> {
        let tool = if dear { "dear" } else { "a" };
        let until = Instant::now() + PATIENCE;
        let charge = loop {
            let charge = charge(&CAPS, &self.keys[key], Some(&self.team), tool, self.now);
            match held(self.store(cut_off), &charge, self.now).await {
                Ok(()) => break charge,
                Err(HoldRefused::Refused(_)) => return Ok(()),
                Err(refused) if cut_off && is_away(&refused) => {
                    if self.is_cut {
                        return Ok(());
                    }
                    // The link may not be sure yet that Redis is there again.
                    prop_assert!(Instant::now() < until, "{refused:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(refused) => prop_assert!(false, "{refused:?}"),
            }
        };
        let (at, on_lease) = (self.now, cut_off && self.is_cut);
        self.leased += usize::from(on_lease);
        let state = State::Open;
        self.calls.push(Call { charge, cut_off, on_lease, key, dear, at, state });
        self.check(key)?;
        if let Some(paid) = end {
            self.end(self.calls.len() - 1, paid).await;
        }
        Ok(())
    }

    async fn end(&mut self, index: usize, paid: bool) {
        let Call { charge, cut_off, .. } = &self.calls[index];
        let ended = ended(self.store(*cut_off), charge, paid, self.now).await;
        self.calls[index].state = match ended {
            Ok(_) if paid => State::Charged,
            Ok(_) => State::Free,
            // Its deadline has passed, or it was held in a Redis that is away now.
            Err(StoreError::NotOpen | StoreError::Unavailable(_)) => State::Lost,
            Err(error) => panic!("{error}"),
        };
    }

    /// Does the list add up to what there is, for the key that has called?
    fn check(&self, key: usize) -> Result<(), TestCaseError> {
        let alive = |call: &&Call| {
            let deadline = call.at.plus(LIFE);
            call.state == State::Charged || (call.state == State::Open && self.now < deadline)
        };
        let spent = |calls: &mut dyn Iterator<Item = &Call>| -> i64 {
            calls.map(|call| call.charge.total).sum()
        };
        let count = |calls: &mut dyn Iterator<Item = &Call>| i64::try_from(calls.count()).unwrap();
        let own = || self.calls.iter().filter(move |call| call.key == key);
        let late = |call: &&Call| self.now.since_ms(call.at) < MINUTE_MS;
        let today = |call: &&Call| call.at.day() == self.now.day();
        prop_assert!(spent(&mut own().filter(alive)) <= self.granted[key], "credits");
        prop_assert!(spent(&mut own().filter(alive)) <= SPENDING, "spending cap");
        prop_assert!(count(&mut own().filter(late)) <= CAPS.rate, "a minute");
        let dear = own().filter(|call| call.dear);
        prop_assert!(count(&mut dear.filter(late)) <= CAPS.dear, "a minute of one tool");
        prop_assert!(count(&mut own().filter(alive).filter(today)) <= CAPS.daily, "a day");
        let all = || self.calls.iter().filter(alive);
        prop_assert!(spent(&mut all()) <= TEAM_BUDGET, "the team's budget");
        prop_assert!(count(&mut all().filter(today)) <= TEAM_DAILY, "the team's day");
        Ok(())
    }

    /// Everything ends; then the books say what the list says.
    async fn finish(&mut self) -> Result<(), TestCaseError> {
        self.heal().await;
        for index in 0..self.calls.len() {
            if self.calls[index].state == State::Open {
                self.end(index, index % 2 == 0).await;
            }
        }
        self.now = self.now.plus(LIFE * 2);
        let until = Instant::now() + PATIENCE;
        for key in 0..2 {
            let charged =
                self.calls.iter().filter(|call| call.key == key && call.state == State::Charged);
            let charged: i64 = charged.map(|call| call.charge.total).sum();
            loop {
                tended(self.store(true), self.now).await;
                tended(&self.other, self.now).await;
                self.other.expire(self.now).await.unwrap();
                let account = self.other.account(&self.keys[key].id).await.unwrap();
                let out = self.other.leases().await.unwrap();
                let own = out.iter().filter(|lease| lease.key == self.keys[key].id.as_str());
                let leased: i64 = own.map(|lease| lease.credits).sum();
                let is_right =
                    account.balance() == self.granted[key] - charged && account.held() == leased;
                if is_right {
                    break;
                }
                let left = (account.balance(), account.held(), leased);
                let wanted = self.granted[key] - charged;
                prop_assert!(Instant::now() < until, "{left:?} and not {wanted} credits");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self.compare_rooms()?;
        self.compare_calls().await
    }

    /// What accounts say is out on lease is what the leases say.
    fn compare_rooms(&self) -> Result<(), TestCaseError> {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let mut rooms: HashMap<(String, String), i64> = HashMap::new();
        for lease in self.server.cli(&["HVALS", "pg:{default}:leases"]).lines() {
            let lease = json(lease);
            let accounts: Vec<&str> = lease["accounts"].as_str().unwrap().split(' ').collect();
            for room in lease["rooms"].as_array().unwrap() {
                let place = usize::try_from(room[2].as_u64().unwrap()).unwrap();
                let whose = (accounts[place].to_owned(), room[0].as_str().unwrap().to_owned());
                *rooms.entry(whose).or_default() +=
                    room[1].as_str().unwrap().parse::<i64>().unwrap();
            }
        }
        rooms.retain(|_, amount| *amount != 0);
        let mut sums = HashMap::new();
        let keys = self.keys.iter().map(|key| key.id.account());
        for account in keys.chain([self.team.id.account()]) {
            let leased = self.server.cli(&["HGET", &format!("pg:{{default}}:{account}"), "leased"]);
            let leased = if leased.is_empty() { json("{}") } else { json(&leased) };
            for (field, amount) in leased.as_object().unwrap() {
                let amount: i64 = amount.as_str().unwrap().parse().unwrap();
                sums.insert((account.to_string(), field.clone()), amount);
            }
        }
        prop_assert_eq!(sums, rooms);
        Ok(())
    }

    /// Every call is in the journal once, as it ended.
    async fn compare_calls(&self) -> Result<(), TestCaseError> {
        let usage = self.other.usage(None).await.unwrap();
        let charged = self.calls.iter().filter(|call| call.state == State::Charged);
        let charged: i64 = charged.map(|call| call.charge.total).sum();
        prop_assert_eq!(usage.iter().map(|row| row.credits).sum::<i64>(), charged);
        for call in &self.calls {
            let found = self.other.find_call(call.charge.call).await.unwrap();
            let state = found.map(|found| found.state);
            match call.state {
                State::Charged => prop_assert_eq!(state, Some(CallState::Charged)),
                State::Free => prop_assert_eq!(state, Some(CallState::Free)),
                State::Open | State::Lost => prop_assert_ne!(state, Some(CallState::Charged)),
            }
        }
        self.other.compare_books().await.unwrap();
        prop_assert_eq!(self.other.load().compared.unwrap().drift, 0);
        Ok(())
    }
}

#[test]
fn whoever_is_cut_off_never_sells_what_others_sell() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (cases, seed) = (number("PAYGATE_MODEL_CASES", 24), number("PAYGATE_MODEL_SEED", 1));
    let config = Config {
        cases: u32::try_from(cases).expect("fewer cases"),
        max_shrink_iters: 100,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/redis_leases.txt",
        ))),
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let leased = std::cell::Cell::new(0);
    let steps = prop::collection::vec(step(), 20..140);
    let outcome = TestRunner::new_with_rng(config, rng).run(&steps, |steps| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await?;
            }
            leased.set(leased.get() + world.leased);
            world.finish().await
        })
    });
    if let Err(TestError::Fail(reason, steps)) = &outcome {
        panic!("seed {seed}: {reason}\nafter {steps:#?}");
    }
    outcome.expect("the strategy draws operations");
    assert!(leased.get() > 50, "only {} calls were sold from leases", leased.get());
}
