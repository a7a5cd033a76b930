//! What is wrong with a configuration, where, and what to do about it.
//!
//! The first line of each problem is the text that paygate-mcp printed where it knew the problem,
//! so that a script that greps for it keeps working; place and hint follow on lines of their own.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::spelling::nearest;

/// Longest piece of an operator's own text that a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Whether Paygate can start with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but the operator should know.
    Warning,
}

/// Where a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In no single place.
    Nowhere,
    /// In the configuration file, both counted from 1; columns in characters.
    File {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In this flag.
    Flag(&'static str),
}

/// One thing that is wrong or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether Paygate can start with it.
    pub severity: Severity,
    /// The key, in full: `toolPricing.search.creditsPerCall`.
    pub field: String,
    /// One or two sentences. Never holds a secret.
    pub message: String,
    /// Where it is.
    pub place: Place,
    /// What to do, if the message does not say it.
    pub hint: Option<String>,
}

/// Every problem found, errors first; `Display` gives the whole text for stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file_name: Option<String>,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Unreadable(String),
    Read(Vec<Problem>),
}

impl Report {
    /// The file could not be read or is not JSON, so nothing in it could be checked.
    pub(super) fn unreadable(fault: &str) -> Self {
        Self { file_name: None, outcome: Outcome::Unreadable(fault.to_owned()) }
    }

    /// Whether Paygate cannot start.
    pub fn has_errors(&self) -> bool {
        match &self.outcome {
            Outcome::Unreadable(_) => true,
            Outcome::Read(problems) => {
                problems.iter().any(|problem| problem.severity == Severity::Error)
            }
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        match &self.outcome {
            Outcome::Unreadable(_) => false,
            Outcome::Read(problems) => problems.is_empty(),
        }
    }

    /// The problems, errors first; none if the file could not be read.
    pub fn problems(&self) -> &[Problem] {
        match &self.outcome {
            Outcome::Unreadable(_) => &[],
            Outcome::Read(problems) => problems,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = match &self.outcome {
            Outcome::Unreadable(fault) => {
                return writeln!(f, "Error loading config file: {fault}");
            }
            Outcome::Read(problems) if problems.is_empty() => {
                return writeln!(f, "✓ Config is valid.");
            }
            Outcome::Read(problems) => problems,
        };
        for (severity, heading, label) in [
            (Severity::Error, ("✗", "error"), "ERROR "),
            (Severity::Warning, ("⚠", "warning"), "WARN  "),
        ] {
            let of_this = || problems.iter().filter(|found| found.severity == severity);
            if of_this().next().is_none() {
                continue;
            }
            writeln!(f, "{} {} {}(s):", heading.0, of_this().count(), heading.1)?;
            for problem in of_this() {
                self.write_problem(f, label, problem)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

impl Report {
    fn write_problem(
        &self,
        f: &mut fmt::Formatter<'_>,
        label: &str,
        problem: &Problem,
    ) -> fmt::Result {
        writeln!(f, "  {label} [{}] {}", problem.field, problem.message)?;
        match (problem.place, &self.file_name) {
            (Place::File { line, column }, Some(file)) => {
                writeln!(f, "         at {file}:{line}:{column}")?;
            }
            (Place::File { line, column }, None) => {
                writeln!(f, "         at {line}:{column}")?;
            }
            (Place::Flag(flag), _) => writeln!(f, "         from {flag}")?,
            (Place::Nowhere, _) => {}
        }
        match &problem.hint {
            Some(hint) => writeln!(f, "         hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The problems found so far, in the order of finding.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    /// Environment variables that values of the file named.
    used: BTreeSet<String>,
    /// Those of them that secrets of Paygate named.
    secret: BTreeSet<String>,
}

impl Findings {
    /// Notes that a value of the file named this variable, and whether that is a secret of Paygate.
    pub(super) fn note_used(&mut self, variable: &str, is_secret: bool) {
        if is_secret {
            self.secret.insert(variable.to_owned());
        }
        self.used.insert(variable.to_owned());
    }

    /// Did a value of the file name this variable?
    pub(super) fn was_used(&self, variable: &str) -> bool {
        self.used.contains(variable)
    }

    /// The variables that hold a secret of Paygate or a part of one.
    pub(super) fn secret_variables(&self) -> BTreeSet<String> {
        self.secret.clone()
    }

    /// Adds an error.
    pub(super) fn error(
        &mut self,
        place: Place,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.push(Problem {
            severity: Severity::Error,
            field: field.into(),
            message: message.into(),
            place,
            hint,
        });
    }

    /// Adds a warning.
    pub(super) fn warning(
        &mut self,
        place: Place,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            field: field.into(),
            message: message.into(),
            place,
            hint,
        });
    }

    /// Sorts them: errors, then warnings; each as they come in the file, then in the flags.
    pub(super) fn into_report(mut self, file_name: Option<String>) -> Report {
        self.problems.sort_by_key(|problem| (problem.severity, position(problem.place)));
        Report { file_name, outcome: Outcome::Read(self.problems) }
    }
}

/// The order of a report: the whole, the file from its start, the flags as they were found.
fn position(place: Place) -> (u8, usize, usize) {
    match place {
        Place::Nowhere => (0, 0, 0),
        Place::File { line, column } => (1, line, column),
        Place::Flag(_) => (2, 0, 0),
    }
}

/// An operator's own text as a message may repeat it: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    let mut result = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            result.push('…');
            break;
        }
        if character.is_control() {
            result.extend(character.escape_default());
        } else {
            result.push(character);
        }
    }
    result
}

/// A raw key as a message may name it: enough to find it, too little to use it.
pub(super) fn masked(raw: &str) -> String {
    let count = raw.chars().count();
    if count < 20 {
        return "***".to_owned();
    }
    let start: String = raw.chars().take(10).collect();
    let end: String = raw.chars().skip(count - 4).collect();
    shown(&format!("{start}...{end}"))
}

/// `Unknown …`, with the nearest word.
pub(super) fn unknown<'a>(
    what: &str,
    written: &str,
    words: impl Iterator<Item = &'a str>,
) -> String {
    match nearest(written, words) {
        Some(word) => format!("Unknown {what}. Did you mean \"{word}\"?"),
        None => format!("Unknown {what}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_short_and_on_one_line() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"é".repeat(70)), format!("{}…", "é".repeat(60)));
    }

    #[test]
    fn masked_keys_cannot_be_used() {
        assert_eq!(masked("short"), "***");
        assert_eq!(masked(&"é".repeat(19)), "***");
        assert_eq!(masked("pg_0123456789abcdefghij"), "pg_0123456...ghij");
    }
}
