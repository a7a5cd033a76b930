//! `paygate ledger repair`: makes books in Redis what their journal says, after Redis has come back with less
//! than instances have seen. The rows that it has lost come from the copies that instances keep; records,
//! credits and all that is remembered follow from the rows. What was only held is released: nobody
//! was given anything for it. Then the books get a new mark, and every instance whose copy went into
//! them goes on by itself.
//!
//! What copies disagree about is not decided here: a row that differs was written by somebody who had not
//! seen the other's, and both may have been sold from.

use std::fmt;
use std::path::PathBuf;

use redis::cmd;

use crate::store::StoreError;
use crate::store::image::Image;
use crate::store::redis::RedisPlace;
use crate::store::redis::books::random;
use crate::store::redis::journals::epochs::Was;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::hints;
use crate::store::redis::records::places::{NewPlaces, Places};
use crate::store::redis::tools::migrate::key_row;
use crate::store::redis::tools::put::Head;
use crate::store::redis::tools::repair_common::common;
use crate::store::redis::tools::sources::{InstanceCopy, Part, Sources, namespaces};
use crate::store::redis::tools::verify::said;
use crate::store::redis::tools::whole::{Snapshot, Whole};
use crate::store::replay::Replay;
use crate::store::told::Told;

/// Why nothing is repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Redis or a copy cannot be read, or Redis not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More than one state would be right.
    #[error("{0}; nothing was written")]
    Undecided(String),
}

/// What is written, or would be.
#[derive(Debug, Default)]
pub struct RepairReport {
    lines: Vec<String>,
    unlisted: usize,
    tenants: usize,
    is_applied: bool,
}

/// Lines that are listed; more are counted.
const LISTED_MAX: usize = 1_000;

/// What instances say while they are kept from the books.
const CLOSED: &str = "`paygate ledger repair` is at work on them";

impl RepairReport {
    pub(in crate::store::redis) fn line(&mut self, line: String) {
        if self.lines.len() < LISTED_MAX {
            self.lines.push(line);
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "  and {} more", self.unlisted)?;
        }
        let changes = self.lines.len().saturating_add(self.unlisted);
        let tenants = self.tenants;
        match (changes, self.is_applied) {
            (0, false) => write!(
                f,
                "Redis has all that these copies know of {tenants} tenants; with --apply, instances that have seen more \
                 give it up and go on"
            ),
            (0, true) => write!(f, "nothing was missing in {tenants} tenants; instances go on"),
            (_, false) => write!(f, "{changes} changes; nothing was written: --apply writes them"),
            (_, true) => write!(f, "{changes} changes written; instances go on by themselves"),
        }
    }
}

/// What is to become of one tenant.
struct Plan {
    namespace: String,
    present: Snapshot,
    image: Image,
    rows: Vec<Told>,
    head: Head,
    lines: Vec<String>,
}

impl Plan {
    /// Gives keys other places in the order, and tells so behind the rows there are.
    fn give(&mut self, places: Option<&NewPlaces>) {
        for (id, new) in places.into_iter().flatten() {
            let Some((place, record)) = self.image.keys.get_mut(id) else { continue };
            *place = *new;
            self.head.seq = self.head.seq.saturating_add(1);
            let told = key_row(self.image.now, id, *new, record);
            self.rows.push(Told { row: self.head.seq, ..told });
        }
    }
}

/// Compares Redis with its journal and the copies of some instances; with `apply` writes what differs.
pub async fn repair(
    at: &RedisPlace,
    copies: &[PathBuf],
    apply: bool,
) -> Result<RepairReport, RepairError> {
    let whole = Whole::open(at).await?;
    let copies = InstanceCopy::open_all(copies)?;
    belong_together(&whole, &copies).await?;
    let known = namespaces(&whole, &copies).await?;
    let mut report = RepairReport { tenants: known.len(), ..RepairReport::default() };
    // All of it is decided before anything is touched.
    let (mut places, mut ends) = (Places::begin(&whole.link).await?, Vec::new());
    for namespace in &known {
        let plan = plan(&whole, namespace, &copies).await?;
        places.take(namespace, &plan.image);
        ends.push((Names::of(namespace).journal(), plan.head.seq));
        for line in plan.lines {
            report.line(format!("{namespace}: {line}"));
        }
    }
    let (places, lines) = places.finish();
    for line in lines {
        report.line(line);
    }
    common(&whole, &copies, &ends, apply, &mut report).await?;
    if apply {
        for namespace in &known {
            whole.close(namespace, CLOSED).await?;
            let done = apply_to(&whole, namespace, &copies, places.get(namespace)).await;
            // What cannot be decided was not touched. Half-written books stay closed for the next try.
            if matches!(done, Err(RepairError::Undecided(_))) {
                whole.reopen(namespace).await?;
            }
            done?;
        }
        report.is_applied = true;
    }
    Ok(report)
}

async fn apply_to(
    whole: &Whole,
    namespace: &str,
    copies: &[InstanceCopy],
    places: Option<&NewPlaces>,
) -> Result<(), RepairError> {
    // Again, now that nobody changes anything.
    let mut plan = plan(whole, namespace, copies).await?;
    plan.give(places);
    let names = Names::of(&plan.namespace);
    whole.append(&names, &plan.rows).await?;
    whole.put(&plan.namespace, &plan.present, &plan.image).await?;
    whole.open_as(&plan.namespace, &plan.image, &plan.head).await?;
    Ok(())
}

async fn plan(
    whole: &Whole,
    namespace: &str,
    copies: &[InstanceCopy],
) -> Result<Plan, RepairError> {
    let first = whole.snapshot(namespace, &[]).await?;
    let (epoch, was) = lineage(namespace, &first, copies)?;
    let sources = Sources::of(whole, namespace, copies, (&epoch, &was));
    let last = agree(namespace, &sources, &first, &epoch).await?;
    let mut replay = Replay::default();
    sources.replay(&mut replay, last).await?;
    let present = whole.snapshot(namespace, &replay.deleted()).await?;
    if present.seq != first.seq {
        let what = format!("the books of {namespace} are being written to; run it again");
        return Err(RepairError::Undecided(what));
    }
    if replay.row() < last {
        replay.report.differs(format!("journal rows up to {last} are missing"));
    }
    let ends = whole.ends(&sources.names).await?;
    let in_redis = ends.map_or(0, |(_, last)| last);
    let rows = sources.lost(in_redis, last)?;
    let (mut image, found) = replay.finish(&present.image.calls);
    if !found.is_clean() {
        let first = found.differences.first().cloned().unwrap_or_default();
        let what = format!(
            "the journal of {namespace} is not whole ({first}); name the copies of more instances with --db"
        );
        return Err(RepairError::Undecided(what));
    }
    keep_answers(&mut image, &present.image);
    let mut lines: Vec<String> = rows.iter().map(said_row).collect();
    lines.extend(present.image.differences(&image).iter().map(said));
    lines.extend(present.strange.iter().cloned());
    lines.extend(hints::missing(&whole.link, &image, namespace).await?);
    let mut was = was;
    was.add(&epoch, last);
    let epoch = hex::encode(random::<16>()?);
    let head = Head { epoch, was, seq: last };
    Ok(Plan { namespace: namespace.to_owned(), present, image, rows, head, lines })
}

/// Books have one key that messages are sealed with, for ever: whoever has another one has other books.
async fn belong_together(whole: &Whole, copies: &[InstanceCopy]) -> Result<(), RepairError> {
    let in_redis: Option<Vec<u8>> = whole.link.ask(cmd("GET").arg(names::SEAL)).await?;
    let has_any = in_redis.is_some();
    let mut known = in_redis.map(|seal| ("Redis".to_owned(), seal));
    for copy in copies {
        let (Some(seal), path) = (copy.rows.seal()?, copy.path.display()) else { continue };
        match &known {
            Some((name, other)) if *other != seal => {
                let way_out = if has_any {
                    "; if it was emptied and an instance without a copy has begun anew there, delete pg:seal in it first"
                } else {
                    ""
                };
                return Err(RepairError::Undecided(format!(
                    "{path} is a copy of other books than {name} has: what messages are sealed with is not the same; \
                     name the copies that belong to this Redis{way_out}"
                )));
            }
            Some(_) => {}
            None => known = Some((path.to_string(), seal)),
        }
    }
    Ok(())
}

/// Which books these are: those in Redis, or if it has none those that all copies follow.
fn lineage(
    namespace: &str,
    present: &Snapshot,
    copies: &[InstanceCopy],
) -> Result<(String, Was), RepairError> {
    let books: Vec<_> =
        copies.iter().filter_map(|copy| Some((copy, copy.of(namespace)?))).collect();
    let fits = |epoch: &str, was: &Was, book: &crate::store::local::copied_told::ToldBook| {
        book.epoch == epoch || was.row(&book.epoch).is_some_and(|row| book.last <= row)
    };
    if present.seq > 0 {
        let stranger = books.iter().find(|(_, book)| !fits(&present.epoch, &present.was, book));
        let Some((copy, book)) = stranger else {
            return Ok((present.epoch.clone(), present.was.clone()));
        };
        let path = copy.path.display();
        let what = match present.was.row(&book.epoch) {
            Some(row) => format!(
                "{path} has rows {} to {} of {namespace}, which an earlier repair did without, and the books in Redis \
                 have gone on since; book by hand what `paygate explain` finds there, then move the copy away",
                row.saturating_add(1),
                book.last
            ),
            None => format!(
                "Redis has other books of {namespace}, of {} rows, than {path}, of {}; if those in Redis are not the \
                 ones to keep, empty it first",
                present.seq, book.last
            ),
        };
        return Err(RepairError::Undecided(what));
    }
    let whole = books.iter().find(|(_, book)| {
        let was = Was::read(&book.was);
        books.iter().all(|(_, other)| fits(&book.epoch, &was, other))
    });
    match whole {
        Some((_, book)) => Ok((book.epoch.clone(), Was::read(&book.was))),
        None if books.is_empty() => Ok((present.epoch.clone(), present.was.clone())),
        None => {
            let paths: Vec<String> =
                books.iter().map(|(copy, _)| copy.path.display().to_string()).collect();
            let paths = paths.join(" and ");
            let what = format!(
                "{paths} follow different books of {namespace}; name those that belong together"
            );
            Err(RepairError::Undecided(what))
        }
    }
}

/// The last row that anybody has, once all agree about the last one that any two of them have.
async fn agree(
    namespace: &str,
    sources: &Sources<'_>,
    present: &Snapshot,
    epoch: &str,
) -> Result<i64, RepairError> {
    let own = sources.parts.iter().filter(|part| part.book.epoch == epoch);
    let longest = own.max_by_key(|part| part.up_to);
    for part in &sources.parts {
        let Part { copy, book, up_to } = part;
        let other = |name: String, row: i64| {
            RepairError::Undecided(format!(
                "row {row} of {namespace} is not the same in {} and in {name}: both went on after the other's rows were \
                 lost; name only the copies whose rows are to count, and book by hand what the others have sold",
                copy.path.display()
            ))
        };
        let row = present.seq.min(*up_to);
        let in_redis = sources.whole.rows(&sources.names, row.saturating_sub(1)).await?;
        let in_redis = in_redis.first().filter(|told| told.row == row);
        if let (Some(one), Some(two)) = (in_redis, copy.rows.row(book, row)?)
            && !one.is(&two)
        {
            return Err(other("Redis".to_owned(), row));
        }
        let Some(longest) = longest.filter(|longest| longest.copy.path != copy.path) else {
            continue;
        };
        let row = longest.up_to.min(*up_to);
        let (one, two) = (longest.copy.rows.row(longest.book, row)?, copy.rows.row(book, row)?);
        if let (Some(one), Some(two)) = (one, two)
            && !one.is(&two)
        {
            return Err(other(longest.copy.path.display().to_string(), row));
        }
    }
    Ok(longest.map_or(0, |longest| longest.up_to).max(present.seq))
}

/// Answers that Redis still has are better than knowing only that there was one.
fn keep_answers(image: &mut Image, present: &Image) {
    for (id, kept) in &mut image.kept {
        let known = present.kept.get(id).filter(|known| known.call == kept.call);
        if let Some(known) = known {
            kept.answer.clone_from(&known.answer);
        }
    }
}

fn said_row(told: &Told) -> String {
    let Told { row, kind, call, account, amount, .. } = told;
    let whose = if call.is_empty() { account.clone() } else { format!("call_{call} of {account}") };
    let credits = if told.is_money() { format!(", {amount} credits") } else { String::new() };
    format!("row {row} comes back: {kind} {whose}{credits}")
}
