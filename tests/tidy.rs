//! The rules of the code base that no compiler checks: which part may use which, where purity ends,
//! who may print, how long a file and a function may be. `docs/ARCHITECTURE.md` says why.
//!
//! Every finding names file and line, the rule, and what to do instead. An excess that exists is
//! listed in `LONG_FUNCTIONS` and may shrink but not grow.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    reason = "a helper that fails a test panics, and a test has no users outside itself"
)]

#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use source::{Source, sources_under};

/// Lines of a file at most; 400 is what to aim at.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function at most, from `fn` to its closing brace. A test may be one long table.
const FUNCTION_LINES_MAX: usize = 60;

/// Functions that are longer for now: (file, function, lines). Shorten one, and its entry must go;
/// nothing may be added without a reason beside it.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Everything that is written in Rust here.
const RUST_DIRS: [&str; 3] = ["src", "tests", "benches"];

/// One broken rule at one place.
struct Finding {
    file: String,
    line: usize,
    rule: String,
    instead: &'static str,
}

/// Fails with every finding, so that one run tells all there is to do.
fn expect_none(findings: &[Finding]) {
    let mut message = String::new();
    for Finding { file, line, rule, instead } in findings {
        writeln!(message, "{file}:{line}: {rule}\n    do: {instead}").expect("a string grows");
    }
    assert!(findings.is_empty(), "{} broken rules\n{message}", findings.len());
}

fn all_sources() -> Vec<Source> {
    RUST_DIRS.iter().flat_map(|dir| sources_under(dir)).collect()
}

#[test]
fn parts_use_only_what_comes_before_them() {
    let sources = sources_under("src");
    expect_none(&sources.iter().flat_map(layers::check).collect::<Vec<_>>());
}

#[test]
fn pure_parts_hold_no_async_sockets_files_environment_or_clock() {
    let sources = sources_under("src");
    expect_none(&sources.iter().flat_map(words::check_purity).collect::<Vec<_>>());
}

#[test]
fn only_config_reads_the_environment_and_only_output_prints() {
    let sources = sources_under("src");
    expect_none(&sources.iter().flat_map(words::check_owners).collect::<Vec<_>>());
}

#[test]
fn nothing_unwraps_outside_tests() {
    let sources = sources_under("src");
    expect_none(&sources.iter().flat_map(words::check_unwrap).collect::<Vec<_>>());
}

#[test]
fn what_is_left_to_do_has_an_issue() {
    expect_none(&all_sources().iter().flat_map(words::check_left_to_do).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is() {
    let silent = all_sources().into_iter().filter(|source| !source.raw.starts_with("//!"));
    let findings = silent.map(|source| Finding {
        file: source.path,
        line: 1,
        rule: "a file begins with its `//!` comment".into(),
        instead: "say what it is for, why this way, and what its edges are",
    });
    expect_none(&findings.collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long() {
    let long = all_sources().into_iter().filter(|s| s.raw.lines().count() > FILE_LINES_MAX);
    let findings = long.map(|source| Finding {
        line: FILE_LINES_MAX,
        rule: format!("{} lines, at most {FILE_LINES_MAX}", source.raw.lines().count()),
        file: source.path,
        instead: "split it where its subject changes; aim at 400",
    });
    expect_none(&findings.collect::<Vec<_>>());
}

#[test]
fn no_function_is_too_long() {
    let mut findings = Vec::new();
    let mut listed_and_long = 0;
    for source in all_sources() {
        for function in functions::functions(&source.shipped) {
            let listed = LONG_FUNCTIONS
                .iter()
                .find(|(file, name, _)| *file == source.path && *name == function.name);
            let allowed = listed.map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines);
            if function.lines > allowed {
                findings.push(Finding {
                    file: source.path.clone(),
                    line: function.line,
                    rule: format!(
                        "fn {} has {} lines, at most {allowed}",
                        function.name, function.lines
                    ),
                    instead: "keep the conditions here and move the straight work into helpers",
                });
            }
            let is_still_long = function.lines > FUNCTION_LINES_MAX && function.lines == allowed;
            listed_and_long += usize::from(listed.is_some() && is_still_long);
        }
    }
    expect_none(&findings);
    assert_eq!(
        listed_and_long,
        LONG_FUNCTIONS.len(),
        "an entry of LONG_FUNCTIONS is shorter now or gone: take it out or lower its number"
    );
}

#[test]
fn every_part_has_its_place_in_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("docs/ARCHITECTURE.md"))
        .expect("docs/ARCHITECTURE.md is there");
    let mut places = Vec::new();
    for source in sources_under("src") {
        let inside = source.path.trim_start_matches("src/");
        match inside.rsplit_once('/') {
            None => places.push(inside.to_owned()),
            Some((directories, _)) => {
                places.extend(directories.split('/').map(|directory| format!("{directory}/")));
            }
        }
    }
    places.sort();
    places.dedup();
    let missing: Vec<_> = places.iter().filter(|place| !map.contains(place.as_str())).collect();
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md does not mention {missing:?} of src/");
}
