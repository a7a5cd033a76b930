//! The life of a hold: opened, perhaps parked and gone on with, ended once.

use redis::{Value, cmd};
use serde_json::json;

use super::books::Books;
use super::counters;
use super::held::{self, Record};
use super::link::{Failed, Reply, text};
use super::memory::OpenHold;
use super::names::Names;
use crate::gate::Charge;
use crate::ledger::names;
use crate::ledger::{Bound, Counter, Demand, Posting, Refusal, Window};
use crate::model::bounds::{REDIS_JOURNAL_ROWS_MAX, REDIS_SWEPT_AT_ONCE};
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::team::TeamId;
use crate::model::time::Time;
use crate::store::detail::{accounts_list, calls_list, postings_list};
use crate::store::{CallEnd, HoldRefused, PaidTask, Reading, Settlement, Show, StoreError};

/// A call's id in Redis.
pub(super) fn call_text(call: &CallId) -> String {
    hex::encode(call.bytes())
}

/// Why nothing is held.
pub(super) enum NotHeld {
    /// So Redis says, or it may have held it.
    Said(HoldRefused),
    /// It certainly was not held, because Redis is away or cannot hold anything.
    NotDone(StoreError),
}

impl From<HoldRefused> for NotHeld {
    fn from(refused: HoldRefused) -> Self {
        Self::Said(refused)
    }
}

impl From<Failed> for NotHeld {
    fn from(failed: Failed) -> Self {
        let Failed { error, may_be_done } = failed;
        if may_be_done { Self::Said(error.into()) } else { Self::NotDone(error) }
    }
}

impl From<NotHeld> for HoldRefused {
    fn from(not_held: NotHeld) -> Self {
        match not_held {
            NotHeld::Said(refused) => refused,
            NotHeld::NotDone(error) => error.into(),
        }
    }
}

/// What a charge asks for, as the script reads it.
pub(super) struct Asked {
    pub(super) accounts: Vec<AccountId>,
    conditions: String,
    postings: String,
    others: String,
}

impl Asked {
    pub(super) fn of(charge: &Charge) -> Self {
        let payer = charge.key.account();
        let postings: Vec<Posting> = charge.demands.iter().map(posting).collect();
        let mut text = String::new();
        let others = postings_list(&mut text, &postings, &payer);
        let mut others_text = String::new();
        if !others.is_empty() {
            accounts_list(&mut others_text, &others);
        }
        let mut accounts = vec![payer];
        accounts.extend(others.into_iter().cloned());
        let place = |account: &AccountId| {
            accounts.iter().position(|known| known == account).map(|place| place.saturating_add(4))
        };
        let mut revs = vec![
            json!([1, charge.namespace_revision.to_string()]),
            json!([4, charge.key_revision.to_string()]),
        ];
        if let Some((team, revision)) = &charge.team {
            let known = place(&team.account()).unwrap_or_else(|| accounts.len().saturating_add(4));
            revs.push(json!([known, revision.to_string()]));
            if known == accounts.len().saturating_add(4) {
                accounts.push(team.account());
            }
        }
        let bounds: Vec<_> = charge.demands.iter().map(|demand| bound(demand.bound)).collect();
        let conditions = json!({ "revs": revs, "bounds": bounds }).to_string();
        Self { accounts, conditions, postings: text, others: others_text }
    }
}

fn posting(demand: &Demand) -> Posting {
    Posting {
        account: demand.account.clone(),
        counter: demand.counter.clone(),
        window: demand.window,
        amount: demand.amount,
        refund: demand.refund,
    }
}

fn bound(bound: Bound) -> serde_json::Value {
    match bound {
        Bound::Free => json!(false),
        Bound::AtMost(most) => json!([1, most]),
        Bound::AtLeast(least) => json!([-1, least]),
    }
}

/// The field of the counter that an answer shows; one that is never there for none.
pub(super) fn shown_field(show: &Show) -> String {
    let rate = show.rate.as_ref();
    rate.map_or_else(|| "-".to_owned(), |(_, name)| counters::field(name, Window::MINUTE))
}

impl Books {
    fn hold_keys(names: &Names, accounts: &[AccountId]) -> Vec<String> {
        let mut keys = vec![names.meta(), names.holds(), names.due()];
        keys.extend(accounts.iter().map(|account| names.account(account)));
        keys
    }

    /// Reserves what a charge asks for.
    pub(super) async fn hold(
        &self,
        charge: &Charge,
        now: Time,
        deadline: Time,
    ) -> Result<(), NotHeld> {
        if !self.knows_team(&charge.key, charge.team.is_some()) {
            return Err(HoldRefused::Stale.into());
        }
        let names = Names::of(charge.namespace.as_str());
        let asked = Asked::of(charge);
        let keys = Self::hold_keys(&names, &asked.accounts);
        let mut calls = String::new();
        let open: Vec<CallEnd> = charge.items.iter().map(CallEnd::open).collect();
        calls_list(&mut calls, &open);
        let labels = charge.labels.as_ref().map_or("", |labels| labels.as_str());
        let record =
            format!("\n{}\n{calls}\n{labels}\n{}\n{}", charge.key, asked.postings, asked.others);
        let length = deadline.ms().saturating_sub(now.ms()).to_string();
        let call = call_text(&charge.call);
        let args = [&*call, &*length, &*asked.conditions, &*asked.postings, &*record];
        let args = args.map(str::as_bytes);
        let namespace = charge.namespace.as_str().to_owned();
        let taken = charge.demands.iter().filter(|demand| demand.counter == names::BALANCE);
        let credits = taken.fold(0_i64, |sum, demand| sum.saturating_sub(demand.amount));
        let open = OpenHold { namespace, accounts: asked.accounts, credits, turn: "-".to_owned() };
        self.memory().opened(charge.call, open);
        let reply = self.run_hold(charge, &keys, now, args).await;
        let held = reply.map_err(NotHeld::from).and_then(|reply| match &*reply.status {
            "held" => Ok(()),
            "stale" => {
                let team = charge.team.as_ref().map(|(team, _)| team);
                self.distrust(&charge.key, charge.namespace.as_str(), team);
                Err(HoldRefused::Stale.into())
            }
            "refused" => Err(HoldRefused::Refused(refusal(charge, &reply)).into()),
            "late" => Err(HoldRefused::from(late()).into()),
            strange => {
                let why = format!("the hold's script answered {strange}");
                Err(HoldRefused::from(StoreError::Read(why)).into())
            }
        });
        if held.is_err() {
            self.memory().let_go(&charge.call);
        }
        held
    }

    /// Would it be held?
    pub(super) async fn check(
        &self,
        charge: &Charge,
        now: Time,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let names = Names::of(charge.namespace.as_str());
        let mut asked = Asked::of(charge);
        asked.conditions = {
            let bounds: Vec<_> = charge.demands.iter().map(|demand| bound(demand.bound)).collect();
            json!({ "revs": [], "bounds": bounds }).to_string()
        };
        let keys = Self::hold_keys(&names, &asked.accounts);
        let call = call_text(&charge.call);
        let args = [&*call, "0", &*asked.conditions, &*asked.postings, "", "0"].map(str::as_bytes);
        let script = &self.link.scripts.check;
        let reply = self.run(charge.namespace.as_str(), script, &keys, now, &args).await?;
        Ok(match &*reply.status {
            "refused" => Err(refusal(charge, &reply)),
            _ => Ok(()),
        })
    }

    /// Was the team of a key known when it was judged?
    pub(super) fn knows_team(&self, key: &KeyId, has_team: bool) -> bool {
        let in_team = self.memory().key(key).is_some_and(|key| key.team.is_some());
        !in_team || has_team
    }

    /// The records by which a key was judged are old: they are read before they are believed again.
    pub(super) fn distrust(&self, key: &KeyId, namespace: &str, team: Option<&TeamId>) {
        let mut memory = self.memory();
        memory.forget_key(key);
        memory.doubt(namespace);
        if let Some(team) = team {
            memory.doubt(team.as_str());
        }
    }

    /// Ends a hold. If it is not known whether that was done, it is seen to that nobody pays.
    pub(super) async fn settle(
        &self,
        settlement: Settlement,
        task: Option<PaidTask>,
        now: Time,
    ) -> Result<Reading, StoreError> {
        // What a task costs is asked for again, with the task.
        let is_task = task.is_some();
        let before = self.memory().seen_of(&settlement.key).map_or(0, |seen| seen.seq);
        let settled = self.settle_behind(before, &settlement, task, now).await;
        if matches!(settled, Err(StoreError::Unavailable(_) | StoreError::Duplicate)) && !is_task {
            self.leave_open(settlement, before).await;
        }
        settled.map_err(|error| match error {
            StoreError::Duplicate => StoreError::NotOpen,
            error => error,
        })
    }

    async fn settle_behind(
        &self,
        before: i64,
        settlement: &Settlement,
        task: Option<PaidTask>,
        now: Time,
    ) -> Result<Reading, StoreError> {
        let call = settlement.call;
        let open = self.open_hold(&settlement.key, call).await?.ok_or(StoreError::NotOpen)?;
        let ended = self.end(&open, settlement, task, now).await?;
        match ended.words.as_slice() {
            [done, available, counter] if done == "done" => {
                self.memory().ended(&call, settlement.charged);
                let account = counters::shown(available, &shown_field(&settlement.show), counter);
                Ok(Reading::of(Some(&account), &settlement.show, ended.now))
            }
            [word] if word == "ended" => {
                // The attempt whose answer was lost may have ended it.
                let names = Names::of(&open.namespace);
                let found = if ended.is_repeated {
                    self.ended_since(&names, before, call).await?
                } else {
                    None
                };
                if found.as_deref() != Some(settlement.kind.word()) {
                    self.memory().let_go(&call);
                    return Err(StoreError::NotOpen);
                }
                self.memory().ended(&call, settlement.charged);
                self.read(&settlement.key, settlement.show.clone(), now).await
            }
            [word] if word == "late" => {
                self.memory().let_go(&call);
                Err(StoreError::NotOpen)
            }
            // Whoever repeats it is told what was paid for.
            [word] if word == "repeated" => Err(StoreError::Duplicate),
            other => Err(StoreError::Read(format!("a call cannot be ended: {other:?}"))),
        }
    }

    /// Asks Redis to end a hold; what it says.
    pub(super) async fn end(
        &self,
        open: &OpenHold,
        settlement: &Settlement,
        task: Option<PaidTask>,
        now: Time,
    ) -> Result<Ended, StoreError> {
        self.resolve(open, End::of(settlement, task, open.accounts.len()), now).await
    }

    /// The same, if the hold is the one that is meant.
    pub(super) async fn end_one(
        &self,
        open: &OpenHold,
        settlement: &Settlement,
        which: Which<'_>,
        now: Time,
    ) -> Result<Ended, StoreError> {
        let mut end = End::of(settlement, None, open.accounts.len());
        match which {
            Which::Any => {}
            Which::Second(since) => {
                end.text["not_since"] = since.into();
                end.text["kind"] = "undo".into();
                end.text["kept"] = vec![0; settlement.kept.len()].into();
            }
            Which::InTurn(turn) => end.text["turn"] = turn.into(),
        }
        self.resolve(open, end, now).await
    }

    async fn resolve(&self, open: &OpenHold, end: End<'_>, now: Time) -> Result<Ended, StoreError> {
        let names = Names::of(&open.namespace);
        let (keys, answer) = (resolve_keys(&names, &open.accounts), end.answer);
        let (most, ends) = (REDIS_JOURNAL_ROWS_MAX.to_string(), format!("[{}]", end.text));
        let args = [most.as_bytes(), ends.as_bytes(), answer.unwrap_or_default()];
        let script = &self.link.scripts.resolve;
        let reply = self.run(&open.namespace, script, &keys, now, &args).await?;
        let words = results(&reply).into_iter().next().unwrap_or_default();
        Ok(Ended { words, now: reply.now, is_repeated: reply.is_repeated })
    }

    /// A tenant's ledger time, as Redis has it now.
    pub(super) async fn ledger_time(&self, namespace: &str) -> Result<Time, StoreError> {
        let (keys, most) = (resolve_keys(&Names::of(namespace), &[]), b"1");
        let script = &self.link.scripts.resolve;
        let reply = self.run(namespace, script, &keys, self.present(), &[most, b"[]"]).await?;
        Ok(reply.now)
    }

    /// The tenant and the accounts of an open hold: from memory, or as Redis has it.
    pub(super) async fn open_hold(
        &self,
        key: &KeyId,
        call: CallId,
    ) -> Result<Option<OpenHold>, StoreError> {
        if let Some(open) = self.memory().open.get(&call).cloned() {
            return Ok(Some(open));
        }
        let Some(namespace) = self.place_of(key).await? else { return Ok(None) };
        let record = self.record_of(&namespace, call).await?;
        // Whether one that is not there has ended is for the script to say.
        let Some(record) = record else {
            let accounts = vec![key.account()];
            let (namespace, turn) = (namespace.to_string(), "-".to_owned());
            return Ok(Some(OpenHold { namespace, accounts, credits: 0, turn }));
        };
        let open = record.open(&namespace);
        self.memory().opened(call, open.clone());
        Ok(Some(open))
    }

    pub(super) async fn record_of(
        &self,
        namespace: &str,
        call: CallId,
    ) -> Result<Option<Record>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(Names::of(namespace).holds()).arg(call_text(&call));
        let record: Option<String> = self.link.ask(&get).await?;
        Ok(record.and_then(|record| Record::read(call, &record)))
    }

    /// What stays of each amount of an open hold if it is released.
    pub(super) async fn kept_by_release(
        &self,
        namespace: &str,
        call: CallId,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let record = self.record_of(namespace, call).await?;
        Ok(record.map(|record| record.hold.kept_by_release()))
    }

    /// Releases the holds of one tenant whose deadline has passed; how many.
    pub(super) async fn expire_in(&self, namespace: &str, now: Time) -> Result<usize, StoreError> {
        let names = Names::of(namespace);
        let sweep = [names.meta(), names.holds(), names.due(), names.kept(), names.once()];
        let (most, mut count) = (REDIS_SWEPT_AT_ONCE.to_string(), 0_usize);
        loop {
            let script = &self.link.scripts.sweep;
            let reply = self.run(namespace, script, &sweep, now, &[most.as_bytes()]).await?;
            self.lapse_leases(namespace, &reply, now).await?;
            let (late, all_late) = held::late_holds(&reply);
            let released = self.release(namespace, &names, &late, now).await?;
            count = count.saturating_add(released);
            let is_more = matches!(reply.rest.get(1), Some(Value::Int(1)));
            if !is_more || released < all_late {
                return Ok(count);
            }
        }
    }

    /// Ends holds that nobody has ended in time.
    async fn release(
        &self,
        namespace: &str,
        names: &Names,
        late: &[Record],
        now: Time,
    ) -> Result<usize, StoreError> {
        if late.is_empty() {
            return Ok(0);
        }
        let mut accounts: Vec<AccountId> = Vec::new();
        let mut ends = Vec::with_capacity(late.len());
        for record in late {
            let places = record.accounts.iter().map(|account| {
                accounts.iter().position(|known| known == account).unwrap_or_else(|| {
                    accounts.push(account.clone());
                    accounts.len().saturating_sub(1)
                })
            });
            let places: Vec<usize> = places.map(|place| place.saturating_add(6)).collect();
            ends.push(record.expiry(&places));
        }
        let (most, ends) = (REDIS_JOURNAL_ROWS_MAX.to_string(), format!("[{}]", ends.join(",")));
        let args = [most.as_bytes(), ends.as_bytes()];
        let keys = resolve_keys(names, &accounts);
        let script = &self.link.scripts.resolve;
        let reply = self.run(namespace, script, &keys, now, &args).await?;
        let (results, mut count) = (results(&reply), 0_usize);
        let mut memory = self.memory();
        for (record, result) in late.iter().zip(&results) {
            let call = &record.hold.call;
            if result.first().is_some_and(|word| word == "done") {
                memory.opened(*call, record.open(namespace));
                memory.ended(call, 0);
                count = count.saturating_add(1);
            } else {
                memory.let_go(call);
            }
        }
        Ok(count)
    }
}

/// What Redis says of a hold that was to be ended.
pub(super) struct Ended {
    /// One, or `done` and two numbers.
    pub(super) words: Vec<String>,
    pub(super) now: Time,
    /// An answer was lost before this one.
    is_repeated: bool,
}

/// Which hold of a call is meant.
#[derive(Clone, Copy)]
pub(super) enum Which<'a> {
    Any,
    /// One that was made once more: not the one of this moment. It leaves nothing, not even its end.
    Second(&'a str),
    /// The one that was gone on with in this turn.
    InTurn(&'a str),
}

/// It was not done, because it came after whoever asked had given up.
pub(super) fn late() -> StoreError {
    StoreError::Unavailable("Redis answers later than anybody waits".to_owned())
}

fn refusal(charge: &Charge, reply: &Reply) -> Refusal {
    let index = usize::try_from(reply.number(0)).unwrap_or(0);
    let counter = charge.demands.get(index).and_then(|demand| {
        let field = counters::field(&demand.counter, demand.window);
        counters::read(&field, reply.text(2)).map(|(_, counter)| counter)
    });
    let counter: Option<&Counter> = counter.as_ref();
    Refusal::of(&charge.demands, index, reply.number(1), counter, reply.now)
}

fn resolve_keys(names: &Names, accounts: &[AccountId]) -> Vec<String> {
    let mut keys = vec![names.meta(), names.holds(), names.due(), names.journal(), names.kept()];
    keys.extend(accounts.iter().map(|account| names.account(account)));
    keys
}

/// One resolution as the script reads it.
struct End<'a> {
    text: serde_json::Value,
    answer: Option<&'a [u8]>,
}

impl<'a> End<'a> {
    fn of(settlement: &'a Settlement, task: Option<PaidTask>, accounts: usize) -> Self {
        let mut tail = String::new();
        if !settlement.ends.is_empty() {
            tail.push_str(",\"calls\":");
            calls_list(&mut tail, &settlement.ends);
        }
        let places: Vec<usize> = (0..accounts).map(|place| place.saturating_add(6)).collect();
        let mut end = json!({
            "call": call_text(&settlement.call),
            "kind": settlement.kind.word(),
            "kept": settlement.kept,
            "accounts": places,
            "charged": settlement.charged,
            "tail": tail,
            "show": shown_field(&settlement.show),
        });
        let mut answer = None;
        if let Some(keep) = &settlement.keep {
            answer = keep.answer.as_deref();
            end["keep"] = json!({
                "id": hex::encode(keep.once.id.bytes()),
                "request": hex::encode(keep.once.request.bytes()),
                "ttl": i64::try_from(keep.ttl.as_millis()).unwrap_or(i64::MAX),
                "answer": if answer.is_some() { 6 } else { 0 },
            });
        }
        if let Some(task) = task {
            end["paid"] = task.until.ms().into();
            end["paid_call"] = call_text(&task.call).into();
        }
        Self { text: end, answer }
    }
}

/// What became of each of several resolutions.
pub(super) fn results(reply: &Reply) -> Vec<Vec<String>> {
    let Some(Value::Array(results)) = reply.rest.first() else { return Vec::new() };
    let one = |result: &Value| match result {
        Value::Array(words) => words.iter().cloned().filter_map(text).collect(),
        _ => Vec::new(),
    };
    results.iter().map(one).collect()
}
