//! Holds that wait for their call's next round, or for its task, and the one that goes on with them.

use redis::cmd;
use serde_json::json;

use super::asked::shown_field;
use super::books::{Books, Run, random};
use super::calls::{call_text, late};
use super::counters;
use super::held::Record;
use super::link::{Failed, Reply};
use super::loose_ends::{LooseEnd, Unheard};
use super::names::Names;
use crate::model::bounds::{PARKED_MAX, PARKED_PER_KEY_MAX};
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::{Judged, PaidTask, Parking, Reading, Resumed, Show, StoreError};

/// What to do with a hold that waits.
struct Waiting<'a> {
    call: CallId,
    key: &'a KeyId,
    deed: &'static str,
    state: &'a str,
    span: &'a str,
    /// Whose attempt it is to go on with it, or was.
    turn: &'a str,
    /// By which records whoever goes on with it was judged.
    judged: Option<&'a Judged>,
}

impl Books {
    /// Keeps a hold open beyond its call's answer.
    pub(super) async fn park(
        &self,
        parking: Parking,
        show: Show,
        now: Time,
    ) -> Result<Reading, StoreError> {
        let Parking { call, key, state, until } = parking;
        let shown = shown_field(&show);
        let until = until.ms().to_string();
        // Whoever has gone on with it since is not to be disturbed by a repetition that comes late.
        let open = self.open_hold(&key, call).await?.ok_or(StoreError::NotOpen)?;
        let (deed, state, turn) = ("park", &*state, &*open.turn);
        let waiting = Waiting { call, key: &key, deed, state, span: &until, turn, judged: None };
        let reply = self.wait(&waiting, &shown, now, None).await?;
        match &*reply.status {
            "done" => {
                // Whichever instance goes on with it has it in hand then.
                self.memory().let_go(&call);
                let account = counters::shown(reply.text(1), &shown, reply.text(2));
                Ok(Reading::of(Some(&account), &show, reply.now))
            }
            "full" => Err(StoreError::ParkedFull),
            _ => Err(StoreError::NotOpen),
        }
    }

    /// Goes on with a hold that waits.
    pub(super) async fn resume(
        &self,
        key: &KeyId,
        call: CallId,
        (state, judged): (&str, Option<&Judged>),
        now: Time,
        deadline: Time,
    ) -> Result<Resumed, StoreError> {
        if judged.is_some_and(|judged| !self.knows_team(key, judged.team.is_some())) {
            return Err(StoreError::Conflict);
        }
        let length = deadline.ms().saturating_sub(now.ms()).to_string();
        let (turn, latest) = (hex::encode(random::<8>()?), self.latest());
        let end = || LooseEnd::Resumed { key: key.clone(), call, turn: turn.clone(), latest };
        let (deed, span, turn_text) = ("resume", &*length, &*turn);
        let waiting = Waiting { call, key, deed, state, span, turn: turn_text, judged };
        let mut unheard = Unheard { books: self, end, is_heard: false };
        let reply = self.wait(&waiting, "-", now, latest).await;
        unheard.is_heard = reply.as_ref().map_or_else(|failed| !failed.may_be_done, |_| true);
        drop(unheard);
        let reply = reply?;
        match &*reply.status {
            "done" => {}
            "late" => return Err(late()),
            "stale" => {
                if let Some(namespace) = self.place_of(key).await? {
                    let team = judged.and_then(|judged| judged.team.as_ref());
                    self.distrust(key, &namespace, team.map(|(team, _)| team));
                }
                return Err(StoreError::Conflict);
            }
            _ => return Err(StoreError::NotOpen),
        }
        let record = Record::read(call, reply.text(0)).ok_or(StoreError::NotOpen)?;
        let [(tool, price, _, _)] = record.calls.as_slice() else {
            return Err(StoreError::NotOpen);
        };
        let (tool, price) = (tool.as_str().into(), *price);
        if let Some(namespace) = self.place_of(key).await? {
            self.memory().opened(call, record.open(&namespace));
        }
        Ok(Resumed { hold: record.hold, tool, price })
    }

    async fn wait(
        &self,
        waiting: &Waiting<'_>,
        shown: &str,
        now: Time,
        latest: Option<Time>,
    ) -> Result<Reply, Failed> {
        let undone = |error| Failed { error, may_be_done: false };
        let namespace = self.place_of(waiting.key).await.map_err(undone)?;
        let namespace = namespace.ok_or_else(|| undone(StoreError::NotOpen))?;
        let names = Names::of(&namespace);
        let account = names.account(&waiting.key.account());
        let mut keys = vec![names.meta(), names.holds(), names.due(), account];
        let mut revs = Vec::new();
        if let Some(judged) = waiting.judged {
            revs.push(json!([1, judged.namespace.to_string()]));
            revs.push(json!([4, judged.key.to_string()]));
            if let Some((team, revision)) = &judged.team {
                revs.push(json!([5, revision.to_string()]));
                keys.push(names.account(&team.account()));
            }
        }
        let revs = serde_json::Value::from(revs).to_string();
        let (call, latest) = (call_text(&waiting.call), latest.map_or(0, Time::ms).to_string());
        // The state is one line of the record.
        let state = hex::encode(waiting.state);
        let (most, own) = (PARKED_MAX.to_string(), PARKED_PER_KEY_MAX.to_string());
        let args = [
            &*call,
            waiting.deed,
            waiting.key.as_str(),
            &*state,
            waiting.span,
            &*most,
            &*own,
            shown,
            waiting.turn,
            &*latest,
            &*revs,
        ];
        let script = &self.link.scripts.park;
        let args = &args.map(str::as_bytes);
        self.try_run(Run { namespace: &namespace, script, keys: &keys, now, args }).await
    }

    /// Is the result of a task paid?
    pub(super) async fn is_task_paid(
        &self,
        key: &KeyId,
        task: PaidTask,
    ) -> Result<bool, StoreError> {
        let Some(namespace) = self.place_of(key).await? else { return Ok(false) };
        let mut score = cmd("ZSCORE");
        score.arg(Names::of(&namespace).due()).arg(format!("paid:{}", call_text(&task.call)));
        let found: Option<f64> = self.link.ask(&score).await?;
        Ok(found.is_some())
    }
}
