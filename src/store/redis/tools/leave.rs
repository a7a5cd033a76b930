//! `paygate migrate` out of Redis into a new file: the journals of all tenants in the order of time, and then the
//! books as they are, which the journals must explain. Afterwards the books in Redis stay closed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redis::cmd;

use crate::model::time::Time;
use crate::store::image::{Image, OpenCall};
use crate::store::local::copied_told::ToldToken;
use crate::store::local::new_file::NewFile;
use crate::store::redis::RedisPlace;
use crate::store::redis::books::random;
use crate::store::redis::journals::copy::audit;
use crate::store::redis::journals::journal::{Entry, ROWS, Row};
use crate::store::redis::names;
use crate::store::redis::records::places;
use crate::store::redis::tools::migrate::{MOVING, MigrateError, Moved, same};
use crate::store::redis::tools::sources::{InstanceCopy, Sources};
use crate::store::redis::tools::verify::said;
use crate::store::redis::tools::whole::{Snapshot, Whole};
use crate::store::replay::Replay;
use crate::store::told::Told;
use crate::store::{StoreError, clock};

/// Moves the books out of Redis into a new file. They stay closed there afterwards. `copies` are instances'
/// copies, for what has left the journals in Redis.
pub async fn migrate_to_file(
    at: &RedisPlace,
    copies: &[PathBuf],
    to: &Path,
) -> Result<Moved, MigrateError> {
    let whole = Whole::open(at).await?;
    let copies = InstanceCopy::open_all(copies)?;
    let known = whole.namespaces().await?;
    if known.is_empty() {
        return Err(MigrateError::Refused("there are no books in this Redis".to_owned()));
    }
    if let Some(shared) = places::shared(&whole.link).await?.first() {
        return Err(MigrateError::Refused(format!(
            "{shared}; `paygate ledger repair --redis URL --db COPY --apply` gives each a place of its own"
        )));
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
    let before: Option<String> = whole.link.ask(cmd("GET").arg(names::CLOSED)).await?;
    whole.leave(&known, Some(MOVING.to_owned())).await?;
    let moved = out_of_redis(&whole, &known, &copies, file).await;
    // What had left before stays closed, whatever becomes of another move.
    let closed = match &moved {
        Ok(_) => Some(format!("{MOVING}: they have moved to {}", to.display())),
        Err(_) => before.filter(|closed| closed != MOVING),
    };
    whole.leave(&known, closed).await?;
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
    let is_running = |call: &OpenCall| call.state.is_none();
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
    copies: &[InstanceCopy],
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
    let rows = write_rows(&mut feeds, &file).await?;
    let mut images = BTreeMap::new();
    for feed in feeds {
        images.insert(feed.namespace.to_owned(), explained(whole, feed).await?);
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
    let mut moved = Moved::of(&images);
    moved.rows = rows;
    Ok(moved)
}

/// Writes the rows of all tenants in the order of time; how many there were.
async fn write_rows(feeds: &mut [Feed<'_>], file: &NewFile) -> Result<u64, StoreError> {
    let mut count = 0_u64;
    while let Some(feed) = feeds
        .iter_mut()
        .filter(|feed| feed.next.is_some())
        .min_by_key(|feed| feed.next.as_ref().map_or(Time::ZERO, |told| told.at))
    {
        if let Some(told) = &feed.next {
            count = count.saturating_add(1);
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
    Ok(count)
}

/// A tenant's books as Redis has them, once the journal has explained all of them.
async fn explained(whole: &Whole, feed: Feed<'_>) -> Result<Image, MigrateError> {
    let snapshot = whole.snapshot(feed.namespace, &feed.replay.deleted()).await?;
    nothing_runs(feed.namespace, &snapshot)?;
    let (replayed, report) = feed.replay.finish(&snapshot.image.calls);
    let mut image = snapshot.image;
    let different = image.differences(&replayed);
    let wrong = report.differences.first().cloned();
    if let Some(wrong) = wrong.or_else(|| different.first().map(said)) {
        return Err(MigrateError::Refused(format!(
            "{}: {wrong}; `paygate ledger verify --redis` tells more, --db names an instance's copy",
            feed.namespace
        )));
    }
    // When they went, only the journal knows.
    image.deleted = replayed.deleted;
    Ok(image)
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

impl Whole {
    /// Leaves books closed, with what instances say of that, or open.
    async fn leave(&self, known: &[String], closed: Option<String>) -> Result<(), StoreError> {
        if let Some(why) = closed {
            let () = self.link.ask(cmd("SET").arg(names::CLOSED).arg(&why)).await?;
            for namespace in known {
                self.close(namespace, &why).await?;
            }
            return Ok(());
        }
        for namespace in known {
            self.reopen(namespace).await?;
        }
        self.link.ask(cmd("DEL").arg(names::CLOSED)).await
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
