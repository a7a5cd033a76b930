//! Words that do not belong into a place: clocks in pure parts, the environment outside `config`,
//! printing outside the output, unwrapping, and work left without an issue.

use crate::Finding;
use crate::source::{Source, line_of};

/// Parts that take time as an argument and touch nothing outside themselves.
const PURE_PARTS: [&str; 4] = ["model", "protocol", "ledger", "gate"];
const IMPURE: [&str; 11] = [
    "async",
    "tokio",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
];
const PURE_INSTEAD: &str = "take what you need as an argument; time, files and sockets belong to store, upstream and further right";

const READS_ENVIRONMENT: [&str; 4] = ["env::var", "env::vars", "env::var_os", "env::vars_os"];
const ENVIRONMENT_INSTEAD: &str = "make it an option of the part; config fills it in";

const PRINTS: [&str; 6] = ["println!", "print!", "eprintln!", "eprint!", "io::stdout", "dbg!"];
const PRINTERS: [&str; 2] = ["src/cli/output.rs", "src/cli/demo_server.rs"];
const PRINT_INSTEAD: &str = "log with tracing, or print through cli/output.rs: in stdio mode stdout belongs to the protocol";

const UNWRAP_INSTEAD: &str =
    "return an error, or `expect` with the invariant that makes it impossible as its text";

/// Written in two halves, or this file would have to list itself.
const LEFT_TO_DO: &str = concat!("TO", "DO");

/// Impure words in pure parts.
pub fn check_purity(source: &Source) -> Vec<Finding> {
    if !PURE_PARTS.contains(&source.part()) {
        return Vec::new();
    }
    let rule = |word: &str| format!("`{word}` in the pure part `{}`", source.part());
    banned(source, &IMPURE, rule, PURE_INSTEAD)
}

/// The environment and the output each have one owner.
pub fn check_owners(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.part() != "config" {
        let rule = |word: &str| format!("`{word}` outside config/");
        findings.extend(banned(source, &READS_ENVIRONMENT, rule, ENVIRONMENT_INSTEAD));
    }
    if !PRINTERS.contains(&source.path.as_str()) {
        let rule = |word: &str| format!("`{word}` outside {}", PRINTERS.join(" and "));
        findings.extend(banned(source, &PRINTS, rule, PRINT_INSTEAD));
    }
    findings
}

/// `unwrap()` outside tests.
pub fn check_unwrap(source: &Source) -> Vec<Finding> {
    banned(source, &[".unwrap()"], |_| "`unwrap()` outside tests".into(), UNWRAP_INSTEAD)
}

/// What is left to do names its issue: the word, then `(#12)`.
pub fn check_left_to_do(source: &Source) -> Vec<Finding> {
    let names_issue = |after: &str| {
        let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
        number.is_some_and(|(digits, _)| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let all = source.raw.match_indices(LEFT_TO_DO);
    let nameless = all.filter(|(at, word)| !names_issue(&source.raw[at + word.len()..]));
    let finding = |(at, _)| Finding {
        file: source.path.clone(),
        line: line_of(&source.raw, at),
        rule: format!("`{LEFT_TO_DO}` without an issue"),
        instead: "do it, or open an issue and write its number: (#12)",
    };
    nameless.map(finding).collect()
}

/// Every place where shipped code says one of the words: as a whole word, as a path, or as a member
/// of a `use` group.
fn banned(
    source: &Source,
    words: &[&str],
    rule: impl Fn(&str) -> String,
    instead: &'static str,
) -> Vec<Finding> {
    let code = spell_out_groups(&source.shipped);
    let mut findings = Vec::new();
    for word in words {
        for (at, _) in code.text.match_indices(word) {
            if is_whole(&code.text, at, word) {
                let line = line_of(&code.text, at.min(code.grouped_from));
                let line = if at < code.grouped_from { line } else { code.line_of_group(at) };
                findings.push(Finding {
                    file: source.path.clone(),
                    line,
                    rule: rule(word),
                    instead,
                });
            }
        }
    }
    findings
}

/// A word ends where it ends, except that `std::net::Tcp` is meant to find `TcpStream`.
fn is_whole(text: &str, at: usize, word: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || c == '_';
    let starts = word.starts_with('.') || !text[..at].chars().next_back().is_some_and(continues);
    let after = text[at + word.len()..].chars().next();
    let may_continue = word.ends_with("::Tcp") || word.ends_with("::Udp") || word.ends_with('!');
    starts && (may_continue || !after.is_some_and(continues))
}

/// Code with every `use` group spelled out behind it, one path a line.
struct Spelled {
    text: String,
    /// Where the spelled-out paths begin.
    grouped_from: usize,
    /// The line that each of them comes from.
    lines: Vec<usize>,
}

impl Spelled {
    fn line_of_group(&self, at: usize) -> usize {
        let index = self.text[self.grouped_from..at].matches('\n').count();
        self.lines.get(index).copied().unwrap_or(1)
    }
}

/// `use std::{fs, net::{TcpStream}};` appends `std::fs` and `std::net::TcpStream`.
fn spell_out_groups(shipped: &str) -> Spelled {
    let mut spelled = Spelled {
        text: format!("{shipped}\n"),
        grouped_from: shipped.len() + 1,
        lines: Vec::new(),
    };
    for (at, _) in shipped.match_indices("use ") {
        let statement = shipped[at + 4..].split(';').next().unwrap_or_default();
        let is_start = !shipped[..at].chars().next_back().is_some_and(char::is_alphanumeric);
        if is_start && statement.contains('{') {
            let plain: String = statement.split_whitespace().collect();
            for path in expand("", &plain) {
                spelled.text.push_str(&path);
                spelled.text.push('\n');
                spelled.lines.push(line_of(shipped, at));
            }
        }
    }
    spelled
}

/// The paths of one use tree.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let group = rest.strip_suffix('}').unwrap_or(rest);
    let prefix = format!("{prefix}{head}");
    let mut paths = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, byte) in group.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                if start < at {
                    paths.extend(expand(&prefix, &group[start..at]));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

#[test]
fn pure_parts_are_searched_in_paths_and_groups() {
    let code = "//! Async is fine here.\nuse std::{fmt, net::{IpAddr, TcpStream}};\n\nasync fn f() { x::Instant::now() }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
    let found = check_purity(&Source::new("src/gate/x.rs", code));
    let mut found = lines(&found);
    found.sort_unstable();
    assert_eq!(found, [2, 4, 4]);
    assert!(check_purity(&Source::new("src/store/x.rs", code)).is_empty());
    assert!(
        check_purity(&Source::new("src/gate/x.rs", "use std::net::IpAddr; fn asyncs() {}"))
            .is_empty()
    );
}

#[test]
fn the_environment_and_the_output_have_owners() {
    let code = "fn f() { std::env::var(\"X\"); println!(); }";
    assert_eq!(check_owners(&Source::new("src/app.rs", code)).len(), 2);
    assert_eq!(check_owners(&Source::new("src/config/env.rs", code)).len(), 1);
    assert_eq!(check_owners(&Source::new("src/cli/output.rs", code)).len(), 1);
}

#[test]
fn unwrap_is_found_outside_tests_only() {
    let code =
        "fn f() { a.unwrap_or(1); b.unwrap(); }\n#[cfg(test)]\nmod t { fn g() { c.unwrap(); } }";
    assert_eq!(lines(&check_unwrap(&Source::new("src/a.rs", code))), [1]);
}

#[test]
fn work_left_needs_a_number() {
    let code = format!("// {LEFT_TO_DO}(#12): x\n// {LEFT_TO_DO}: y\n// {LEFT_TO_DO}(#): z");
    assert_eq!(lines(&check_left_to_do(&Source::new("src/a.rs", &code))), [2, 3]);
}
