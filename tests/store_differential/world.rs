//! Both stores, and what is done to both.

#[path = "crowd.rs"]
mod crowd;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use paygate::gate::{self, CallFacts, Charge, Item, Policy, Request};
use paygate::ledger::{Bound, CreditKind, Demand, Refund, ResolutionKind, Window, names};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, OldCredential};
use paygate::model::secret::{Digest, RawKey};
use paygate::model::team::{Team, TeamId};
use paygate::model::time::Time;
use paygate::store::local::{Durability, LocalOptions, LocalStore};
use paygate::store::redis::{RedisClock, RedisOptions, RedisReach, RedisStore};
use paygate::store::{CallEnd, Deed, Keep, Once, Parking, Settlement, Show, Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::Step;
use crate::journal;
use crate::operations::{Line, Operation, Shape, TEAM, account_id};
use crate::support::{RedisServer, TempDir};

pub(crate) type Checked = Result<(), TestCaseError>;

/// A hold that was opened on both.
#[derive(Clone)]
struct Opened {
    call: CallId,
    key: usize,
    items: usize,
    lines: Vec<Line>,
    is_parked: bool,
    is_captured: bool,
    ended: bool,
}

/// The two stores.
pub(crate) struct World {
    url: String,
    pub(crate) dir: TempDir,
    pub(crate) local: LocalStore,
    redis: RedisStore,
    pub(crate) clock: Time,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) team: TeamId,
    opened: Vec<Opened>,
    /// Idempotency keys whose answers were kept.
    kept: HashSet<(usize, u8)>,
    next: u8,
    instances: u32,
}

/// Runs the same on both and compares what they say.
macro_rules! both {
    ($world:expr, |$store:ident| $what:expr) => {{
        let local = {
            let $store: &dyn Store = &$world.local;
            $what
        };
        let redis = {
            let $store: &dyn Store = &$world.redis;
            $what
        };
        let (said_by_local, said_by_redis) = (format!("{local:?}"), format!("{redis:?}"));
        prop_assert_eq!(said_by_local, said_by_redis);
        local
    }};
}

/// The same where nobody needs the answer.
macro_rules! same {
    ($($what:tt)*) => {{
        let _agreed = both!($($what)*);
    }};
}

pub(crate) async fn open_redis(url: &str, dir: &TempDir, number: u32) -> RedisStore {
    let copy = dir.path().join(format!("copy-{number}.db"));
    let options = RedisOptions {
        url: url.to_owned().into(),
        reach: RedisReach::default(),
        clock: RedisClock::Passed,
        copy: Some(copy),
    };
    RedisStore::open(&options).await.unwrap()
}

fn raw(number: u8) -> RawKey {
    RawKey::from_random([number; 24])
}

pub(crate) fn once(id: u8, request: i64) -> Once {
    let request = Digest::of(request.to_string().as_bytes());
    Once { id: Digest::of(&[id]), request, note: String::new() }
}

/// An idempotency key of one customer.
pub(crate) fn once_of(key: &KeyId, id: u8) -> Once {
    Once { id: Digest::of(format!("{key} {id}").as_bytes()), ..once(id, 0) }
}

impl World {
    pub(crate) async fn new(server: &RedisServer) -> Self {
        let dir = TempDir::new();
        let clock = Time::parse("2026-01-30T23:58:00Z").unwrap();
        let options =
            LocalOptions { path: Some(dir.path().join("books.db")), durability: Durability::None };
        let local = LocalStore::open(&options, clock).unwrap();
        let redis = open_redis(&server.url(), &dir, 0).await;
        let team = TeamId::from_random([9; 8]);
        let keys: Vec<KeyId> = (0..2).map(|number| KeyId::from_random([number + 1; 8])).collect();
        for store in [&local as &dyn Store, &redis] {
            for (number, id) in (1..).zip(&keys) {
                let key = Key::new(id.clone(), &raw(number), "customer", clock);
                store.create_key(key, 100, None.into(), clock).await.unwrap();
            }
            let team = Team {
                id: team.clone(),
                name: "team".to_owned(),
                description: String::new(),
                namespace: "default".to_owned(),
                members: Vec::new(),
                budget: 0,
                quota: None,
                tags: [].into(),
                created_at: clock,
                active: true,
                revision: 0,
            };
            store.create_team(team, Deed::default()).await.unwrap();
        }
        let url = server.url();
        let (opened, next, instances) = (Vec::new(), 0, 0);
        Self {
            url,
            dir,
            local,
            redis,
            clock,
            keys,
            team,
            opened,
            kept: HashSet::new(),
            next,
            instances,
        }
    }

    /// Ends a call whose answer is kept.
    async fn keep(&mut self, pick: usize, id: u8) -> Checked {
        let Some(index) = self.pick(pick, |call| !call.ended) else { return Ok(()) };
        let key = self.opened[index].key;
        // The instance sees to it that a request runs once; only books of several instances, which
        // cannot rely on that, look again: `what_ran_twice_is_paid_once`.
        if !self.kept.insert((key, id)) {
            return Ok(());
        }
        let once = once_of(&self.keys[key], id);
        let answer = Some(format!("\"{id}\n\"").into_bytes());
        let keep = Keep { once, answer, ttl: Duration::from_secs(90) };
        self.end(pick, ResolutionKind::Captured, |_| true, Some(keep)).await
    }

    /// Is there a hold that waits?
    pub(crate) fn waits(&self) -> bool {
        self.opened.iter().any(|call| call.is_parked && !call.ended)
    }

    fn at(&self) -> Time {
        self.clock
    }

    pub(crate) async fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Book(operation) => self.book(operation).await,
            Step::Change { key } => {
                self.change(*key, |key| Key { spending_limit: key.spending_limit + 1, ..key }).await
            }
            Step::Rotate { key } => self.rotate(*key).await,
            Step::HoldStale { key, shape } => {
                let Some(judged) = self.key(*key).await? else { return Ok(()) };
                self.change(*key, |key| Key { name: format!("{}x", key.name), ..key }).await?;
                self.hold(shape, Some(judged)).await
            }
            Step::HoldCrowd(shapes) => self.hold_crowd(shapes).await,
            Step::EndCrowd(picks) => self.end_crowd(picks).await,
            Step::Check(shape) => {
                let Some(key) = self.key(shape.account).await? else { return Ok(()) };
                let (charge, _) = self.charge(&key, shape);
                same!(self, |store| store.check(&charge, self.at()).await.unwrap());
                Ok(())
            }
            Step::Team { key, joins } => {
                let (key, team) = (&self.keys[*key], &self.team);
                if *joins {
                    same!(self, |store| store.assign_key(key, team, Deed::default()).await);
                } else {
                    same!(self, |store| store.remove_key(key, team, Deed::default()).await);
                }
                Ok(())
            }
            Step::Once { key, id, amount } => self.once(*key, *id, *amount).await,
            Step::Park { pick, lasts_ms } => self.park(*pick, *lasts_ms).await,
            Step::Resume { pick, lasts_ms } => self.resume(*pick, *lasts_ms).await,
            Step::Keep { pick, id } => self.keep(*pick, *id).await,
            Step::Recall { key, id } => {
                let once = once_of(&self.keys[*key], *id);
                let (key, at) = (&self.keys[*key], self.at());
                same!(self, |store| store.recall(key, &once, at).await);
                Ok(())
            }
            Step::Instance => {
                self.instances += 1;
                self.redis = open_redis(&self.url, &self.dir, self.instances).await;
                Ok(())
            }
            Step::Delete { key } => {
                let (key, at) = (&self.keys[*key % self.keys.len()], self.at());
                same!(self, |store| store.delete_key(key, Deed::default(), at).await);
                Ok(())
            }
        }
    }

    async fn rotate(&mut self, key: usize) -> Checked {
        self.next += 1;
        let (raw, until) = (raw(100 + self.next), self.clock.plus(Duration::from_mins(1)));
        self.change(key, move |key| {
            let old = Some(OldCredential { digest: key.digest, until });
            Key { digest: raw.digest(), ends: raw.ends(), old, ..key }
        })
        .await
    }

    async fn once(&self, key: usize, id: u8, amount: i64) -> Checked {
        let once = once(id, amount);
        let (key, at) = (&self.keys[key], self.at());
        same!(self, |store| store.repeated(&once, at).await);
        let deed = || Deed { once: Some(once.clone()), ..Deed::default() };
        same!(self, |store| store.credit(key, amount, CreditKind::Grant, deed(), at).await);
        Ok(())
    }

    /// A key's record, of which both have the same.
    async fn key(&self, key: usize) -> Result<Option<Arc<Key>>, TestCaseError> {
        let (id, at) = (&self.keys[key], self.at());
        let known = both!(self, |store| store.key_by_id(id).await.unwrap());
        if let Some(key) = &known {
            let digest = key.digest;
            same!(self, |store| store.key_by_digest(digest, at).await.unwrap());
        }
        Ok(known)
    }

    async fn change(&self, key: usize, change: impl Fn(Key) -> Key) -> Checked {
        let Some(key) = self.key(key).await? else { return Ok(()) };
        let changed = change(Key::clone(&key));
        same!(self, |store| store.update_key(changed.clone(), Deed::default()).await);
        same!(self, |store| store
            .update_key(changed.clone(), Deed::default())
            .await
            .map_err(|error| format!("{error}")));
        let digest = key.digest;
        same!(self, |store| store.key_by_digest(digest, self.at()).await.unwrap());
        Ok(())
    }

    async fn book(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Grant { account, amount } => {
                self.credit(*account, *amount, CreditKind::Grant).await
            }
            Operation::Adjust { account, amount } => {
                self.credit(*account, *amount, CreditKind::Adjustment).await
            }
            Operation::Hold(shape) => self.hold(shape, None).await,
            Operation::Capture { pick, paid } => {
                let paid = *paid;
                let is_paid = |item: usize| paid.is_none_or(|bits| bits >> item & 1 == 1);
                self.end(*pick, ResolutionKind::Captured, is_paid, None).await
            }
            Operation::Release { pick } => {
                self.end(*pick, ResolutionKind::Released, |_| false, None).await
            }
            Operation::Refund { pick } => self.refund(*pick).await,
            Operation::ResolveAgain { pick } => self.resolve_again(*pick).await,
            Operation::Expire => {
                let at = self.at();
                same!(self, |store| store.expire(at).await.unwrap());
                Ok(())
            }
            // The embedded store closes after these two, or frees what is in flight.
            Operation::HoldAgain { .. } | Operation::Restart => Ok(()),
            Operation::Jump(jump) => {
                self.clock = jump.from(self.clock);
                Ok(())
            }
        }
    }

    async fn credit(&self, account: usize, amount: i64, kind: CreditKind) -> Checked {
        let Some(key) = self.keys.get(account) else { return Ok(()) };
        let at = self.at();
        let deed = || Deed { reason: Some("\"why\"\n".to_owned()), ..Deed::default() };
        same!(self, |store| store.credit(key, amount, kind, deed(), at).await);
        Ok(())
    }

    /// A charge that asks for just what the shape says, of a key's account and the team's.
    fn charge(&self, key: &Key, shape: &Shape) -> (Charge, Vec<Line>) {
        let calls = [CallFacts { tool: "search", arguments: None }];
        let team = key.team.as_ref().and_then(|id| self.local.team(id));
        let request = Request {
            now: self.at(),
            address: "10.0.0.1".parse().unwrap(),
            credential_shown: true,
            key: Some(key),
            namespace: None,
            team: team.as_deref(),
            calls: &calls,
            in_batch: false,
        };
        let call = CallId::from_random([self.next; 16]);
        let mut charge = gate::admit(&Policy::default(), &request, call).expect("it is in force");
        let lines: Vec<Line> = shape.lines().into_iter().map(|line| self.real(line)).collect();
        charge.demands = lines.iter().map(|line| line.demand.clone()).collect();
        let tools = ["search", "re\"ad"];
        let item = |(tool, price): &(usize, i64)| Item { tool: tools[*tool].into(), price: *price };
        charge.items = shape.items.iter().map(item).collect();
        (charge, lines)
    }

    /// The same demand of an account that both stores have. A team has no balance of its own.
    fn real(&self, mut line: Line) -> Line {
        let account = (0..=TEAM).find(|number| line.demand.account == account_id(*number));
        let account = account.expect("one of the model's");
        line.demand.account =
            self.keys.get(account).map_or_else(|| self.team.account(), KeyId::account);
        if account == TEAM && line.demand.counter == names::BALANCE {
            let Demand { account, amount, .. } = line.demand;
            line.shares.iter_mut().for_each(|share| *share = share.saturating_neg());
            line.demand = Demand {
                account,
                counter: names::SPENT,
                window: Window::Lifetime,
                amount: amount.saturating_neg(),
                bound: Bound::AtMost(250),
                refund: Refund::Back,
            };
        }
        line
    }

    async fn hold(&mut self, shape: &Shape, judged: Option<Arc<Key>>) -> Checked {
        let now = self.key(shape.account).await?;
        let Some(key) = judged.or(now) else { return Ok(()) };
        self.next += 1;
        let (charge, lines) = self.charge(&key, shape);
        let at = self.at();
        let deadline = Time::from_ms(at.ms() + shape.lasts_ms);
        let held = both!(self, |store| store.hold(&charge, at, deadline).await);
        if held.is_ok() {
            // Whoever lost the answer asks again.
            let again = self.redis.hold(&charge, at, deadline).await;
            prop_assert!(again.is_ok(), "{again:?}");
            let (call, key, items) = (charge.call, shape.account, shape.items.len());
            let (is_parked, is_captured, ended) = (false, false, false);
            self.opened.push(Opened { call, key, items, lines, is_parked, is_captured, ended });
        }
        Ok(())
    }

    fn pick(&self, pick: usize, fits: impl Fn(&Opened) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.opened.len()).filter(|index| fits(&self.opened[*index])).collect();
        fitting.get(pick % fitting.len().max(1)).copied()
    }

    async fn end(
        &mut self,
        pick: usize,
        kind: ResolutionKind,
        paid: impl Fn(usize) -> bool,
        keep: Option<Keep>,
    ) -> Checked {
        let Some(index) = self.pick(pick, |call| !call.ended) else { return Ok(()) };
        let opened = self.opened[index].clone();
        let settlement = || self.settlement(&opened, kind, &paid, keep.clone());
        let at = self.at();
        let ended =
            both!(self, |store| store.settle(settlement(), at).await.map(|(reading, _)| reading));
        let opened = &mut self.opened[index];
        opened.ended = ended.is_ok() || matches!(ended, Err(StoreError::NotOpen));
        opened.is_captured = ended.is_ok() && kind == ResolutionKind::Captured;
        Ok(())
    }

    fn settlement(
        &self,
        opened: &Opened,
        kind: ResolutionKind,
        paid: &impl Fn(usize) -> bool,
        keep: Option<Keep>,
    ) -> Settlement {
        let kept: Vec<i64> = opened.lines.iter().map(|line| line.kept(paid)).collect();
        let balances = || opened.lines.iter().filter(|line| line.demand.counter == names::BALANCE);
        let end = |item: usize| {
            let price: i64 = balances().map(|line| -line.shares[item]).sum();
            let charged = if paid(item) { price } else { 0 };
            CallEnd { tool: "search".into(), price, charged, outcome: "result" }
        };
        let charged = opened.lines.iter().zip(&kept);
        let charged = charged.filter(|(line, _)| line.demand.counter == names::BALANCE);
        let charged = charged.map(|(_, kept)| kept.saturating_neg()).sum();
        Settlement {
            call: opened.call,
            key: self.keys[opened.key].clone(),
            kind,
            kept,
            charged,
            ends: (0..opened.items).map(end).collect(),
            show: Show::with_rate(10, names::RATE),
            keep,
        }
    }

    async fn resolve_again(&self, pick: usize) -> Checked {
        let Some(index) = self.pick(pick, |call| call.ended) else { return Ok(()) };
        let opened = &self.opened[index];
        // A hold whose deadline has passed can still be released.
        let settlement = || self.settlement(opened, ResolutionKind::Captured, &|_| true, None);
        let at = self.at();
        same!(self, |store| store.settle(settlement(), at).await.map(|(reading, _)| reading));
        Ok(())
    }

    async fn refund(&self, pick: usize) -> Checked {
        let Some(index) = self.pick(pick, |call| call.is_captured) else { return Ok(()) };
        let (call, at) = (self.opened[index].call, self.at());
        let local = self.local.find_call(call).await.unwrap().expect("it is in the journal");
        let redis = self.redis.find_call(call).await.unwrap().expect("it is in the journal");
        prop_assert_eq!(
            (&local.key, local.charged, local.state),
            (&redis.key, redis.charged, redis.state)
        );
        let local = self.local.refund(local, Deed::default(), at).await;
        let redis = self.redis.refund(redis, Deed::default(), at).await;
        prop_assert_eq!(format!("{local:?}"), format!("{redis:?}"));
        Ok(())
    }

    async fn park(&mut self, pick: usize, lasts_ms: i64) -> Checked {
        let waits_not = |call: &Opened| !call.ended && !call.is_parked && call.items == 1;
        let Some(index) = self.pick(pick, waits_not) else { return Ok(()) };
        let at = self.at();
        same!(self, |store| store.ledger_now(at));
        let until = Time::from_ms(self.local.ledger_now(at).ms() + lasts_ms);
        let (call, key) = (self.opened[index].call, self.keys[self.opened[index].key].clone());
        let parking = || Parking { call, key: key.clone(), state: "a b\n".to_owned(), until };
        let parked = both!(self, |store| store
            .park(parking(), Show::with_rate(10, names::RATE), at)
            .await
            .map(|(reading, _)| reading));
        self.opened[index].is_parked = parked.is_ok();
        Ok(())
    }

    async fn resume(&mut self, pick: usize, lasts_ms: i64) -> Checked {
        let Some(index) = self.pick(pick, |call| call.is_parked) else { return Ok(()) };
        let (call, key) = (self.opened[index].call, &self.keys[self.opened[index].key]);
        let at = self.at();
        let deadline = Time::from_ms(at.ms() + lasts_ms);
        same!(self, |store| store.resume(key, call, "other", None, at, deadline).await);
        let resumed =
            both!(self, |store| store.resume(key, call, "a b\n", None, at, deadline).await);
        if resumed.is_ok() {
            self.opened[index].is_parked = false;
        }
        Ok(())
    }

    /// Every number of both.
    pub(crate) async fn compare(&self) -> Checked {
        let at = self.at();
        let now = both!(self, |store| store.ledger_now(at));
        for key in &self.keys {
            same!(self, |store| store.account(key).await.map(|account| account.settled(now)));
            same!(self, |store| store
                .read(key, Show::with_rate(10, names::RATE), at)
                .await
                .unwrap());
        }
        let team = &self.team;
        same!(self, |store| store.team_account(team).await.unwrap().settled(now));
        same!(self, |store| store.team(team));
        same!(self, |store| {
            let keys = store.keys(None).await.unwrap();
            keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        });
        Ok(())
    }

    /// What is added up of all of it.
    pub(crate) async fn compare_sums(&self) -> Checked {
        let at = self.at();
        same!(self, |store| store.tenant_sums(at).await.unwrap());
        same!(self, |store| {
            store.compare_books().await.unwrap();
            store.load().compared.map(|compared| compared.drift)
        });
        same!(self, |store| {
            store.roll_up_usage(Vec::new()).await.unwrap();
            let mut rows = store.usage(None).await.unwrap();
            rows.sort_by(|one, other| (&one.key, &one.tool).cmp(&(&other.key, &other.tool)));
            rows
        });
        same!(self, |store| store.ended_calls(None).await.unwrap());
        Ok(())
    }

    /// Both journals, row by row.
    pub(crate) async fn compare_journals(&self, server: &RedisServer) -> Checked {
        self.local.close().await.unwrap();
        let file: PathBuf = self.dir.path().join("books.db");
        let local = journal::of_file(&file);
        let redis = journal::of_redis(server);
        prop_assert_eq!(local, redis);
        Ok(())
    }
}
