//! Writes the `detail` of a journal row. By hand, because every call writes one and most of it never
//! needs an escape; `rows.rs` reads it with serde.

use std::ops::Range;

use super::posting;
use crate::ledger::{Hold, Opening, Posting, Reversal};
use crate::model::ids::AccountId;
use crate::store::CallEnd;

/// A JSON object that grows at the end of a text.
pub(super) struct DetailText<'a> {
    text: &'a mut String,
    is_empty: bool,
}

impl<'a> DetailText<'a> {
    /// Appends an object with what `fill` puts into it; where it stands.
    pub(super) fn of(text: &'a mut String, fill: impl FnOnce(&mut Self)) -> Range<usize> {
        let start = text.len();
        text.push('{');
        let mut detail = Self { text, is_empty: true };
        fill(&mut detail);
        detail.text.push('}');
        start..detail.text.len()
    }

    /// When it was held and until when, and its amounts.
    pub(super) fn hold(&mut self, hold: &Hold, payer: &AccountId) {
        self.member("held");
        number(self.text, hold.at.ms());
        self.member("until");
        number(self.text, hold.deadline.ms());
        self.postings(&hold.postings, payer);
    }

    /// The moment that what is given back counts at, and the amounts.
    pub(super) fn reversal(&mut self, reversal: &Reversal, payer: &AccountId) {
        self.member("held");
        number(self.text, reversal.held_at.ms());
        self.postings(&reversal.postings, payer);
    }

    /// When it was last called, and its numbers.
    pub(super) fn opening(&mut self, opening: &Opening) {
        if let Some(last_call) = opening.last_call {
            self.member("last");
            number(self.text, last_call.ms());
        }
        self.postings(&opening.postings, &opening.account);
    }

    /// Amounts; then the accounts beside the payer's that they name by their place.
    fn postings(&mut self, postings: &[Posting], payer: &AccountId) {
        if postings.is_empty() {
            return;
        }
        self.member("postings");
        let others = postings_list(self.text, postings, payer);
        if !others.is_empty() {
            self.member("accounts");
            accounts_list(self.text, &others);
        }
    }

    pub(super) fn end(&mut self, word: &str) {
        self.member("end");
        string(self.text, word);
    }

    pub(super) fn reason(&mut self, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.member("reason");
            string(self.text, reason);
        }
    }

    pub(super) fn kept(&mut self, kept: &[i64]) {
        if !kept.is_empty() {
            self.member("kept");
            list(self.text, kept, |text, amount| number(text, *amount));
        }
    }

    pub(super) fn calls(&mut self, calls: &[CallEnd]) {
        if calls.is_empty() {
            return;
        }
        self.member("calls");
        calls_list(self.text, calls);
    }

    fn member(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }
}

/// Appends a list of amounts; the accounts beside the payer's that it names by their place.
pub(super) fn postings_list<'b>(
    text: &mut String,
    postings: &'b [Posting],
    payer: &AccountId,
) -> Vec<&'b AccountId> {
    let mut others: Vec<&AccountId> = Vec::new();
    list(text, postings, |text, posting| {
        let place = match others.iter().position(|other| **other == posting.account) {
            _ if posting.account == *payer => 0,
            Some(known) => known + 1,
            None => {
                others.push(&posting.account);
                others.len()
            }
        };
        posting::write(text, posting, place);
    });
    others
}

/// Appends a list of accounts.
pub(super) fn accounts_list(text: &mut String, accounts: &[&AccountId]) {
    list(text, accounts, |text, account| string(text, account.as_str()));
}

/// Appends a list of calls.
pub(super) fn calls_list(text: &mut String, calls: &[CallEnd]) {
    list(text, calls, |text, call| {
        text.push('[');
        string(text, call.tool.as_str());
        text.push(',');
        number(text, call.price);
        text.push(',');
        number(text, call.charged);
        text.push(',');
        string(text, call.outcome);
        text.push(']');
    });
}

fn list<'b, T>(text: &mut String, items: &'b [T], mut write: impl FnMut(&mut String, &'b T)) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, item);
    }
    text.push(']');
}

/// Appends a number.
pub(super) fn number(text: &mut String, number: i64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Appends a string in quotes.
fn string(text: &mut String, string: &str) {
    text.push('"');
    escaped(text, string);
    text.push('"');
}

/// Appends what stands between the quotes of a string.
pub(super) fn escaped(text: &mut String, string: &str) {
    // All of them, whatever the first ones say: so many at a time are looked at.
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if string.bytes().fold(false, |found, byte| found | is_special(byte)) {
        let quoted = serde_json::Value::from(string).to_string();
        text.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
    } else {
        text.push_str(string);
    }
}
