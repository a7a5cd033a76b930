//! What scripts write down beside counters, as texts of a line or a few: read here, and written here by whoever
//! puts whole books into Redis. The scripts are the other side of it: `lua/hold.lua`, `lua/resolve.lua`,
//! `lua/deed.lua`.

use crate::ledger::{Entry, Hold};
use crate::model::ids::AccountId;
use crate::model::time::Time;
use crate::store::image::{KeptAnswer, OnceDone, OpenCall};
use crate::store::local::entries;
use crate::store::replay::call_id;

/// An open hold: `at deadline turn`, state, payer, calls, labels, postings, other accounts: a line each.
pub(super) fn open_call(call: &str, record: &str) -> Option<OpenCall> {
    let lines: Vec<&str> = record.split('\n').collect();
    let [times, state, payer, calls, labels, postings, others] = lines.as_slice() else {
        return None;
    };
    let mut times = times.split(' ');
    let mut time = || Some(Time::from_ms(times.next()?.parse().ok()?));
    let (at, until) = (time()?, time()?);
    let turn = times.next()?.to_owned();
    let state = if state.is_empty() {
        None
    } else {
        Some(String::from_utf8(hex::decode(state).ok()?).ok()?)
    };
    let id = call_id(call)?;
    let hold = Hold { call: id, at, deadline: until, postings: Vec::new() };
    let open = OpenCall {
        at,
        until,
        turn,
        state,
        payer: AccountId::new(payer),
        calls: (*calls).to_owned(),
        labels: (*labels).to_owned(),
        postings: (*postings).to_owned(),
        others: (*others).to_owned(),
        hold,
    };
    let detail = open.detail();
    let (read, _) = entries(at, "hold", Some(id.bytes().as_slice()), &open.payer, 0, &detail)?;
    match read.into_iter().next() {
        Some(Entry::Hold(hold)) => Some(OpenCall { hold, ..open }),
        _ => None,
    }
}

pub(super) fn open_call_text(open: &OpenCall) -> String {
    let OpenCall { at, until, turn, state, payer, calls, labels, postings, others, .. } = open;
    let state = state.as_deref().map(hex::encode).unwrap_or_default();
    let (at, until) = (at.ms(), until.ms());
    format!("{at} {until} {turn}\n{state}\n{payer}\n{calls}\n{labels}\n{postings}\n{others}")
}

/// An answer for repetitions: `until request call account`, a line break, then `+` and the answer, or `-`.
pub(super) fn kept_answer(record: &[u8]) -> Option<KeptAnswer> {
    let end = memchr::memchr(b'\n', record)?;
    let (head, rest) = record.split_at_checked(end)?;
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    let until = Time::from_ms(words.next()?.parse().ok()?);
    let (request, call) = (words.next()?.to_owned(), words.next()?.to_owned());
    let payer = AccountId::new(words.next()?);
    let (sign, answer) = rest.get(1..)?.split_first()?;
    let answer = (*sign == b'+').then(|| answer.to_vec());
    Some(KeptAnswer { until, request, call, payer, answer })
}

pub(super) fn kept_answer_text(kept: &KeptAnswer) -> Vec<u8> {
    let KeptAnswer { until, request, call, payer, answer } = kept;
    let mut text = format!("{} {request} {call} {payer}\n", until.ms()).into_bytes();
    match answer {
        Some(answer) => {
            text.push(b'+');
            text.extend_from_slice(answer);
        }
        None => text.push(b'-'),
    }
    text
}

/// What was done once for an id: `until request balance`, a line break, then the note.
pub(super) fn once_done(record: &str) -> Option<OnceDone> {
    let (head, note) = record.split_once('\n')?;
    let mut words = head.split(' ');
    let until = Time::from_ms(words.next()?.parse().ok()?);
    let (request, balance) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    Some(OnceDone { until, request, balance, note: note.to_owned() })
}

pub(super) fn once_done_text(once: &OnceDone) -> String {
    let OnceDone { until, request, balance, note } = once;
    format!("{} {request} {balance}\n{note}", until.ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let call = "ab".repeat(16);
        for record in [
            "5 9 00ff\n\nkey_1\n[[\"a\",2,0,\"open\"]]\n\n[[\"calls@l\",1]]\n",
            "5 9 00ff\n7761697473\nkey_1\n[[\"a\",2,0,\"open\"]]\n{\"x\":1}\n[[\"rate@60000!\",1,1]]\n[\"team_1\"]",
        ] {
            let open = open_call(&call, record);
            assert_eq!(open.as_ref().map(open_call_text).as_deref(), Some(record));
        }
        for record in ["9 ab cd key_1\n-", "9 ab cd key_1\n+", "9 ab cd key_1\n+a\n\u{fc}"] {
            let kept = kept_answer(record.as_bytes());
            assert_eq!(kept.as_ref().map(kept_answer_text).as_deref(), Some(record.as_bytes()));
        }
        for record in ["9 ab -7\n", "9 0 7\na note\nof two lines"] {
            assert_eq!(once_done(record).as_ref().map(once_done_text).as_deref(), Some(record));
        }
    }

    #[test]
    fn what_is_none_is_told_from_it() {
        let call = "ab".repeat(16);
        for record in ["", "5 9 t", "5 x t\n\nkey_1\n[]\n\n[]\n", "5 9 t\nzz\nkey_1\n[]\n\n[]\n"] {
            assert_eq!(open_call(&call, record), None, "{record}");
        }
        for record in ["", "9 ab cd key_1", "9 ab cd key_1\n", "x ab cd key_1\n-", "9 ab cd\n-"] {
            assert_eq!(kept_answer(record.as_bytes()), None, "{record}");
        }
        for record in ["", "9 ab 7", "9 ab x\n", "x ab 7\n"] {
            assert_eq!(once_done(record), None, "{record}");
        }
    }
}
