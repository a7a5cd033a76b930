//! Whatever is written, there is an answer.

use paygate::config::{Command, Environment, load, parse};
use proptest::prelude::*;

use crate::load_all;

/// JSON that looks like a configuration, with every kind of value in every place.
fn likely_file() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "serverCommand",
        "serverArgs",
        "childEnv",
        "remoteUrl",
        "upstreamHeaders",
        "upstreamCa",
        "name",
        "host",
        "port",
        "db",
        "ephemeral",
        "toolPricing",
        "creditsPerCall",
        "creditsPerKbInput",
        "requestTimeoutMs",
        "globalQuota",
        "dailyCalls",
        "dailyCallLimit",
        "importKeys",
        "adminKey",
        "trustedProxies",
        "durability",
        "allowedHosts",
        "allowedOrigins",
        "topUpUrl",
        "redisUrl",
        "maxRequestTimeoutMs",
        "a:b",
        "",
    ]);
    let scalar = prop_oneof![
        "-?[0-9]{1,20}(\\.[0-9]{1,5})?([eE][-+]?[0-9]{1,20})?",
        "\"[ -!#-\\[\\]-~é]{0,30}\"",
        prop::sample::select(vec!["true", "false", "null", "\"10.0.0.0/8\"", "\"a 'b\""])
            .prop_map(str::to_owned),
    ];
    let value = scalar.prop_recursive(3, 40, 5, move |inner| {
        let member =
            (names.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\": {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(",\n"))),
        ]
    });
    prop_oneof![value, "\\PC*", "[\\{\\}\\[\\]:,\"a0-9.eE/*\\\\ \\n-]{0,60}"]
}

#[test]
fn deep_files_are_answered() {
    for depth in [500, 100_000] {
        let file = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(load_all(&file, &[], &[]).is_err());
    }
}

proptest! {
    #[test]
    fn any_file_is_answered(file in likely_file(), price in "\\PC{0,20}") {
        let price = format!("--price={price}");
        match load_all(&file, &["--server=x", &price], &[]) {
            Ok((_, report)) => prop_assert!(!report.has_errors()),
            Err(report) => {
                prop_assert!(report.has_errors());
                prop_assert!(!report.to_string().is_empty());
            }
        }
    }

    #[test]
    fn any_command_line_is_answered(words in prop::collection::vec(
        prop_oneof!["\\PC{0,8}", prop::sample::select(vec![
            "wrap", "health", "ledger", "verify", "--price", "--tool-price", "--import-key", "=",
            "--server", "--refund-on-failure", "a:1,b", "-5", "--", "--demo", "help",
        ]).prop_map(str::to_owned)], 0..6,
    )) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let line = ["paygate"].iter().chain(&words);
        if let Ok(Command::Wrap(flags)) = parse(line) {
            let outcome = load(&flags, &Environment::default(), |_| Ok("{}".to_owned()));
            match outcome {
                Ok((_, report)) => prop_assert!(!report.has_errors()),
                Err(report) => prop_assert!(report.has_errors()),
            }
        }
    }
}
