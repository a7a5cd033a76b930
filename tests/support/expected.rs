//! A committed list of what does not pass, and why that is so.
//!
//! A line: `WAY SCENARIO CHECK # reason`, where the way `*` stands for all of them. What fails and is
//! not listed fails the test, and so does what is listed and passes. `UPDATE_EXPECTED=1` writes the
//! list anew, with a reason to fill in for every new line.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use super::tools::in_repository;

/// A check of a scenario: two words without spaces.
pub type Check = (String, String);

/// A check that does not pass, and what happened instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    pub check: Check,
    pub how: String,
}

const UNEXPLAINED: &str = "UNEXPLAINED";
const EVERY_WAY: &str = "*";

/// One list.
pub struct Expected {
    path: PathBuf,
    /// (way, check) to the reason.
    lines: BTreeMap<(String, Check), String>,
}

impl Expected {
    /// Reads a list of this repository.
    pub fn read(path: &str) -> Self {
        let path = in_repository(path);
        let text =
            fs::read_to_string(&path).expect("the list is there, if only with its first line");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { path, lines: lines.map(parse).collect() }
    }

    /// Fails with every difference between what is lost and what is listed.
    pub fn compare(&self, losses: &[(&str, Vec<Lost>)]) {
        let lost = merge(losses);
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&self.path, self.rewritten(&lost)).expect("the list can be written");
            return;
        }
        let mut message = String::new();
        for (key, how) in lost.iter().filter(|(key, _)| !self.lines.contains_key(*key)) {
            writeln!(message, "lost: {}\n    {how}", line(key)).expect("a string grows");
        }
        for (key, reason) in &self.lines {
            if !lost.contains_key(key) {
                writeln!(message, "passes now, take it out: {}", line(key))
                    .expect("a string grows");
            } else if reason.is_empty() || reason == UNEXPLAINED {
                writeln!(message, "has no reason: {}", line(key)).expect("a string grows");
            }
        }
        assert!(
            message.is_empty(),
            "{message}The list is {}. UPDATE_EXPECTED=1 writes it anew.",
            self.path.display()
        );
    }

    /// Whether this does not pass on this way.
    pub fn holds(&self, way: &str, check: &Check) -> bool {
        [way, EVERY_WAY]
            .iter()
            .any(|way| self.lines.contains_key(&((*way).to_owned(), check.clone())))
    }

    fn rewritten(&self, lost: &BTreeMap<(String, Check), String>) -> String {
        let mut text = "# WAY SCENARIO CHECK # reason; see tests/support/expected.rs\n".to_owned();
        for key in lost.keys() {
            let reason = self.lines.get(key).map_or(UNEXPLAINED, String::as_str);
            writeln!(text, "{} # {reason}", line(key)).expect("a string grows");
        }
        text
    }
}

/// One entry for what is lost in every way, one per way for anything else.
fn merge(losses: &[(&str, Vec<Lost>)]) -> BTreeMap<(String, Check), String> {
    let mut ways_of: BTreeMap<&Check, Vec<(&str, &str)>> = BTreeMap::new();
    for (way, lost) in losses {
        for Lost { check, how } in lost {
            ways_of.entry(check).or_default().push((way, how));
        }
    }
    let mut merged = BTreeMap::new();
    for (check, ways) in ways_of {
        let is_everywhere = ways.len() == losses.len();
        for (way, how) in ways {
            let way = if is_everywhere { EVERY_WAY } else { way };
            merged.insert((way.to_owned(), check.clone()), how.to_owned());
        }
    }
    merged
}

fn line((way, (scenario, check)): &(String, Check)) -> String {
    format!("{way} {scenario} {check}")
}

fn parse(line: &str) -> ((String, Check), String) {
    let (key, reason) = line.split_once(" # ").unwrap_or((line, ""));
    let words: Vec<&str> = key.split_whitespace().collect();
    let [way, scenario, check] = words[..] else { panic!("not a line of the list: {line}") };
    ((way.to_owned(), (scenario.to_owned(), check.to_owned())), reason.trim().to_owned())
}
