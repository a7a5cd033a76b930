//! What is told, to whom, in which order, and what is dropped.

use super::*;
use crate::proxy::{Answer, Shown};

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn answer(text: &str) -> Reply {
    Reply::Message(Answer { text: text.into(), shown: Shown::default() })
}

fn words(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Message(answer) => answer.text,
        other => panic!("{other:?}"),
    }
}

/// All that a reader finds now, with names; `$` is the end.
fn read(log: &mut Log, position: &mut Position) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        match log.take(position, &words) {
            Taken::Event(id, text) => {
                found.push(format!("{id} {}", String::from_utf8_lossy(&text)));
            }
            Taken::Nothing => return found,
            Taken::End => {
                found.push("$".to_owned());
                return found;
            }
        }
    }
}

fn seen(id: &str) -> EventId {
    EventId::parse(id).unwrap()
}

#[test]
fn a_request_is_told_its_own_messages_and_its_answer_last() {
    let mut log = Log::new(true);
    let (mut one, mut two) = (log.open(), log.open());
    assert!(log.push(one.stream, text("a")) && log.push(two.stream, text("b")));
    assert!(log.push(one.stream, text("c")) && log.answer(one.stream, answer("end")));
    assert!(!log.push(one.stream, text("late")) && !log.answer(one.stream, answer("twice")));
    assert_eq!(read(&mut log, &mut one), ["1-1 a", "1-2 c", "1-3 end", "$"]);
    assert_eq!(read(&mut log, &mut two), ["2-1 b"]);
    assert_eq!(log.dropped(), 1);
}

#[test]
fn an_answer_that_comes_first_takes_its_stream_with_it() {
    let mut log = Log::new(true);
    let one = log.open();
    assert!(matches!(log.begin(one.stream), Beginning::Nothing));
    log.answer(one.stream, answer("end"));
    assert!(matches!(log.begin(one.stream), Beginning::Answer(_)));
    log.detach(one, false);
    assert_eq!((log.streams.len(), log.order.len(), log.bytes), (1, 0, 0));
}

#[test]
fn who_comes_back_reads_on_in_the_very_stream() {
    let mut log = Log::new(true);
    let mut one = log.open();
    log.push(one.stream, text("a"));
    log.push(STANDING, text("standing"));
    assert_eq!(read(&mut log, &mut one), ["1-1 a"]);
    log.detach(one, true);
    log.push(one.stream, text("b"));
    log.answer(one.stream, answer("end"));
    let mut again = log.attach_after(seen("1-1")).unwrap();
    assert_eq!(read(&mut log, &mut again), ["1-2 b", "1-3 end", "$"]);
    let mut from_start = log.attach_after(seen("1-0")).unwrap();
    assert_eq!(read(&mut log, &mut again), ["$"], "a newer reader has taken over");
    assert_eq!(read(&mut log, &mut from_start), ["1-1 a", "1-2 b", "1-3 end", "$"]);
    for unknown in ["1-4", "2-1", "0-5", "9-0", "1-18446744073709551615"] {
        assert_eq!(log.attach_after(seen(unknown)), None, "{unknown}");
    }
    let mut standing = log.attach().unwrap();
    assert_eq!(read(&mut log, &mut standing), ["0-1 standing"]);
    log.detach(standing, true);
    log.push(STANDING, text("more"));
    let mut plain = log.attach().unwrap();
    assert_eq!(read(&mut log, &mut plain), ["0-2 more"]);
    let mut again = log.attach_after(seen("0-0")).unwrap();
    assert_eq!(read(&mut log, &mut again), ["0-1 standing", "0-2 more"]);
}

#[test]
fn what_belongs_to_no_request_goes_to_the_oldest_that_is_read() {
    let mut log = Log::new(true);
    let mut standing = log.attach().unwrap();
    let (mut one, mut two) = (log.open(), log.open());
    log.push_to_oldest(text("nothing in flight"));
    log.in_flight(two.stream, true);
    log.push_to_oldest(text("two"));
    log.in_flight(one.stream, true);
    log.push_to_oldest(text("one"));
    log.detach(one, true);
    log.push_to_oldest(text("two again"));
    log.in_flight(two.stream, false);
    log.push_to_oldest(text("standing"));
    one = log.attach_after(seen("1-0")).unwrap();
    assert_eq!(read(&mut log, &mut one), ["1-1 one"]);
    assert_eq!(read(&mut log, &mut two), ["2-1 two", "2-2 two again"]);
    assert_eq!(read(&mut log, &mut standing), ["0-1 nothing in flight", "0-2 standing"]);
}

#[test]
fn who_does_not_read_keeps_no_more_than_the_bounds() {
    let large = "x".repeat(bounds::SESSION_MESSAGE_BYTES_MAX / 8);
    for message in ["x", &large] {
        for is_read in [true, false] {
            let mut log = Log::new(true);
            let mut one = log.open();
            log.push(one.stream, text("first"));
            read(&mut log, &mut one);
            if !is_read {
                log.detach(one, true);
            }
            for _ in 0..10_000 {
                log.push(one.stream, text(message));
                log.push(STANDING, text(message));
            }
            assert!(log.bytes <= bounds::SESSION_MESSAGE_BYTES_MAX, "{}", log.bytes);
            assert!(log.order.len() <= bounds::SESSION_MESSAGES_MAX);
            assert!(log.dropped() > 0);
            assert!(log.answer(one.stream, answer("end")), "an answer always has room");
            let mut one = log.attach_after(seen("1-1")).unwrap();
            let told = read(&mut log, &mut one);
            assert_eq!(told.last().map(String::as_str), Some("$"));
            assert!(told.iter().any(|event| event.ends_with(" end")));
        }
    }
}

#[test]
fn one_message_has_room_however_long_it_is() {
    let mut log = Log::new(true);
    let mut standing = log.attach().unwrap();
    let huge = "x".repeat(2 * bounds::SESSION_MESSAGE_BYTES_MAX);
    assert!(log.push(STANDING, text(&huge)));
    assert!(!log.push(STANDING, text("y")));
    assert_eq!(read(&mut log, &mut standing).len(), 1);
    assert!(log.push(STANDING, text("y")));
    assert!(log.bytes <= bounds::SESSION_MESSAGE_BYTES_MAX);
}

#[test]
fn without_resuming_nothing_is_kept() {
    let mut log = Log::new(false);
    let mut one = log.open();
    log.push(one.stream, text("a"));
    assert_eq!(read(&mut log, &mut one), ["1-1 a"]);
    assert_eq!((log.order.len(), log.bytes), (0, 0));
    assert_eq!(log.attach_after(seen("1-0")), None);
    log.detach(one, true);
    assert!(!log.push(one.stream, text("b")) && !log.answer(one.stream, answer("end")));
}

#[test]
fn a_change_waits_once_and_a_closed_log_answers_still() {
    let mut log = Log::new(true);
    let mut one = log.open();
    for _ in 0..3 {
        log.push_once(text("changed"));
    }
    let mut standing = log.attach().unwrap();
    assert_eq!(read(&mut log, &mut standing), ["0-1 changed"]);
    log.push_once(text("changed"));
    assert_eq!(read(&mut log, &mut standing), ["0-2 changed"]);
    log.close();
    assert_eq!(read(&mut log, &mut standing), ["$"]);
    assert_eq!((log.attach(), log.attach_after(seen("0-1"))), (None, None));
    assert!(!log.push(STANDING, text("late")) && log.answer(one.stream, answer("end")));
    assert_eq!(read(&mut log, &mut one), ["1-1 end", "$"]);
}

#[test]
fn what_nobody_reads_is_not_kept_beyond_the_bound() {
    let huge = format!(
        r#"{{"id":"mine","result":"{}"}}"#,
        "x".repeat(2 * bounds::SESSION_MESSAGE_BYTES_MAX)
    );
    for leaves_first in [true, false] {
        let mut log = Log::new(true);
        let mut one = log.open();
        log.push(one.stream, text("a"));
        read(&mut log, &mut one);
        if leaves_first {
            log.detach(one, true);
        }
        assert!(log.answer(one.stream, answer(&huge)));
        if !leaves_first {
            assert!(log.bytes > bounds::SESSION_MESSAGE_BYTES_MAX, "its reader is still there");
            log.detach(one, true);
        }
        assert!(!log.push(STANDING, text(&huge)));
        assert!(log.bytes <= bounds::SESSION_MESSAGE_BYTES_MAX, "{} {leaves_first}", log.bytes);
        let mut again = log.attach_after(seen("1-1")).unwrap();
        let told = read(&mut log, &mut again);
        let error = told.first().unwrap();
        assert!(error.contains(r#""id":"mine""#) && error.contains("answer_not_kept"), "{error}");
        assert_eq!(told.last().map(String::as_str), Some("$"));
    }
}

#[test]
fn a_stream_that_is_over_and_empty_goes_with_its_reader() {
    let mut log = Log::new(true);
    let mut one = log.open();
    log.answer(one.stream, answer("end"));
    assert_eq!(read(&mut log, &mut one), ["1-1 end", "$"]);
    // Others need its room.
    let mut two = log.open();
    for _ in 0..bounds::SESSION_MESSAGES_MAX {
        log.push(two.stream, text("more"));
        read(&mut log, &mut two);
    }
    log.detach(one, true);
    assert_eq!(log.streams.keys().copied().collect::<Vec<_>>(), [STANDING, two.stream]);
}
