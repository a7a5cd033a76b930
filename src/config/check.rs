//! What texts must look like. Each check gives the value or one sentence that says what it must
//! be; the caller adds which key it was and where.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::header::{HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::settings::ServerCommand;
use crate::store::redis::RedisOptions;

/// Longest raw key or admin key, in bytes: it must fit into a header.
const KEY_BYTES_MAX: usize = 1024;
/// Longest server name, in characters: it is part of every handshake.
const NAME_CHARS_MAX: usize = 200;

/// A result whose error is the sentence.
pub(super) type Checked<T> = Result<T, String>;

/// A text that is not empty and holds no NUL, as every program argument must.
pub(super) fn argument(text: &str) -> Checked<String> {
    if text.contains('\0') {
        return Err("Must not contain a NUL character.".to_owned());
    }
    Ok(text.to_owned())
}

/// A program or a command line.
pub(super) fn command(text: &str) -> Checked<String> {
    if text.trim().is_empty() {
        return Err("Must not be empty.".to_owned());
    }
    argument(text)
}

/// What names of one of several servers begin with.
pub(super) fn prefix(text: &str) -> Checked<()> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') || text.len() > 64 {
        return Err("Must be ASCII letters, digits and signs but \":\", 64 at most.".to_owned());
    }
    Ok(())
}

/// What stands between a prefix and a name.
pub(super) fn separator(text: &str) -> Checked<String> {
    if text.is_empty() || text.len() > 8 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("Must be 1 to 8 ASCII letters, digits and signs, such as \"__\".".to_owned());
    }
    Ok(text.to_owned())
}

/// The name shown to clients.
pub(super) fn name(text: &str) -> Checked<String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("Must be a text on one line.".to_owned());
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("Must be at most {NAME_CHARS_MAX} characters."));
    }
    Ok(text.to_owned())
}

/// An address to listen on.
pub(super) fn host(text: &str) -> Checked<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(super::settings::HOST_DEFAULT);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        "Must be an IP address of this machine, such as 127.0.0.1, 0.0.0.0 (all of IPv4) or :: \
         (all)."
            .to_owned()
    })
}

/// A path for the database.
pub(super) fn db(text: &str) -> Checked<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err("Must be the path of a file.".to_owned());
    }
    if text == "~" || text.starts_with("~/") {
        return Err("Must be a whole path: ~ is not expanded.".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// A path of a file to read.
pub(super) fn file(text: &str) -> Checked<PathBuf> {
    db(text)
}

/// Where a remote server is. The error is the whole message: a URL may hold a password, so it is
/// repeated only if it cannot.
pub(super) fn remote_url(text: &str) -> Checked<String> {
    let repeated = if text.contains(['@', '?']) {
        String::new()
    } else {
        format!(": \"{}\"", super::problem::shown(text))
    };
    let invalid = || Err(format!("Invalid remoteUrl{repeated}. Must be a valid URL."));
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid();
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        let scheme = super::problem::shown(scheme);
        return Err(format!(
            "Invalid remoteUrl protocol \"{scheme}:\". Expected \"http://\" or \"https://\"."
        ));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("Invalid remoteUrl. Must not hold a user or password: set Authorization in \
                    upstreamHeaders."
            .to_owned());
    }
    if authority(host).is_none() || text.parse::<hyper::Uri>().is_err() {
        return invalid();
    }
    Ok(text.to_owned())
}

/// Where webhooks are sent. The error is the whole message: what follows the host is often a secret, so
/// it is repeated only if there is nothing of that kind.
pub(super) fn webhook_url(text: &str) -> Checked<String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let repeated = if rest.contains(['@', '?', '/', '#']) {
        String::new()
    } else {
        format!(": \"{}\"", super::problem::shown(text))
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("Invalid webhookUrl. Must not hold a user or password.".to_owned());
    }
    let is_url = !scheme.is_empty() && authority(host).is_some();
    if !is_url || text.parse::<hyper::Uri>().is_err() {
        return Err(format!("Invalid webhookUrl{repeated}. Must be a valid URL."));
    }
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        let rule = "Must begin with http:// or https://.";
        return Err(format!("Invalid webhookUrl{repeated}. {rule}"));
    }
    Ok(text.to_owned())
}

/// Where a Redis is. The error is the whole message: a URL may hold a password, so it is repeated only if it
/// cannot.
pub(super) fn redis_url(text: &str) -> Checked<String> {
    let repeated = if text.contains(['@', '?']) {
        String::new()
    } else {
        format!(": \"{}\"", super::problem::shown(text))
    };
    let invalid = || Err(format!("Invalid redisUrl{repeated}. Must be a valid redis:// URL."));
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid();
    };
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !["redis", "rediss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        let scheme = super::problem::shown(scheme);
        return Err(format!(
            "Invalid redisUrl protocol \"{scheme}:\". Expected \"redis://\" or \"rediss://\", or one of them with \
             `+sentinel` or `+cluster` before its `:`."
        ));
    }
    if !kind.is_empty() {
        // Sentinels or a cluster, which may have several hosts.
        let checked = RedisOptions::check_url(text);
        return checked
            .map(|()| text.to_owned())
            .map_err(|why| format!("Invalid redisUrl. It {why}."));
    }
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let (host, database) = place.split_once('/').unwrap_or((place, ""));
    let is_number = database.len() <= 5 && database.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number && authority(host).is_some() {
        return invalid()
            .map_err(|why| format!("{why} A database is a number: `redis://host:6379/0`."));
    }
    if authority(host).is_none() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid();
    }
    Ok(text.to_owned())
}

/// What signs webhooks.
pub(super) fn webhook_secret(text: &str) -> Checked<SecretString> {
    if text.is_empty() {
        return Err("Must not be empty.".to_owned());
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(format!("Must be at most {KEY_BYTES_MAX} bytes."));
    }
    Ok(SecretString::from(text))
}

/// Headers that are the transport's own, or that would change how a message is read.
const TRANSPORT_HEADERS: [&str; 15] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header that an operator may add to requests to a remote server.
pub(super) fn upstream_header_name(text: &str) -> Checked<()> {
    if HeaderName::try_from(text).is_err() {
        return Err("Must be the name of a header.".to_owned());
    }
    let name = text.to_ascii_lowercase();
    if TRANSPORT_HEADERS.contains(&name.as_str()) || name.starts_with("mcp-") {
        return Err("This header is the transport's own.".to_owned());
    }
    Ok(())
}

/// What stands in such a header.
pub(super) fn upstream_header_value(text: &str) -> Checked<()> {
    if text.is_empty() || text.trim() != text || HeaderValue::from_str(text).is_err() {
        return Err("Must be a text on one line, in ASCII, without blanks at its ends.".to_owned());
    }
    Ok(())
}

/// The admin key: what a header can carry.
pub(super) fn admin_key(text: &str) -> Checked<SecretString> {
    header_text(text).map(SecretString::from)
}

/// A raw key that customers already have.
pub(super) fn raw_key(text: &str) -> Checked<SecretString> {
    if text.starts_with("key_") {
        return Err("A raw key must not begin with \"key_\": ids do.".to_owned());
    }
    header_text(text).map(SecretString::from)
}

fn header_text(text: &str) -> Checked<&str> {
    if text.is_empty() {
        return Err("Must not be empty.".to_owned());
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(format!("Must be at most {KEY_BYTES_MAX} bytes."));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("Must be ASCII letters, digits and signs, without spaces.".to_owned());
    }
    Ok(text)
}

/// The name of a variable for the child.
pub(super) fn variable_name(text: &str) -> Checked<()> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err("A variable's name must not be empty or contain \"=\".".to_owned());
    }
    if text.starts_with("PAYGATE_") {
        return Err("PAYGATE_ variables are for Paygate, never for the server.".to_owned());
    }
    Ok(())
}

/// Methods of MCP that can have a price.
pub(super) const PRICED_METHODS: &[&str] = &[
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
];

/// Is it a method that a client of MCP uses?
pub(super) fn is_method_of_mcp(method: &str) -> bool {
    PRICED_METHODS.contains(&method)
}

/// A method that can have a price: not what opens and keeps a connection, and not what has a price
/// elsewhere.
pub(super) fn priced_method(method: &str) -> Checked<()> {
    let must_be_free = matches!(
        method,
        "initialize" | "initialized" | "ping" | "server/discover" | "subscriptions/listen"
    );
    if must_be_free || method.starts_with("notifications/") {
        return Err("It cannot have a price: every connection needs it.".to_owned());
    }
    if matches!(method, "tools/call" | "tools/call_batch") {
        return Err("Calls of tools have their prices in toolPricing.".to_owned());
    }
    if method.starts_with("tasks/") {
        return Err("Tasks are paid for by the call that starts them.".to_owned());
    }
    if method.is_empty() || method.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("The name of a method has no spaces and is not empty.".to_owned());
    }
    Ok(())
}

/// An IP address or CIDR range. IPv4 in IPv6 clothes is undressed, as client addresses are.
pub(super) fn network(text: &str) -> Checked<IpNet> {
    let net = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>()).map_err(
        |_| "Must be an IP address or a CIDR range, such as 10.0.0.0/8 or fd00::/8.".to_owned(),
    )?;
    if let IpNet::V6(six) = net
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Some(prefix) = six.prefix_len().checked_sub(96)
        && let Ok(mapped) = Ipv4Net::new(four, prefix)
    {
        return Ok(IpNet::V4(mapped.trunc()));
    }
    Ok(net.trunc())
}

/// What a Host header may say: a name or address with or without port, in small letters.
pub(super) fn allowed_host(text: &str) -> Checked<String> {
    let rule = "Must be a host as in a Host header: example.com, or example.com:8443.";
    authority(text).map(|()| text.to_ascii_lowercase()).ok_or_else(|| rule.to_owned())
}

/// What an Origin header may say.
pub(super) fn allowed_origin(text: &str) -> Checked<String> {
    let rule = "Must be an origin as a browser sends it: https://example.com, without a path.";
    let lower = text.to_ascii_lowercase();
    lower
        .split_once("://")
        .filter(|(scheme, rest)| {
            !scheme.is_empty()
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                && authority(rest).is_some()
        })
        .map(|_| lower.clone())
        .ok_or_else(|| rule.to_owned())
}

/// Whether a text is a host with an optional port. No wildcards: they would be taken for names.
fn authority(text: &str) -> Option<()> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, after.strip_prefix(':').or(after.is_empty().then_some("0"))?)
        }
        None => text.split_once(':').unwrap_or((text, "0")),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let port_is_good =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (!host.is_empty() && host.bytes().all(is_plain) && port_is_good).then_some(())
}

/// A link for people.
pub(super) fn web_url(text: &str) -> Checked<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("Must be a valid URL.".to_owned());
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("Must begin with http:// or https://.".to_owned());
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority(host).is_none() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("Must be a valid URL.".to_owned());
    }
    Ok(text.to_owned())
}

/// Which lines of the log are written. A filter takes a lone word that is no level as the name of a
/// part, so a mistyped level would silence everything else.
pub(super) fn log(text: &str) -> Checked<String> {
    let is_level = text.parse::<LevelFilter>().is_ok() && text.parse::<usize>().is_err();
    let is_filter = text.contains('=') && EnvFilter::try_new(text).is_ok();
    if is_level || is_filter {
        return Ok(text.to_owned());
    }
    Err("Must be error, warn, info, debug or trace, or a filter such as info,upstream=debug."
        .to_owned())
}

/// Splits a command line into words like a shell does, without a shell: quotes and backslashes
/// count, variables and globs do not.
pub(super) fn split_command(text: &str) -> Checked<ServerCommand> {
    let text = command(text)?;
    let mut words = shell_words::split(&text)
        .map_err(|_| "A quote is opened and never closed.".to_owned())?
        .into_iter();
    match words.next().filter(|program| !program.is_empty()) {
        Some(program) => Ok(ServerCommand { program, args: words.collect() }),
        None => Err("It names no program.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_may_be_one_or_several() {
        let good = [
            "redis://cache",
            "rediss://user:p4ss@cache:6379/2",
            "redis+sentinel://:p4ss@a:26379,b/mymaster/1",
            "rediss+cluster://user:p4ss@a:1,b:2",
        ];
        for url in good {
            assert_eq!(redis_url(url).as_deref(), Ok(url));
        }
        let bad = [
            ("redis://:p4ss@a,b", "Must be a valid"),
            ("redis+sentinel://:p4ss@a", "It must name the master"),
            ("redis+cluster://:p4ss@a/1", "a cluster has only number 0"),
            ("redis+x://:p4ss@a", "+sentinel"),
            ("http+cluster://:p4ss@a", "protocol"),
        ];
        for (url, part) in bad {
            let error = redis_url(url).unwrap_err();
            assert!(error.contains(part) && !error.contains("p4ss"), "{url}: {error}");
        }
    }

    #[test]
    fn log_levels_and_filters() {
        for text in ["error", "warn", "info", "DEBUG", "trace", "off", "info,upstream=debug"] {
            assert_eq!(log(text).as_deref(), Ok(text));
        }
        for text in ["inof", "1", " ", "info,upstream", "upstream=loud", "info,"] {
            assert!(log(text).is_err(), "{text}");
        }
    }

    #[test]
    fn command_lines_split_like_a_shell() {
        for (text, expected) in [
            ("node server.js", Ok(vec!["node", "server.js"])),
            ("node -e 'x y' \"a b\"", Ok(vec!["node", "-e", "x y", "a b"])),
            ("a\\ b ''", Ok(vec!["a b", ""])),
            ("  spaced   out ", Ok(vec!["spaced", "out"])),
            ("echo $HOME *", Ok(vec!["echo", "$HOME", "*"])),
            ("node 'x", Err("A quote is opened and never closed.")),
            ("   ", Err("Must not be empty.")),
            ("''", Err("It names no program.")),
            ("# only a comment", Err("It names no program.")),
        ] {
            let split = split_command(text).map(|command| {
                let mut words = vec![command.program];
                words.extend(command.args);
                words
            });
            let expected = expected
                .map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>())
                .map_err(str::to_owned);
            assert_eq!(split, expected, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("fd00::1/8", Some("fd00::/8")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("10.0.0.0/33", None),
            ("example.com", None),
            ("", None),
        ] {
            let net = network(text).ok().map(|net| net.to_string());
            assert_eq!(net.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn hosts_and_origins() {
        for (text, host, origin) in [
            ("Example.com", true, false),
            ("example.com:8443", true, false),
            ("[::1]:80", true, false),
            ("[::1]", true, false),
            ("https://App.example.com", false, true),
            ("http://[::1]:3000", false, true),
            ("https://example.com/", false, false),
            ("https://example.com:99999", false, false),
            ("*", false, false),
            ("*.example.com", false, false),
            ("", false, false),
            ("null", true, false),
            ("example.com:", false, false),
            ("[::1", false, false),
        ] {
            assert_eq!(allowed_host(text).is_ok(), host, "host {text}");
            assert_eq!(allowed_origin(text).is_ok(), origin, "origin {text}");
        }
    }

    #[test]
    fn urls() {
        for (text, expected) in [
            ("https://example.com/top?up=1", true),
            ("http://localhost:3000", true),
            ("example.com", false),
            ("javascript://x", false),
            ("https://", false),
            ("https://a b", false),
        ] {
            assert_eq!(web_url(text).is_ok(), expected, "{text}");
        }
    }
}
