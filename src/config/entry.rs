//! One `"key": value` of the file, on its way to becoming a checked value.
//!
//! Every reader here gives the value or adds exactly one problem; none guesses.

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::draft::Placed;
use super::key::Kind;
use super::named::Named;
use super::number::{self, NumberFault};
use super::problem::{Findings, Place, shown, unknown};
use super::settings::Choice;

/// The file's text, for positions and for repeating what was written, and where values that are
/// named in it come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) named: Named<'a>,
}

impl Source<'_> {
    /// Line and column of a byte, both from 1, the column in characters.
    pub(super) fn place(self, byte: usize) -> Place {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }
}

/// One value of the file and what messages call it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) source: Source<'a>,
    /// In full: `toolPricing.search.creditsPerCall`.
    pub(super) field: String,
    /// In sentences: `creditsPerCall for "search"`.
    pub(super) subject: String,
    pub(super) kind: Kind,
    pub(super) value: &'a Value<'a>,
}

impl<'a> Entry<'a> {
    /// Where the value is.
    pub(super) fn place(&self) -> Place {
        self.source.place(self.value.start())
    }

    /// Puts the place beside a value.
    pub(super) fn placed<T>(&self, value: Option<T>) -> Option<Placed<T>> {
        value.map(|value| Placed { value, place: self.place() })
    }

    /// A member of this value: an element of a list or a free-named member of an object.
    pub(super) fn member(&'a self, name: &str, value: &'a Value<'a>) -> Self {
        Self {
            source: self.source,
            field: format!("{}{name}", self.field),
            subject: self.subject.clone(),
            kind: self.kind,
            value,
        }
    }

    /// Adds an error at the value.
    pub(super) fn refuse(
        &self,
        findings: &mut Findings,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        findings.error(self.place(), self.field.as_str(), message, hint.map(str::to_owned));
    }

    /// Refuses a value of the wrong type. A secret is not repeated.
    fn refuse_type(&self, findings: &mut Findings, wanted: &str) {
        let value = match self.kind {
            Kind::Secret | Kind::ServerSecret => String::new(),
            _ => format!(": {}", self.written()),
        };
        let hint = matches!(self.value, Value::NullKeyword(_))
            .then_some("remove the key to get its default");
        let message = format!("Invalid {}{value}. Must be {wanted}.", self.subject);
        self.refuse(findings, message, hint);
    }

    /// The value as it was written, if short enough to repeat.
    fn written(&self) -> String {
        match self.value {
            Value::Object(_) => "{…}".to_owned(),
            Value::Array(_) => "[…]".to_owned(),
            _ => shown(self.value.text(self.source.text)),
        }
    }

    /// A number of the entry's kind.
    pub(super) fn number(&self, findings: &mut Findings) -> Option<i64> {
        let parsed = match self.value {
            Value::NumberLit(literal) => number::scaled(literal.value, self.kind.decimals()),
            _ => Err(NumberFault::NotANumber),
        };
        match self.kind.accept(&self.subject, &self.written(), parsed) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(findings, refusal.message, refusal.hint.as_deref());
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, findings: &mut Findings) -> Option<bool> {
        if let Value::BooleanLit(literal) = self.value {
            return Some(literal.value);
        }
        self.refuse_type(findings, "true or false");
        None
    }

    /// A text that passes this check; the check says what it must be.
    pub(super) fn text<T>(
        &self,
        findings: &mut Findings,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Value::StringLit(literal) = self.value else {
            self.refuse_type(findings, "a text in quotes");
            return None;
        };
        let is_secret = matches!(self.kind, Kind::Secret);
        let filled = self.source.named.fill_in(&literal.value, is_secret, findings);
        match filled.and_then(|text| check(&text)) {
            Ok(value) => Some(value),
            // What was put in is not repeated: it may be a secret.
            Err(rule) => {
                let value = match self.kind {
                    Kind::Secret | Kind::ServerSecret => String::new(),
                    _ => format!(": \"{}\"", shown(&literal.value)),
                };
                let message = format!("Invalid {}{value}. {rule}", self.subject);
                self.refuse(findings, message, None);
                None
            }
        }
    }

    /// One word of a closed list.
    pub(super) fn choice<C: Choice>(&self, findings: &mut Findings) -> Option<C> {
        self.text(findings, |text| {
            let found = C::CHOICES.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> =
                    C::CHOICES.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("Must be one of {}.", words.join(", "))
            })
        })
    }

    /// Each element of a list that passes this check.
    pub(super) fn texts<T>(
        &self,
        findings: &mut Findings,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Placed<T>>> {
        let Value::Array(array) = self.value else {
            self.refuse_type(findings, "a list of texts: [\"…\", \"…\"]");
            return None;
        };
        let mut values = Vec::new();
        for (index, element) in array.elements.iter().enumerate() {
            let member = self.member(&format!("[{index}]"), element);
            let value = member.text(findings, &check);
            values.extend(member.placed(value));
        }
        (values.len() == array.elements.len()).then_some(values)
    }

    /// The value as an object.
    pub(super) fn object(&self, findings: &mut Findings) -> Option<&'a Object<'a>> {
        if let Value::Object(object) = self.value {
            return Some(object);
        }
        self.refuse_type(findings, "an object: {…}");
        None
    }

    /// The members of an object whose names are the operator's own: tools, keys, variables.
    /// `name` gives a member's name as messages may show it. A repeated one is refused.
    pub(super) fn members(
        &'a self,
        findings: &mut Findings,
        name: impl Fn(&str) -> String,
    ) -> Vec<(&'a str, Entry<'a>)> {
        let Some(object) = self.object(findings) else {
            return Vec::new();
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut members = Vec::new();
        for property in &object.properties {
            let written = property.name.as_str();
            let mut member = self.member(&format!(".{}", name(written)), &property.value);
            member.subject = name(written);
            if seen.insert(written) {
                members.push((written, member));
            } else {
                let place = self.source.place(property.start());
                findings.error(place, member.field, "Given twice.", None);
            }
        }
        members
    }
}

/// The message for a key that nobody knows.
pub(super) fn unknown_key<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    unknown("key", written, known)
}
