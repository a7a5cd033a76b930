//! A key, its policy and a real book, for tests of the gate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use paygate::gate::{CallFacts, Charge, Denied, Policy, Request, ToolPolicy, admit};
use paygate::ledger::{Account, Book, CounterName, CreditKind, HoldError, names};
use paygate::model::ids::{CallId, KeyId};
use paygate::model::key::{Key, Quota, ToolList};
use paygate::model::namespace::Namespace;
use paygate::model::secret::RawKey;
use paygate::model::team::{Team, TeamId};
use paygate::model::time::Time;

const NOON: &str = "2026-03-30T12:00:00Z";

pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) key: Key,
    pub(crate) namespace: Namespace,
    pub(crate) team: Option<Team>,
    pub(crate) address: IpAddr,
    pub(crate) credential_shown: bool,
    pub(crate) key_found: bool,
    pub(crate) book: Book,
    pub(crate) now: Time,
    pub(crate) next_call: u8,
}

impl World {
    /// A key with 1,000 credits and no limit; a call costs 10.
    pub(crate) fn new() -> Self {
        let raw = RawKey::from_random([7; 24]);
        let now = Time::parse(NOON).expect("a moment");
        let id = KeyId::from_random([1; 8]);
        let key = Key { revision: 3, ..Key::new(id, &raw, "test", now) };
        let mut world = Self {
            policy: Policy { default_price: 10, ..Policy::default() },
            namespace: Namespace { revision: 5, ..Namespace::unwritten("default") },
            team: None,
            address: "192.0.2.9".parse().expect("an address"),
            credential_shown: true,
            key_found: true,
            book: Book::default(),
            now,
            next_call: 0,
            key,
        };
        world.book.insert(world.key.id.account(), Account::default());
        world.credit(1_000);
        world
    }

    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    pub(crate) fn credit(&mut self, amount: i64) {
        let kind = if amount < 0 { CreditKind::Adjustment } else { CreditKind::Grant };
        let account = self.key.id.account();
        self.book.credit(self.now, &account, amount, kind).expect("within range");
    }

    /// Puts the key into a team with these limits: a budget and the four quotas.
    pub(crate) fn team(&mut self, budget: i64, limits: [i64; 4]) {
        let id = TeamId::from_random([2; 8]);
        if self.book.account(&id.account()).is_none() {
            self.book.insert(id.account(), Account::default());
        }
        self.team = Some(Team {
            id,
            name: "team".to_owned(),
            description: String::new(),
            namespace: "default".to_owned(),
            members: vec![self.key.id.clone()],
            budget,
            quota: Some(quota(limits)),
            tags: BTreeMap::new(),
            created_at: self.now,
            active: true,
            revision: 8,
        });
    }

    pub(crate) fn tool(&mut self, name: &str, price: Option<i64>, rate: i64, per_kb: i64) {
        self.policy.tools.insert(name.to_owned(), ToolPolicy::new(name, price, rate, per_kb));
    }

    pub(crate) fn request<'a>(&'a self, calls: &'a [CallFacts<'a>], in_batch: bool) -> Request<'a> {
        Request {
            now: self.now,
            address: self.address,
            credential_shown: self.credential_shown,
            key: self.key_found.then_some(&self.key),
            namespace: Some(&self.namespace),
            team: self.team.as_ref(),
            calls,
            in_batch,
        }
    }

    pub(crate) fn judge(&mut self, tools: &[&str], in_batch: bool) -> Result<Charge, Denied> {
        let calls: Vec<_> = tools.iter().map(|tool| CallFacts { tool, arguments: None }).collect();
        self.next_call += 1;
        let call = CallId::from_random([self.next_call; 16]);
        let charge = admit(&self.policy, &self.request(&calls, in_batch), call)?;
        self.hold(charge)
    }

    pub(crate) fn hold(&mut self, charge: Charge) -> Result<Charge, Denied> {
        let deadline = Time::from_ms(self.now.ms() + 600_000);
        match self.book.hold(self.now, charge.call, deadline, &charge.demands) {
            Ok(_) => Ok(charge),
            Err(HoldError::Refused(refusal)) => Err(charge.refused(&refusal)),
            Err(HoldError::Broken(error)) => panic!("{error}"),
        }
    }

    pub(crate) fn call(&mut self, tool: &str) -> Result<Charge, Denied> {
        self.judge(&[tool], false)
    }

    pub(crate) fn batch(&mut self, tools: &[&str]) -> Result<Charge, Denied> {
        self.judge(tools, true)
    }

    pub(crate) fn account(&self) -> &Account {
        self.book.account(&self.key.id.account()).expect("loaded")
    }

    /// Balance, spent, calls, calls/day, calls/month, credits/day, credits/month.
    pub(crate) fn numbers(&self) -> [i64; 7] {
        [
            names::BALANCE,
            names::SPENT,
            names::CALLS,
            names::CALLS_DAY,
            names::CALLS_MONTH,
            names::CREDITS_DAY,
            names::CREDITS_MONTH,
        ]
        .map(|counter| self.value(&counter))
    }

    pub(crate) fn value(&self, counter: &CounterName) -> i64 {
        self.account().value(counter, self.now)
    }
}

pub(crate) fn tools(names: &[&str]) -> ToolList {
    ToolList::from_names(names.iter().copied())
}

pub(crate) fn quota(limits: [i64; 4]) -> Quota {
    let [daily_call_limit, monthly_call_limit, daily_credit_limit, monthly_credit_limit] = limits;
    Quota { daily_call_limit, monthly_call_limit, daily_credit_limit, monthly_credit_limit }
}
