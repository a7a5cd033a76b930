//! `paygate migrate`: whole books from a file into Redis, or from Redis into a file. While they move nobody
//! sells from either: the file is locked, and every tenant in Redis is closed, which all scripts ask for.
//! What has arrived is read again and compared with what left, before anybody may open it. Whoever is
//! stopped half way begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use redis::cmd;
use secrecy::SecretString;

use super::books::random;
use super::copy::audit;
use super::epochs::Was;
use super::foreign::is_foreign;
use super::journal::{Entry, ROWS, Row};
use super::names::{self, Names};
use super::put::Head;
use super::sources::{Copy, Sources};
use super::verify::verify;
use super::whole::{Snapshot, Whole};
use super::{RedisClock, RedisOpenError, RedisOptions, RedisReach, RedisStore};
use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::time::Time;
use crate::store::image::{Image, Record};
use crate::store::local::copied_told::ToldToken;
use crate::store::local::new_file::NewFile;
use crate::store::local::whole::WholeFile;
use crate::store::replay::Replay;
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
    rows: u64,
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
    fn of(images: &BTreeMap<String, Image>) -> Self {
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
const MOVING: &str = "`paygate migrate` is moving them";

/// Moves the books of a file into an empty Redis.
pub async fn migrate_to_redis(from: &Path, url: &SecretString) -> Result<Moved, MigrateError> {
    let whole = Whole::open(url).await?;
    whole.may_receive().await?;
    let file = WholeFile::open(from)?;
    let moved = into_redis(&whole, &file, url).await;
    file.close().await?;
    moved
}

async fn into_redis(
    whole: &Whole,
    file: &WholeFile,
    url: &SecretString,
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
    let report = verify(url, &[]).await?;
    if !report.is_clean() {
        return Err(MigrateError::Different(report.to_string()));
    }
    for namespace in images.keys() {
        whole.reopen(namespace).await?;
    }
    let () = whole.link.ask(cmd("DEL").arg(names::CLOSED)).await?;
    whole.changed().await?;
    Ok(moved)
}

/// Deleted keys, which no list in Redis names.
fn deleted(image: &Image) -> Vec<crate::model::ids::AccountId> {
    image.deleted.keys().cloned().collect()
}

fn same(namespace: &str, arrived: &Image, left: &Image) -> Result<(), MigrateError> {
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
        match namespace {
            Some(namespace) => {
                self.row(&namespace, told("audit", at, "", text, String::new())).await
            }
            None => {
                let mut add = cmd("XADD");
                add.arg(names::JOURNAL).arg("MAXLEN").arg("~").arg(REDIS_JOURNAL_ROWS_MAX).arg("*");
                add.arg("at").arg(at.ms()).arg("kind").arg("audit").arg("amount").arg("0");
                add.arg("detail").arg(text);
                self.whole.link.ask(&add).await
            }
        }
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

/// A row for each record, as if it had just been made.
fn record_rows(namespace: &str, image: &Image) -> Vec<Told> {
    let mut rows = Vec::new();
    let at = image.now;
    if let Some(Record { revision, text, .. }) = &image.record {
        rows.push(told("namespace", at, namespace, text.clone(), revision.to_string()));
    }
    for (id, (place, record)) in &image.keys {
        let old = if record.old.is_empty() { "-" } else { &record.old };
        let more = format!("{} {} {old} {place}", record.revision, record.digest);
        rows.push(told("key", at, id.as_str(), record.text.clone(), more));
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
    /// Is there room for other books?
    async fn may_receive(&self) -> Result<(), MigrateError> {
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
        Ok(())
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
            let mut add = cmd("XADD");
            add.arg(names::JOURNAL).arg("*").arg("at").arg(clock::now().ms());
            add.arg("kind").arg("token").arg("account").arg(id).arg("amount").arg("0");
            add.arg("detail").arg(&record);
            let () = self.link.ask(&add).await?;
        }
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<ToldToken>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Token {
            digest: String,
            record: Box<serde_json::value::RawValue>,
        }
        let found: BTreeMap<String, String> =
            self.link.ask(cmd("HGETALL").arg(names::TOKENS)).await?;
        let token = |(id, text): (String, String)| {
            let Token { digest, record } = serde_json::from_str(&text)
                .map_err(|error| StoreError::Read(format!("admin token {id}: {error}")))?;
            Ok((id, digest, record.get().to_owned()))
        };
        found.into_iter().map(token).collect()
    }
}

/// Moves the books out of Redis into a new file. They stay closed there afterwards. `copies` are instances'
/// copies, for what has left the journals in Redis.
pub async fn migrate_to_file(
    url: &SecretString,
    copies: &[PathBuf],
    to: &Path,
) -> Result<Moved, MigrateError> {
    let whole = Whole::open(url).await?;
    let copies = Copy::open_all(copies)?;
    let known = whole.namespaces().await?;
    if known.is_empty() {
        return Err(MigrateError::Refused("there are no books in this Redis".to_owned()));
    }
    for namespace in &known {
        let snapshot = whole.snapshot(namespace, &[]).await?;
        nothing_runs(namespace, &snapshot)?;
    }
    if to.symlink_metadata().is_ok() {
        let what = format!("{} is there already; choose another name", to.display());
        return Err(MigrateError::Refused(what));
    }
    let file = NewFile::begin(to)?;
    let () = whole.link.ask(cmd("SET").arg(names::CLOSED).arg(MOVING)).await?;
    for namespace in &known {
        whole.close(namespace, MOVING).await?;
    }
    let moved = out_of_redis(&whole, &known, &copies, file).await;
    match &moved {
        Ok(_) => {
            let gone = format!("{MOVING}: they have moved to {}", to.display());
            for namespace in &known {
                whole.close(namespace, &gone).await?;
            }
            let () = whole.link.ask(cmd("SET").arg(names::CLOSED).arg(gone)).await?;
        }
        Err(_) => {
            for namespace in &known {
                whole.reopen(namespace).await?;
            }
            let () = whole.link.ask(cmd("DEL").arg(names::CLOSED)).await?;
        }
    }
    moved
}

/// A call that runs belongs to an instance that is still there, or was not long ago.
fn nothing_runs(namespace: &str, snapshot: &Snapshot) -> Result<(), MigrateError> {
    let leases = snapshot.leases.count();
    if leases > 0 {
        return Err(MigrateError::Refused(format!(
            "{leases} leases of {namespace} are out: stop all instances, which gives them back; `paygate ledger leases` \
             names them, `paygate ledger settle-lease` settles those of an instance that has died"
        )));
    }
    let is_running = |call: &crate::store::image::OpenCall| call.state.is_none();
    let running = snapshot.image.calls.values().filter(|call| is_running(call)).count();
    let last =
        snapshot.image.calls.values().filter(|call| is_running(call)).map(|call| call.until).max();
    match last {
        Some(until) if until > clock::now().max(snapshot.image.now) => {
            let until = until.to_string();
            Err(MigrateError::Refused(format!(
                "{running} calls of {namespace} are under way, the last until {until}: stop all instances first, or wait \
                 until then if one has died"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// A tenant's journal on its way.
struct Feed<'a> {
    namespace: &'a str,
    sources: Sources<'a>,
    seq: i64,
    after: i64,
    rows: std::vec::IntoIter<Told>,
    next: Option<Told>,
    replay: Replay,
}

impl Feed<'_> {
    async fn step(&mut self) -> Result<(), StoreError> {
        self.next = self.rows.next();
        if self.next.is_none() && self.after < self.seq {
            self.rows = self.sources.next(self.after).await?.into_iter();
            self.next = self.rows.next();
        }
        if let Some(told) = &self.next {
            self.after = told.row;
            self.replay.take(told);
        }
        Ok(())
    }
}

async fn out_of_redis(
    whole: &Whole,
    known: &[String],
    copies: &[Copy],
    file: NewFile,
) -> Result<Moved, MigrateError> {
    let again: Vec<String> = whole.namespaces().await?;
    if again != known {
        return Err(MigrateError::Refused("a tenant was made meanwhile; run it again".to_owned()));
    }
    let mut feeds = Vec::with_capacity(known.len());
    for namespace in known {
        let snapshot = whole.snapshot(namespace, &[]).await?;
        let sources = Sources::of(whole, namespace, copies, (&snapshot.epoch, &snapshot.was));
        let (seq, rows) = (snapshot.seq, Vec::new().into_iter());
        let replay = Replay::default();
        let mut feed = Feed { namespace, sources, seq, after: 0, rows, next: None, replay };
        feed.step().await?;
        feeds.push(feed);
    }
    let mut moved_rows = 0_u64;
    // In the order of time over all tenants.
    while let Some(feed) = feeds
        .iter_mut()
        .filter(|feed| feed.next.is_some())
        .min_by_key(|feed| feed.next.as_ref().map_or(Time::ZERO, |told| told.at))
    {
        if let Some(told) = &feed.next {
            moved_rows = moved_rows.saturating_add(1);
            if told.is_money() {
                file.row(told)?;
            } else if told.kind == "audit"
                && let Some(row) = audit(&told.detail, &told.more)
            {
                file.audit(row)?;
            }
        }
        feed.step().await?;
    }
    let mut images = BTreeMap::new();
    for feed in feeds {
        let snapshot = whole.snapshot(feed.namespace, &feed.replay.deleted()).await?;
        nothing_runs(feed.namespace, &snapshot)?;
        let (replayed, report) = feed.replay.finish(&snapshot.image.calls);
        let mut image = snapshot.image;
        let different = image.differences(&replayed);
        if let Some(wrong) = report
            .differences
            .first()
            .cloned()
            .or_else(|| different.first().map(super::verify::said))
        {
            return Err(MigrateError::Refused(format!(
                "{}: {wrong}; `paygate ledger verify --redis` tells more, --db names an instance's copy",
                feed.namespace
            )));
        }
        // When they went, only the journal knows.
        image.deleted = replayed.deleted;
        images.insert(feed.namespace.to_owned(), image);
    }
    notes(whole, &file).await?;
    let seal: Option<Vec<u8>> = whole.link.ask(cmd("GET").arg(names::SEAL)).await?;
    file.common(&seal.unwrap_or(random::<32>()?.to_vec()), &whole.tokens().await?)?;
    let rules: Option<String> = whole.link.ask(cmd("HGET").arg(names::ALERTS).arg("rules")).await?;
    file.rules(&rules.unwrap_or_else(|| "[]".to_owned()))?;
    file.put(&images)?;
    let arrived = file.images()?;
    for (namespace, image) in &images {
        same(namespace, arrived.get(namespace).unwrap_or(&Image::default()), image)?;
    }
    file.finish()?;
    Ok(Moved { rows: moved_rows, ..Moved::of(&images) })
}

/// Entries of the audit log that belong to no tenant.
async fn notes(whole: &Whole, file: &NewFile) -> Result<(), StoreError> {
    let mut after = "-".to_owned();
    loop {
        let mut range = cmd("XRANGE");
        range.arg(names::JOURNAL).arg(&after).arg("+").arg("COUNT").arg(ROWS);
        let entries: Vec<Entry> = whole.link.ask(&range).await?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        for row in entries.iter().filter_map(Row::read).filter(|row| row.kind == "audit") {
            if let Some(row) = audit(&row.detail, &row.balance) {
                file.audit(row)?;
            }
        }
        after = format!("({last}");
    }
}

/// Makes an instance's copy of the journals, before any of their rows leaves Redis.
pub async fn copy_journals(url: &SecretString, to: &Path) -> Result<(), RedisOpenError> {
    let (url, clock) = (url.clone(), RedisClock::Server);
    let (reach, copy) = (RedisReach::default(), Some(to.to_owned()));
    let options = RedisOptions { url, reach, clock, copy };
    let store = RedisStore::open(&options).await?;
    let copied = store.roll_up_usage(Vec::new()).await;
    store.close().await?;
    Ok(copied?)
}
