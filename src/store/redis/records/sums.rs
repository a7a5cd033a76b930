//! What the keys of each tenant come to, added up when it is asked for: a few hundred keys at a time,
//! of which only the record, the balance and what was spent are read.

use std::collections::HashMap;

use redis::cmd;

use crate::ledger::{Window, names as counters_of};
use crate::model::bounds::TENANT_KEYS_AT_ONCE;
use crate::model::ids::KeyId;
use crate::model::namespace::TenantSum;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::redis::books::Books;
use crate::store::redis::counters;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::keys;

impl Books {
    /// The sums of all tenants that have keys, in the order of their first ones.
    pub(in crate::store::redis) async fn tenant_sums(
        &self,
        now: Time,
    ) -> Result<Vec<TenantSum>, StoreError> {
        let (mut sums, mut places) = (Vec::<TenantSum>::new(), HashMap::<String, usize>::new());
        let mut after = "-inf".to_owned();
        loop {
            let mut range = cmd("ZRANGEBYSCORE");
            range.arg(names::KEYS).arg(&after).arg("+inf").arg("WITHSCORES");
            range.arg("LIMIT").arg(0).arg(TENANT_KEYS_AT_ONCE);
            let found: Vec<(String, i64)> = self.link.ask(&range).await?;
            let Some((_, last)) = found.last() else { return Ok(sums) };
            after = format!("({last}");
            let ids = found.iter().filter_map(|(member, _)| {
                let (namespace, id) = member.split_once(' ')?;
                Some((namespace, KeyId::parse(id)?))
            });
            let ids: Vec<(&str, KeyId)> = ids.collect();
            for ((namespace, id), fields) in ids.iter().zip(self.fields_for_sum(&ids).await?) {
                let (record, money) = fields.split_at(fields.len().min(keys::FIELDS.len()));
                let Some(key) = keys::read(id, namespace, record)? else { continue };
                let place = *places.entry((*namespace).to_owned()).or_insert_with(|| {
                    sums.push(TenantSum::empty(namespace));
                    sums.len().saturating_sub(1)
                });
                let Some(sum) = sums.get_mut(place) else { continue };
                let amount = |index: usize| {
                    let text = money.get(index).cloned().flatten();
                    text.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
                };
                let has_expired = key.expires_at.is_some_and(|end| end <= now);
                let is_usable = key.active && !key.suspended && !has_expired;
                sum.keys = sum.keys.saturating_add(1);
                sum.usable = sum.usable.saturating_add(usize::from(is_usable));
                sum.available = sum.available.saturating_add(amount(0));
                sum.spent = sum.spent.saturating_add(amount(1));
            }
            if found.len() < TENANT_KEYS_AT_ONCE {
                return Ok(sums);
            }
        }
    }

    /// Record, balance and what was spent of some keys.
    async fn fields_for_sum(
        &self,
        ids: &[(&str, KeyId)],
    ) -> Result<Vec<Vec<Option<String>>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let money = [&counters_of::BALANCE, &counters_of::SPENT]
            .map(|name| counters::field(name, Window::Lifetime));
        let mut commands = redis::pipe();
        for (namespace, id) in ids {
            let account = Names::of(namespace).account(&id.account());
            commands.cmd("HMGET").arg(account).arg(&keys::FIELDS).arg(&money);
        }
        self.link.ask_all(&commands).await
    }
}
