//! The books of one tenant as plain values, whatever keeps them: read from there, or put together from
//! a journal, compared with each other, and written elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::{Account, Hold};
use crate::model::ids::AccountId;
use crate::model::time::Time;

/// All that the books of a tenant say at one moment, but for the journal itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// Ledger time.
    pub(super) now: Time,
    /// The tenant's own record.
    pub(super) record: Option<Record>,
    /// Keys with their places in the order of making.
    pub(super) keys: BTreeMap<AccountId, (i64, Record)>,
    /// Teams.
    pub(super) teams: BTreeMap<AccountId, Record>,
    /// Keys that are gone, and when they went, if that is known.
    pub(super) deleted: BTreeMap<AccountId, Time>,
    /// The numbers of keys, teams and deleted keys, open calls included.
    pub(super) accounts: BTreeMap<AccountId, Account>,
    /// Open holds by call, in hex.
    pub(super) calls: BTreeMap<String, OpenCall>,
    /// Answers for repetitions by their ids, in hex.
    pub(super) kept: BTreeMap<String, KeptAnswer>,
    /// What operators did once by its id, in hex.
    pub(super) once: BTreeMap<String, OnceDone>,
    /// Calls that were refunded.
    pub(super) refunded: BTreeMap<String, Time>,
    /// Tasks whose result is paid, and how long it can be asked for.
    pub(super) paid: BTreeMap<String, Time>,
}

/// A record: what is searched for, and the rest as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) revision: u64,
    pub(super) text: String,
    /// Of a key, in hex.
    pub(super) digest: String,
    /// Of the credential before, in hex, or empty.
    pub(super) old: String,
}

/// An open hold, as texts that both kinds of books have in the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenCall {
    pub(super) at: Time,
    pub(super) until: Time,
    /// Whose turn it is to go on with it.
    pub(super) turn: String,
    /// What it waits for, if it does.
    pub(super) state: Option<String>,
    pub(super) payer: AccountId,
    /// JSON, as in the journal.
    pub(super) calls: String,
    pub(super) labels: String,
    pub(super) postings: String,
    /// The accounts beside the payer's; empty for none.
    pub(super) others: String,
    /// The same as the ledger's own.
    pub(super) hold: Hold,
}

/// An answer that is kept for repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptAnswer {
    pub(super) until: Time,
    pub(super) request: String,
    pub(super) call: String,
    pub(super) payer: AccountId,
    /// `None` if it was too long, or is known to have been given only.
    pub(super) answer: Option<Vec<u8>>,
}

/// What an operator did once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnceDone {
    pub(super) until: Time,
    pub(super) request: String,
    pub(super) balance: i64,
    pub(super) note: String,
}

/// Something that two say differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What it is about.
    pub(super) what: String,
    /// What the one says.
    pub(super) has: String,
    /// What the other says.
    pub(super) says: String,
}

const NOTHING: &str = "nothing";

impl OpenCall {
    /// The journal row's detail for it while it is open.
    pub(super) fn detail(&self) -> String {
        let (held, until) = (self.at.ms(), self.until.ms());
        let (postings, calls) = (&self.postings, &self.calls);
        let others = if self.others.is_empty() {
            String::new()
        } else {
            format!(",\"accounts\":{}", self.others)
        };
        format!(
            "{{\"held\":{held},\"until\":{until},\"postings\":{postings}{others},\"calls\":{calls}}}"
        )
    }
}

impl Image {
    /// What this one and another say differently, answers themselves apart.
    pub(super) fn differences(&self, other: &Self) -> Vec<Difference> {
        let now = self.now.max(other.now);
        let mut found = Vec::new();
        let mut differ = |what: String, has: String, says: String| {
            if has != says {
                found.push(Difference { what, has, says });
            }
        };
        records("the tenant's record", self.record.as_ref(), other.record.as_ref(), &mut differ);
        for id in names(&self.keys, &other.keys) {
            let (one, two) = (self.keys.get(id), other.keys.get(id));
            let place = |key: Option<&(i64, Record)>| {
                key.map_or_else(|| NOTHING.to_owned(), |(place, _)| place.to_string())
            };
            if one.is_some() && two.is_some() {
                differ(format!("{id} place in the order"), place(one), place(two));
            }
            records(id.as_str(), one.map(|key| &key.1), two.map(|key| &key.1), &mut differ);
        }
        for id in names(&self.teams, &other.teams) {
            records(id.as_str(), self.teams.get(id), other.teams.get(id), &mut differ);
        }
        for id in names(&self.deleted, &other.deleted) {
            let is = |image: &Self| {
                if image.deleted.contains_key(id) { "deleted" } else { NOTHING }.to_owned()
            };
            differ(id.to_string(), is(self), is(other));
        }
        for id in names(&self.accounts, &other.accounts) {
            accounts(id, self.accounts.get(id), other.accounts.get(id), now, &mut differ);
        }
        for id in names(&self.calls, &other.calls) {
            let hold = |image: &Self| {
                image.calls.get(id).map_or_else(
                    || NOTHING.to_owned(),
                    |call| {
                        let state = if call.state.is_some() { ", waiting" } else { "" };
                        let (credits, until) = (call.hold.credits(), call.until.ms());
                        format!("{credits} credits of {} until {until}{state}", call.payer)
                    },
                )
            };
            differ(format!("open call call_{id}"), hold(self), hold(other));
        }
        self.remembered(other, now, &mut differ);
        found
    }

    /// What is remembered for a time, and refunds.
    fn remembered(&self, other: &Self, now: Time, differ: &mut dyn FnMut(String, String, String)) {
        for id in names(&self.kept, &other.kept) {
            let text = |image: &Self| {
                let kept = image.kept.get(id).filter(|kept| now < kept.until);
                kept.map_or_else(
                    || NOTHING.to_owned(),
                    |kept| {
                        format!("call_{} of {} until {}", kept.call, kept.payer, kept.until.ms())
                    },
                )
            };
            differ(format!("answer kept under {id}"), text(self), text(other));
        }
        for id in names(&self.once, &other.once) {
            let text = |image: &Self| {
                let once = image.once.get(id).filter(|once| now < once.until);
                once.map_or_else(
                    || NOTHING.to_owned(),
                    |once| format!("done with balance {} until {}", once.balance, once.until.ms()),
                )
            };
            differ(format!("idempotency key {id}"), text(self), text(other));
        }
        for id in names(&self.refunded, &other.refunded) {
            let text = |image: &Self| {
                if image.refunded.contains_key(id) { "refunded" } else { NOTHING }.to_owned()
            };
            differ(format!("call_{id}"), text(self), text(other));
        }
        for id in names(&self.paid, &other.paid) {
            let text = |image: &Self| {
                let until = image.paid.get(id).filter(|until| now < **until);
                until.map_or_else(
                    || NOTHING.to_owned(),
                    |until| format!("paid until {}", until.ms()),
                )
            };
            differ(format!("the task of call_{id}"), text(self), text(other));
        }
    }
}

/// The names that either has.
fn names<'a, K: Ord, V>(one: &'a BTreeMap<K, V>, other: &'a BTreeMap<K, V>) -> BTreeSet<&'a K> {
    one.keys().chain(other.keys()).collect()
}

fn records(
    what: &str,
    one: Option<&Record>,
    other: Option<&Record>,
    differ: &mut dyn FnMut(String, String, String),
) {
    let (Some(one), Some(other)) = (one, other) else {
        let is = |record: Option<&Record>| match record {
            Some(record) => format!("revision {}", record.revision),
            None => NOTHING.to_owned(),
        };
        differ(format!("{what} record"), is(one), is(other));
        return;
    };
    let mut differ = |name: &str, one: String, other: String| {
        differ(format!("{what} {name}"), one, other);
    };
    differ("revision", one.revision.to_string(), other.revision.to_string());
    // A digest is no secret, but nobody needs all of it to see that it is another.
    let start = |digest: &str| digest.get(..12).unwrap_or(NOTHING).to_owned();
    differ("credential", start(&one.digest), start(&other.digest));
    differ("credential before", start(&one.old), start(&other.old));
    let members = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => [("text".to_owned(), Value::from(text))].into_iter().collect(),
    };
    let (one, other) = (members(&one.text), members(&other.text));
    for name in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
        let text = |members: &serde_json::Map<String, Value>| {
            members.get(name).map_or_else(|| NOTHING.to_owned(), Value::to_string)
        };
        differ(name, text(&one), text(&other));
    }
}

fn accounts(
    id: &AccountId,
    one: Option<&Account>,
    other: Option<&Account>,
    now: Time,
    differ: &mut dyn FnMut(String, String, String),
) {
    let values = |account: Option<&Account>| -> BTreeMap<String, String> {
        let account = account.map(|account| account.settled(now)).unwrap_or_default();
        let counters = account.counters();
        let mut values: BTreeMap<_, _> =
            counters.map(|(name, counter)| (name.to_string(), counter.to_string())).collect();
        values.insert("balance".to_owned(), account.available().to_string());
        values.insert("held".to_owned(), account.held().to_string());
        let last = account.last_call().map_or(0, Time::ms);
        values.insert("last call".to_owned(), last.to_string());
        values
    };
    let (one, other) = (values(one), values(other));
    for name in names(&one, &other) {
        let value = |values: &BTreeMap<String, String>| {
            values.get(name).cloned().unwrap_or_else(|| NOTHING.to_owned())
        };
        differ(format!("{id} {name}"), value(&one), value(&other));
    }
}
