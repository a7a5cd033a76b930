//! What a lease for a key has to have room of: every counter that its calls of late were bound by, and the
//! revisions of the records that they were judged by.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::counters;
use crate::gate::Charge;
use crate::ledger::{Bound, CounterName, Demand, Window};
use crate::model::bounds::REDIS_LEASE_COUNTERS_MAX;
use crate::model::ids::{AccountId, KeyId};
use crate::model::team::TeamId;

/// The revisions that a charge was judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revisions {
    key: u64,
    namespace: u64,
    team: Option<(TeamId, u64)>,
}

impl Revisions {
    pub(super) fn of(charge: &Charge) -> Self {
        let (key, namespace) = (charge.key_revision, charge.namespace_revision);
        Self { key, namespace, team: charge.team.clone() }
    }
}

/// One counter.
#[derive(Clone, Debug)]
pub(super) struct Want {
    /// Whose: a place among the accounts.
    pub(super) place: usize,
    pub(super) counter: CounterName,
    pub(super) window: Window,
    bound: Bound,
    /// The least and the most that one call has asked for.
    least: i64,
    most: i64,
}

/// What the calls of one key are bound by.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) namespace: String,
    pub(super) payer: KeyId,
    pub(super) revisions: Revisions,
    /// The payer's, then the team's.
    pub(super) accounts: Vec<AccountId>,
    pub(super) wants: Vec<Want>,
    /// Rises when a record or a limit is another one: what was leased before is good for nothing then.
    pub(super) version: u64,
    pub(super) used: Instant,
    /// When a lease was last asked for.
    pub(super) asked: Option<Instant>,
}

impl Terms {
    pub(super) fn of(charge: &Charge) -> Self {
        let payer = charge.key.clone();
        let mut accounts = vec![payer.account()];
        accounts.extend(charge.team.as_ref().map(|(team, _)| team.account()));
        let mut terms = Self {
            namespace: charge.namespace.as_str().to_owned(),
            payer,
            revisions: Revisions::of(charge),
            accounts,
            wants: Vec::new(),
            version: 0,
            used: Instant::now(),
            asked: None,
        };
        terms.add(charge);
        terms
    }

    /// Learns from one more call.
    pub(super) fn learn(&mut self, charge: &Charge) {
        if self.revisions != Revisions::of(charge) {
            let version = self.version.saturating_add(1);
            *self = Self { version, ..Self::of(charge) };
            return;
        }
        self.used = Instant::now();
        self.add(charge);
    }

    fn add(&mut self, charge: &Charge) {
        for (index, demand) in charge.demands.iter().enumerate() {
            let asks_the_same = |other: &&Demand| {
                other.account == demand.account && other.counter == demand.counter
            };
            let before = charge.demands.get(..index).unwrap_or_default();
            if before.iter().any(|other| asks_the_same(&other)) {
                continue;
            }
            let all = charge.demands.iter().filter(asks_the_same);
            let asked = all.fold(0_i64, |sum, demand| sum.saturating_add(demand.amount));
            self.add_one(demand, asked.saturating_abs());
        }
    }

    fn add_one(&mut self, demand: &Demand, asked: i64) {
        let account = self.accounts.iter().position(|known| *known == demand.account);
        let Some(place) = account else { return };
        let known = self
            .wants
            .iter_mut()
            .find(|want| want.place == place && want.counter == demand.counter);
        let Some(want) = known else {
            if self.wants.len() < REDIS_LEASE_COUNTERS_MAX {
                let (counter, window, bound) =
                    (demand.counter.clone(), demand.window, demand.bound);
                let (least, most) = (asked, asked);
                self.wants.push(Want { place, counter, window, bound, least, most });
                self.asked = None;
            }
            return;
        };
        want.least = want.least.min(asked);
        want.most = want.most.max(asked);
        if want.bound != demand.bound {
            want.bound = demand.bound;
            self.version = self.version.saturating_add(1);
        }
    }

    /// As the script reads it, for an instance and its start, so many calls and a part of what is left.
    pub(super) fn plan(&self, whose: [&str; 2], calls: i64, share: i64, length_ms: i64) -> Value {
        let mut revs = vec![
            json!([1, self.revisions.namespace.to_string()]),
            json!([4, self.revisions.key.to_string()]),
        ];
        if let Some((_, revision)) = &self.revisions.team {
            revs.push(json!([5, revision.to_string()]));
        }
        let wants = self.wants.iter().map(|want| {
            let bound = match want.bound {
                Bound::Free => json!(false),
                Bound::AtMost(most) => json!([1, most]),
                Bound::AtLeast(least) => json!([-1, least]),
            };
            let field = counters::field(&want.counter, want.window);
            let most = want.most.max(1).saturating_mul(calls).min(MOST_ROOM);
            json!([field, want.place, want.least.max(1), most, bound])
        });
        json!({
            "instance": whose[0],
            "run": whose[1],
            "payer": self.payer.as_str(),
            "accounts": accounts_text(&self.accounts),
            "length": length_ms,
            "share": share,
            "revs": revs,
            "wants": wants.collect::<Vec<_>>(),
        })
    }
}

/// Small enough that sums of rooms stay exact, whatever a call costs.
const MOST_ROOM: i64 = 1 << 40;

/// Accounts as one text: none of their names has a space.
pub(super) fn accounts_text(accounts: &[AccountId]) -> String {
    let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    names.join(" ")
}

/// Reads them back.
pub(super) fn accounts_of(text: &str) -> Vec<AccountId> {
    text.split(' ').filter(|name| !name.is_empty()).map(AccountId::new).collect()
}
