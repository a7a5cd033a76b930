//! The cursor of webhooks against retention, bounds, switching off and refusals that come late.

use rusqlite::params;

use super::super::roll_up::{forget_usage, write_refused};
use super::super::schema;
use super::super::usage::read_unsent;
use super::*;
use crate::model::bounds::AUDIT_ROWS_MAX;
use crate::model::usage::{HOUR_MS, Refused};

const DAY: i64 = 24 * HOUR_MS;

fn books() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::create(&mut connection).unwrap();
    connection
}

fn call(connection: &Connection, seq: i64) {
    let detail = r#"{"calls":[["a",2,2,"result"],["b",1,0,"timeout"]]}"#;
    let sql = "INSERT INTO journal VALUES (?1, 5, 'call', x'00112233445566778899aabbccddeeff', 'key_1', 2, ?2)";
    connection.execute(sql, params![seq, detail]).unwrap();
}

fn grant(connection: &Connection, seq: i64) {
    let sql = "INSERT INTO journal VALUES (?1, 5, 'grant', NULL, 'key_1', 2, '{}')";
    connection.execute(sql, [seq]).unwrap();
}

fn refuse(connection: &Connection, seq: i64, at: i64) {
    let [key, namespace, tool] = ["", "", "a"].map(str::to_owned);
    let at = Time::from_ms(at);
    let one = Refused { at, key, namespace, tool, reason: "invalid_api_key", count: 3 };
    write_refused(connection, &[one], seq).unwrap();
}

fn entry(connection: &Connection, kind: &'static str, at: i64) {
    let event = AuditEvent {
        at: Time::from_ms(at),
        kind,
        actor: "admin".to_owned(),
        actor_id: None,
        namespace: None,
        target: None,
        message: String::new(),
        metadata: serde_json::Map::new(),
    };
    audit::write_audit(connection, &event).unwrap();
}

fn perform(connection: &Connection, write: &OutboxWrite, seq: i64) -> OutboxTotals {
    write.perform(connection, seq).unwrap();
    totals(connection).unwrap()
}

fn opened(connection: &Connection, at: i64, seq: i64) -> Cursor {
    let at = Time::from_ms(at);
    perform(connection, &OutboxWrite::Open { at }, seq).cursor.unwrap()
}

fn words(batch: &Batch) -> Vec<String> {
    let usage = batch.usage.iter().map(|event| event.outcome.clone());
    usage.chain(batch.admin.iter().map(|row| row.kind.clone())).collect()
}

#[test]
fn what_comes_after_the_cursor_is_found_once() {
    let connection = books();
    call(&connection, 1);
    refuse(&connection, 1, 6);
    entry(&connection, "key.created", 6);
    let mut cursor = opened(&connection, 7, 1);
    let mut next = |limit| {
        let batch = unsent(&connection, cursor, limit).unwrap();
        cursor = batch.after;
        words(&batch)
    };
    assert!(next(10).is_empty(), "what was there before is not sent");
    // Behind the same row of the journal, where the last refusal was; and behind rows of other kinds.
    refuse(&connection, 1, 8);
    assert_eq!(next(10), ["invalid_api_key"]);
    grant(&connection, 2);
    assert!(next(10).is_empty());
    refuse(&connection, 2, 8);
    assert_eq!(next(10), ["invalid_api_key"]);
    call(&connection, 3);
    assert_eq!(next(1), ["result"]);
    refuse(&connection, 3, 9);
    entry(&connection, "key.acl_updated", 9);
    entry(&connection, "alert.fired", 9);
    // Entries of the audit log first; then what room there is for.
    assert_eq!(next(1), ["alert.fired"]);
    assert_eq!(next(2), ["timeout", "invalid_api_key"]);
    assert!(next(10).is_empty());
}

#[test]
fn a_refusal_never_takes_a_place_that_was_passed() {
    let connection = books();
    grant(&connection, 1);
    opened(&connection, 1, 1);
    refuse(&connection, 1, 5);
    let (found, after, _) = read_unsent(&connection, 1 << PLACE_BITS, 10).unwrap();
    assert_eq!(found.len(), 1);
    let end =
        BatchEnd { after: Cursor { usage: after, audit: 0 }, events: 1, retries: 0, dead: None };
    perform(&connection, &OutboxWrite::Ended(end), 1);
    // Its time passes, and the list is empty again.
    forget_usage(&connection, Some(Time::from_ms(9 * DAY))).unwrap();
    refuse(&connection, 1, 9 * DAY);
    let (found, _, _) = read_unsent(&connection, after, 10).unwrap();
    assert_eq!(found.len(), 1, "the new refusal is behind the cursor");
}

#[test]
fn retention_waits_for_what_is_not_sent_and_bounds_do_not() {
    let connection = books();
    opened(&connection, 1, 0);
    for _ in 0..3 {
        refuse(&connection, 0, 5);
        entry(&connection, "key.created", 5);
        entry(&connection, "key.acl_updated", 5);
    }
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    let late = Some(Time::from_ms(9 * DAY));
    forget_usage(&connection, late).unwrap();
    audit::forget_audit(&connection, late).unwrap();
    assert_eq!((count("refused"), count("audit")), (3, 3));
    assert_eq!(totals(&connection).unwrap().lost, 0);
    // The hard bound of the audit log takes the first of them.
    let sql = "UPDATE audit SET id = id + ?1 WHERE id = (SELECT max(id) FROM audit)";
    connection.execute(sql, [AUDIT_ROWS_MAX - 4]).unwrap();
    audit::forget_audit(&connection, None).unwrap();
    assert_eq!((count("audit"), totals(&connection).unwrap().lost), (2, 1));
    // And that of refusals.
    count_lost_refusals(&connection, 5_000, 1).unwrap();
    assert_eq!(totals(&connection).unwrap().lost, 3);
    // Once they are sent, or webhooks are off, they go.
    let after =
        unsent(&connection, totals(&connection).unwrap().cursor.unwrap(), 10).unwrap().after;
    let end = BatchEnd { after, events: 5, retries: 0, dead: None };
    perform(&connection, &OutboxWrite::Ended(end), 0);
    forget_usage(&connection, late).unwrap();
    assert_eq!(count("refused"), 0);
    entry(&connection, "key.created", 6);
    perform(&connection, &OutboxWrite::Close { at: Time::from_ms(7) }, 0);
    audit::forget_audit(&connection, late).unwrap();
    assert_eq!(count("audit"), 0);
}

#[test]
fn calls_that_memory_forgets_are_counted() {
    let connection = books();
    call(&connection, 1);
    opened(&connection, 1, 1);
    for seq in 2..=5 {
        call(&connection, seq);
    }
    count_trimmed(&connection, 3).unwrap();
    assert_eq!(totals(&connection).unwrap().lost, 4, "two rows of two calls each");
}

#[test]
fn switched_off_for_a_while_is_not_switched_off_for_good() {
    let connection = books();
    let first = opened(&connection, 1, 0);
    call(&connection, 1);
    let off = |at| perform(&connection, &OutboxWrite::Close { at: Time::from_ms(at) }, 1);
    assert_eq!(off(DAY).off_since, Some(Time::from_ms(DAY)));
    // A second start without them does not begin the count anew.
    assert_eq!(off(2 * DAY).off_since, Some(Time::from_ms(DAY)));
    assert_eq!(opened(&connection, 3 * DAY, 1), first);
    assert_eq!(totals(&connection).unwrap().off_since, None);
    off(4 * DAY);
    let late = opened(&connection, 12 * DAY, 1);
    assert!(late.usage > first.usage, "it begins at the end again");
}

#[test]
fn dead_letters_are_bounded_and_counted() {
    let connection = books();
    opened(&connection, 1, 0);
    let letter = || DeadLetter {
        id: 0,
        events: "\"events\":[]".to_owned(),
        count: 10,
        attempts: 6,
        error: "HTTP 500".to_owned(),
        first: Time::from_ms(1),
        last: Time::from_ms(2),
        url: "http://host/***".to_owned(),
    };
    let given_up = || {
        let after = Cursor { usage: 7, audit: 8 };
        OutboxWrite::Ended(BatchEnd { after, events: 10, retries: 5, dead: Some(letter()) })
    };
    for _ in 0..WEBHOOK_DEAD_LETTERS_MAX + 2 {
        given_up().perform(&connection, 0).unwrap();
    }
    let most = i64::try_from(WEBHOOK_DEAD_LETTERS_MAX).unwrap();
    let all = totals(&connection).unwrap();
    assert_eq!((all.dead, all.dropped, all.last_dead), (most, 2, most + 2));
    assert_eq!((all.failed, all.events_failed), (most + 2, 10 * (most + 2)));
    assert_eq!((all.delivered, all.events_delivered), (0, 0));
    assert_eq!(all.cursor, Some(Cursor { usage: 7, audit: 8 }));
    let kept = letters(&connection, 0, 2).unwrap();
    assert_eq!(kept.iter().map(|letter| letter.id).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(kept[0], DeadLetter { id: 3, ..letter() });
    let taken = OutboxWrite::LetterEnded { letter: kept[0].clone(), is_taken: true };
    let all = perform(&connection, &taken, 0);
    assert_eq!((all.dead, all.delivered, all.events_delivered), (most - 1, 1, 10));
    let all = perform(&connection, &OutboxWrite::Clear { up_to: 10 }, 0);
    assert_eq!(all.dead, most - 8);
}
