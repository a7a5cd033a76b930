//! Which part may use which. Parts of one rank are siblings and may not use each other.

use crate::Finding;
use crate::source::{Source, line_of};

/// The parts from the bottom to the top.
const RANKS: &[&[&str]] = &[
    &["model"],
    &["protocol", "ledger"],
    &["gate"],
    &["store", "upstream"],
    &["events"],
    &["proxy", "admin"],
    &["front"],
    &["config"],
    &["app"],
    &["cli"],
    &["fuzz"],
    &["main"],
];

const INSTEAD: &str = "move what both need to the left, or let a part further right bring them together \
                       (model; protocol, ledger; gate; store, upstream; events; proxy, admin; front; \
                       config; app; cli; main)";

fn rank(part: &str) -> Option<usize> {
    RANKS.iter().position(|parts| parts.contains(&part))
}

/// Every use of a part that this file may not use.
pub fn check(source: &Source) -> Vec<Finding> {
    let own_part = source.part();
    if own_part == "lib" {
        return Vec::new();
    }
    let finding = |offset: usize, rule: String, instead| Finding {
        file: source.path.clone(),
        line: line_of(&source.masked, offset),
        rule,
        instead,
    };
    let Some(own_rank) = rank(own_part) else {
        let rule = format!("`{own_part}` is not one of the parts");
        return vec![finding(
            0,
            rule,
            "give it a rank in tests/tidy/layers.rs and a place in the map",
        )];
    };
    let mut findings = Vec::new();
    for (offset, used) in used_parts(&source.masked, &source.path) {
        let is_allowed = match rank(&used) {
            Some(used_rank) => used_rank < own_rank || used == own_part,
            None => true,
        };
        if !is_allowed {
            findings.push(finding(offset, format!("`{own_part}` may not use `{used}`"), INSTEAD));
        }
    }
    findings
}

/// The first path segment after `crate::`, `paygate::` or enough `super::`, with its place. Groups
/// such as `crate::{a::B, c}` count for each of their members.
fn used_parts(masked: &str, path: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let to_root =
        "super::".repeat(path.matches('/').count() - usize::from(path.ends_with("/mod.rs")));
    let mut roots = vec!["crate::", "paygate::"];
    if !to_root.is_empty() {
        roots.push(&to_root);
    }
    for root in roots {
        for (at, _) in masked.match_indices(root) {
            let before = masked[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let start = at + root.len();
            for member in members(&masked[start..]) {
                used.push((start, member));
            }
        }
    }
    used
}

/// `a::b` gives a; `{a::{b, c}, d}` gives a and d.
fn members(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    if !path.starts_with('{') {
        return vec![name(path)];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(byte, b'{' | b',') {
            found.push(name(&path[at + 1..]));
        }
    }
    found
}

#[cfg(test)]
fn broken(path: &str, code: &str) -> Vec<String> {
    check(&Source::new(path, code)).into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn siblings_and_later_parts_are_refused() {
    for (path, code) in [
        ("src/protocol/id.rs", "use crate::ledger::Hold;"),
        ("src/store/local/mod.rs", "use crate::{model::Key, upstream};"),
        ("src/proxy/call.rs", "fn f() { crate::admin::g() }"),
        ("src/model/mod.rs", "use super::gate::Charge;"),
        ("src/gate/checks/ip.rs", "use super::super::super::store::Store;"),
        ("src/cli/wrap.rs", "use crate::main::x;"),
        ("src/misc.rs", ""),
    ] {
        assert_eq!(broken(path, code).len(), 1, "{path}: {code}");
    }
}

#[test]
fn earlier_parts_and_the_own_part_are_fine() {
    for (path, code) in [
        ("src/gate/mod.rs", "use crate::{model::{self, Key}, ledger::Demand, gate::checks};"),
        ("src/main.rs", "use paygate::cli;"),
        ("src/store/mod.rs", "use super::gate::Charge; // crate::upstream"),
        ("src/store/local/writer.rs", "use super::upstream_of_rows;"),
        ("src/lib.rs", "pub mod upstream;"),
        ("src/app.rs", "use crate::config::Config;"),
    ] {
        assert_eq!(broken(path, code), Vec::<String>::new(), "{path}: {code}");
    }
}
