//! The committed list of what is lost on the way, and why that is so.
//!
//! A line: `WAY SCENARIO CHECK # reason`, where the way `*` stands for all of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use crate::suite::{Check, Lost};
use crate::support::in_repository;

const UNEXPLAINED: &str = "UNEXPLAINED";
const EVERY_WAY: &str = "*";

/// The list for one version.
pub struct Expected {
    path: PathBuf,
    /// (way, check) to the reason.
    lines: BTreeMap<(String, Check), String>,
}

impl Expected {
    pub fn of(version: &str) -> Self {
        let path = in_repository(&format!("tests/conformance/expected-{version}.txt"));
        let text = fs::read_to_string(&path).expect("there is a list for every version");
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

    fn rewritten(&self, lost: &BTreeMap<(String, Check), String>) -> String {
        let mut text = "# WAY SCENARIO CHECK # reason; see tests/conformance/main.rs\n".to_owned();
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
