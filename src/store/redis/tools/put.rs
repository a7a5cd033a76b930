//! Writing a whole tenant into Redis, while its books are closed: every script refuses them then. Each
//! step only adds what is to be there or takes away what is not, so whoever is stopped begins again.

use std::collections::BTreeMap;

use redis::{Pipeline, cmd};
use serde_json::Value;

use crate::ledger::Account;
use crate::model::ids::AccountId;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::image::{Image, KeptAnswer, Record};
use crate::store::redis::counters;
use crate::store::redis::journals::epochs::Was;
use crate::store::redis::journals::journal::{Entry, Row};
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::hints;
use crate::store::redis::records::lists::CHUNK;
use crate::store::redis::texts::{kept_answer_text, once_done_text, open_call_text};
use crate::store::redis::tools::whole::{Snapshot, Whole, dues, waiting};
use crate::store::told::Told;

/// Hex digits of a mark, as in `lua/common.lua`.
const MARK_LEN: usize = 12;

/// Which books they are from now on.
pub(in crate::store::redis) struct Head {
    pub(in crate::store::redis) epoch: String,
    pub(in crate::store::redis) was: Was,
    pub(in crate::store::redis) seq: i64,
}

impl Whole {
    /// Closes a tenant's books; `why` is what instances say then.
    pub(in crate::store::redis) async fn close(
        &self,
        namespace: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        let () = self.link.ask(cmd("SADD").arg(names::NAMESPACES).arg(namespace)).await?;
        let meta = Names::of(namespace).meta();
        self.link.ask(cmd("HSET").arg(meta).arg("closed").arg(why)).await
    }

    /// Opens them again as they are.
    pub(in crate::store::redis) async fn reopen(&self, namespace: &str) -> Result<(), StoreError> {
        let meta = Names::of(namespace).meta();
        self.link.ask(cmd("HDEL").arg(meta).arg("closed")).await
    }

    /// Opens them with all that is in the image and a mark of their own.
    pub(in crate::store::redis) async fn open_as(
        &self,
        namespace: &str,
        image: &Image,
        head: &Head,
    ) -> Result<(), StoreError> {
        self.write_meta(namespace, image, head).await?;
        self.reopen(namespace).await?;
        self.changed().await
    }

    /// Lists that instances have in memory are read again.
    pub(in crate::store::redis) async fn changed(&self) -> Result<(), StoreError> {
        self.link.ask(cmd("INCRBY").arg(names::CHANGES).arg(1_000_003)).await
    }

    /// The tenant's own record, its mark, and how far its journal goes.
    pub(in crate::store::redis) async fn write_meta(
        &self,
        namespace: &str,
        image: &Image,
        head: &Head,
    ) -> Result<(), StoreError> {
        let meta = Names::of(namespace).meta();
        let parked = image.calls.values().filter(|call| call.state.is_some()).count();
        let mut commands = redis::pipe();
        commands.atomic();
        let fields = [
            ("now", image.now.ms().to_string()),
            ("seq", head.seq.to_string()),
            ("epoch", head.epoch.clone()),
            ("was", head.was.text()),
            ("parked", parked.to_string()),
            ("mark", self.mark(&Names::of(namespace), head).await?),
        ];
        commands.hset_multiple(&meta, &fields).ignore();
        // Whoever has seen more gives it up, or finds by `was` that it is there again.
        commands.hdel(&meta, "lost").ignore();
        match &image.record {
            Some(Record { revision, text, .. }) => {
                let record = [("rev", revision.to_string()), ("record", text.clone())];
                commands.hset_multiple(&meta, &record).ignore();
            }
            None => drop(commands.hdel(&meta, &["rev", "record"]).ignore()),
        }
        self.link.ask_all(&commands).await
    }

    /// The mark of the last row, as instances compare it. Rows that are written here have none; behind them
    /// marks begin anew.
    async fn mark(&self, names: &Names, head: &Head) -> Result<String, StoreError> {
        let (mut range, id) = (cmd("XRANGE"), format!("{}-0", head.seq.max(0)));
        range.arg(names.journal()).arg(&id).arg(&id);
        let last: Vec<Entry> = self.link.ask(&range).await?;
        let mark = last.first().and_then(Row::read).map(|row| row.mark);
        let new = || head.epoch.chars().take(MARK_LEN).collect();
        Ok(mark.filter(|mark| !mark.is_empty()).unwrap_or_else(new))
    }

    /// Appends rows to the journal with the numbers that they have.
    pub(in crate::store::redis) async fn append(
        &self,
        names: &Names,
        rows: &[Told],
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for told in chunk {
                commands.add_command(row(names, told)).ignore();
            }
            let () = self.link.ask_all(&commands).await?;
        }
        Ok(())
    }

    /// Makes a tenant's books what the image says.
    pub(in crate::store::redis) async fn put(
        &self,
        namespace: &str,
        present: &Snapshot,
        image: &Image,
    ) -> Result<(), StoreError> {
        let names = Names::of(namespace);
        let mut writing = Writing { whole: self, commands: redis::pipe(), count: 0 };
        for (id, account) in &image.accounts {
            let known = present.fields.get(id).map(Vec::as_slice).unwrap_or_default();
            let mut wanted = fields_of(image, id, account);
            // What is out on lease stays so.
            present.leases.take_out(id, known, &mut wanted);
            writing.hash(&names.account(id), known, &wanted).await?;
        }
        for (id, fields) in &present.fields {
            if !image.accounts.contains_key(id) {
                writing.hash(&names.account(id), fields, &BTreeMap::new()).await?;
            }
        }
        let places = image.keys.iter().map(|(id, (place, _))| (id, *place)).collect();
        writing.list(&names.keys(), present.image.keys.keys(), &places).await?;
        let teams = image.teams.iter().map(|(id, record)| (id, created(record))).collect();
        writing.list(&names.teams(), present.image.teams.keys(), &teams).await?;
        self.put_remembered(&mut writing, &names, (&present.image, image)).await?;
        writing.flush().await?;
        hints::write(&self.link, namespace, image).await
    }

    /// Open calls, answers, what was done once, refunds, and when each of them ends.
    async fn put_remembered(
        &self,
        writing: &mut Writing<'_>,
        names: &Names,
        (present, image): (&Image, &Image),
    ) -> Result<(), StoreError> {
        for (call, open) in &image.calls {
            writing.set(&names.holds(), call, open_call_text(open).into_bytes()).await?;
        }
        for (id, kept) in &image.kept {
            writing.set(&names.kept(), id, kept_answer_text(kept)).await?;
        }
        for (payer, (answers, size)) in room(&image.kept) {
            let (answers, size) = (answers.to_string(), size.to_string());
            writing.set(&names.kept(), &format!("answers:{payer}"), answers.into_bytes()).await?;
            writing.set(&names.kept(), &format!("bytes:{payer}"), size.into_bytes()).await?;
        }
        for (id, once) in &image.once {
            writing.set(&names.once(), id, once_done_text(once).into_bytes()).await?;
        }
        for (call, at) in &image.refunded {
            writing.set(&names.refunds(), call, at.ms().to_string().into_bytes()).await?;
        }
        let gone = [
            (names.holds(), missing(&present.calls, &image.calls)),
            (names.kept(), missing(&present.kept, &image.kept)),
            (names.once(), missing(&present.once, &image.once)),
            (names.refunds(), missing(&present.refunded, &image.refunded)),
        ];
        for (hash, fields) in gone {
            for field in fields {
                writing.commands.hdel(&hash, field).ignore();
                writing.counted().await?;
            }
        }
        let (before, due) = (dues(present), dues(image));
        for (member, until) in &due {
            writing.commands.zadd(names.due(), member, *until).ignore();
            writing.counted().await?;
        }
        for member in missing(&before, &due) {
            writing.commands.zrem(names.due(), member).ignore();
            writing.counted().await?;
        }
        Ok(())
    }
}

/// Commands that wait to be sent.
struct Writing<'a> {
    whole: &'a Whole,
    commands: Pipeline,
    count: usize,
}

impl Writing<'_> {
    async fn counted(&mut self) -> Result<(), StoreError> {
        self.count = self.count.saturating_add(1);
        if self.count >= CHUNK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.count) > 0 {
            let commands = std::mem::replace(&mut self.commands, redis::pipe());
            let () = self.whole.link.ask_all(&commands).await?;
        }
        Ok(())
    }

    async fn set(&mut self, hash: &str, field: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.commands.hset(hash, field, value).ignore();
        self.counted().await
    }

    async fn hash(
        &mut self,
        name: &str,
        known: &[(String, String)],
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let changed = |(field, value): &(&String, &String)| {
            !known.iter().any(|(name, text)| name == *field && text == *value)
        };
        let put: Vec<_> = wanted.iter().filter(changed).collect();
        if !put.is_empty() {
            self.commands.hset_multiple(name, &put).ignore();
            self.counted().await?;
        }
        for (field, _) in known.iter().filter(|(field, _)| !wanted.contains_key(field)) {
            self.commands.hdel(name, field).ignore();
            self.counted().await?;
        }
        Ok(())
    }

    async fn list(
        &mut self,
        name: &str,
        known: impl Iterator<Item = &AccountId>,
        wanted: &BTreeMap<&AccountId, i64>,
    ) -> Result<(), StoreError> {
        for (id, place) in wanted {
            self.commands.zadd(name, id.as_str(), *place).ignore();
            self.counted().await?;
        }
        for id in known.filter(|id| !wanted.contains_key(id)) {
            self.commands.zrem(name, id.as_str()).ignore();
            self.counted().await?;
        }
        Ok(())
    }
}

/// The names that were there and are not to be.
fn missing<'a, V, W>(before: &'a BTreeMap<String, V>, after: &BTreeMap<String, W>) -> Vec<&'a str> {
    before.keys().filter(|name| !after.contains_key(*name)).map(String::as_str).collect()
}

/// The fields of an account's hash.
fn fields_of(image: &Image, id: &AccountId, account: &Account) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, text: String| drop(fields.insert(name.to_owned(), text));
    let key = image.keys.get(id).map(|(_, record)| record);
    if let Some(record) = key {
        put("digest", record.digest.clone());
        put("old", record.old.clone());
    }
    if let Some(record) = key.or_else(|| image.teams.get(id)) {
        put("rev", record.revision.to_string());
        put("record", record.text.clone());
    }
    if image.deleted.contains_key(id) {
        put("gone", "1".to_owned());
    }
    put("held", account.held().to_string());
    put("last", account.last_call().map_or(0, Time::ms).to_string());
    for (name, counter) in account.counters() {
        put(&counters::field(name, counter.window()), counters::text(counter));
    }
    let waiting = waiting(image, id);
    if waiting != 0 {
        put("parked", waiting.to_string());
    }
    fields
}

fn created(record: &Record) -> i64 {
    let record: Value = serde_json::from_str(&record.text).unwrap_or_default();
    record.get("createdAt").and_then(Value::as_i64).unwrap_or(0)
}

/// How many answers each key has, and how long they are.
fn room(kept: &BTreeMap<String, KeptAnswer>) -> BTreeMap<&AccountId, (usize, usize)> {
    let mut room: BTreeMap<&AccountId, (usize, usize)> = BTreeMap::new();
    for answer in kept.values() {
        let (answers, size) = room.entry(&answer.payer).or_default();
        *answers = answers.saturating_add(1);
        *size = size.saturating_add(answer.answer.as_ref().map_or(0, Vec::len));
    }
    room
}

fn row(names: &Names, told: &Told) -> redis::Cmd {
    let Told { row, at, kind, call, account, amount, detail, labels, more } = told;
    let mut add = cmd("XADD");
    add.arg(names.journal()).arg(format!("{row}-0")).arg("at").arg(at.ms()).arg("kind").arg(kind);
    for (name, text) in [("call", call), ("account", account)] {
        if !text.is_empty() {
            add.arg(name).arg(text);
        }
    }
    add.arg("amount").arg(amount).arg("detail").arg(detail);
    let more_is = if kind == "audit" { "balance" } else { "more" };
    for (name, text) in [("labels", labels), (more_is, more)] {
        if !text.is_empty() {
            add.arg(name).arg(text);
        }
    }
    add
}
