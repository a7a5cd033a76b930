//! A committed list of what does not pass, and why that is so.
//!
//! The first line names the ways that are tried. Any other: `WAY SCENARIO CHECK # reason`, where the
//! way `*` stands for all of them. What fails and is not listed fails the test, and so does what is
//! listed and passes. `UPDATE_EXPECTED=1` writes the list anew, with a reason to fill in for every
//! new line; one that will stay begins with `by design: `.
//!
//! Lines that begin with `# tried in ` say what was tried at all, so that a thing which nobody tries any
//! more fails too. `tests/mcp_features.rs` reads the lists for the table in the docs.

use std::collections::{BTreeMap, BTreeSet};
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

/// Where something was tried, and the names of what was.
pub type Tried = BTreeMap<String, BTreeSet<String>>;

const UNEXPLAINED: &str = "UNEXPLAINED";
const EVERY_WAY: &str = "*";
/// What the reason for a difference begins with that will stay.
const BY_DESIGN: &str = "by design: ";
const TRIED_BEGIN: &str = "# tried in ";
const WAYS_BEGIN: &str = "# WAY SCENARIO CHECK # reason; the ways: ";

/// One list.
pub struct Expected {
    path: PathBuf,
    /// What is tried.
    pub ways: Vec<String>,
    pub tried: Tried,
    /// (way, check) to the reason.
    lines: BTreeMap<(String, Check), String>,
}

impl Expected {
    /// Reads a list of this repository.
    pub fn read(path: &str) -> Self {
        let path = in_repository(path);
        let text =
            fs::read_to_string(&path).expect("the list is there, if only with its first line");
        let ways = text.lines().find_map(|line| line.strip_prefix(WAYS_BEGIN)).unwrap_or_default();
        let ways = ways.split_whitespace().map(str::to_owned).collect();
        let tried = text.lines().filter_map(|line| line.strip_prefix(TRIED_BEGIN));
        let tried = tried.filter_map(|line| line.split_once(": ")).map(|(place, names)| {
            (place.to_owned(), names.split_whitespace().map(str::to_owned).collect())
        });
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { path, ways, tried: tried.collect(), lines: lines.map(parse).collect() }
    }

    /// Where it is kept.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Fails with every difference between what is lost and what is listed, and if something else was
    /// tried than the list says.
    pub fn compare(&self, losses: &[(&str, Vec<Lost>)], tried: &Tried) {
        let lost = merge(losses);
        let ways: Vec<&str> = losses.iter().map(|(way, _)| *way).collect();
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&self.path, self.rewritten(&ways, &lost, tried))
                .expect("the list can be written");
            return;
        }
        let mut message = String::new();
        if self.ways != ways {
            writeln!(message, "the first line must name {ways:?}").expect("a string grows");
        }
        if &self.tried != tried {
            writeln!(message, "other things were tried: {tried:?}").expect("a string grows");
        }
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

    /// Everything that is listed for this way and is not meant to be so.
    pub fn listed(&self, way: &str) -> impl Iterator<Item = &Check> {
        self.with_reason(way, |reason| !reason.starts_with(BY_DESIGN))
    }

    /// Everything that is listed for this way and will stay.
    pub fn by_design(&self, way: &str) -> impl Iterator<Item = &Check> {
        self.with_reason(way, |reason| reason.starts_with(BY_DESIGN))
    }

    fn with_reason(&self, way: &str, is_wanted: fn(&str) -> bool) -> impl Iterator<Item = &Check> {
        let is_here = move |found: &str| found == way || found == EVERY_WAY;
        let lines = self.lines.iter();
        let wanted = lines.filter(move |((found, _), reason)| is_here(found) && is_wanted(reason));
        wanted.map(|((_, check), _)| check)
    }

    fn rewritten(
        &self,
        ways: &[&str],
        lost: &BTreeMap<(String, Check), String>,
        tried: &Tried,
    ) -> String {
        let mut text = format!("{WAYS_BEGIN}{}\n", ways.join(" "));
        for (place, names) in tried {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(text, "{TRIED_BEGIN}{place}: {}", names.join(" ")).expect("a string grows");
        }
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
