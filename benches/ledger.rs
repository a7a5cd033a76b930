//! The gate and the ledger in memory. Goal: judging and holding a call takes under 2 µs. With its
//! capture, and with 100,000 accounts, it is shown beside it. The numbers are in
//! `docs/performance.md`.
//!
//! The key is a typical one: three allowed tools, a rate of its own and one of the tool, a
//! spending limit and all four quotas, which makes nine demands a call. Ledger time moves on by a
//! millisecond a call, so that the windows of a single account are full.
#![allow(clippy::expect_used, reason = "a benchmark that cannot run panics")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use paygate::gate::{CallFacts, Charge, Policy, Request, ToolPolicy, admit};
use paygate::ledger::{Account, Book, Counter, CreditKind, ResolutionKind, Window};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{IpAllowlist, Key, Quota, ToolList};
use paygate::model::namespace::Namespace;
use paygate::model::secret::RawKey;
use paygate::model::time::Time;

/// A limit that is tested at every call and never reached.
const PLENTY: i64 = 1 << 50;

struct World {
    policy: Policy,
    namespace: Namespace,
    keys: Vec<Key>,
    book: Book,
    calls: u64,
    now: Time,
}

impl World {
    fn with_accounts(count: u64) -> Self {
        let mut policy = Policy { default_price: 1, key_rate: PLENTY, ..Policy::default() };
        for tool in ["search", "read", "write"] {
            policy.tools.insert(tool.to_owned(), ToolPolicy::new(tool, Some(2), PLENTY, 0));
        }
        let now = Time::parse("2026-03-30T12:00:00Z").expect("a moment");
        let keys: Vec<Key> = (0..count).map(|number| key(number, now)).collect();
        let mut book = Book::default();
        for key in &keys {
            book.insert(key.id.account(), Account::default());
            book.credit(now, &key.id.account(), PLENTY, CreditKind::Grant).expect("within range");
        }
        Self { policy, namespace: Namespace::unwritten("default"), keys, book, calls: 0, now }
    }

    fn judge(&mut self, tools: &[CallFacts<'_>]) -> Charge {
        self.calls += 1;
        self.now = Time::from_ms(self.now.ms() + 1);
        // Knuth's multiplicative hash: the next account is far from the last one.
        let place = self.calls.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let count = u64::try_from(self.keys.len()).expect("few keys");
        let place = usize::try_from(place % count).expect("within the list");
        let request = Request {
            now: self.now,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            credential_shown: true,
            key: self.keys.get(place),
            namespace: Some(&self.namespace),
            team: None,
            calls: tools,
            in_batch: tools.len() > 1,
        };
        let call = CallId::from_random((u128::from(self.calls) << 64 | 1).to_be_bytes());
        admit(&self.policy, &request, call).expect("allowed")
    }

    /// How long judging and holding takes; the capture is outside the clock.
    fn admission(&mut self, tools: &[CallFacts<'_>]) -> Duration {
        let start = Instant::now();
        let charge = self.judge(tools);
        self.hold(&charge);
        let taken = start.elapsed();
        self.capture(&charge, &[true]);
        taken
    }

    fn hold(&mut self, charge: &Charge) {
        let deadline = Time::from_ms(self.now.ms() + 600_000);
        let hold = self.book.hold(self.now, charge.call, deadline, &charge.demands);
        black_box(hold.expect("within every limit"));
    }

    fn capture(&mut self, charge: &Charge, paid: &[bool]) {
        let (kept, _) = charge.kept(paid);
        let captured = ResolutionKind::Captured;
        black_box(self.book.resolve(self.now, charge.call, captured, kept).expect("open"));
    }

    fn call(&mut self, tools: &[CallFacts<'_>], paid: &[bool]) {
        let charge = self.judge(tools);
        self.hold(&charge);
        self.capture(&charge, paid);
    }
}

fn key(number: u64, now: Time) -> Key {
    let raw = RawKey::from_random([7; 24]);
    Key {
        suspended: false,
        team: None,
        id: KeyId::from_random(number.to_be_bytes()),
        digest: raw.digest(),
        ends: raw.ends(),
        old: None,
        name: "bench".to_owned(),
        namespace: "default".to_owned(),
        created_at: now,
        active: true,
        spending_limit: PLENTY,
        allowed_tools: ToolList::from_names(["read", "write", "search"].into_iter()),
        denied_tools: ToolList::default(),
        expires_at: None,
        quota: Some(Quota {
            daily_call_limit: PLENTY,
            monthly_call_limit: PLENTY,
            daily_credit_limit: PLENTY,
            monthly_credit_limit: PLENTY,
        }),
        tags: BTreeMap::new(),
        ip_allowlist: IpAllowlist::default(),
        revision: 1,
    }
}

fn calls(c: &mut Criterion) {
    let one = [CallFacts { tool: "search", arguments: Some(r#"{"query":"weather"}"#) }];
    for accounts in [1, 100_000] {
        let mut world = World::with_accounts(accounts);
        let mut group = c.benchmark_group(format!("a call, {accounts} accounts"));
        group.bench_function("gate + hold, goal under 2 us", |b| {
            b.iter_custom(|times| (0..times).map(|_| world.admission(&one)).sum());
        });
        group.bench_function("gate + hold + capture", |b| {
            b.iter(|| world.call(&one, &[true]));
        });
        group.finish();
    }

    let mut group = c.benchmark_group("its parts");
    let mut world = World::with_accounts(1);
    group.bench_function("gate", |b| b.iter(|| black_box(world.judge(&one))));
    let charge = world.judge(&one);
    group.bench_function("check of the demands", |b| {
        b.iter(|| black_box(world.book.check(world.now, &charge.demands)));
    });
    group.bench_function("hold + capture", |b| {
        b.iter(|| {
            world.now = Time::from_ms(world.now.ms() + 1);
            world.hold(&charge);
            world.capture(&charge, &[true]);
        });
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("a batch: gate + hold + capture");
    for size in [10, 100] {
        let tools = ["search", "read", "write"].into_iter().cycle().take(size);
        let tools: Vec<_> = tools.map(|tool| CallFacts { tool, arguments: None }).collect();
        let paid = vec![true; size];
        let mut world = World::with_accounts(1);
        group.bench_function(format!("{size} calls"), |b| b.iter(|| world.call(&tools, &paid)));
    }
    group.finish();
}

fn windows(c: &mut Criterion) {
    let mut group = c.benchmark_group("a counter: add + value");
    for (name, window) in [
        ("lifetime", Window::Lifetime),
        ("day", Window::Day),
        ("month", Window::Month),
        ("rolling minute, full", Window::MINUTE),
    ] {
        let mut now = Time::parse("2026-03-30T12:00:00Z").expect("a moment");
        let mut counter = Counter::new(window);
        group.bench_function(name, |b| {
            b.iter(|| {
                now = Time::from_ms(now.ms() + 1);
                counter.add(now, 1).expect("within range");
                black_box(counter.value(now))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls, batches, windows);
criterion_main!(benches);
