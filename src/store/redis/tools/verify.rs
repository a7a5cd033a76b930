//! `paygate ledger verify --redis`: every account, counter, hold and record in Redis beside what its journal
//! says of it. The journal is the stream; what has left it, an instance's copy still has.

use std::path::PathBuf;

use crate::store::StoreError;
use crate::store::image::Difference;
use crate::store::local::VerifyReport;
use crate::store::redis::RedisPlace;
use crate::store::redis::records::hints;
use crate::store::redis::records::places;
use crate::store::redis::tools::sources::{InstanceCopy, Sources, namespaces};
use crate::store::redis::tools::whole::{Snapshot, Whole};
use crate::store::replay::Replay;

/// Compares all books in Redis with their journals. `copies` are instances' copies of these.
pub async fn verify(at: &RedisPlace, copies: &[PathBuf]) -> Result<VerifyReport, StoreError> {
    let whole = Whole::open(at).await?;
    let copies = InstanceCopy::open_all(copies)?;
    let mut total = VerifyReport::default();
    if whole.namespaces().await?.is_empty() {
        total.has_none = true;
        for copy in copies.iter().filter(|copy| copy.books.iter().any(|book| book.last > 0)) {
            let (path, tenants) = (copy.path.display(), copy.books.len());
            total.differs(format!(
                "there are no books in this Redis, and {path} has rows of {tenants} tenants: it was emptied, or another \
                 database is named"
            ));
        }
        return Ok(total);
    }
    for namespace in namespaces(&whole, &copies).await? {
        verify_tenant(&whole, &namespace, &copies, &mut total).await?;
    }
    for shared in places::shared(&whole.link).await? {
        total.differs(shared);
    }
    Ok(total)
}

async fn verify_tenant(
    whole: &Whole,
    namespace: &str,
    copies: &[InstanceCopy],
    total: &mut VerifyReport,
) -> Result<(), StoreError> {
    let mut replay = Replay::default();
    // The rows there are; those that are written meanwhile come after the look at the accounts.
    let before = whole.snapshot(namespace, &[]).await?;
    let sources = Sources::of(whole, namespace, copies, (&before.epoch, &before.was));
    if let Some((first, _)) = whole.ends(&sources.names).await?
        && first > 1
        && copies.is_empty()
    {
        return Err(StoreError::Read(format!(
            "the journal of {namespace} in Redis begins at row {first}; the rows before it are in the copies that \
             instances keep: name one with --db"
        )));
    }
    sources.replay(&mut replay, before.seq).await?;
    let gone = replay.deleted();
    let snapshot = whole.snapshot(namespace, &gone).await?;
    sources.replay(&mut replay, snapshot.seq).await?;
    if replay.row() < snapshot.seq {
        let (from, to) = (replay.row().saturating_add(1), snapshot.seq);
        replay.report.differs(format!("journal rows {from} to {to} are missing"));
    }
    for copy in copies {
        beyond(copy, namespace, &snapshot, &mut replay);
    }
    for (call, open) in &snapshot.image.calls {
        if replay.has_ended(call) {
            let credits = open.hold.credits();
            replay.report.differs(format!(
                "open call call_{call}: Redis has {credits} credits held, the journal says it has ended"
            ));
        }
    }
    for missing in hints::missing(&whole.link, &snapshot.image, namespace).await? {
        replay.report.differs(missing);
    }
    let (image, mut report) = replay.finish(&snapshot.image.calls);
    for strange in &snapshot.strange {
        report.differs(strange.clone());
    }
    let differences = snapshot.image.differences(&image);
    // Those calls were named above, with why.
    let is_new = |found: &&Difference| {
        !found.what.starts_with("open call") || image.calls.contains_key(call_of(&found.what))
    };
    let mut differences: Vec<String> = differences.iter().filter(is_new).map(said).collect();
    differences.sort();
    for difference in differences {
        report.differs(difference);
    }
    add(total, report, namespace);
    Ok(())
}

fn call_of(what: &str) -> &str {
    what.rsplit_once("call_").map_or("", |(_, call)| call)
}

/// A difference between Redis and its journal, in words.
pub(in crate::store::redis) fn said(difference: &Difference) -> String {
    let Difference { what, has, says } = difference;
    format!("{what}: Redis has {has}, the journal says {says}")
}

/// What a copy has that Redis has lost, or never had.
fn beyond(copy: &InstanceCopy, namespace: &str, snapshot: &Snapshot, replay: &mut Replay) {
    let Some(book) = copy.of(namespace) else { return };
    let (path, seen) = (copy.path.display(), book.last);
    if book.epoch == snapshot.epoch {
        if seen > snapshot.seq {
            let last = snapshot.seq;
            let what = format!("the journal in Redis ends at row {last}, {path} has row {seen}");
            replay.report.differs(what);
        }
    } else if snapshot.was.row(&book.epoch).is_none_or(|taken_over| seen > taken_over) {
        let what = if snapshot.seq == 0 {
            format!(
                "Redis has nothing of it, {path} has {seen} rows: Redis was emptied, or another database is named"
            )
        } else {
            format!(
                "{path} does not follow the books that are in Redis but others, {seen} rows of them: Redis was emptied \
                 and these were begun since, or the copy belongs to another database"
            )
        };
        replay.report.differs(what);
    }
}

fn add(total: &mut VerifyReport, report: VerifyReport, namespace: &str) {
    total.rows = total.rows.saturating_add(report.rows);
    total.accounts = total.accounts.saturating_add(report.accounts);
    total.open_holds = total.open_holds.saturating_add(report.open_holds);
    total.granted = total.granted.saturating_add(report.granted);
    total.captured = total.captured.saturating_add(report.captured);
    total.refunded = total.refunded.saturating_add(report.refunded);
    total.held_again = total.held_again.saturating_add(report.held_again);
    total.unlisted = total.unlisted.saturating_add(report.unlisted);
    for difference in report.differences {
        total.differs(format!("{namespace}: {difference}"));
    }
}
