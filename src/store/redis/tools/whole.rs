//! The books in Redis as `paygate ledger` and `paygate migrate` see them: a whole tenant at one moment, and
//! all rows of its journal.

use std::collections::BTreeMap;

use redis::{Value, cmd};

use crate::model::bounds::{REDIS_CONFLICT_TRIES, REDIS_WHOLE_TIMEOUT};
use crate::model::ids::AccountId;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::image::{Image, Record};
use crate::store::redis::format;
use crate::store::redis::journals::epochs::Was;
use crate::store::redis::journals::journal::{Entry, ROWS, Row};
use crate::store::redis::lease::LeasesOut;
use crate::store::redis::link::{Link, text};
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::credits::{account_of, pairs};
use crate::store::redis::texts::{kept_answer, once_done, open_call};
use crate::store::redis::{RedisClock, RedisOptions, RedisPlace, RedisReach};
use crate::store::told::Told;

/// Whoever looks at whole books, or changes them so.
pub(in crate::store::redis) struct Whole {
    pub(in crate::store::redis) link: Link,
}

/// The tenant's books, and how far they go.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Snapshot {
    pub(in crate::store::redis) image: Image,
    /// Which books they are; empty if there are none.
    pub(in crate::store::redis) epoch: String,
    pub(in crate::store::redis) was: Was,
    /// The last row.
    pub(in crate::store::redis) seq: i64,
    /// What is not as every script leaves it, in words.
    pub(in crate::store::redis) strange: Vec<String>,
    /// Who keeps them closed.
    pub(in crate::store::redis) closed: Option<String>,
    /// The accounts as they are in Redis, so that only what differs is written.
    pub(in crate::store::redis) fields: BTreeMap<AccountId, Vec<(String, String)>>,
    /// What instances may sell on their own; in the image it is given back.
    pub(in crate::store::redis) leases: LeasesOut,
}

/// Fields of an account's hash that are neither its record nor its numbers.
const OTHERS: [&str; 8] = ["rev", "record", "digest", "old", "gone", "parked", "held", "leased"];

/// A link for questions about all there is: nobody waits for their answers to be served.
pub(in crate::store::redis) async fn patient_link(at: &RedisPlace) -> Result<Link, StoreError> {
    let reach = RedisReach {
        connect_timeout: REDIS_WHOLE_TIMEOUT,
        answer_timeout: REDIS_WHOLE_TIMEOUT,
        ..at.reach()
    };
    let (url, clock) = (at.url.clone(), RedisClock::Server);
    Link::open(&RedisOptions { url, reach, clock, copy: None }).await
}

impl Whole {
    pub(in crate::store::redis) async fn open(at: &RedisPlace) -> Result<Self, StoreError> {
        let link = patient_link(at).await?;
        match format::other(&link).await? {
            Some(why) => Err(StoreError::Read(why)),
            None => Ok(Self { link }),
        }
    }

    /// Every tenant that has anything.
    pub(in crate::store::redis) async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        let kind: String = self.link.ask(cmd("TYPE").arg(names::NAMESPACES)).await?;
        if kind == "none" {
            return Ok(Vec::new());
        }
        let mut known: Vec<String> = self.link.ask(cmd("SMEMBERS").arg(names::NAMESPACES)).await?;
        known.sort();
        Ok(known)
    }

    /// Some rows of a tenant's journal behind one.
    pub(in crate::store::redis) async fn rows(
        &self,
        names: &Names,
        after: i64,
    ) -> Result<Vec<Told>, StoreError> {
        let mut range = cmd("XRANGE");
        let after = after.max(0);
        range.arg(names.journal()).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(ROWS);
        let entries: Vec<Entry> = self.link.ask(&range).await?;
        entries
            .iter()
            .map(|entry| {
                let strange =
                    || StoreError::Read(format!("row {} of {} is none", entry.0, names.journal()));
                Row::read(entry).map(|row| row.told()).ok_or_else(strange)
            })
            .collect()
    }

    /// First and last row of a tenant's journal that are in Redis.
    pub(in crate::store::redis) async fn ends(
        &self,
        names: &Names,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let mut ends = redis::pipe();
        ends.cmd("XRANGE").arg(names.journal()).arg("-").arg("+").arg("COUNT").arg(1);
        ends.cmd("XREVRANGE").arg(names.journal()).arg("+").arg("-").arg("COUNT").arg(1);
        let ends: Vec<Vec<Entry>> = self.link.ask_all(&ends).await?;
        let number = |entry: &Entry| entry.0.split('-').next().and_then(|row| row.parse().ok());
        let mut ends = ends.iter().map(|entries| entries.first().and_then(number));
        Ok(ends.next().flatten().zip(ends.next().flatten()))
    }

    /// All of a tenant at one moment. `beside` are accounts that no list names: those of deleted keys.
    pub(in crate::store::redis) async fn snapshot(
        &self,
        namespace: &str,
        beside: &[AccountId],
    ) -> Result<Snapshot, StoreError> {
        let names = Names::of(namespace);
        let mut accounts = self.listed(&names).await?;
        for _ in 0..REDIS_CONFLICT_TRIES {
            let mut all = accounts.clone();
            all.extend(beside.iter().filter(|id| !accounts.contains(id)).cloned());
            let values = self.read_at_once(&names, &all).await?;
            let listed = listed_in(&values);
            if listed == accounts {
                return Ok(Snapshot::read(&all, values));
            }
            accounts = listed;
        }
        Err(StoreError::Unavailable(format!(
            "keys of {namespace} are made faster than they are read"
        )))
    }

    async fn listed(&self, names: &Names) -> Result<Vec<AccountId>, StoreError> {
        let mut lists = redis::pipe();
        lists.cmd("ZRANGE").arg(names.keys()).arg(0).arg(-1);
        lists.cmd("ZRANGE").arg(names.teams()).arg(0).arg(-1);
        let lists: Vec<Vec<String>> = self.link.ask_all(&lists).await?;
        Ok(lists.iter().flatten().map(|id| AccountId::new(id)).collect())
    }

    /// One transaction, so that nothing happens in between.
    async fn read_at_once(
        &self,
        names: &Names,
        accounts: &[AccountId],
    ) -> Result<Vec<Value>, StoreError> {
        let mut read = redis::pipe();
        read.atomic();
        read.cmd("ZRANGE").arg(names.keys()).arg(0).arg(-1).arg("WITHSCORES");
        read.cmd("ZRANGE").arg(names.teams()).arg(0).arg(-1);
        for hash in [names.meta(), names.holds(), names.kept(), names.once(), names.refunds()] {
            read.cmd("HGETALL").arg(hash);
        }
        read.cmd("ZRANGE").arg(names.due()).arg(0).arg(-1).arg("WITHSCORES");
        for account in accounts {
            read.cmd("HGETALL").arg(names.account(account));
        }
        read.cmd("HGETALL").arg(names.leases());
        self.link.ask_all(&read).await
    }
}

/// Keys and teams as they are in the lists.
fn listed_in(values: &[Value]) -> Vec<AccountId> {
    let texts = |value: Option<&Value>, step: usize| -> Vec<AccountId> {
        let Some(Value::Array(values)) = value else { return Vec::new() };
        let texts = values.iter().step_by(step).cloned().filter_map(text);
        texts.map(|id| AccountId::new(&id)).collect()
    };
    let mut listed = texts(values.first(), 2);
    listed.extend(texts(values.get(1), 1));
    listed
}

fn scores(value: Option<&Value>) -> Vec<(String, i64)> {
    let scored = pairs(value.cloned().unwrap_or(Value::Nil));
    // A score is a double as text, and whole.
    let score = |text: &str| text.split('.').next().and_then(|whole| whole.parse().ok());
    scored.into_iter().filter_map(|(name, text)| Some((name, score(&text)?))).collect()
}

impl Snapshot {
    fn read(accounts: &[AccountId], mut values: Vec<Value>) -> Self {
        let leases = LeasesOut::read(&pairs(values.pop().unwrap_or(Value::Nil)));
        let mut snapshot = Self { leases, ..Self::default() };
        let places: BTreeMap<String, i64> = scores(values.first()).into_iter().collect();
        let hash = |index: usize| bytes(values.get(index));
        snapshot.meta(&hash(2));
        snapshot.holds(&hash(3));
        snapshot.remembered(&hash(4), &hash(5), &hash(6));
        let due = scores(values.get(7));
        for (id, value) in accounts.iter().zip(values.into_iter().skip(8)) {
            snapshot.account(id, places.get(id.as_str()).copied(), pairs(value));
        }
        snapshot.due(due);
        snapshot.parked();
        snapshot
    }

    fn meta(&mut self, fields: &[(String, Vec<u8>)]) {
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let number = |name: &str| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.image.now = Time::from_ms(number("now"));
        self.seq = number("seq");
        self.epoch = field("epoch").unwrap_or_default();
        self.was = Was::read(&field("was").unwrap_or_default());
        self.closed = field("closed");
        let revision = field("rev").and_then(|text| text.parse().ok());
        self.image.record = revision.zip(field("record")).map(|(revision, text)| Record {
            revision,
            text,
            ..Record::default()
        });
    }

    fn holds(&mut self, fields: &[(String, Vec<u8>)]) {
        for (call, record) in fields {
            match open_call(call, &String::from_utf8_lossy(record)) {
                Some(open) => drop(self.image.calls.insert(call.clone(), open)),
                None => self.strange.push(format!("open call call_{call}: cannot be read")),
            }
        }
    }

    fn remembered(
        &mut self,
        kept: &[(String, Vec<u8>)],
        once: &[(String, Vec<u8>)],
        refunds: &[(String, Vec<u8>)],
    ) {
        for (id, record) in kept.iter().filter(|(id, _)| !id.contains(':')) {
            match kept_answer(record) {
                Some(kept) => drop(self.image.kept.insert(id.clone(), kept)),
                None => self.strange.push(format!("answer kept under {id}: cannot be read")),
            }
        }
        for (id, record) in once {
            match once_done(&String::from_utf8_lossy(record)) {
                // What we remember for ourselves, for minutes.
                Some(done) if done.request == "0" => {}
                Some(done) => drop(self.image.once.insert(id.clone(), done)),
                None => self.strange.push(format!("idempotency key {id}: cannot be read")),
            }
        }
        for (call, at) in refunds {
            let at = String::from_utf8_lossy(at).parse().unwrap_or(0);
            self.image.refunded.insert(call.clone(), Time::from_ms(at));
        }
    }

    fn account(&mut self, id: &AccountId, place: Option<i64>, fields: Vec<(String, String)>) {
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let record = field("rev").and_then(|revision| revision.parse().ok()).zip(field("record"));
        let record = record.map(|(revision, text)| Record {
            revision,
            text,
            digest: field("digest").unwrap_or_default(),
            old: field("old").unwrap_or_default(),
        });
        let (image, is_gone) = (&mut self.image, field("gone").is_some());
        match (record, place) {
            (Some(record), Some(place)) => drop(image.keys.insert(id.clone(), (place, record))),
            (Some(record), None) if id.as_str().starts_with("team_") => {
                image.teams.insert(id.clone(), record);
            }
            (Some(_), None) => self.strange.push(format!("{id}: is in no list of keys")),
            (None, _) if is_gone => drop(image.deleted.insert(id.clone(), Time::ZERO)),
            (None, Some(_)) => {
                let what = format!("{id}: is in the list of keys without a record");
                self.strange.push(what);
            }
            (None, None) => {}
        }
        if fields.is_empty() {
            return;
        }
        let account = account_of(&self.leases.given_back(id, &fields));
        let known = account.counters().count();
        let counters =
            fields.iter().filter(|(name, _)| name != "last" && !OTHERS.contains(&name.as_str()));
        if counters.count() != known {
            self.strange.push(format!("{id}: has a counter that cannot be read"));
        }
        self.image.accounts.insert(id.clone(), account);
        self.fields.insert(id.clone(), fields);
    }

    /// What ends by itself has its moment in a list, or it never would.
    fn due(&mut self, due: Vec<(String, i64)>) {
        let found: BTreeMap<String, i64> = due.into_iter().collect();
        for (member, until) in &found {
            if let Some(call) = member.strip_prefix("paid:") {
                self.image.paid.insert(call.to_owned(), Time::from_ms(*until));
            }
        }
        for (member, until) in dues(&self.image) {
            if found.get(&member) != Some(&until) {
                let has = found.get(&member).map_or_else(|| "never".to_owned(), i64::to_string);
                self.strange.push(format!("{member}: ends at {until}, Redis would end it {has}"));
            }
        }
    }

    /// How many calls wait is counted for each key.
    fn parked(&mut self) {
        for (id, fields) in &self.fields {
            let found = fields.iter().find(|(name, _)| name == "parked");
            let found = found.and_then(|(_, count)| count.parse().ok()).unwrap_or(0);
            let waiting = waiting(&self.image, id);
            if found != waiting {
                self.strange.push(format!("{id}: {waiting} calls wait, Redis has counted {found}"));
            }
        }
    }
}

/// Calls of a key that wait.
pub(in crate::store::redis) fn waiting(image: &Image, id: &AccountId) -> i64 {
    let waiting = image.calls.values().filter(|call| call.state.is_some() && call.payer == *id);
    i64::try_from(waiting.count()).unwrap_or(i64::MAX)
}

/// What ends by itself, and when.
pub(in crate::store::redis) fn dues(image: &Image) -> BTreeMap<String, i64> {
    let mut dues = BTreeMap::new();
    for (id, call) in &image.calls {
        dues.insert(format!("hold:{id}"), call.until.ms());
    }
    for (id, kept) in &image.kept {
        dues.insert(format!("kept:{id}"), kept.until.ms());
    }
    for (id, once) in &image.once {
        dues.insert(format!("once:{id}"), once.until.ms());
    }
    for (call, until) in &image.paid {
        dues.insert(format!("paid:{call}"), until.ms());
    }
    dues
}

/// The fields of a hash whose values need not be text.
fn bytes(value: Option<&Value>) -> Vec<(String, Vec<u8>)> {
    let flat = |value: &Value| match value {
        Value::BulkString(bytes) => bytes.clone(),
        other => text(other.clone()).unwrap_or_default().into_bytes(),
    };
    let name = |value: &Value| text(value.clone()).unwrap_or_default();
    match value {
        Some(Value::Map(pairs)) => {
            pairs.iter().map(|(key, value)| (name(key), flat(value))).collect()
        }
        Some(Value::Array(values)) => values
            .chunks_exact(2)
            .filter_map(|pair| Some((name(pair.first()?), flat(pair.get(1)?))))
            .collect(),
        _ => Vec::new(),
    }
}
