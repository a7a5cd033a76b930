//! Servers that are reached over HTTP: URL, headers and certificates.

use paygate::config::{Backend, RemoteUrl};
use secrecy::ExposeSecret;

use crate::{load_all, loaded, report};

/// Where the server is, if it is reached over HTTP.
fn url_of(backend: &Backend) -> Option<&str> {
    match backend {
        Backend::Remote(RemoteUrl(url)) => Some(url),
        Backend::Command(_) | Backend::Demo | Backend::Several(_) => None,
    }
}

#[test]
fn a_flag_wins_over_the_file_whatever_it_names() {
    let command = r#"{"serverCommand":"a","serverArgs":["b"],"childEnv":{"A":"b"}}"#;
    let url = r#"{"remoteUrl":"https://one.example/mcp"}"#;
    for (file, words, expected) in [
        (url, &[][..], Some("https://one.example/mcp")),
        (url, &["--remote-url", "http://[::1]:81/sse"], Some("http://[::1]:81/sse")),
        (command, &["--remote-url=http://my_host?k=v"], Some("http://my_host?k=v")),
        (url, &["--demo"], None),
    ] {
        assert_eq!(url_of(&loaded(file, words).backend), expected, "{file} {words:?}");
    }
    let server = loaded(url, &["--server", "x"]).backend;
    assert!(matches!(server, Backend::Command(command) if command.program == "x"));
}

#[test]
fn headers_may_come_from_the_environment() {
    let file = r#"{"remoteUrl":"https://x.example/","upstreamCa":"/etc/own.pem","upstreamHeaders":{
        "Authorization":"Bearer ${TOKEN}","X-Both":"${A}${A}-${PAYGATE_OWN}","X-Plain":"$5 {x}"}}"#;
    let variables = [("TOKEN", "t0ken"), ("A", "a"), ("PAYGATE_OWN", "o")];
    let (config, report) = load_all(file, &[], &variables).expect("it loads");
    assert!(report.is_empty(), "{report}");
    let headers: Vec<_> = config
        .upstream_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
        .collect();
    assert_eq!(
        headers,
        [("Authorization", "Bearer t0ken"), ("X-Both", "aa-o"), ("X-Plain", "$5 {x}")]
    );
    assert_eq!(config.upstream_ca.expect("a file").to_str(), Some("/etc/own.pem"));
}

#[test]
fn what_cannot_be_meant_is_said() {
    let invalid_header = "upstreamHeaders.A] Invalid value of \"A\". ";
    let with = |member: &str| format!(r#"{{"remoteUrl":"https://x.example/",{member}}}"#);
    let header =
        |name: &str, value: &str| with(&format!(r#""upstreamHeaders":{{"{name}":"{value}"}}"#));
    for (file, words, expected) in [
        (r#"{"remoteUrl":"x.example/mcp"}"#.to_owned(), &[][..],
            "[remoteUrl] Invalid remoteUrl: \"x.example/mcp\". Must be a valid URL.".to_owned()),
        (String::new(), &["--remote-url", "https://:x"],
            "[remoteUrl] Invalid remoteUrl: \"https://:x\". Must be a valid URL.".to_owned()),
        (String::new(), &["--remote-url", "ftp://x"],
            "[remoteUrl] Invalid remoteUrl protocol \"ftp:\". Expected \"http://\" or \"https://\".".to_owned()),
        (String::new(), &["--remote-url", "https://user:pass@host/"],
            "[remoteUrl] Invalid remoteUrl. Must not hold a user or password: set Authorization in upstreamHeaders.".to_owned()),
        (String::new(), &["--remote-url", "http://x", "--server", "y"],
            "[--server | --remote-url] Cannot specify both --server and --remote-url. Use one or the other.".to_owned()),
        (with(r#""serverCommand":"y""#), &[],
            "[serverCommand | remoteUrl] Cannot specify both serverCommand and remoteUrl. Use one or the other.".to_owned()),
        (with(r#""childEnv":{"A":"b"}"#), &[],
            "[childEnv] childEnv is for a server that Paygate starts; remoteUrl names one that runs elsewhere.".to_owned()),
        (r#"{"serverCommand":"y","upstreamHeaders":{"A":"b"}}"#.to_owned(), &[],
            "[upstreamHeaders] upstreamHeaders is set but remoteUrl is not.".to_owned()),
        (r#"{"serverCommand":"y","upstreamCa":"b"}"#.to_owned(), &[],
            "[upstreamCa] upstreamCa is set but remoteUrl is not.".to_owned()),
        (header("A", "${NOT_SET}"), &[], format!("[{invalid_header}The variable NOT_SET is not set.")),
        (header("A", "${NOT"), &[],
            format!("[{invalid_header}\"${{\" must be followed by a variable's name and \"}}\".")),
        (header("A", "a\\nb"), &[],
            format!("[{invalid_header}Must be a text on one line, in ASCII, without blanks at its ends.")),
        (header("A", "${EMPTY}"), &[],
            format!("[{invalid_header}Must be a text on one line, in ASCII, without blanks at its ends.")),
        (header("a b", "x"), &[], "[upstreamHeaders.a b] Must be the name of a header.".to_owned()),
        (header("Host", "x"), &[], "[upstreamHeaders.Host] This header is the transport's own.".to_owned()),
        (header("MCP-Session-Id", "x"), &[],
            "[upstreamHeaders.MCP-Session-Id] This header is the transport's own.".to_owned()),
        (with(r#""upstreamHeaders":{"A":"b","a":"c"}"#), &[],
            "[upstreamHeaders.a] Given twice, in other letters.".to_owned()),
    ] {
        let text = report(&file, words, &[("EMPTY", "")]);
        let lines: Vec<_> = text.lines().take(2).collect();
        let expected = format!("  ERROR  {expected}");
        assert_eq!(lines, ["✗ 1 error(s):", expected.as_str()], "{file} {words:?}");
    }
}

/// Part of the test of that name.
pub(crate) fn no_secret_is_ever_shown(secret: &str) {
    let file = format!(
        r#"{{"remoteUrl":"https://x.example/?k={secret}","upstreamHeaders":{{"A":"{secret}","B":"${{B}}"}}}}"#
    );
    let (config, _) = load_all(&file, &[], &[("B", secret)]).expect("it loads");
    assert!(!format!("{config:?}").contains(secret));
    let wrong = file.replace("https", "https:").replace(r#""A":""#, r#""A":"\u00e9"#);
    let url = format!("https://user:{secret}@host/");
    for (file, words) in [(wrong.as_str(), &[][..]), ("", &["--remote-url", &url])] {
        let text = report(file, words, &[("B", secret)]);
        assert!(text.starts_with("✗") && !text.contains(secret), "{text}");
    }
}
