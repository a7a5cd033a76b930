//! Which feature of MCP passes in which combination of client side, server side and version:
//! `docs/reference/mcp.md`, made from the table below and from what the proofs list as not passing.
//!
//! A cell says yes only if something behind it is tried in that combination and no check of that is
//! listed in the `expected*.txt` beside the test that tries it. `UPDATE_REFERENCE=1` writes the page anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

mod support;

use std::fmt::Write;
use std::{env, fs};

use support::{Check, Expected, in_repository};

/// What proves a feature.
#[derive(Clone, Copy)]
enum Proof {
    /// Scenarios of the official conformance suite; one that ends in `*` stands for all that begin
    /// so.
    Suite(&'static [&'static str]),
    /// Steps of the official clients, and that they speak this era at all.
    Clients(&'static [&'static str]),
    /// A test of our own: the ways that it is about, its file and name.
    Own(&'static [&'static str], &'static str, &'static str),
    /// Conversations that are compared byte for byte.
    Bytes(&'static [&'static str]),
}
use Proof::{Bytes, Clients, Own, Suite};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
}

/// A feature, what proves it up to 2025-11-25, and what proves it from 2026-07-28 on. No proof: that
/// era does not have it.
type Feature = (&'static str, &'static [Proof], &'static [Proof]);

const FEATURES: &[Feature] = &[
    (
        "handshake or discovery",
        &[Suite(&["server-initialize"]), Clients(&["version"])],
        &[Suite(&["server-stateless"]), Clients(&["version"])],
    ),
    (
        "sessions: begun, ended, unknown",
        &[
            Suite(&["server-session-lifecycle"]),
            Own(
                &["remote", "several"],
                "tests/mcp_sessions/behind.rs",
                "a_session_begins_belongs_to_its_key_and_ends",
            ),
        ],
        &[],
    ),
    ("`ping`", &[Suite(&["ping"]), Clients(&["ping"])], &[]),
    (
        "`tools/list`",
        &[Suite(&["tools-list"]), Clients(&["list"])],
        &[Suite(&["tools-list"]), Clients(&["list"])],
    ),
    ("`tools/call`, every kind of content", CALLS, CALLS),
    ("schemas with JSON Schema 2020-12", SCHEMAS, SCHEMAS),
    ("progress, in order", PROGRESS, PROGRESS),
    (
        "log messages",
        &[
            Suite(&["logging-set-level", "tools-call-with-logging"]),
            Clients(&["log"]),
            Bytes(&["log"]),
        ],
        &[Clients(&["log"])],
    ),
    (
        "sampling",
        &[Suite(&["tools-call-sampling"]), Clients(&["sampling"]), Bytes(&["questions"])],
        &[Suite(&["input-required-result-basic-sampling"]), Clients(&["sampling"])],
    ),
    (
        "elicitation",
        &[
            Suite(&["tools-call-elicitation", "elicitation-*"]),
            Clients(&["elicitation"]),
            Bytes(&["questions"]),
        ],
        &[Suite(&["input-required-result-basic-elicitation"]), Clients(&["elicitation"])],
    ),
    (
        "roots",
        &[Clients(&["roots"]), Bytes(&["questions"])],
        &[Suite(&["input-required-result-basic-list-roots"]), Clients(&["roots"])],
    ),
    (
        "`input_required` rounds",
        &[],
        &[Suite(&["input-required-result-*"]), Clients(&["sampling", "elicitation", "roots"])],
    ),
    ("cancellation", &[Clients(&["cancel"])], &[Clients(&["cancel"])]),
    ("resources and templates", RESOURCES, RESOURCES),
    (
        "a resource that is not there",
        &[],
        &[Suite(&["sep-2164-resource-not-found"]), Clients(&["missing"])],
    ),
    (
        "resource subscriptions",
        &[Suite(&["resources-subscribe", "resources-unsubscribe"]), Clients(&["watch"])],
        &[Suite(&["server-stateless"]), Clients(&["watch"])],
    ),
    (
        "lists that change",
        &[
            Bytes(&["list-changed"]),
            Clients(&["changed"]),
            Own(
                &["several"],
                "tests/upstream_several/life.rs",
                "a_dead_servers_calls_end_its_tools_vanish_and_come_back",
            ),
        ],
        &[Suite(&["server-stateless"]), Clients(&["changed"])],
    ),
    ("prompts", PROMPTS, PROMPTS),
    ("completion", COMPLETION, COMPLETION),
    ("several streams at once", STREAMS, STREAMS),
    ("resumption with `Last-Event-ID`", RESUMPTION, &[]),
    ("cache hints", &[], &[Suite(&["caching"]), Clients(&["cached"])]),
    (
        "mirrored headers",
        &[],
        &[
            Suite(&["http-header-validation", "http-custom-header-server-validation"]),
            Clients(&["mirrored"]),
            Own(
                &["several"],
                "tests/several_servers/http.rs",
                "headers_repeat_the_full_name_and_the_arguments_or_are_refused_for_free",
            ),
        ],
    ),
    ("tasks as an extension", &[], &[Suite(&["tasks-*"]), Clients(&["task"])]),
    ("Host and Origin", ADDRESSES, ADDRESSES),
    (
        "bytes as they were written",
        &[Bytes(&[
            "arguments",
            "errors",
            "handshake-*",
            "ids",
            "lists",
            "order",
            "progress",
            "results",
        ])],
        &[Bytes(&["modern-*"])],
    ),
];

/// What only HTTP has: over stdin and stdout there are no headers, sessions and streams.
const HTTP_ALONE: &[&str] = &[
    "sessions: begun, ended, unknown",
    "several streams at once",
    "resumption with `Last-Event-ID`",
    "mirrored headers",
    "Host and Origin",
];

const ADDRESSES: &[Proof] = &[
    Suite(&["dns-rebinding-protection"]),
    Own(
        &["several"],
        "tests/several_servers/http.rs",
        "foreign_hosts_and_origins_are_refused_in_either_era",
    ),
];
const RESUMPTION: &[Proof] = &[
    Own(
        &["remote", "several"],
        "tests/mcp_sessions/behind.rs",
        "a_broken_stream_and_the_standing_one_are_read_on",
    ),
    Own(
        &["child"],
        "tests/mcp_sessions/resume.rs",
        "a_broken_stream_is_read_on_with_its_answer_and_nobody_elses",
    ),
    Own(&["child"], "tests/mcp_sessions/resume.rs", "the_standing_stream_goes_on_where_it_broke"),
];
const CALLS: &[Proof] = &[
    Suite(&[
        "tools-call-simple-text",
        "tools-call-image",
        "tools-call-audio",
        "tools-call-embedded-resource",
        "tools-call-mixed-content",
        "tools-call-error",
    ]),
    Clients(&["call", "picture", "sound", "embedded", "mixed", "failed"]),
];
const SCHEMAS: &[Proof] = &[Suite(&["json-schema-2020-12"]), Clients(&["schema"])];
const PROGRESS: &[Proof] = &[Suite(&["tools-call-with-progress"]), Clients(&["progress"])];
const RESOURCES: &[Proof] = &[
    Suite(&["resources-list", "resources-read-*", "resources-templates-read"]),
    Clients(&["read", "resources", "templates"]),
];
const PROMPTS: &[Proof] = &[Suite(&["prompts-*"]), Clients(&["prompt", "prompts"])];
const COMPLETION: &[Proof] = &[Suite(&["completion-complete"]), Clients(&["complete"])];
const STREAMS: &[Proof] = &[Suite(&["server-sse-multiple-streams"]), Clients(&["together"])];

/// A column: how the client and the server are reached, in which era, and what the ways are called
/// that try it.
struct Combination {
    client: &'static str,
    server: &'static str,
    era: Era,
    ways: &'static str,
}

const COMBINATIONS: &[Combination] = &[
    Combination { client: "HTTP", server: "child", era: Era::Legacy, ways: "child" },
    Combination { client: "HTTP", server: "child", era: Era::Modern, ways: "child" },
    Combination { client: "HTTP", server: "remote", era: Era::Legacy, ways: "remote" },
    Combination { client: "HTTP", server: "remote", era: Era::Modern, ways: "remote" },
    Combination { client: "HTTP", server: "several", era: Era::Legacy, ways: "several" },
    Combination { client: "HTTP", server: "several", era: Era::Modern, ways: "several" },
    Combination { client: "stdio", server: "child", era: Era::Legacy, ways: "stdio" },
    Combination { client: "stdio", server: "child", era: Era::Modern, ways: "stdio" },
    Combination { client: "stdio", server: "remote", era: Era::Legacy, ways: "stdio_remote" },
    Combination { client: "stdio", server: "remote", era: Era::Modern, ways: "stdio_remote" },
    Combination { client: "stdio", server: "several", era: Era::Legacy, ways: "stdio_several" },
    Combination { client: "stdio", server: "several", era: Era::Modern, ways: "stdio_several" },
];

/// What the three proofs list as not passing.
struct Lists {
    legacy: Expected,
    modern: Expected,
    clients: Expected,
    bytes: Expected,
}

impl Lists {
    fn read() -> Self {
        Self {
            legacy: Expected::read("tests/conformance/expected-2025-11-25.txt"),
            modern: Expected::read("tests/conformance/expected-2026-07-28.txt"),
            clients: Expected::read("tests/official_clients/expected.txt"),
            bytes: Expected::read("tests/differential/expected.txt"),
        }
    }

    /// Whether anything is tried in this combination.
    fn try_at_all(&self, combination: &Combination) -> bool {
        let lists = [&self.legacy, &self.modern, &self.clients, &self.bytes];
        lists.iter().any(|list| list.ways.iter().any(|way| is_of(way, combination)))
    }

    /// What this proof says; `None` if it does not look at this combination.
    fn found(&self, proof: Proof, combination: &Combination) -> Option<Found> {
        let (list, names) = match (proof, combination.era) {
            (Own(ways, file, name), _) => {
                let is_tried = ways.contains(&combination.ways) && is_there(file, name);
                return is_tried.then_some(Found::Passes);
            }
            (Suite(names), Era::Legacy) => (&self.legacy, names),
            (Suite(names), Era::Modern) => (&self.modern, names),
            (Clients(names), _) => (&self.clients, names),
            (Bytes(names), _) => (&self.bytes, names),
        };
        let of_clients = matches!(proof, Clients(_));
        if !is_tried(proof, list, names, combination) {
            return None;
        }
        let is_about = |(scenario, check): &Check| {
            if of_clients {
                is_of_era(scenario, combination.era)
                    && (check == "version" || names.contains(&check.as_str()))
            } else {
                names.iter().any(|name| stands_for(name, scenario))
            }
        };
        let ways: Vec<&String> = list.ways.iter().filter(|way| is_of(way, combination)).collect();
        let lacks = ways.iter().any(|way| list.listed(way).any(is_about));
        // What the suite misses by design is shown another way; a client misses it altogether.
        let differs = of_clients && ways.iter().any(|way| list.by_design(way).any(is_about));
        (!ways.is_empty()).then_some(match (lacks, differs) {
            (true, _) => Found::Lacks,
            (false, true) => Found::Differs,
            (false, false) => Found::Passes,
        })
    }
}

/// Whether all of this is done in this combination, as the tests wrote down.
fn is_tried(proof: Proof, list: &Expected, names: &[&str], combination: &Combination) -> bool {
    let era = if combination.era == Era::Legacy { "legacy" } else { "modern" };
    let place = match proof {
        Clients(_) => format!("{}-{era}", combination.ways),
        Suite(_) | Bytes(_) | Own(..) => "every-way".to_owned(),
    };
    let tried = list.tried.get(&place);
    let is_done =
        |name: &&str| tried.is_some_and(|tried| tried.iter().any(|done| stands_for(name, done)));
    let missing = names.iter().find(|name| !is_done(name));
    // A client may leave a step out; a scenario or conversation that is not there is a mistake above.
    assert!(
        missing.is_none() || matches!(proof, Clients(_)),
        "{missing:?} is tried by nobody in {}",
        list.name()
    );
    missing.is_none()
}

/// What a proof says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Passes,
    /// It does not, and will not.
    Differs,
    Lacks,
}

fn is_of(way: &str, combination: &Combination) -> bool {
    way.split('-').next() == Some(combination.ways)
}

/// `CLIENT/SERVER`. A client that negotiates speaks the modern era with those on the Python SDK: the others
/// are servers of the legacy era.
fn is_of_era(scenario: &str, era: Era) -> bool {
    let (client, server) = scenario.split_once('/').expect("CLIENT/SERVER");
    let is_modern = client.ends_with("-auto") && matches!(server, "fixture" | "time" | "several");
    (era == Era::Modern) == is_modern
}

/// Whether there is such a test; that it passes is seen where it runs.
fn is_there(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(in_repository(file)).expect("the file of a test");
    let is_test = ["#[test]\nfn", "#[tokio::test]\nasync fn"]
        .iter()
        .any(|begin| text.contains(&format!("{begin} {name}()")));
    assert!(is_test, "{file} has no test {name}");
    true
}

fn stands_for(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |begin| name.starts_with(begin))
}

fn cell(feature: &Feature, combination: &Combination, lists: &Lists) -> &'static str {
    let (name, legacy, modern) = feature;
    let proofs = match combination.era {
        Era::Legacy => legacy,
        Era::Modern => modern,
    };
    if proofs.is_empty() || (combination.client == "stdio" && HTTP_ALONE.contains(name)) {
        return "–";
    }
    let found = proofs.iter().filter_map(|proof| lists.found(*proof, combination));
    match found.max() {
        None => "not tried",
        Some(Found::Passes) => "yes",
        Some(Found::Differs) => "no",
        Some(Found::Lacks) => "not yet",
    }
}

const INTRODUCTION: &str = "\
# What of MCP passes through Paygate

Made by the tests from what they find; `tests/mcp_features.rs` says what proves a line: scenarios of the
official conformance suite with free and with priced calls, official clients and servers, conversations
compared byte for byte, and tests of our own. \"–\" means that the protocol does not have it there, \"not
tried\" that no proof looks there, \"no\" that it is so by design (`tests/official_clients/expected.txt` says
why). A client side of *stdio* is a client that starts `paygate wrap --stdio` itself. A server side of *child*
is a process that Paygate starts, *remote* a server at a URL, *several* more than one behind one address.
Versions are 2024-11-05 to 2025-11-25 (\"to 2025\") and 2026-07-28 (\"2026\").

";

fn page(lists: &Lists) -> String {
    let mut text = INTRODUCTION.to_owned();
    let tried: Vec<&Combination> =
        COMBINATIONS.iter().filter(|one| lists.try_at_all(one)).collect();
    text.push_str("| |");
    for Combination { client, server, era, .. } in &tried {
        let era = if *era == Era::Legacy { "to 2025" } else { "2026" };
        write!(text, " {client}, {server}, {era} |").expect("a string grows");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(tried.len()));
    for feature in FEATURES {
        write!(text, "\n| {} |", feature.0).expect("a string grows");
        for combination in &tried {
            write!(text, " {} |", cell(feature, combination, lists)).expect("a string grows");
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_table_in_the_docs_is_what_the_proofs_say() {
    let path = in_repository("docs/reference/mcp.md");
    let page = page(&Lists::read());
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &page).expect("the page is written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/reference/mcp.md is not what the proofs say; run:\n  \
         UPDATE_REFERENCE=1 cargo test --test mcp_features"
    );
}

#[test]
fn every_line_that_does_not_pass_belongs_to_a_feature() {
    let lists = Lists::read();
    let suites = |list: &Expected| -> Vec<String> {
        list.ways
            .iter()
            .flat_map(|way| list.listed(way))
            .map(|(scenario, _)| scenario.clone())
            .collect()
    };
    let proofs = || FEATURES.iter().flat_map(|(_, legacy, modern)| legacy.iter().chain(*modern));
    for scenario in suites(&lists.legacy).into_iter().chain(suites(&lists.modern)) {
        // Its proof is a test of our own.
        if scenario == "server-sse-polling" {
            continue;
        }
        let is_named = proofs().any(|proof| {
            matches!(proof, Suite(names) if names.iter().any(|name| stands_for(name, &scenario)))
        });
        assert!(is_named, "no feature is proved by {scenario}");
    }
}
