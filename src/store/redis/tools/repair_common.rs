//! Repair of what belongs to no tenant: admin tokens, rules for alerts, what messages are sealed with.

use std::collections::BTreeMap;

use redis::cmd;

use crate::store::local::copied_told::ToldToken;
use crate::store::redis::journals::journal::{Entry, ROWS, Row, was_trimmed};
use crate::store::redis::link::Link;
use crate::store::redis::names;
use crate::store::redis::tools::repair::RepairReport;
use crate::store::redis::tools::sources::InstanceCopy;
use crate::store::redis::tools::whole::Whole;
use crate::store::{StoreError, clock};

/// Brings back what Redis has lost of it; only says so if not to `apply`.
pub(in crate::store::redis) async fn common(
    whole: &Whole,
    copies: &[InstanceCopy],
    ends: &[(String, i64)],
    apply: bool,
    report: &mut RepairReport,
) -> Result<(), StoreError> {
    webhooks(whole, copies, ends, apply, report).await?;
    for stream in [names::JOURNAL, names::REFUSED] {
        stream_was(whole, copies, stream, apply, report).await?;
    }
    let link = &whole.link;
    for copy in copies {
        let Some(seal) = copy.rows.seal()? else { continue };
        let known: bool = link.ask(cmd("EXISTS").arg(names::SEAL)).await?;
        if !known {
            report.line("the key that messages are sealed with comes back".to_owned());
            if apply {
                let () = link.ask(cmd("SET").arg(names::SEAL).arg(seal)).await?;
            }
            break;
        }
    }
    let has_rules: bool = link.ask(cmd("HEXISTS").arg(names::ALERTS).arg("rules")).await?;
    for copy in copies.iter().filter(|_| !has_rules) {
        let Some(rules) = copy.rows.rules()? else { continue };
        report.line("the rules for alerts come back".to_owned());
        if apply {
            let () = link.ask(cmd("HSET").arg(names::ALERTS).arg("rules").arg(rules)).await?;
        }
        break;
    }
    tokens(whole, copies, apply, report).await
}

/// Webhooks go on where copies know that they were. Of a journal that none knows of they begin behind what comes
/// back: to send all of it again would tell nobody anything.
async fn webhooks(
    whole: &Whole,
    copies: &[InstanceCopy],
    ends: &[(String, i64)],
    apply: bool,
    report: &mut RepairReport,
) -> Result<(), StoreError> {
    let link = &whole.link;
    let is_begun: bool = link.ask(cmd("HEXISTS").arg(names::WEBHOOKS).arg("begun")).await?;
    let mut sent: BTreeMap<String, String> = BTreeMap::new();
    for copy in copies {
        for (journal, place_there) in copy.rows.sent()? {
            let known = sent.get(&journal);
            if known.is_none_or(|known| sent_to(known) < sent_to(&place_there)) {
                sent.insert(journal, place_there);
            }
        }
    }
    if is_begun || sent.is_empty() {
        return Ok(());
    }
    report.line("webhooks go on where the copies know that they were".to_owned());
    if !apply {
        return Ok(());
    }
    for (journal, last) in ends {
        sent.entry(journal.clone()).or_insert_with(|| format!("{last}-0"));
    }
    let mut commands = redis::pipe();
    commands.atomic();
    for (journal, place) in &sent {
        commands.hset(names::WEBHOOKS, format!("at:{journal}"), place).ignore();
    }
    let begun = [("begun", "1".to_owned()), ("seen", clock::now().ms().to_string())];
    commands.hset_multiple(names::WEBHOOKS, &begun).ignore();
    // Whoever sends now reads the places again.
    commands.hdel(names::WEBHOOKS, &["owner", "until"]).ignore();
    link.ask_all(&commands).await
}

/// A place of the outbox, to be compared: `row` or `row/part`, of which a part is less than all of the row.
fn sent_to(text: &str) -> ((i64, i64), usize) {
    let (id, part) = text.split_once('/').unwrap_or((text, ""));
    (place(id), part.parse().unwrap_or(usize::MAX))
}

/// A stream that was lost leaves word how far it went, so that an instance that has all of it knows so, and one
/// that begins anew knows that it has not.
async fn stream_was(
    whole: &Whole,
    copies: &[InstanceCopy],
    stream: &str,
    apply: bool,
    report: &mut RepairReport,
) -> Result<(), StoreError> {
    let link = &whole.link;
    let mut last = String::new();
    for copy in copies {
        let there = copy.rows.last(stream)?;
        if place(&there) > place(&last) {
            last = there;
        }
    }
    let known: Option<String> = link.ask(cmd("HGET").arg(names::WAS).arg(stream)).await?;
    if last.is_empty() || known.is_some_and(|known| place(&known) >= place(&last)) {
        return Ok(());
    }
    let mut range = cmd("XRANGE");
    let first: Vec<Entry> =
        link.ask(range.arg(stream).arg("-").arg("+").arg("COUNT").arg(1)).await?;
    let is_lost = first.first().is_none_or(|(first, _)| place(first) > place(&last));
    if !is_lost || was_begun(link, stream).await? {
        return Ok(());
    }
    let what = if stream == names::REFUSED {
        "usage that was refused"
    } else {
        "entries of the audit log that belong to no tenant"
    };
    report.line(format!("{what}: stay in the copies; who begins anew says so"));
    if apply {
        let () = link.ask(cmd("HSET").arg(names::WAS).arg(stream).arg(last)).await?;
    }
    Ok(())
}

/// Is it only that the oldest have left the stream, as they do?
async fn was_begun(link: &Link, stream: &str) -> Result<bool, StoreError> {
    let exists: bool = link.ask(cmd("EXISTS").arg(stream)).await?;
    if exists { was_trimmed(link, stream).await } else { Ok(false) }
}

/// The tokens of the copy that goes furthest, with what Redis tells of them behind it.
async fn tokens(
    whole: &Whole,
    copies: &[InstanceCopy],
    apply: bool,
    report: &mut RepairReport,
) -> Result<(), StoreError> {
    let mut newest: Option<(String, Vec<ToldToken>)> = None;
    for copy in copies {
        let (last, tokens) = copy.rows.tokens(names::JOURNAL)?;
        let is_newer = |(known, _): &(String, _)| place(&last) > place(known);
        if !last.is_empty() && newest.as_ref().is_none_or(is_newer) {
            newest = Some((last, tokens));
        }
    }
    let Some((last, tokens)) = newest else { return Ok(()) };
    let Some(since) = told_since(whole, &last).await? else { return Ok(()) };
    let link = &whole.link;
    let present: Vec<String> = link.ask(cmd("HKEYS").arg(names::TOKENS)).await?;
    let is_told = |id: &str| since.iter().any(|known| known == id);
    for (id, digest, record) in &tokens {
        if present.contains(id) || is_told(id) {
            continue;
        }
        report.line(format!("admin token {id} comes back"));
        if apply {
            let record = format!("{{\"digest\":\"{digest}\",\"record\":{record}}}");
            let () = link.ask(cmd("HSET").arg(names::TOKENS).arg(id).arg(record)).await?;
        }
    }
    let is_known = |id: &String| is_told(id) || tokens.iter().any(|(known, ..)| known == id);
    for id in present.iter().filter(|id| !is_known(id)) {
        report.line(format!("admin token {id} was ended"));
        if apply {
            let () = link.ask(cmd("HDEL").arg(names::TOKENS).arg(id)).await?;
        }
    }
    Ok(())
}

/// Tokens that Redis tells of behind a row; `None` if such rows may have left it.
async fn told_since(whole: &Whole, last: &str) -> Result<Option<Vec<String>>, StoreError> {
    let link = &whole.link;
    let ends = |range: &str, (from, to): (&str, &str)| {
        let mut ends = cmd(range);
        ends.arg(names::JOURNAL).arg(from).arg(to).arg("COUNT").arg(1);
        ends
    };
    let first: Vec<Entry> = link.ask(&ends("XRANGE", ("-", "+"))).await?;
    let newest: Vec<Entry> = link.ask(&ends("XREVRANGE", ("+", "-"))).await?;
    let (Some((first, _)), Some((newest, _))) = (first.first(), newest.first()) else {
        return Ok(Some(Vec::new()));
    };
    let is_behind = place(newest) > place(last) && place(first) > place(last);
    if is_behind && was_trimmed(link, names::JOURNAL).await? {
        return Ok(None);
    }
    let (mut told, mut after) = (Vec::new(), last.to_owned());
    loop {
        let mut range = cmd("XRANGE");
        range.arg(names::JOURNAL).arg(format!("({after}")).arg("+").arg("COUNT").arg(ROWS);
        let rows: Vec<Entry> = link.ask(&range).await?;
        let tokens = rows.iter().filter_map(Row::read).filter(|row| row.kind.starts_with("token"));
        told.extend(tokens.map(|row| row.account.as_str().to_owned()));
        match rows.last() {
            Some((id, _)) if rows.len() == ROWS => after.clone_from(id),
            _ => return Ok(Some(told)),
        }
    }
}

fn place(id: &str) -> (i64, i64) {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
