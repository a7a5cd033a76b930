//! An amount of a hold as the journal writes it: `["calls/day@d",1]`, the counter with its window,
//! then the amount, then whose it is if not the payer's (a place in the row's `accounts`).
//!
//! Behind the `@`: `l` for ever, `d` a day, `m` a month, or the milliseconds of a rolling window; a `!`
//! after that says that the amount stays when the hold is released. Short, because every call
//! writes about nine of them and they are most of its row.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::detail::{escaped, number};
use crate::ledger::{CounterName, Posting, Refund, Window};
use crate::model::ids::AccountId;

/// One amount; `account` is 0 for the payer, else one more than a place in `accounts`.
pub(super) struct PostingRow {
    counter: CounterName,
    window: Window,
    refund: Refund,
    amount: i64,
    account: usize,
}

impl PostingRow {
    pub(super) const fn amount(&self) -> i64 {
        self.amount
    }

    /// The posting, if its account is one of the row's.
    pub(super) fn posting(&self, payer: &AccountId, others: &[Cow<'_, str>]) -> Option<Posting> {
        let account = match self.account.checked_sub(1) {
            None => payer.clone(),
            Some(place) => AccountId::new(others.get(place)?),
        };
        let Self { counter, window, refund, amount, .. } = self;
        Some(Posting {
            account,
            counter: counter.clone(),
            window: *window,
            amount: *amount,
            refund: *refund,
        })
    }
}

/// Appends one amount; `place` is 0 for the payer, else one more than a place in `accounts`.
pub(super) fn write(text: &mut String, posting: &Posting, place: usize) {
    text.push_str("[\"");
    if posting.counter.is_fixed() {
        // Plain letters, and most of what a call writes.
        text.push_str(posting.counter.as_str());
    } else {
        escaped(text, posting.counter.as_str());
    }
    text.push('@');
    match posting.window {
        Window::Lifetime => text.push('l'),
        Window::Day => text.push('d'),
        Window::Month => text.push('m'),
        Window::Rolling(length_ms) => number(text, length_ms),
    }
    if posting.refund == Refund::Stays {
        text.push('!');
    }
    text.push_str("\",");
    number(text, posting.amount);
    if place != 0 {
        text.push(',');
        number(text, i64::try_from(place).unwrap_or(i64::MAX));
    }
    text.push(']');
}

fn read(text: &str) -> Option<(CounterName, Window, Refund)> {
    let (name, behind) = text.rsplit_once('@')?;
    let (window, refund) = match behind.strip_suffix('!') {
        Some(window) => (window, Refund::Stays),
        None => (behind, Refund::Back),
    };
    let window = match window {
        "l" => Window::Lifetime,
        "d" => Window::Day,
        "m" => Window::Month,
        length_ms => Window::Rolling(length_ms.parse().ok()?),
    };
    Some((CounterName::new(name), window, refund))
}

impl<'de> Deserialize<'de> for PostingRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = PostingRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"counter@window\", amount] or [\"counter@window\", amount, account]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<PostingRow, A::Error> {
        let text: String =
            row.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let amount = row.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
        let account = row.next_element()?.unwrap_or(0);
        let (counter, window, refund) =
            read(&text).ok_or_else(|| de::Error::custom(format!("not a counter: {text}")))?;
        Ok(PostingRow { counter, window, refund, amount, account })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::names;

    #[test]
    fn postings_are_short_and_read_back() {
        let payer = AccountId::new("key_1");
        let cases = [
            (names::BALANCE, Window::Lifetime, Refund::Back, r#"["balance@l",-5]"#),
            (names::RATE, Window::MINUTE, Refund::Stays, r#"["rate@60000!",-5]"#),
            (names::CALLS_DAY, Window::Day, Refund::Back, r#"["calls/day@d",-5]"#),
            (names::tool_rate("a@d!\"é"), Window::Month, Refund::Back, r#"["rate:a@d!\"é@m",-5]"#),
        ];
        for (counter, window, refund, text) in cases {
            let posting = Posting { account: payer.clone(), counter, window, amount: -5, refund };
            let mut written = String::new();
            write(&mut written, &posting, 0);
            assert_eq!(written, text);
            let read: PostingRow = serde_json::from_str(text).unwrap();
            assert_eq!(read.posting(&payer, &[]), Some(posting));
        }
        for wrong in ["[]", r#"["balance",1]"#, r#"["balance@x",1]"#, r#"["balance@l"]"#, "5"] {
            assert!(serde_json::from_str::<PostingRow>(wrong).is_err(), "{wrong}");
        }
    }
}
