//! What a key of the file is: its type, its default, its description and how it is read.
//!
//! A key's type is data, not code, because three readers need it: the check of a file's value, the
//! check of a flag's value, and the reference page.

use std::fmt;
use std::time::Duration;

use super::draft::Draft;
use super::entry::Entry;
use super::number::{self, NumberFault};
use super::problem::Findings;
use super::settings::Choice;
use crate::model::bounds::{COUNTER_MAX, WEBHOOK_RETRIES_MAX};

/// One key of an object of kind `T` (the whole file, a tool's entry, a quota).
#[derive(Debug)]
pub(super) struct Key<T: 'static> {
    /// As written in the file.
    pub(super) name: &'static str,
    /// Another accepted spelling, or empty.
    pub(super) alias: &'static str,
    /// What values it takes.
    pub(super) kind: Kind,
    /// What holds without it.
    pub(super) fallback: Fallback,
    /// The flag that wins over it, or empty.
    pub(super) flag: &'static str,
    /// One line for the reference page.
    pub(super) about: &'static str,
    /// How it is read.
    pub(super) read: Read<T>,
}

/// How a key is read.
#[derive(Debug)]
pub(super) enum Read<T: 'static> {
    /// This function checks the value and puts it where it belongs.
    With(fn(&mut T, &Entry<'_>, &mut Findings)),
    /// paygate-mcp or a later version knows it; this one refuses it and names the feature.
    NotBuilt,
}

/// The registry of the file's own keys.
pub(super) type TopKey = Key<Draft>;

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text but an empty one.
    Text,
    /// The same, never shown. The guarded server does not inherit the variables that it names.
    Secret,
    /// The same, never shown, and meant for the guarded server.
    ServerSecret,
    /// `true` or `false`.
    Switch,
    /// 0–65535.
    Port,
    /// Whole credits.
    Credits,
    /// A limit, where 0 means none.
    Limit,
    /// A number with up to three decimals, kept in thousandths.
    Thousandths,
    /// How often something is tried again.
    Retries,
    /// Milliseconds up to `maxRequestTimeoutMs`, which is known only when all is read.
    Timeout,
    /// A whole number in these bounds, both included.
    Within(i64, i64),
    /// One of these words.
    OneOf(fn() -> Vec<&'static str>),
    /// Something described in words: lists and objects.
    Shape(&'static str),
}

/// What holds without a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// Nothing, or what these words say.
    Words(&'static str),
    /// This value, as it would be written.
    Text(&'static str),
    /// This number.
    Number(i64),
    /// This size or count.
    Size(usize),
    /// This time, in milliseconds.
    Millis(Duration),
    /// This time, in seconds.
    Seconds(Duration),
}

/// Why a number is refused, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// The words of a choice, for [`Kind::OneOf`].
pub(super) fn words<C: Choice>() -> Vec<&'static str> {
    C::CHOICES.iter().map(|(word, _)| *word).collect()
}

impl Kind {
    /// How many decimals a number of this kind may have.
    pub(super) fn decimals(self) -> u32 {
        match self {
            Self::Thousandths => 3,
            _ => 0,
        }
    }

    /// Accepts a parsed number or says why not. `subject` is what the message calls it, `value`
    /// what the operator wrote.
    pub(super) fn accept(
        self,
        subject: &str,
        value: &str,
        parsed: Result<i64, NumberFault>,
    ) -> Result<i64, Refusal> {
        let must = |rule: &str, hint: Option<String>| {
            // The port's message has no colon: it is kept as paygate-mcp printed it.
            let colon = if matches!(self, Self::Port) { "" } else { ":" };
            Err(Refusal { message: format!("Invalid {subject}{colon} {value}. {rule}"), hint })
        };
        let bounds = match self {
            Self::Port => Some((0, 65_535)),
            Self::Within(min, max) => Some((min, max)),
            _ => None,
        };
        let quotes = "write a whole number in digits".to_owned();
        match (parsed, bounds) {
            (Ok(number), Some((min, max))) if (min..=max).contains(&number) => Ok(number),
            (parsed, Some((min, max))) => must(
                &format!("Must be {min}–{max}."),
                (parsed == Err(NumberFault::NotANumber)).then_some(quotes),
            ),
            (Ok(number), None) if matches!(self, Self::Retries) && number > WEBHOOK_RETRIES_MAX => {
                must(&format!("Must be at most {WEBHOOK_RETRIES_MAX}."), None)
            }
            (Err(_), None) if matches!(self, Self::Retries) => {
                must("Must be a non-negative integer.", None)
            }
            (Ok(number), None) => Ok(number),
            (Err(_), None) if matches!(self, Self::Timeout) => {
                must("Must be a whole number of milliseconds, 1 or more.", None)
            }
            (Err(NumberFault::NotANumber), None) => must("Must be >= 0.", Some(quotes)),
            (Err(NumberFault::Negative), None) => must("Must be >= 0.", None),
            (Err(NumberFault::TooLarge), None) if matches!(self, Self::Thousandths) => {
                must("Must be at most 9007199254740.991.", None)
            }
            (Err(NumberFault::TooLarge), None) => {
                must(&format!("Must be at most {COUNTER_MAX}."), None)
            }
            (Err(NumberFault::Decimals(_)), None) if matches!(self, Self::Thousandths) => {
                must("May have at most 3 decimals.", None)
            }
            (Err(NumberFault::Decimals(decimals)), None) => must(
                "Must be a whole number.",
                matches!(self, Self::Credits).then(|| scaling_hint(value, decimals)),
            ),
        }
    }
}

/// How to keep a fractional price without changing what anybody pays.
fn scaling_hint(value: &str, decimals: u32) -> String {
    let rule = "credits are whole; multiply every price, balance and credit limit by";
    match (number::scaled(value, decimals), 10_i64.checked_pow(decimals)) {
        (Ok(whole), Some(factor)) => format!("{rule} {factor}, so that {value} becomes {whole}"),
        _ => "credits are whole; no multiple of this fits".to_owned(),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => write!(f, "text"),
            Self::Secret | Self::ServerSecret => write!(f, "text, secret"),
            Self::Switch => write!(f, "`true` or `false`"),
            Self::Port => write!(f, "whole number, 0–65535"),
            Self::Credits => write!(f, "whole number, 0 or more"),
            Self::Limit => write!(f, "whole number; 0 is unlimited"),
            Self::Thousandths => write!(f, "number, up to 3 decimals"),
            Self::Retries => write!(f, "whole number, 0–{WEBHOOK_RETRIES_MAX}"),
            Self::Timeout => write!(f, "milliseconds, 1–`maxRequestTimeoutMs`"),
            Self::Within(min, max) => write!(f, "whole number, {min}–{max}"),
            Self::OneOf(words) => {
                let quoted: Vec<String> =
                    words().iter().map(|word| format!("`\"{word}\"`")).collect();
                write!(f, "{}", quoted.join(", "))
            }
            Self::Shape(shape) => write!(f, "{shape}"),
        }
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "{words}"),
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Number(number) => write!(f, "`{number}`"),
            Self::Size(size) => write!(f, "`{size}`"),
            Self::Millis(time) => write!(f, "`{}`", time.as_millis()),
            Self::Seconds(time) => write!(f, "`{}`", time.as_secs()),
        }
    }
}
