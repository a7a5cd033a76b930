//! Open holds as Redis has them: a record each, in a hash by call. They are in no journal before they end.

use redis::Value;

use super::asked::AskedEnd;
use super::books::Books;
use super::calls::call_text;
use super::link::{Reply, text};
use super::memory::OpenHold;
use super::names::Names;
use super::records::lists::CHUNK;
use crate::ledger::{Hold, Posting, ResolutionKind};
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::time::Time;
use crate::store::posting::PostingRow;
use crate::store::{
    CallEnd, CallState, ExplainedCall, ExplainedItem, FoundCall, Settlement, Show, StoreError,
};

/// A hold as Redis has it.
pub(super) struct Record {
    pub(super) hold: Hold,
    /// The payer, then the others by their place.
    pub(super) accounts: Vec<AccountId>,
    /// Tool, price, charged, outcome.
    pub(super) calls: Vec<(String, i64, i64, String)>,
    /// Who goes on with it, if anybody has.
    pub(super) turn: String,
    /// What it waits for, if it does.
    state: Option<String>,
    /// JSON, or empty.
    labels: String,
}

impl Record {
    /// `at deadline turn`, state, payer, calls, labels, postings, other accounts: a line each.
    pub(super) fn read(call: CallId, text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut times = lines.next()?.split(' ');
        let mut time = || Some(Time::from_ms(times.next()?.parse().ok()?));
        let (at, deadline) = (time()?, time()?);
        let turn = times.next()?.to_owned();
        let state = lines.next()?;
        let state = hex::decode(state).ok().and_then(|state| String::from_utf8(state).ok());
        let state = state.filter(|state| !state.is_empty());
        let payer = AccountId::new(lines.next()?);
        let calls = serde_json::from_str(lines.next()?).ok()?;
        let labels = lines.next()?.to_owned();
        let postings: Vec<PostingRow> = serde_json::from_str(lines.next()?).ok()?;
        let others: Vec<std::borrow::Cow<'_, str>> = match lines.next()? {
            "" => Vec::new(),
            others => serde_json::from_str(others).ok()?,
        };
        let postings = postings.iter().map(|row| row.posting(&payer, &others));
        let postings: Vec<Posting> = postings.collect::<Option<_>>()?;
        let mut accounts = vec![payer];
        accounts.extend(others.iter().map(|other| AccountId::new(other)));
        let hold = Hold { call, at, deadline, postings };
        Some(Self { hold, accounts, calls, turn, state, labels })
    }

    pub(super) fn open(&self, namespace: &str) -> OpenHold {
        OpenHold {
            namespace: namespace.to_owned(),
            accounts: self.accounts.clone(),
            credits: self.hold.credits(),
            turn: self.turn.clone(),
        }
    }

    /// Its release, by whoever does not know more of it.
    pub(super) fn release(&self, key: &KeyId, outcome: &'static str) -> Settlement {
        let ends = self.calls.iter().map(|(tool, price, _, _)| CallEnd {
            tool: tool.as_str().into(),
            price: *price,
            charged: 0,
            outcome,
        });
        Settlement {
            call: self.hold.call,
            key: key.clone(),
            kind: ResolutionKind::Released,
            kept: self.hold.kept_by_release(),
            charged: 0,
            ends: ends.collect(),
            show: Show::BALANCE,
            keep: None,
        }
    }

    /// Its release because nobody has ended it.
    pub(super) fn expiry(&self) -> AskedEnd {
        let word = ResolutionKind::Expired.word();
        let ends = self.calls.iter().map(|(tool, price, _, _)| CallEnd {
            tool: tool.as_str().into(),
            price: *price,
            charged: 0,
            outcome: word,
        });
        let (ends, kept): (Vec<CallEnd>, _) = (ends.collect(), self.hold.kept_by_release());
        AskedEnd::release(self.hold.call, word, kept, &self.accounts, &ends)
    }
}

/// The holds that the sweep names, and how many they are with those that cannot be read.
pub(super) fn late_holds(reply: &Reply) -> (Vec<Record>, usize) {
    let Some(Value::Array(values)) = reply.rest.first() else { return (Vec::new(), 0) };
    let words: Vec<String> = values.iter().cloned().filter_map(text).collect();
    let pairs = words.chunks_exact(2).filter_map(|pair| {
        let [call, record] = pair else { return None };
        let call = CallId::parse(&format!("call_{call}"))?;
        Record::read(call, record)
    });
    (pairs.collect(), words.len() / 2)
}

impl Books {
    /// The open hold of a call, and its tenant.
    async fn held(&self, call: CallId) -> Result<Option<(String, Record)>, StoreError> {
        let (known, field) = (self.memory().known.clone(), call_text(&call));
        for chunk in known.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for namespace in chunk {
                commands.cmd("HGET").arg(Names::of(namespace).holds()).arg(&field);
            }
            let found: Vec<Option<String>> = self.link.ask_all(&commands).await?;
            let mut found = chunk.iter().zip(found).filter_map(|(namespace, record)| {
                Some((namespace.clone(), Record::read(call, record.as_deref()?)?))
            });
            if let Some(found) = found.next() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The call with an id, ended or not.
    pub(super) async fn find_call(&self, call: CallId) -> Result<Option<FoundCall>, StoreError> {
        // It may end between the two looks: first where it is before.
        let held = self.held(call).await?;
        self.catch_up().await?;
        if let Some(found) = self.copy.find_call(call).await? {
            return Ok(Some(found));
        }
        let payer = held.and_then(|(_, record)| KeyId::parse(record.accounts.first()?.as_str()));
        Ok(payer.map(|key| FoundCall {
            call,
            key,
            charged: 0,
            state: CallState::Open,
            tools: Vec::new(),
            reversal: None,
            seen: 0,
        }))
    }

    /// All that is known of a call.
    pub(super) async fn explain_call(
        &self,
        call: CallId,
    ) -> Result<Option<ExplainedCall>, StoreError> {
        let held = self.held(call).await?;
        self.catch_up().await?;
        if let Some(found) = self.copy.explain_call(call).await? {
            return Ok(Some(found));
        }
        let Some((namespace, record)) = held else { return Ok(None) };
        let Record { hold, accounts, calls, state, labels, .. } = record;
        let payer = accounts.first().map_or("", AccountId::as_str).to_owned();
        let key = match KeyId::parse(&payer) {
            Some(id) => self.key(&id).await?,
            None => None,
        };
        let item =
            |(tool, price, charged, outcome)| ExplainedItem { tool, price, charged, outcome };
        Ok(Some(ExplainedCall {
            call,
            key: payer,
            key_name: key.map(|key| key.name.clone()),
            namespace,
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            waits: state.map(|state| (state, hold.deadline)),
            hold,
            end: None,
            refund: None,
            items: calls.into_iter().map(item).collect(),
            // Its row is written by its end.
            rows: Vec::new(),
        }))
    }
}
