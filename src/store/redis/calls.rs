//! The life of a hold: opened, perhaps parked and gone on with, ended once.

use std::sync::Arc;

use redis::{Value, cmd};

use super::asked::{Asked, AskedEnd, AskedHold, Given, Which, shown_field};
use super::books::Books;
use super::counters;
use super::held::{self, Record};
use super::link::Failed;
use super::memory::OpenHold;
use super::names::Names;
use super::together::{Answer, Gathers, answers};
use crate::gate::Charge;
use crate::ledger::names;
use crate::ledger::{Counter, Refusal};
use crate::model::bounds::REDIS_SWEPT_AT_ONCE;
use crate::model::ids::{CallId, KeyId};
use crate::model::team::TeamId;
use crate::model::time::Time;
use crate::store::{HoldRefused, PaidTask, Reading, Settlement, StoreError};

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

impl Books {
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
        let asked = Arc::new(Asked::of(charge));
        let namespace = charge.namespace.as_str().to_owned();
        let taken = charge.demands.iter().filter(|demand| demand.counter == names::BALANCE);
        let credits = taken.fold(0_i64, |sum, demand| sum.saturating_sub(demand.amount));
        let (accounts, turn) = (asked.accounts.clone(), "-".to_owned());
        let open = OpenHold { namespace, accounts, credits, turn };
        self.memory().opened(charge.call, open);
        let length_ms = deadline.ms().saturating_sub(now.ms());
        let ask = AskedHold { call: charge.call, length_ms, latest_ms: 0, asked };
        let answer = self.run_hold(charge, ask, now).await;
        let held = answer.map_err(NotHeld::from).and_then(|answer| match answer.word() {
            "held" => Ok(()),
            "stale" => {
                let team = charge.team.as_ref().map(|(team, _)| team);
                self.distrust(&charge.key, charge.namespace.as_str(), team);
                Err(HoldRefused::Stale.into())
            }
            "refused" => Err(HoldRefused::Refused(refusal(charge, &answer)).into()),
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
        let asked = Arc::new(Asked::of(charge).whatever_records());
        let ask = AskedHold { call: charge.call, length_ms: 0, latest_ms: 0, asked };
        let namespace = charge.namespace.as_str();
        let Given { keys, args } = AskedHold::for_all(&Names::of(namespace), &[ask]);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let reply = self.run(namespace, &self.link.scripts.check, &keys, now, &args).await?;
        let answer = answers(reply).into_iter().next();
        Ok(match answer {
            Some(answer) if answer.word() == "refused" => Err(refusal(charge, &answer)),
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
        match ended.word() {
            "done" => {
                self.memory().ended(&call, settlement.charged);
                let (available, counter) = (ended.line(1), ended.line(2));
                let account = counters::shown(available, &shown_field(&settlement.show), counter);
                Ok(Reading::of(Some(&account), &settlement.show, ended.now))
            }
            "ended" => {
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
            "late" => {
                self.memory().let_go(&call);
                Err(StoreError::NotOpen)
            }
            // Whoever repeats it is told what was paid for.
            "repeated" => Err(StoreError::Duplicate),
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
    ) -> Result<Answer, StoreError> {
        self.resolve(open, AskedEnd::of(settlement, task, &open.accounts), now).await
    }

    /// The same, if the hold is the one that is meant.
    pub(super) async fn end_one(
        &self,
        open: &OpenHold,
        settlement: &Settlement,
        which: Which,
        now: Time,
    ) -> Result<Answer, StoreError> {
        let end = AskedEnd::of(settlement, None, &open.accounts).only(which);
        self.resolve(open, end, now).await
    }

    async fn resolve(
        &self,
        open: &OpenHold,
        end: AskedEnd,
        now: Time,
    ) -> Result<Answer, StoreError> {
        if end.keeps() {
            // It may be as long as many others.
            let answers = AskedEnd::send(self, &open.namespace, now, &[end]).await?;
            let none = || StoreError::Read("a script's answer is none".to_owned());
            return answers.into_iter().next().ok_or_else(none);
        }
        Ok(self.together(&open.namespace, end, now).await?)
    }

    /// A tenant's ledger time, as Redis has it now.
    pub(super) async fn ledger_time(&self, namespace: &str) -> Result<Time, StoreError> {
        let Given { keys, args } = AskedEnd::for_all(&Names::of(namespace), &[]);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let script = &self.link.scripts.resolve;
        Ok(self.run(namespace, script, &keys, self.present(), &args).await?.now)
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
        let ends: Vec<AskedEnd> = late.iter().map(Record::expiry).collect();
        let Given { keys, args } = AskedEnd::for_all(names, &ends);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let reply = self.run(namespace, &self.link.scripts.resolve, &keys, now, &args).await?;
        let (answers, mut count) = (answers(reply), 0_usize);
        let mut memory = self.memory();
        for (record, answer) in late.iter().zip(&answers) {
            let call = &record.hold.call;
            if answer.word() == "done" {
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

/// It was not done, because it came after whoever asked had given up.
pub(super) fn late() -> StoreError {
    StoreError::Unavailable("Redis answers later than anybody waits".to_owned())
}

fn refusal(charge: &Charge, answer: &Answer) -> Refusal {
    let index = usize::try_from(answer.number(1)).unwrap_or(0);
    let counter = charge.demands.get(index).and_then(|demand| {
        let field = counters::field(&demand.counter, demand.window);
        counters::read(&field, answer.line(3)).map(|(_, counter)| counter)
    });
    let counter: Option<&Counter> = counter.as_ref();
    Refusal::of(&charge.demands, index, answer.number(2), counter, answer.now)
}
