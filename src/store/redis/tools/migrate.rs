//! `paygate migrate`: whole books from a file into Redis, or from Redis into a file. While they move nobody
//! sells from either: the file is locked, and every tenant in Redis is closed, which all scripts ask for.
//! What has arrived is read again and compared with what left, before anybody may open it. Whoever is
//! stopped half way begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use redis::cmd;

use crate::model::ids::AccountId;
use crate::model::time::Time;
use crate::store::image::{Image, Record};
use crate::store::local::copied_told::ToldToken;
use crate::store::local::whole::WholeFile;
use crate::store::redis::books::random;
use crate::store::redis::journals::epochs::Was;
use crate::store::redis::journals::journal::{ROWS, common_row};
use crate::store::redis::link::shown_url;
use crate::store::redis::names::{self, Names};
use crate::store::redis::tools::foreign::is_foreign;
use crate::store::redis::tools::put::Head;
use crate::store::redis::tools::verify::verify;
use crate::store::redis::tools::whole::Whole;
use crate::store::redis::{
    RedisClock, RedisOpenError, RedisOptions, RedisPlace, RedisReach, RedisStore,
};
use crate::store::told::Told;
use crate::store::{Store, StoreError, clock};

/// Why books did not move. They are where they were.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// One of the two cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They may not move now, or not there.
    #[error("{0}; nothing was moved")]
    Refused(String),
    /// What arrived is not what left.
    #[error("what arrived is not what left, so nobody may open it:\n  {0}")]
    Different(String),
}

/// What moved.
#[derive(Debug, Default)]
pub struct Moved {
    tenants: usize,
    keys: usize,
    teams: usize,
    pub(in crate::store::redis) rows: u64,
    /// Credits that all keys own.
    credits: i64,
    /// Holds that wait for their customers.
    waiting: usize,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenants, keys, teams, rows, credits, waiting } = self;
        write!(
            f,
            "moved: {tenants} tenants, {keys} keys with {credits} credits, {teams} teams, {waiting} calls that wait, \
             {rows} journal rows\nboth sides were compared account by account: they are the same"
        )
    }
}

impl Moved {
    pub(in crate::store::redis) fn of(images: &BTreeMap<String, Image>) -> Self {
        let mut moved = Self { tenants: images.len(), ..Self::default() };
        for image in images.values() {
            moved.keys = moved.keys.saturating_add(image.keys.len());
            moved.teams = moved.teams.saturating_add(image.teams.len());
            moved.waiting = moved.waiting.saturating_add(image.calls.len());
            for id in image.keys.keys() {
                let owned = image.accounts.get(id).map_or(0, crate::ledger::Account::balance);
                moved.credits = moved.credits.saturating_add(owned);
            }
        }
        moved
    }
}

/// What instances say of books that are on their way. Its beginning tells a migration that was stopped.
pub(in crate::store::redis) const MOVING: &str = "`paygate migrate` is moving them";

/// Moves the books of a file into an empty Redis.
pub async fn migrate_to_redis(from: &Path, at: &RedisPlace) -> Result<Moved, MigrateError> {
    let whole = Whole::open(at).await?;
    let is_begun = whole.may_receive().await?;
    let file = WholeFile::open(from)?;
    let moved = match file.moved()?.filter(|_| !is_begun) {
        Some(to) => Err(MigrateError::Refused(format!(
            "the books of {} have moved to {to} already",
            from.display()
        ))),
        None => into_redis(&whole, &file, at).await,
    };
    file.close().await?;
    moved
}

async fn into_redis(
    whole: &Whole,
    file: &WholeFile,
    at: &RedisPlace,
) -> Result<Moved, MigrateError> {
    let images = file.images()?;
    whole.begin_receiving(&images).await?;
    let mut moved = Moved::of(&images);
    let last_rows = send_rows(whole, file, &images).await?;
    moved.rows = last_rows.values().fold(0, |sum, last| sum.saturating_add(last.unsigned_abs()));
    for (namespace, image) in &images {
        let present = whole.snapshot(namespace, &deleted(image)).await?;
        whole.put(namespace, &present, image).await?;
        let seq = last_rows.get(namespace).copied().unwrap_or(0);
        let head = Head { epoch: hex::encode(random::<16>()?), was: Was::default(), seq };
        whole.write_meta(namespace, image, &head).await?;
    }
    whole.put_common(&file.seal(), &file.tokens()?).await?;
    let rules = file.rules()?;
    let () = whole.link.ask(cmd("HSET").arg(names::ALERTS).arg("rules").arg(rules)).await?;
    for (namespace, image) in &images {
        let arrived = whole.snapshot(namespace, &deleted(image)).await?;
        same(namespace, &arrived.image, image)?;
        if let Some(strange) = arrived.strange.first() {
            return Err(MigrateError::Different(format!("{namespace}: {strange}")));
        }
    }
    let report = verify(at, &[]).await?;
    if !report.is_clean() {
        return Err(MigrateError::Different(report.to_string()));
    }
    // Before anybody may sell from there.
    file.note_moved(&shown_url(&at.url))?;
    for namespace in images.keys() {
        whole.reopen(namespace).await?;
    }
    let () = whole.link.ask(cmd("DEL").arg(names::CLOSED)).await?;
    whole.changed().await?;
    Ok(moved)
}

/// Deleted keys, which no list in Redis names.
fn deleted(image: &Image) -> Vec<AccountId> {
    image.deleted.keys().cloned().collect()
}

pub(in crate::store::redis) fn same(
    namespace: &str,
    arrived: &Image,
    left: &Image,
) -> Result<(), MigrateError> {
    match arrived.differences(left).first() {
        None => Ok(()),
        Some(found) => {
            let (what, has, says) = (&found.what, &found.has, &found.says);
            let text = format!("{namespace}: {what}: there it is {has}, here it was {says}");
            Err(MigrateError::Different(text))
        }
    }
}

/// Sends the journals, and behind them a row for each record; the last row of each tenant.
async fn send_rows(
    whole: &Whole,
    file: &WholeFile,
    images: &BTreeMap<String, Image>,
) -> Result<BTreeMap<String, i64>, MigrateError> {
    let mut sending = Sending { whole, last: BTreeMap::new(), waiting: BTreeMap::new() };
    let (mut place, mut audit) = (file.rows()?, Vec::new());
    let (mut audit_after, mut audit_over) = (0, false);
    loop {
        let rows = file.next_rows(&mut place)?;
        let until = rows.as_ref().and_then(|rows| rows.last()).map(|(_, told)| told.at);
        // Entries of the audit log stand between the rows by their time.
        while !audit_over
            && audit.last().is_none_or(|entry: &Noted| until.is_none_or(|until| entry.at <= until))
        {
            let more = file.audit(audit_after)?;
            audit_over = more.is_empty();
            audit_after = more.last().map_or(audit_after, |(id, ..)| *id);
            audit.extend(more.into_iter().map(|(_, namespace, at, text)| Noted {
                namespace: namespace.filter(|name| images.contains_key(name)),
                at: Time::from_ms(at),
                text,
            }));
        }
        let is_over = rows.is_none();
        let mut noted = audit.into_iter().peekable();
        for (namespace, told) in rows.into_iter().flatten() {
            while let Some(note) = noted.next_if(|note| note.at <= told.at) {
                sending.note(note).await?;
            }
            if !images.contains_key(&namespace) {
                let account = &told.account;
                let what =
                    format!("the journal names {account}, which is in no list of keys or teams");
                return Err(MigrateError::Refused(what));
            }
            sending.row(&namespace, told).await?;
        }
        if is_over {
            for note in noted {
                sending.note(note).await?;
            }
            break;
        }
        audit = noted.collect();
    }
    for (namespace, image) in images {
        for told in record_rows(namespace, image) {
            sending.row(namespace, told).await?;
        }
    }
    sending.flush_all().await?;
    Ok(sending.last)
}

/// An entry of the audit log on its way.
struct Noted {
    namespace: Option<String>,
    at: Time,
    text: String,
}

/// Rows on their way, numbered for each tenant.
struct Sending<'a> {
    whole: &'a Whole,
    last: BTreeMap<String, i64>,
    waiting: BTreeMap<String, Vec<Told>>,
}

impl Sending<'_> {
    async fn row(&mut self, namespace: &str, mut told: Told) -> Result<(), StoreError> {
        let last = self.last.entry(namespace.to_owned()).or_default();
        *last = last.saturating_add(1);
        told.row = *last;
        let waiting = self.waiting.entry(namespace.to_owned()).or_default();
        waiting.push(told);
        if waiting.len() >= ROWS {
            let rows = std::mem::take(waiting);
            self.whole.append(&Names::of(namespace), &rows).await?;
        }
        Ok(())
    }

    async fn note(&mut self, note: Noted) -> Result<(), StoreError> {
        let Noted { namespace, at, text } = note;
        if let Some(namespace) = namespace {
            return self.row(&namespace, told("audit", at, "", text, String::new())).await;
        }
        self.whole
            .link
            .ask::<Option<String>>(&common_row("audit", at.ms(), "", &text)?)
            .await
            .map(drop)
    }

    async fn flush_all(&mut self) -> Result<(), StoreError> {
        for (namespace, rows) in std::mem::take(&mut self.waiting) {
            self.whole.append(&Names::of(&namespace), &rows).await?;
        }
        Ok(())
    }
}

fn told(kind: &str, at: Time, account: &str, detail: String, more: String) -> Told {
    let (kind, account) = (kind.to_owned(), account.to_owned());
    let (call, labels) = (String::new(), String::new());
    Told { row: 0, at, kind, call, account, amount: 0, detail, labels, more }
}

/// A row for a key's record with its place.
pub(in crate::store::redis) fn key_row(
    at: Time,
    id: &AccountId,
    place: i64,
    record: &Record,
) -> Told {
    let old = if record.old.is_empty() { "-" } else { &record.old };
    let more = format!("{} {} {old} {place}", record.revision, record.digest);
    told("key", at, id.as_str(), record.text.clone(), more)
}

/// A row for each record, as if it had just been made.
fn record_rows(namespace: &str, image: &Image) -> Vec<Told> {
    let mut rows = Vec::new();
    let at = image.now;
    if let Some(Record { revision, text, .. }) = &image.record {
        rows.push(told("namespace", at, namespace, text.clone(), revision.to_string()));
    }
    for (id, (place, record)) in &image.keys {
        rows.push(key_row(at, id, *place, record));
    }
    for (id, Record { revision, text, .. }) in &image.teams {
        rows.push(told("team", at, id.as_str(), text.clone(), revision.to_string()));
    }
    for (id, gone) in &image.deleted {
        rows.push(told("deleted", *gone, id.as_str(), "{}".to_owned(), String::new()));
    }
    for (id, once) in &image.once {
        let more = format!("{id} {} {}", once.request, once.until.ms());
        let mut row = told("once", at, "", once.note.clone(), more);
        row.amount = once.balance;
        rows.push(row);
    }
    rows
}

impl Whole {
    /// Is there room for other books? Was a migration begun that comes here?
    async fn may_receive(&self) -> Result<bool, MigrateError> {
        if is_foreign(&self.link).await? {
            let what = "this database holds the keys of paygate-mcp under the same names (pg:…): choose another database \
                        number for the books of Paygate";
            return Err(MigrateError::Refused(what.to_owned()));
        }
        let known = self.namespaces().await?;
        let closed: Option<String> = self.link.ask(cmd("GET").arg(names::CLOSED)).await?;
        let is_ours = closed.is_some_and(|closed| closed == MOVING);
        if !known.is_empty() && !is_ours {
            let tenants = known.len();
            let what =
                format!("Redis has books already, of {tenants} tenants; choose an empty database");
            return Err(MigrateError::Refused(what));
        }
        for namespace in &known {
            let meta = Names::of(namespace).meta();
            let closed: Option<String> = self.link.ask(cmd("HGET").arg(meta).arg("closed")).await?;
            if closed.as_deref() != Some(MOVING) {
                let what = "an earlier migration had moved all and was stopped while it opened the books; nothing is left \
                            to be moved: delete the key pg:closed and the field closed of every pg:{…}:meta";
                return Err(MigrateError::Refused(what.to_owned()));
            }
        }
        Ok(is_ours)
    }

    /// Closes what is to come, and takes away what an earlier attempt has left.
    async fn begin_receiving(&self, images: &BTreeMap<String, Image>) -> Result<(), StoreError> {
        let () = self.link.ask(cmd("SET").arg(names::CLOSED).arg(MOVING)).await?;
        let left = self.namespaces().await?;
        for namespace in images.keys().chain(&left).collect::<BTreeSet<_>>() {
            self.close(namespace, MOVING).await?;
            let () = self.link.ask(cmd("DEL").arg(Names::of(namespace).journal())).await?;
            if !images.contains_key(namespace) {
                let present = self.snapshot(namespace, &[]).await?;
                self.put(namespace, &present, &Image::default()).await?;
                let () = self.link.ask(cmd("DEL").arg(Names::of(namespace).meta())).await?;
                let () = self.link.ask(cmd("SREM").arg(names::NAMESPACES).arg(namespace)).await?;
            }
        }
        for name in [names::KEYS, names::TOKENS, names::JOURNAL, names::ORDER] {
            let () = self.link.ask(cmd("DEL").arg(name)).await?;
        }
        Ok(())
    }

    /// What belongs to no tenant.
    async fn put_common(&self, seal: &[u8], tokens: &[ToldToken]) -> Result<(), StoreError> {
        let () = self.link.ask(cmd("SET").arg(names::SEAL).arg(seal)).await?;
        for (id, digest, record) in tokens {
            let record = format!("{{\"digest\":\"{digest}\",\"record\":{record}}}");
            let () = self.link.ask(cmd("HSET").arg(names::TOKENS).arg(id).arg(&record)).await?;
            let told = common_row("token", clock::now().ms(), id, &record)?;
            let _: Option<String> = self.link.ask(&told).await?;
        }
        Ok(())
    }
}

/// Makes an instance's copy of the journals, before any of their rows leaves Redis.
pub async fn copy_journals(at: &RedisPlace, to: &Path) -> Result<(), RedisOpenError> {
    let (url, clock) = (at.url.clone(), RedisClock::Server);
    let reach = RedisReach { ca: at.ca.clone(), ..RedisReach::default() };
    let copy = Some(to.to_owned());
    let options = RedisOptions { url, reach, clock, copy };
    let store = RedisStore::open(&options).await?;
    let copied = store.roll_up_usage(Vec::new()).await;
    store.close().await?;
    Ok(copied?)
}
