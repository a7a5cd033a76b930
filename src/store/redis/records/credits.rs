//! Credits and refunds, and what accounts show.

use redis::{Value, cmd};
use serde_json::json;

use crate::ledger::{Account, CreditKind, Window, names};
use crate::model::ids::{AccountId, KeyId};
use crate::model::team::TeamId;
use crate::model::time::Time;
use crate::store::detail::{DetailText, accounts_list, postings_list};
use crate::store::redis::asked::shown_field;
use crate::store::redis::books::Books;
use crate::store::redis::calls::call_text;
use crate::store::redis::counters;
use crate::store::redis::link::text;
use crate::store::redis::names::Names;
use crate::store::redis::records::deeds::{Done, Plan};
use crate::store::{Credited, Deed, FoundCall, Reading, Show, StoreError};

impl Plan {
    /// Adds to a balance; `amount` may be the word for all that is left.
    pub(in crate::store::redis) fn credit(
        &mut self,
        place: usize,
        account: &AccountId,
        amount: &serde_json::Value,
        kind: &'static str,
        reason: Option<&str>,
    ) {
        let mut detail = String::new();
        DetailText::of(&mut detail, |detail| detail.reason(reason));
        self.credits.push(json!({
            "key": place, "account": account.as_str(), "amount": amount, "kind": kind,
            "detail": detail,
        }));
    }
}

impl Books {
    /// Adds or corrects credits.
    pub(in crate::store::redis) async fn credit(
        &self,
        id: &KeyId,
        amount: i64,
        kind: CreditKind,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError> {
        let key = self.key(id).await?.ok_or(StoreError::NotFound)?;
        let word = match kind {
            CreditKind::Grant if amount < 0 => return Err(StoreError::OutOfRange),
            CreditKind::Grant => "grant",
            CreditKind::Adjustment => "adjust",
        };
        let names = Names::of(&key.namespace);
        let mut plan = Plan::new(&names, &key.namespace, deed.once)?;
        let account = plan.key(names.account(&id.account()));
        if amount != 0 {
            plan.credit(account, &id.account(), &json!(amount), word, deed.reason.as_deref());
        }
        plan.is_there(account);
        plan.audit(deed.audit);
        (plan.show, plan.tells) = (Some(account), true);
        match self.act(plan, now).await? {
            Done::Now(balance) => Ok(Credited::Made(balance)),
            Done::Before(balance, _) | Done::Refunded(balance) => Ok(Credited::Repeated(balance)),
        }
    }

    /// Gives back what a call kept.
    pub(in crate::store::redis) async fn refund(
        &self,
        found: FoundCall,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError> {
        let key = self.key(&found.key).await?.ok_or(StoreError::NotFound)?;
        let FoundCall { call, reversal, tools, .. } = found;
        let reversal = reversal.ok_or(StoreError::NotOpen)?;
        let (names, payer) = (Names::of(&key.namespace), key.id.account());
        let mut plan = Plan::new(&names, &key.namespace, deed.once)?;
        let account = plan.key(names.account(&payer));
        let mut postings = String::new();
        let others = postings_list(&mut postings, &reversal.postings, &payer);
        let mut places = vec![account];
        places.extend(others.iter().map(|other| plan.key(names.account(other))));
        let mut others_text = String::new();
        accounts_list(&mut others_text, &others);
        let mut detail = String::new();
        DetailText::of(&mut detail, |detail| {
            detail.reversal(&reversal, &payer);
            detail.calls(&tools);
            detail.reason(deed.reason.as_deref());
        });
        let postings: serde_json::Value = serde_json::from_str(&postings)
            .map_err(|error| StoreError::Read(format!("a refund cannot be written: {error}")))?;
        let (refunds, credits) = (plan.key(names.refunds()), reversal.credits());
        plan.refund = Some(json!({
            "key": account, "call": call_text(&call), "account": payer.as_str(),
            "held_at": reversal.held_at.ms(), "postings": postings, "accounts": places,
            "done": refunds, "amount": credits, "detail": detail,
        }));
        plan.is_there(account);
        plan.audit(deed.audit);
        (plan.show, plan.tells) = (Some(account), true);
        match self.act(plan, now).await? {
            Done::Now(balance) => {
                self.memory().moved.refunded(credits);
                Ok(Credited::Made(balance))
            }
            Done::Before(balance, _) | Done::Refunded(balance) => Ok(Credited::Repeated(balance)),
        }
    }

    /// All that an account has in Redis, its record too.
    pub(in crate::store::redis) async fn fields_of(
        &self,
        namespace: &str,
        account: &AccountId,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut get = cmd("HGETALL");
        get.arg(Names::of(namespace).account(account));
        let value: Value = self.link.ask(&get).await?;
        Ok(pairs(value))
    }

    /// A key's account.
    pub(in crate::store::redis) async fn account(&self, id: &KeyId) -> Result<Account, StoreError> {
        let namespace = self.place_of(id).await?.ok_or(StoreError::NotFound)?;
        let fields = self.fields_of(&namespace, &id.account()).await?;
        if !fields.iter().any(|(name, _)| name == "rev") {
            self.expect_gone(&namespace, id).await?;
            return Err(StoreError::NotFound);
        }
        Ok(account_of(&fields))
    }

    /// A team's account.
    pub(in crate::store::redis) async fn team_account(
        &self,
        id: &TeamId,
    ) -> Result<Account, StoreError> {
        let namespace = self.memory().teams.get(id).map(|team| team.namespace.clone());
        let namespace = namespace.ok_or(StoreError::NotFound)?;
        let fields = self.fields_of(&namespace, &id.account()).await?;
        if fields.is_empty() {
            self.expect_whole(Some(&namespace)).await?;
        }
        Ok(account_of(&fields))
    }

    /// What a key's account shows now.
    pub(in crate::store::redis) async fn read(
        &self,
        id: &KeyId,
        show: Show,
        now: Time,
    ) -> Result<Reading, StoreError> {
        let Some(namespace) = self.place_of(id).await? else {
            return Ok(Reading::of(None, &show, now));
        };
        let names = Names::of(&namespace);
        let rate = shown_field(&show);
        let balance = counters::field(&names::BALANCE, Window::Lifetime);
        let mut commands = redis::pipe();
        commands.cmd("HMGET").arg(names.account(&id.account())).arg(&[&*balance, &*rate]);
        commands.cmd("HGET").arg(names.meta()).arg("now");
        let (values, ledger): (Vec<Option<String>>, Option<i64>) =
            self.link.ask_all(&commands).await?;
        if values.first().is_none_or(Option::is_none) {
            // A balance of nothing is not to be shown for one that is lost.
            self.expect_whole(Some(&namespace)).await?;
        }
        let value = |index: usize| values.get(index).cloned().flatten().unwrap_or_default();
        let account = counters::shown(&value(0), &rate, &value(1));
        let seen = Time::from_ms(ledger.unwrap_or(0));
        Ok(Reading::of(Some(&account), &show, self.ledger_now(now).max(seen)))
    }
}

/// The fields of a hash, those that are text.
pub(in crate::store::redis) fn pairs(value: Value) -> Vec<(String, String)> {
    let words: Vec<String> = match value {
        Value::Array(values) => values.into_iter().filter_map(text).collect(),
        Value::Map(pairs) => {
            let words = pairs.into_iter().flat_map(|(name, value)| [text(name), text(value)]);
            words.flatten().collect()
        }
        _ => Vec::new(),
    };
    let pair = |pair: &[String]| Some((pair.first()?.clone(), pair.get(1)?.clone()));
    words.chunks_exact(2).filter_map(pair).collect()
}

pub(in crate::store::redis) fn account_of(fields: &[(String, String)]) -> Account {
    counters::account(fields.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}
