//! Lists: those that every instance has in memory (tenants, teams, tokens), read again when somebody
//! has changed one; and those of keys, which are read when they are asked for.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Value, cmd};
use serde::de::DeserializeOwned;

use crate::ledger::Account;
use crate::model::bounds::REDIS_CHANGES_LOOK;
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::store::record::TeamRecord;
use crate::store::redis::books::Books;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::credits::{account_of, pairs};
use crate::store::redis::records::keys;
use crate::store::{KeysPage, StoreError};

/// Read at once.
pub(in crate::store::redis) const CHUNK: usize = 256;

/// A record of a list. One that is none is told to the operator; whoever needs it is refused.
pub(in crate::store::redis) fn read<T: DeserializeOwned>(id: &str, record: &str) -> Option<T> {
    let read = serde_json::from_str(record);
    read.inspect_err(|error| {
        tracing::error!(target: "store", id, %error, "a record cannot be read");
    })
    .ok()
}

impl Books {
    /// Leaves a mark that a list has changed, for instances that were not told.
    pub(in crate::store::redis) async fn changed(&self) -> Result<(), StoreError> {
        self.link.ask(cmd("INCR").arg(names::CHANGES)).await
    }

    /// Looks now and then whether somebody has changed a list.
    pub(in crate::store::redis) async fn follow_lists(self: Arc<Self>) {
        let mut place = 0;
        loop {
            tokio::time::sleep(REDIS_CHANGES_LOOK).await;
            let mut read = self.read_changes().await;
            let was_wrong = self.memory().trouble.is_some();
            if was_wrong && read.is_ok() {
                // It may answer and still take nothing.
                read = self.link.ask(cmd("SET").arg(names::TRIED).arg(1)).await;
            }
            self.answered(read.as_ref().err());
            self.compare_clocks();
            let looked = match read {
                Ok(()) => self.look_for_losses(&mut place).await,
                Err(error) => Err(error),
            };
            if let Err(error) = looked.and(self.keep_outbox().await) {
                tracing::debug!(target: "store", %error, "the lists could not be looked at");
            }
        }
    }

    async fn read_changes(&self) -> Result<(), StoreError> {
        let changes: Option<i64> = self.link.ask(cmd("GET").arg(names::CHANGES)).await?;
        let known = self.memory().changes;
        if changes.unwrap_or(0) == known { Ok(()) } else { self.read_lists().await }
    }

    /// Reads tenants, teams, tokens and rules for alerts.
    pub(in crate::store::redis) async fn read_lists(&self) -> Result<(), StoreError> {
        let asked = self.memory().token_changes();
        let changes: Option<i64> = self.link.ask(cmd("GET").arg(names::CHANGES)).await?;
        let known: Vec<String> = self.link.ask(cmd("SMEMBERS").arg(names::NAMESPACES)).await?;
        let (mut tenants, mut teams, mut newest) = (HashMap::new(), HashMap::new(), Time::ZERO);
        for chunk in known.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for name in chunk {
                let names = Names::of(name);
                commands.cmd("HMGET").arg(names.meta()).arg("record").arg("now");
                commands.cmd("ZRANGE").arg(names.teams()).arg(0).arg(-1);
            }
            let values: Vec<Value> = self.link.ask_all(&commands).await?;
            for (name, pair) in chunk.iter().zip(values.chunks_exact(2)) {
                let [meta, ids] = pair else { continue };
                let (record, now): (Option<String>, Option<i64>) =
                    redis::from_redis_value(meta.clone()).unwrap_or_default();
                newest = newest.max(Time::from_ms(now.unwrap_or(0)));
                let tenant = record.and_then(|record| read::<Namespace>(name, &record));
                tenants.extend(tenant.map(|tenant| (name.clone(), Arc::new(tenant))));
                let ids: Vec<String> = redis::from_redis_value(ids.clone()).unwrap_or_default();
                teams.extend(self.read_teams(name, &ids).await?);
            }
        }
        let tokens = self.read_tokens().await?;
        self.read_alert_rules().await?;
        let mut memory = self.memory();
        memory.put_lists(known, tenants, teams);
        if memory.put_tokens(tokens, asked) {
            memory.changes = changes.unwrap_or(0);
        }
        memory.saw_time(newest);
        Ok(())
    }

    async fn read_teams(
        &self,
        namespace: &str,
        ids: &[String],
    ) -> Result<Vec<(TeamId, Arc<Team>)>, StoreError> {
        let (names, mut teams) = (Names::of(namespace), Vec::with_capacity(ids.len()));
        let ids: Vec<TeamId> = ids.iter().filter_map(|id| TeamId::parse(id)).collect();
        for chunk in ids.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for id in chunk {
                let account = names.account(&id.account());
                commands.cmd("HMGET").arg(account).arg("rev").arg("record");
            }
            let rows: Vec<Vec<Option<String>>> = self.link.ask_all(&commands).await?;
            for (id, row) in chunk.iter().zip(rows) {
                let [Some(revision), Some(record)] = row.as_slice() else { continue };
                let record = read::<TeamRecord>(id.as_str(), record);
                if let Some((record, revision)) = record.zip(revision.parse().ok()) {
                    teams.push((id.clone(), Arc::new(record.team(id.clone(), revision))));
                }
            }
        }
        Ok(teams)
    }

    /// All keys with their accounts in order of creation.
    pub(in crate::store::redis) async fn all_keys(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.keys_page(namespace, after, CHUNK).await?;
            keys.extend(page.keys);
            after = page.next;
            if after.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Some keys in order of creation: the first ones after a place.
    pub(in crate::store::redis) async fn keys_page(
        &self,
        namespace: Option<&str>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<KeysPage, StoreError> {
        self.expect_whole(namespace).await?;
        let list = namespace.map_or_else(|| names::KEYS.to_owned(), |own| Names::of(own).keys());
        let after = after.map_or_else(|| "-inf".to_owned(), |after| format!("({after}"));
        let mut range = cmd("ZRANGEBYSCORE");
        range.arg(list).arg(after).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        let found: Vec<(String, i64)> = self.link.ask(&range).await?;
        let next = found.last().filter(|_| found.len() >= limit).map(|(_, place)| *place);
        let ids: Vec<(String, KeyId)> = found
            .iter()
            .filter_map(|(member, _)| match (namespace, member.split_once(' ')) {
                (Some(own), None) => Some((own.to_owned(), KeyId::parse(member)?)),
                (None, Some((own, id))) => Some((own.to_owned(), KeyId::parse(id)?)),
                (Some(_), Some(_)) | (None, None) => None,
            })
            .collect();
        Ok(KeysPage { keys: self.read_keys(&ids).await?, next })
    }

    /// Some keys with their accounts as they are now; those that are not there are left out.
    pub(in crate::store::redis) async fn read_keys(
        &self,
        ids: &[(String, KeyId)],
    ) -> Result<Vec<(Arc<Key>, Account)>, StoreError> {
        let mut commands = redis::pipe();
        for (own, id) in ids {
            commands.cmd("HGETALL").arg(Names::of(own).account(&id.account()));
        }
        let rows: Vec<Value> =
            if ids.is_empty() { Vec::new() } else { self.link.ask_all(&commands).await? };
        let one = |((own, id), row): (&(String, KeyId), Value)| {
            let fields = pairs(row);
            let field = |name: &&str| {
                let found = fields.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            };
            let record: Vec<Option<String>> = keys::FIELDS.iter().map(field).collect();
            let key = keys::read(id, own, &record)?;
            Ok(key.map(|key| (Arc::new(key), account_of(&fields))))
        };
        ids.iter().zip(rows).filter_map(|row| one(row).transpose()).collect()
    }
}
