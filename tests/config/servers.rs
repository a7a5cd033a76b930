//! `servers[]`: what is read, and the exact words for what is wrong.

use paygate::config::{Backend, Config, ServerKind, Several};
use secrecy::ExposeSecret;

use crate::{load_all, loaded, report};

fn several(config: &Config) -> &Several {
    match &config.backend {
        Backend::Several(several) => several,
        other => panic!("not several: {other:?}"),
    }
}

#[test]
fn servers_are_read_with_all_that_is_theirs() {
    let file = r#"{"toolSeparator":"__","childEnv":{"A":"all","B":"all"},"servers":[
        {"prefix":"fs","serverCommand":"node 'a b' c","childEnv":{"B":"own"}},
        {"prefix":"off","serverCommand":"x","disabled":true},
        {"prefix":"memory","serverCommand":"my program","serverArgs":["--x y"],"disabled":false}]}"#;
    let config = loaded(file, &[]);
    let several = several(&config);
    assert_eq!(several.separator, "__");
    let read: Vec<_> = several
        .servers
        .iter()
        .map(|server| {
            let ServerKind::Command { command, child_env } = &server.kind else {
                panic!("not a command: {server:?}")
            };
            let env: Vec<_> = child_env
                .iter()
                .map(|(name, value)| format!("{name}={}", value.expose_secret()))
                .collect();
            (
                server.prefix.as_str(),
                command.program.as_str(),
                command.args.join("|"),
                env.join(","),
            )
        })
        .collect();
    let expected = [
        ("fs", "node", "a b|c".to_owned(), "B=own".to_owned()),
        ("memory", "my program", "--x y".to_owned(), String::new()),
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_remote_server_has_headers_of_its_own() {
    let file = r#"{"toolSeparator":"__","upstreamCa":"/ca.pem","servers":[
        {"prefix":"a","remoteUrl":"https://x.example/mcp?t=s3cret","upstreamHeaders":{"Authorization":"Bearer ${TOKEN}"}},
        {"prefix":"b","serverCommand":"x"}]}"#;
    let (config, report) = load_all(file, &[], &[("TOKEN", "t0ken")]).expect("it loads");
    assert!(report.is_empty(), "{report}");
    let server = &several(&config).servers[0];
    let ServerKind::Remote { url, headers } = &server.kind else { panic!("{server:?}") };
    assert_eq!(url.0, "https://x.example/mcp?t=s3cret");
    assert_eq!(headers[0].1.expose_secret(), "Bearer t0ken");
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
}

#[test]
fn one_mistake() {
    let two = r#"{"prefix":"a","serverCommand":"x"},{"prefix":"b","serverCommand":"x"}"#;
    let with = |entry: &str| format!(r#""servers":[{two},{entry}]"#);
    for (member, expected) in [
        (r#""servers":[]"#.to_owned(), "[servers] servers[] is empty. Name at least one server."),
        (r#""servers":{}"#.to_owned(), "[servers] Must be a list of objects"),
        (
            r#""servers":[5]"#.to_owned(),
            "[servers[0]] Invalid servers[0]: 5. Must be an object: {…}.",
        ),
        (
            r#""servers":[{"prefix":"a","serverCommand":"x","disabled":true}]"#.to_owned(),
            "[servers] Every server is disabled.",
        ),
        (
            format!(r#""maxChildren":1,"servers":[{two}]"#),
            "[servers] maxChildren is 1, but a session starts 2 of these servers.",
        ),
        (
            with(r#"{"serverCommand":"x"}"#),
            "[servers[2].prefix] Server at index 2 is missing required \"prefix\" field.",
        ),
        (
            with(r#"{"prefix":"","serverCommand":"x"}"#),
            "[servers[2].prefix] Server at index 2 is missing required \"prefix\" field.",
        ),
        (
            with(r#"{"prefix":"a","serverCommand":"x"}"#),
            "[servers[2].prefix] Duplicate prefix \"a\". Each server must have a unique prefix.",
        ),
        (
            with(r#"{"prefix":"a:b","serverCommand":"x"}"#),
            "[servers[2].prefix] Invalid server prefix: \"a:b\". Must be ASCII",
        ),
        (
            with(r#"{"prefix":"a__b","serverCommand":"x"}"#),
            "[servers[2].prefix] \"a\" and \"a__b\" leave open whose a name is: with \"__\" behind it \
             one begins the other.",
        ),
        (with(r#"{"prefix":"c"}"#), "[servers[2]] Server \"c\" has no serverCommand or remoteUrl."),
        (
            with(r#"{"prefix":"c","serverArgs":["x"]}"#),
            "[servers[2]] Server \"c\" has no serverCommand or remoteUrl.",
        ),
        (
            with(r#"{"prefix":"c","serverCommand":"'x"}"#),
            "[servers[2].serverCommand] Invalid serverCommand. A quote is opened",
        ),
        (
            with(r#"{"prefix":"c","serverCommand":"x","prefx":1}"#),
            "[servers[2].prefx] Unknown key. Did you mean \"prefix\"?",
        ),
        (
            with(r#"{"prefix":"c","remoteUrl":"ftp://x.example"}"#),
            "[servers[2].remoteUrl] Invalid remoteUrl protocol",
        ),
        (
            with(r#"{"prefix":"c","remoteUrl":"https://x.example","serverCommand":"x"}"#),
            "[servers[2]] Server \"c\" has both serverCommand and remoteUrl. Use one.",
        ),
        (
            with(r#"{"prefix":"c","remoteUrl":"https://x.example","childEnv":{"A":"secret"}}"#),
            "[servers[2].childEnv] childEnv is for a server that Paygate starts",
        ),
        (
            with(r#"{"prefix":"c","serverCommand":"x","upstreamHeaders":{"A":"secret"}}"#),
            "[servers[2].upstreamHeaders] upstreamHeaders is set but remoteUrl is not.",
        ),
        (
            with(
                r#"{"prefix":"c","remoteUrl":"https://x.example","upstreamHeaders":{"A":"${NO}"}}"#,
            ),
            "[servers[2].upstreamHeaders.A] Invalid value of \"A\". The variable NO is not set.",
        ),
        (
            format!(r#""servers":[{two}],"upstreamHeaders":{{"A":"secret"}}"#),
            "[upstreamHeaders] upstreamHeaders is for a single remoteUrl.",
        ),
        (
            with(r#"{"prefix":"c","serverCommand":"x","childEnv":{"PAYGATE_X":"secret"}}"#),
            "[servers[2].childEnv.PAYGATE_X] PAYGATE_ variables are for Paygate",
        ),
        (
            format!(r#""servers":[{two}],"serverCommand":"x""#),
            "[servers] Cannot combine servers[] with serverCommand or remoteUrl. Use one or the other.",
        ),
    ] {
        let text = report(&format!(r#"{{"toolSeparator":"__",{member}}}"#), &[], &[]);
        assert!(text.starts_with("✗ 1 error(s):"), "{member}: {text}");
        assert!(text.contains(&format!("  ERROR  {expected}")), "{member}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
    for flags in [&["--server", "x"][..], &["--demo"]] {
        let text = report(&format!(r#"{{"toolSeparator":"__","servers":[{two}]}}"#), flags, &[]);
        assert!(text.contains("[servers] Cannot combine"), "{flags:?}: {text}");
    }
    for separator in ["", " ", "é", "123456789"] {
        let text =
            report(&format!(r#"{{"toolSeparator":"{separator}","servers":[{two}]}}"#), &[], &[]);
        assert!(
            text.contains("ERROR  [toolSeparator] Invalid toolSeparator"),
            "{separator}: {text}"
        );
    }
}

#[test]
fn what_is_worth_a_word() {
    let servers = r#""servers":[{"prefix":"fs","serverCommand":"x"}]"#;
    for (file, expected) in [
        (
            format!("{{{servers}}}"),
            Some(
                "WARN   [toolSeparator] Several model vendors refuse tools with names such as \"server:tool\"",
            ),
        ),
        (format!(r#"{{{servers},"toolSeparator":"."}}"#), Some("such as \"server.tool\"")),
        (format!(r#"{{{servers},"toolSeparator":"-"}}"#), None),
        (
            r#"{"toolSeparator":"__","servers":[{"prefix":"1.x","serverCommand":"x"}]}"#.to_owned(),
            Some(
                "WARN   [servers[0].prefix] Prefix \"1.x\" contains special characters. Recommended: \
                 alphanumeric, hyphens, underscores.",
            ),
        ),
        (
            format!(
                r#"{{{servers},"toolSeparator":"__","toolPricing":{{"fs:read":{{}},"fs__read":{{}}}}}}"#
            ),
            Some("WARN   [toolPricing.fs:read] No server's tools have names that begin like this."),
        ),
        (
            r#"{"serverCommand":"x","toolSeparator":"__"}"#.to_owned(),
            Some("WARN   [toolSeparator] toolSeparator is set but servers is not."),
        ),
    ] {
        let (_, warnings) = load_all(&file, &[], &[]).expect("only warnings");
        let text = warnings.to_string();
        match expected {
            Some(expected) => {
                assert!(text.contains(expected) && text.contains("1 warning(s)"), "{file}: {text}");
            }
            None => assert!(warnings.is_empty(), "{file}: {text}"),
        }
    }
}
