//! File, environment and flags, from the outside: what is accepted, and the exact words for what
//! is not.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why")]

#[path = "config/any_input.rs"]
mod any_input;
#[path = "config/command_lines.rs"]
mod command_lines;
#[path = "config/remote.rs"]
mod remote;
#[path = "config/reports.rs"]
mod reports;
#[path = "config/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use paygate::config::{
    Backend, Books, Command, Config, DenialStyle, Durability, Environment, Report, RequireKey,
    ServerCommand, UnlistedTools, WrapFlags, load, parse, read_file, reference_page, schema,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

fn flags(words: &[&str]) -> WrapFlags {
    let words = ["paygate", "wrap"].iter().chain(words);
    match parse(words).expect("the flags parse") {
        Command::Wrap(flags) => *flags,
        other => panic!("not wrap: {other:?}"),
    }
}

/// Loads with this file's text, these flags and this environment.
fn load_all(
    file: &str,
    words: &[&str],
    variables: &[(&str, &str)],
) -> Result<(Config, Report), Report> {
    let mut flags = flags(words);
    if !file.is_empty() {
        flags.config = Some(PathBuf::from("paygate.json"));
    }
    let environment = Environment::from_pairs(variables.iter().copied());
    load(&flags, &environment, |_: &Path| Ok(file.to_owned()))
}

/// The one server that is guarded.
fn command_of(config: &Config) -> Option<&ServerCommand> {
    match &config.backend {
        Backend::Command(command) => Some(command),
        Backend::Demo | Backend::Remote(_) | Backend::Several(_) => None,
    }
}

/// A configuration that must load without a word.
#[track_caller]
fn loaded(file: &str, words: &[&str]) -> Config {
    match load_all(file, words, &[]) {
        Ok((config, report)) => {
            assert!(report.is_empty(), "{report}");
            config
        }
        Err(report) => panic!("{report}"),
    }
}

/// The whole text for stderr, of errors or of warnings.
fn report(file: &str, words: &[&str], variables: &[(&str, &str)]) -> String {
    match load_all(file, words, variables) {
        Ok((_, report)) | Err(report) => report.to_string(),
    }
}

#[test]
fn defaults() {
    let config = loaded("", &["--server", "node 'a b' c"]);
    let command =
        ServerCommand { program: "node".to_owned(), args: vec!["a b".to_owned(), "c".to_owned()] };
    assert_eq!(command_of(&config), Some(&command));
    assert_eq!(config.name, "PayGate MCP Server");
    assert_eq!(config.host.to_string(), "127.0.0.1");
    assert_eq!(config.port, 3402);
    assert_eq!(config.books, Books::File(PathBuf::from("paygate.db")));
    assert_eq!(config.pricing.default_credits, 1);
    assert!(config.pricing.tools.is_empty());
    assert_eq!(config.rate_limit_per_min, 60);
    assert!(!config.shadow_mode && config.refund_on_failure);
    assert!(config.admin_key.is_none() && config.import_keys.is_empty());
    assert_eq!(config.request_timeout, Duration::from_mins(1));
    assert_eq!(config.request_timeout_max, Duration::from_mins(10));
    assert_eq!(config.body_bytes_max, 1 << 20);
    assert_eq!(config.answer_bytes_max, 16 << 20);
    assert_eq!(config.batch_calls_max, 100);
    assert_eq!(config.require_key, RequireKey::Default);
    assert_eq!(config.denial_style, DenialStyle::Auto);
    assert_eq!(config.durability, Durability::Answer);
    assert_eq!(config.unlisted_tools, UnlistedTools::Refuse);
    assert!(config.pricing.methods.is_empty() && !config.forward_identity);
    assert_eq!(config.kept_ttl, Duration::from_hours(24));
}

#[test]
fn methods_with_a_price() {
    let file = r#"{"serverCommand":"x","defaultCreditsPerCall":9,"methodPricing":{
        "resources/read":{"creditsPerCall":3,"rateLimitPerMin":5,"requestTimeoutMs":7},
        "completion/complete":{}}}"#;
    let methods = loaded(file, &["--price", "7"]).pricing.methods;
    let read = &methods["resources/read"];
    assert_eq!((read.credits_per_call, read.rate_limit_per_min), (3, 5));
    assert_eq!(read.request_timeout, Some(Duration::from_millis(7)));
    let complete = &methods["completion/complete"];
    assert_eq!((complete.credits_per_call, complete.request_timeout), (0, None));

    for (method, rule) in [
        ("initialize", "It cannot have a price"),
        ("ping", "It cannot have a price"),
        ("server/discover", "It cannot have a price"),
        ("subscriptions/listen", "It cannot have a price"),
        ("notifications/progress", "It cannot have a price"),
        ("tools/call", "have their prices in toolPricing"),
        ("tools/call_batch", "have their prices in toolPricing"),
        ("tasks/result", "paid for by the call that starts them"),
        ("", "no spaces and is not empty"),
        ("resources/read ", "no spaces and is not empty"),
    ] {
        let file = format!(r#"{{"serverCommand":"x","methodPricing":{{"{method}":{{}}}}}}"#);
        let text = report(&file, &[], &[]);
        assert!(text.contains("ERROR  [methodPricing.") && text.contains(rule), "{text}");
    }
    let file = r#"{"serverCommand":"x","methodPricing":{
        "resource/read":{"creditsPerCall":1},"x/y":{"creditsPerKbInput":1}}}"#;
    let text = report(file, &[], &[]);
    assert!(
        text.contains("Did you mean \"resources/read\"? It has a price all the same."),
        "{text}"
    );
    assert!(text.contains("[methodPricing.x/y.creditsPerKbInput] Unknown key."), "{text}");
}

#[test]
fn times_that_answers_are_kept_for() {
    let file = |seconds: &str| {
        format!(
            r#"{{"serverCommand":"x","forwardIdentity":true,"idempotencyTtlSeconds":{seconds}}}"#
        )
    };
    let config = loaded(&file("1"), &[]);
    assert_eq!((config.kept_ttl, config.forward_identity), (Duration::from_secs(1), true));
    assert_eq!(loaded(&file("2592000"), &[]).kept_ttl, Duration::from_hours(720));
    for wrong in ["0", "2592001", "-1", "1.5", "\"1\""] {
        assert!(report(&file(wrong), &[], &[]).contains("Must be 1–2592000."), "{wrong}");
    }
}

#[test]
fn zero_means_zero() {
    let file = r#"{"serverCommand":"x","port":0,"defaultCreditsPerCall":0,
        "globalRateLimitPerMin":0,"toolPricing":{"a":{"creditsPerCall":0}}}"#;
    let config = loaded(file, &[]);
    assert_eq!((config.port, config.rate_limit_per_min), (0, 0));
    assert_eq!(config.pricing.default_credits, 0);
    assert_eq!(config.pricing.tools["a"].credits_per_call, 0);
}

#[test]
fn prices() {
    let file = r#"{"serverCommand":"x","toolPricing":{
        "a":{"rateLimitPerMin":5,"creditsPerKbInput":0.125,"requestTimeoutMs":5},
        "__proto__":{"creditsPerCall":1e1}}}"#;
    let config = loaded(file, &["--price", "7"]);
    let tool = &config.pricing.tools["a"];
    assert_eq!(tool.credits_per_call, 7, "no price of its own: the default");
    assert_eq!(tool.credits_per_kb_input_thousandths, 125);
    assert_eq!(tool.rate_limit_per_min, 5);
    assert_eq!(tool.request_timeout, Some(Duration::from_millis(5)));
    assert_eq!(config.pricing.tools["__proto__"].credits_per_call, 10);

    // The flag replaces the file's entries, and a tool's name may hold colons.
    let config = loaded(file, &["--tool-price", "b:c:4, d : 0"]);
    let prices: Vec<_> = config
        .pricing
        .tools
        .iter()
        .map(|(name, tool)| (name.as_str(), tool.credits_per_call))
        .collect();
    assert_eq!(prices, [("b:c", 4), ("d", 0)]);
}

#[test]
fn quotas_by_both_names() {
    for file in [
        r#"{"serverCommand":"x","globalQuota":{"dailyCallLimit":1,"monthlyCallLimit":2,
            "dailyCreditLimit":3,"monthlyCreditLimit":4}}"#,
        r#"{"serverCommand":"x","globalQuota":{"dailyCalls":1,"monthlyCalls":2,
            "dailyCredits":3,"monthlyCredits":4}}"#,
    ] {
        let quota = loaded(file, &[]).global_quota;
        assert_eq!((quota.daily_calls, quota.monthly_calls), (1, 2));
        assert_eq!((quota.daily_credits, quota.monthly_credits), (3, 4));
    }
}

#[test]
fn what_is_guarded() {
    for (file, words, program, args) in [
        (r#"{"serverCommand":"a b"}"#, &[][..], "a", &["b"][..]),
        (r#"{"serverCommand":"a b","serverArgs":[]}"#, &[], "a b", &[]),
        (r#"{"serverCommand":"a b","serverArgs":["c d",""]}"#, &[], "a b", &["c d", ""]),
        (r#"{"serverCommand":"a","serverArgs":["b"]}"#, &["--server=c -d"], "c", &["-d"]),
        ("", &["--server", "a", "--server", "b"], "b", &[]),
    ] {
        let expected = ServerCommand {
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
        };
        let config = loaded(file, words);
        assert_eq!(command_of(&config), Some(&expected), "{file} {words:?}");
    }
    let demo = loaded(r#"{"serverCommand":"a"}"#, &["--demo"]);
    assert!(matches!(demo.backend, Backend::Demo));
}

#[test]
fn where_the_books_are() {
    let file = |path: &str| Books::File(PathBuf::from(path));
    let in_file = r#"{"serverCommand":"x","db":"f.db"}"#;
    let in_memory = r#"{"serverCommand":"x","ephemeral":true}"#;
    for (text, words, expected) in [
        (in_file, &[][..], file("f.db")),
        (in_file, &["--db", "g.db"], file("g.db")),
        (in_file, &["--ephemeral"], Books::Ephemeral),
        (in_memory, &[], Books::Ephemeral),
        (in_memory, &["--db", "g.db"], file("g.db")),
        ("", &["--demo"], Books::Ephemeral),
        ("", &["--demo", "--ephemeral"], Books::Ephemeral),
        ("", &["--demo", "--db", "g.db"], file("g.db")),
    ] {
        assert_eq!(loaded(text, words).books, expected, "{text} {words:?}");
    }
    // A demo key has no place in real books.
    let (config, report) = load_all(in_file, &["--demo"], &[]).expect("only a warning");
    assert_eq!(config.books, Books::Ephemeral);
    assert!(report.to_string().contains("The demo keeps its books in memory"));
}

#[test]
fn the_admin_key_comes_from_flag_then_file_then_environment() {
    let (flag, file, variable) = ("flag_0123456789abc", "file_0123456789abc", "env_0123456789abc");
    let text = format!(r#"{{"serverCommand":"x","adminKey":"{file}"}}"#);
    for (text, words, variable, expected) in [
        (text.as_str(), &["--admin-key", flag][..], variable, Some(flag)),
        (&text, &[], variable, Some(file)),
        ("", &["--server", "x"], variable, Some(variable)),
        ("", &["--server", "x"], "", None),
    ] {
        let variables = [("PAYGATE_ADMIN_KEY", variable)];
        let (config, _) = load_all(text, words, &variables).expect("it loads");
        let key = config.admin_key.as_ref().map(ExposeSecret::expose_secret);
        assert_eq!(key, expected);
    }
}

#[test]
fn imported_keys() {
    let file = r#"{"serverCommand":"x","importKeys":{"one:a":1,"two":2}}"#;
    let config = loaded(file, &["--import-key", "two:20,three:b:3"]);
    let mut keys: Vec<_> =
        config.import_keys.iter().map(|key| (key.raw.expose_secret(), key.credits)).collect();
    keys.sort_unstable();
    assert_eq!(keys, [("one:a", 1), ("three:b", 3), ("two", 20)]);
}

#[test]
fn networks_hosts_and_origins() {
    let file = r#"{"serverCommand":"x","host":"[::1]",
        "trustedProxies":["10.1.2.3/8","::ffff:192.0.2.1"],
        "allowedHosts":["Search.Example.com:8443"],"allowedOrigins":["https://App.example.com"]}"#;
    let config = loaded(file, &[]);
    let nets: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(config.host.to_string(), "::1");
    assert_eq!(config.allowed_hosts, ["search.example.com:8443"]);
    assert_eq!(config.allowed_origins, ["https://app.example.com"]);
    assert_eq!(loaded(file, &["--host", "localhost"]).host.to_string(), "127.0.0.1");
}

#[test]
fn a_lower_ceiling_lowers_the_default_timeout() {
    let config = loaded(r#"{"serverCommand":"x","maxRequestTimeoutMs":5000}"#, &[]);
    assert_eq!(config.request_timeout, Duration::from_secs(5));
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "hush0123456789abcdef0123456789";
    let file = format!(
        r#"{{"serverCommand":"x","adminKey":"{secret}","importKeys":{{"{secret}":1}},
            "childEnv":{{"TOKEN":"{secret}"}}}}"#
    );
    remote::no_secret_is_ever_shown(secret);
    let import = format!("{secret}a:1,{secret}b:2");
    let words = ["--admin-key", secret, "--import-key", &import];
    let variables = [("PAYGATE_ADMIN_KEY", secret), ("PAYGATE_SECRET", secret)];
    let (config, warnings) = load_all(&file, &words, &variables).expect("it loads");
    let environment = Environment::from_pairs(variables);
    let flags = flags(&words);
    let shown = format!("{config:?}{warnings:?}{environment:?}{flags:?}");
    assert!(!shown.contains(secret), "{shown}");

    let bad = file.replace(secret, &format!("{secret} "));
    let words = ["--admin-key", &format!("{secret} "), "--import-key", secret];
    let report = report(&bad, &words, &[("PAYGATE_ADMIN_KEY", &format!("{secret} "))]);
    assert!(report.starts_with("✗ 5 error(s):"), "{report}");
    assert!(!report.contains(secret), "{report}");
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, reference_page()).expect("the page is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == reference_page(),
        "docs/reference/config.md is not what src/config/keys.rs says; run:\n  \
         UPDATE_REFERENCE=1 cargo test --test config"
    );
}

#[test]
fn the_schema_is_fresh_and_the_examples_follow_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/reference/config.schema.json");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, schema()).expect("the schema is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == schema(),
        "docs/reference/config.schema.json is not what src/config says; run:\n  \
         UPDATE_REFERENCE=1 cargo test --test config"
    );
    let schema: Value = serde_json::from_str(&committed).expect("JSON");
    for example in ["paygate.example.json", "docs/examples/several-servers.json"] {
        let text = std::fs::read_to_string(root.join(example)).expect("the example is there");
        // JSON with comments, each on a line of its own.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text: String = lines.collect();
        let example: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(schema_faults(&schema, &example), Vec::<String>::new());
    }
    for (wrong, fault) in [
        (json!({"port": 65_536}), "port"),
        (json!({"portt": 1}), "portt"),
        (json!({"toolPricing": {"a": {"creditsPerCall": "1"}}}), "creditsPerCall"),
        (json!({"durability": "soon"}), "durability"),
        (json!({"servers": [{"prefix": 1}]}), "prefix"),
        (json!({"redis": {"onUnavailable": "hope"}}), "onUnavailable"),
    ] {
        let faults = schema_faults(&schema, &wrong);
        assert!(matches!(&faults[..], [one] if one.ends_with(fault)), "{wrong}: {faults:?}");
    }
}

/// Where a value breaks a schema, by the words of JSON Schema that ours uses.
fn schema_faults(schema: &Value, value: &Value) -> Vec<String> {
    fn look(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let has_type = match schema["type"].as_str().expect("a type") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            other => panic!("no such type here: {other}"),
        };
        let least = schema["minimum"].as_f64().unwrap_or(f64::MIN);
        let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
        let is_within = value.as_f64().is_none_or(|number| (least..=most).contains(&number));
        let words = schema["anyOf"][0]["enum"].as_array();
        if !has_type || !is_within || words.is_some_and(|words| !words.contains(value)) {
            faults.push(at.to_owned());
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => faults.push(at),
                (Value::Null, any) => look(any, member, &at, faults),
                (known, _) => look(known, member, &at, faults),
            }
        }
        for element in value.as_array().into_iter().flatten() {
            look(&schema["items"], element, at, faults);
        }
    }
    let mut faults = Vec::new();
    look(schema, value, "", &mut faults);
    faults
}

#[test]
fn values_may_come_from_the_environment_and_from_files() {
    let file = r#"{"$schema":"./config.schema.json","serverCommand":"${PROGRAM} --at ${HOME}",
        "childEnv":{"TOKEN":"${file:/run/secrets/token}","PLAIN":"$${PROGRAM}$"},
        "durability":"${PAYGATE_HOW}","allowedHosts":["${HOST}:1"],
        "adminKeyFile":"/run/secrets/admin"}"#;
    let mut flags = flags(&[]);
    flags.config = Some(PathBuf::from("paygate.json"));
    let read = |path: &Path| match path.to_str() {
        Some("paygate.json") => Ok(file.to_owned()),
        Some("/run/secrets/token") => Ok("t0ken\r\n".to_owned()),
        Some("/run/secrets/admin") => Ok("admin_0123456789abcdef\n".to_owned()),
        other => panic!("{other:?} was read"),
    };
    let variables =
        [("PROGRAM", "node"), ("HOME", "/root"), ("PAYGATE_HOW", "none"), ("HOST", "h")];
    let (config, report) =
        load(&flags, &Environment::from_pairs(variables), read).expect("it loads");
    assert!(report.is_empty(), "{report}");
    let command = command_of(&config).expect("a command");
    assert_eq!((command.program.as_str(), command.args.join(" ")), ("node", "--at /root".into()));
    assert_eq!(config.child_env["TOKEN"].expose_secret(), "t0ken");
    assert_eq!(config.child_env["PLAIN"].expose_secret(), "${PROGRAM}$");
    assert_eq!(config.durability, Durability::None);
    assert_eq!(config.allowed_hosts, ["h:1"]);
    let admin_key = config.admin_key.expect("a key");
    assert_eq!(admin_key.expose_secret(), "admin_0123456789abcdef");
}

#[test]
fn what_a_value_names_must_be_there_and_is_not_shown() {
    let secret = "hush0123456789abcdef0123456789 ";
    let variables = [("SECRET", secret), ("PAYGATE_ADMIN_KEY_FILE", "/none")];
    for (file, expected) in [
        (
            r#"{"host":"${NOT_SET}"}"#,
            "Invalid host: \"${NOT_SET}\". The variable NOT_SET is not set.",
        ),
        (r#"{"host":"${SECRET}"}"#, "[host] Invalid host: \"${SECRET}\". Must be an IP address"),
        (r#"{"remoteUrl":"${SECRET}"}"#, "[remoteUrl] Invalid remoteUrl. Must be a valid URL."),
        (r#"{"childEnv":{"A":"${SECRET"}}"#, "must be followed by a variable's name and \"}\"."),
        (r#"{"adminKeyFile":"/none"}"#, "The file /none cannot be read: no such file."),
        (r#"{"name":"${file:/none}"}"#, "The file /none cannot be read: no such file."),
        (r#"{"adminKey":"${ADMIN}","adminKeyFile":"/admin"}"#, "Use one or the other."),
        (r"{}", "[PAYGATE_ADMIN_KEY_FILE] Invalid file with the admin key. The file /none"),
    ] {
        let mut flags = flags(&[]);
        flags.config = Some(PathBuf::from("paygate.json"));
        let read = |path: &Path| match path.to_str() {
            Some("paygate.json") => Ok(file.to_owned()),
            Some("/admin") => Ok("admin_0123456789abcdef\n".to_owned()),
            _ => Err(std::io::Error::other("no such file")),
        };
        let variables = variables.into_iter().chain([("ADMIN", "admin_0123456789abcdef")]);
        let report = load(&flags, &Environment::from_pairs(variables), read);
        let text = report.expect_err("it does not load").to_string();
        assert!(text.contains(expected), "{expected} is missing in {text}");
        assert!(!text.contains(secret.trim()), "{text}");
    }
}

#[test]
fn the_examples_load_without_a_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/several-servers.json");
    loaded(&read_file(&path).expect("the example is there"), &[]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("paygate.example.json");
    let text = read_file(&path).expect("the example is there");
    let config = loaded(&text, &[]);
    assert_eq!(config.pricing.tools["summarize"].credits_per_kb_input_thousandths, 250);
}

#[test]
fn a_redis_is_shown_without_who_logs_in() {
    let file = r#"{"serverCommand": "x", "adminKey": "0123456789abcdef", "db": "copy.db",
        "redisUrl": "redis://user:p4ss@cache:6379/2",
        "redis": {"ca": "ca.pem", "sentinelUser": "us", "sentinelPassword": "p4ssword-of-sentinels"}}"#;
    let config = loaded(file, &[]);
    assert_eq!(config.books, Books::File(PathBuf::from("copy.db")));
    let shown = paygate::config::show(&config);
    assert_eq!(shown["redisUrl"], "redis://***@cache:6379/2");
    assert_eq!(shown["redis"]["onUnavailable"], "refuse");
    assert_eq!(shown["redis"]["ca"], "ca.pem");
    assert_eq!(shown["redis"]["sentinelUser"], "us");
    assert!(!shown.to_string().contains("p4ss"), "{shown}");
    assert!(!format!("{config:?}").contains("p4ss"));
    let flag = ["--server", "x", "--admin-key", "0123456789abcdef", "--redis-url", "rediss://b"];
    let config = loaded("", &flag);
    assert_eq!(paygate::config::show(&config)["redisUrl"], "rediss://b");
}
