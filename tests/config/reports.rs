//! The exact words for what is wrong.

use std::io;
use std::path::Path;

use paygate::config::{Environment, load, read_file};

use crate::{flags, report};

/// The report on one member of a file that is otherwise good.
fn report_on(member: &str) -> String {
    report(&format!(r#"{{"serverCommand":"x",{member}}}"#), &[], &[])
}

#[test]
fn one_bad_member() {
    for (member, expected) in [
        (r#""port":70000"#, "[port] Invalid port 70000. Must be 0–65535."),
        (r#""port":-1"#, "[port] Invalid port -1. Must be 0–65535."),
        (r#""port":80.5"#, "[port] Invalid port 80.5. Must be 0–65535."),
        (
            r#""defaultCreditsPerCall":-5"#,
            "[defaultCreditsPerCall] Invalid defaultCreditsPerCall: -5. Must be >= 0.",
        ),
        (
            r#""defaultCreditsPerCall":9007199254740992"#,
            "[defaultCreditsPerCall] Invalid defaultCreditsPerCall: 9007199254740992. \
             Must be at most 9007199254740991.",
        ),
        (
            r#""globalRateLimitPerMin":-1"#,
            "[globalRateLimitPerMin] Invalid globalRateLimitPerMin: -1. Must be >= 0.",
        ),
        (
            r#""globalRateLimitPerMin":1.5"#,
            "[globalRateLimitPerMin] Invalid globalRateLimitPerMin: 1.5. Must be a whole number.",
        ),
        (
            r#""toolPricing":{"a":{"creditsPerCall":-1}}"#,
            "[toolPricing.a.creditsPerCall] Invalid creditsPerCall for \"a\": -1. Must be >= 0.",
        ),
        (
            r#""toolPricing":{"a":{"rateLimitPerMin":-1}}"#,
            "[toolPricing.a.rateLimitPerMin] Invalid rateLimitPerMin for \"a\": -1. Must be >= 0.",
        ),
        (
            r#""toolPricing":{"a":{"creditsPerKbInput":0.0005}}"#,
            "[toolPricing.a.creditsPerKbInput] Invalid creditsPerKbInput for \"a\": 0.0005. \
             May have at most 3 decimals.",
        ),
        (
            r#""toolPricing":{"a":5}"#,
            "[toolPricing.a] Invalid toolPricing entry \"a\": 5. Must be an object: {…}.",
        ),
        (
            r#""toolPricing":{"a":{"creditPerCall":1}}"#,
            "[toolPricing.a.creditPerCall] Unknown key. Did you mean \"creditsPerCall\"?",
        ),
        (r#""toolPricing":{"a":{},"a":{}}"#, "[toolPricing.a] Given twice."),
        (
            r#""globalQuota":{"dailyCallLimit":-1}"#,
            "[globalQuota.dailyCallLimit] Invalid dailyCallLimit: -1. Must be >= 0.",
        ),
        (
            r#""globalQuota":{"dailyCallLimit":1,"dailyCalls":2}"#,
            "[globalQuota.dailyCalls] Given twice: \"dailyCallLimit\" is the same.",
        ),
        (
            r#""importKeys":{"pg_0123456789abcdefghij":-1}"#,
            "[importKeys.pg_0123456...ghij] Invalid credits for imported key \
             \"pg_0123456...ghij\": -1. Must be >= 0.",
        ),
        (
            r#""importKeys":{"key_0123456789abcdef":1}"#,
            "[importKeys.key_012345...cdef] A raw key must not begin with \"key_\": ids do.",
        ),
        (
            r#""importKeys":{"a b":1}"#,
            "[importKeys.***] Must be ASCII letters, digits and signs, without spaces.",
        ),
        (r#""adminKey":"""#, "[adminKey] Invalid adminKey. Must not be empty."),
        (r#""adminKey":7"#, "[adminKey] Invalid adminKey. Must be a text in quotes."),
        (r#""shadowMode":1"#, "[shadowMode] Invalid shadowMode: 1. Must be true or false."),
        (
            r#""refundOnFailure":"yes""#,
            "[refundOnFailure] Invalid refundOnFailure: \"yes\". Must be true or false.",
        ),
        (
            r#""requireKey":"some""#,
            "[requireKey] Invalid requireKey: \"some\". Must be one of \"default\", \"all\".",
        ),
        (
            r#""durability":true"#,
            "[durability] Invalid durability: true. Must be a text in quotes.",
        ),
        (r#""maxBatchCalls":0"#, "[maxBatchCalls] Invalid maxBatchCalls: 0. Must be 1–1000."),
        (
            r#""maxBodyBytes":1023"#,
            "[maxBodyBytes] Invalid maxBodyBytes: 1023. Must be 1024–67108864.",
        ),
        (
            r#""maxAnswerBytes":268435457"#,
            "[maxAnswerBytes] Invalid maxAnswerBytes: 268435457. Must be 1024–268435456.",
        ),
        (
            r#""maxRequestTimeoutMs":86400001"#,
            "[maxRequestTimeoutMs] Invalid maxRequestTimeoutMs: 86400001. Must be 1–86400000.",
        ),
        (
            r#""requestTimeoutMs":0"#,
            "[requestTimeoutMs] Invalid requestTimeoutMs: 0. Must be 1–600000.",
        ),
        (
            r#""requestTimeoutMs":-1"#,
            "[requestTimeoutMs] Invalid requestTimeoutMs: -1. \
             Must be a whole number of milliseconds, 1 or more.",
        ),
        (
            r#""serverArgs":["a",5]"#,
            "[serverArgs[1]] Invalid serverArgs: 5. Must be a text in quotes.",
        ),
        (
            r#""trustedProxies":["10.0.0.0/40"]"#,
            "[trustedProxies[0]] Invalid trustedProxies: \"10.0.0.0/40\". \
             Must be an IP address or a CIDR range, such as 10.0.0.0/8 or fd00::/8.",
        ),
        (
            r#""allowedOrigins":["https://a.example/"]"#,
            "[allowedOrigins[0]] Invalid allowedOrigins: \"https://a.example/\". \
             Must be an origin as a browser sends it: https://example.com, without a path.",
        ),
        (
            r#""topUpUrl":"ftp://x""#,
            "[topUpUrl] Invalid topUpUrl: \"ftp://x\". Must begin with http:// or https://.",
        ),
        (
            r#""host":"example.com""#,
            "[host] Invalid host: \"example.com\". Must be an IP address of this machine, such as \
             127.0.0.1, 0.0.0.0 (all of IPv4) or :: (all).",
        ),
        (
            r#""db":"~/paygate.db""#,
            "[db] Invalid db: \"~/paygate.db\". Must be a whole path: ~ is not expanded.",
        ),
        (
            r#""db":"a","ephemeral":true"#,
            "[db | ephemeral] Cannot specify both db and ephemeral. Use one or the other.",
        ),
        (
            r#""redisUrl":"redis://cache","adminKey":"k","redis":{"onUnavailable":"lease"},"ephemeral":true"#,
            "[redis.onUnavailable] What is sold while Redis is away is written down in a file beside db.",
        ),
        (
            r#""childEnv":{"PAYGATE_X":"1"}"#,
            "[childEnv.PAYGATE_X] PAYGATE_ variables are for Paygate, never for the server.",
        ),
        (
            r#""childEnv":{"TOKEN":12345}"#,
            "[childEnv.TOKEN] Invalid value of \"TOKEN\". Must be a text in quotes.",
        ),
        (r#""Port":1"#, "[Port] Unknown key. Did you mean \"port\"?"),
        (r#""colour":1"#, "[colour] Unknown key."),
        (r#""":1"#, "[] Unknown key."),
        (r#""port":1,"port":2"#, "[port] Given twice."),
    ] {
        let text = report_on(member);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("✗ 1 error(s):"), "{member}\n{text}");
        let line = format!("  ERROR  {expected}");
        assert_eq!(lines.next(), Some(line.as_str()), "{member}");
        let place = lines.next().unwrap_or_default();
        assert!(place.starts_with("         at paygate.json:1:"), "{text}");
    }
}

#[test]
fn whole_reports() {
    for (file, words, variables, expected) in [
        (
            "",
            &[][..],
            &[][..],
            "✗ 1 error(s):\n  \
             ERROR  [serverCommand | remoteUrl | servers] No backend configured. Provide \
             serverCommand, remoteUrl, or servers[].\n         \
             hint: --server \"COMMAND\" guards a server that it starts, --remote-url URL one that \
             runs elsewhere, --demo one that is built in; servers[] in the file, several\n",
        ),
        (
            "",
            &["--server", "x", "--demo"],
            &[],
            "✗ 1 error(s):\n  \
             ERROR  [--server | --demo] Cannot specify both --server and --demo. Use one or the \
             other.\n",
        ),
        (
            "// é\n{\n  \"toolPricing\": {\n    \"é\": { \"creditsPerCall\": 0.25 }\n  },\n  \
             \"prot\": 1,\n  \"shadowMode\": true\n}",
            &["--price", "-5", "--tool-price", "b:c:x", "--demo", "--import-key", "k:1,k:2"],
            &[("PAYGATE_ADMINKEY", "x"), ("HOME", "/")],
            "✗ 5 error(s):\n  \
             ERROR  [toolPricing.é.creditsPerCall] Invalid creditsPerCall for \"é\": 0.25. Must be \
             a whole number.\n         \
             at paygate.json:4:30\n         \
             hint: credits are whole; multiply every price, balance and credit limit by 100, so \
             that 0.25 becomes 25\n  \
             ERROR  [prot] Unknown key. Did you mean \"port\"?\n         \
             at paygate.json:6:3\n  \
             ERROR  [defaultCreditsPerCall] Invalid defaultCreditsPerCall: -5. Must be >= 0.\n         \
             from --price\n  \
             ERROR  [toolPricing.b:c.creditsPerCall] Invalid creditsPerCall for \"b:c\": x. Must \
             be >= 0.\n         \
             from --tool-price\n         \
             hint: write a whole number in digits\n  \
             ERROR  [importKeys.***] Given twice.\n         \
             from --import-key\n\
             ⚠ 2 warning(s):\n  \
             WARN   [PAYGATE_ADMINKEY] Unknown environment variable. Did you mean \
             \"PAYGATE_ADMIN_KEY\"?\n  \
             WARN   [shadowMode] Shadow mode is enabled. Payment will not be enforced.\n         \
             at paygate.json:7:17\n",
        ),
        (
            r#"{"oauth": [1], "freeMethods": null, "serverCommand": "x"}"#,
            &["--webhook-secret", "whsec", "--webhook-retries", "x"],
            &[],
            "✗ 3 error(s):\n  \
             ERROR  [oauth] This version of Paygate does not have this feature yet: OAuth.\n         \
             at paygate.json:1:2\n         \
             hint: remove it to start\n  \
             ERROR  [freeMethods] This version of Paygate does not have this feature yet: a list \
             of free methods of your own.\n         \
             at paygate.json:1:16\n         \
             hint: remove it to start\n  \
             ERROR  [webhookMaxRetries] Invalid webhookMaxRetries: x. Must be a non-negative \
             integer.\n         \
             from --webhook-retries\n\
             ⚠ 1 warning(s):\n  \
             WARN   [webhookSecret] webhookSecret is set but webhookUrl is not. Secret will be \
             ignored.\n         \
             from --webhook-secret\n",
        ),
        (
            r#"{"serverCommand": "x", "webhookUrl": "hooks.example", "webhookMaxRetries": 1.5,
                "webhookSecret": "", "webhookAllowPrivate": 1}"#,
            &[],
            &[],
            "✗ 4 error(s):\n  \
             ERROR  [webhookUrl] Invalid webhookUrl: \"hooks.example\". Must be a valid \
             URL.\n         \
             at paygate.json:1:38\n  \
             ERROR  [webhookMaxRetries] Invalid webhookMaxRetries: 1.5. Must be a non-negative \
             integer.\n         \
             at paygate.json:1:76\n  \
             ERROR  [webhookSecret] Invalid webhookSecret. Must not be empty.\n         \
             at paygate.json:2:34\n  \
             ERROR  [webhookAllowPrivate] Invalid webhookAllowPrivate: 1. Must be true or \
             false.\n         \
             at paygate.json:2:61\n",
        ),
        (
            r#"{"serverCommand": "x", "webhookUrl": "https://u:p4ss@hooks.example/t0ken",
                "webhookMaxRetries": 51}"#,
            &["--webhook-url", "hooks.example/t0ken"],
            &[],
            "✗ 3 error(s):\n  \
             ERROR  [webhookUrl] Invalid webhookUrl. Must not hold a user or \
             password.\n         \
             at paygate.json:1:38\n  \
             ERROR  [webhookMaxRetries] Invalid webhookMaxRetries: 51. Must be at most \
             50.\n         \
             at paygate.json:2:38\n  \
             ERROR  [webhookUrl] Invalid webhookUrl. Must be a valid URL.\n         \
             from --webhook-url\n",
        ),
        (
            r#"{"serverCommand": "x", "redisUrl": "http://u:p4ss@cache", "redis": {"onUnavailable": "sell"}}"#,
            &["--redis-url", "redis://cache:99999"],
            &[],
            "✗ 3 error(s):\n  \
             ERROR  [redisUrl] Invalid redisUrl protocol \"http:\". Expected \"redis://\" or \
             \"rediss://\", or one of them with `+sentinel` or `+cluster` before its `:`.\n         \
             at paygate.json:1:36\n  \
             ERROR  [redis.onUnavailable] Invalid redis.onUnavailable: \"sell\". Must be \
             one of \"refuse\", \"lease\".\n         \
             at paygate.json:1:86\n  \
             ERROR  [redisUrl] Invalid redisUrl: \"redis://cache:99999\". Must be a valid redis:// \
             URL.\n         \
             from --redis-url\n\
             ⚠ 1 warning(s):\n  \
             WARN   [redis] redis is set but redisUrl is not. It will be ignored.\n         \
             at paygate.json:1:68\n",
        ),
        (
            r#"{"serverCommand": "x", "redisUrl": "redis://user:p4ss@cache:6379/2", "stateFile": "s.json",
                "ephemeral": true}"#,
            &[],
            &[],
            "✗ 1 error(s):\n  \
             ERROR  [adminKey] Instances that share their books share their admin key, and none is \
             configured.\n         \
             at paygate.json:1:36\n         \
             hint: set adminKey, PAYGATE_ADMIN_KEY or --admin-key, the same for all\n",
        ),
        (
            r#"{"serverCommand": "node 'x", "trustedProxies": ["0.0.0.0/0"], "port": null}"#,
            &["--server", "node \"y"],
            &[("PAYGATE_ADMIN_KEY", "short")],
            "✗ 3 error(s):\n  \
             ERROR  [serverCommand] Invalid serverCommand. A quote is opened and never \
             closed.\n         \
             at paygate.json:1:19\n         \
             hint: a program whose name has spaces needs serverArgs beside it\n  \
             ERROR  [port] Invalid port null. Must be 0–65535.\n         \
             at paygate.json:1:71\n         \
             hint: write a whole number in digits\n  \
             ERROR  [serverCommand] Invalid serverCommand. A quote is opened and \
             never closed.\n         \
             from --server\n\
             ⚠ 2 warning(s):\n  \
             WARN   [adminKey] The admin key is shorter than 16 characters: guessable.\n  \
             WARN   [trustedProxies] 0.0.0.0/0 trusts everybody to say where a call comes from. \
             IP allowlists will not hold.\n         \
             at paygate.json:1:49\n",
        ),
        (
            r#"{"serverArgs": ["x"], "requestTimeoutMs": 700000}"#,
            &["--server", "x", "--tool-price", "a:1", "--tool-price", "b:2"],
            &[],
            "✗ 3 error(s):\n  \
             ERROR  [serverArgs] serverArgs is set but serverCommand is not.\n         \
             at paygate.json:1:16\n  \
             ERROR  [requestTimeoutMs] Invalid requestTimeoutMs: 700000. Must be 1–600000.\n         \
             at paygate.json:1:43\n         \
             hint: maxRequestTimeoutMs is the ceiling; raise it too\n  \
             ERROR  [toolPricing] --tool-price is given 2 times.\n         \
             from --tool-price\n         \
             hint: write one list, with commas\n",
        ),
        (
            "{\n  \"port\": 1,\n  \"name\" \"x\"\n}",
            &[],
            &[],
            "Error loading config file: paygate.json:3:10: Expected colon after the string or \
             word in object property\n",
        ),
        (
            " ",
            &[],
            &[],
            "Error loading config file: paygate.json: the file is empty; it must hold an object: \
             {…}\n",
        ),
        (
            "[]",
            &[],
            &[],
            "Error loading config file: paygate.json: the file must hold an object: {…}\n",
        ),
        ("", &["--server", "x"], &[], "✓ Config is valid.\n"),
    ] {
        assert_eq!(report(file, words, variables), expected, "{file} {words:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read() {
    let outcome = load(&flags(&["--config", "c.json"]), &Environment::default(), |_| {
        Err(io::Error::other("the disk is on fire"))
    });
    let report = outcome.expect_err("there is no file");
    let expected = "Error loading config file: c.json: the disk is on fire\n";
    assert_eq!(report.to_string(), expected);
    assert!(report.has_errors());

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(read_file(here).is_err(), "a folder");
    assert!(read_file(&here.join("no such file")).is_err());
    assert!(read_file(Path::new("/dev/zero")).is_err(), "endless");
}
