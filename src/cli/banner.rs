//! What `paygate wrap` says once it serves. If it listens, one line holds
//! `listening on http://HOST:PORT`, or `https://` with TLS; scripts read it.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::app::{About, DEMO_CREDITS};
use crate::config::{Books, Config, Durability};
use crate::upstream::{MemberStatus, Status};

/// Tools whose prices are named.
const PRICES_SHOWN_MAX: usize = 8;

pub(super) fn text(config: &Config, about: &About) -> String {
    let tools = tools(about.tools);
    let mut lines =
        vec![format!("Paygate {} {}", env!("CARGO_PKG_VERSION"), serves(config, about))];
    lines.push(String::new());
    if let Some(address) = about.address {
        lines.push(row("endpoint", &format!("{}/mcp", local_url(scheme(config), address))));
    }
    lines.push(row("guards", &format!("{}, {tools}", about.server)));
    lines.extend(about.members.iter().map(|member| row("", &server(member))));
    lines.extend([
        row("price", &price(config)),
        row("rate limit", &rate_limit(config)),
        row("books", &books(config)),
    ]);
    if config.shadow_mode {
        lines.push(row("shadow mode", "on: nothing is refused and nothing is charged"));
    }
    if about.imported > 0 {
        lines.push(row("imported", &format!("{} keys", about.imported)));
    }
    if let Some(state_file) = &about.state_file {
        lines.push(row("state file", state_file));
    }
    if let Some(address) = about.address {
        lines.push(row("admin key", &admin_key(about)));
        if let Some(key) = &about.demo_key {
            let url = local_url(scheme(config), address);
            lines.extend(demo(&url, key, about.new_admin_key.as_deref()));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn serves(config: &Config, about: &About) -> String {
    let listens =
        about.address.map(|address| format!("listening on {}://{address}", scheme(config)));
    let stdio = config.serves.stdio().then(|| "serving one client on stdin and stdout".to_owned());
    listens.into_iter().chain(stdio).collect::<Vec<_>>().join(", ")
}

fn tools(count: usize) -> String {
    if count == 1 { "1 tool".to_owned() } else { format!("{count} tools") }
}

/// One of several servers.
fn server(member: &MemberStatus) -> String {
    match &member.status {
        Status::Ready => format!("{}: {}", member.server, tools(member.tools)),
        Status::Starting => format!("{}: still starting", member.server),
        Status::Restarting { why, .. } => {
            format!("{}: not there, it is tried again ({why})", member.server)
        }
        Status::Stopped { why } => format!("{}: not there ({why})", member.server),
    }
}

fn row(label: &str, value: &str) -> String {
    format!("  {label:<12}{value}")
}

fn scheme(config: &Config) -> &'static str {
    if config.tls.is_some() { "https" } else { "http" }
}

/// The address as a client on this machine writes it.
fn local_url(scheme: &str, address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

fn credits(count: i64) -> String {
    if count == 1 { "1 credit".to_owned() } else { format!("{count} credits") }
}

fn price(config: &Config) -> String {
    let mut text = format!("{} a call", credits(config.pricing.default_credits));
    for (name, tool) in config.pricing.tools.iter().take(PRICES_SHOWN_MAX) {
        let name: String = name.chars().filter(|character| !character.is_control()).collect();
        write!(text, ", {name} {}", tool.credits_per_call).ok();
        if tool.credits_per_kb_input_thousandths > 0 {
            let per_kb = tool.credits_per_kb_input_thousandths;
            let decimals = format!("{}.{:03}", per_kb / 1000, per_kb % 1000);
            let decimals = decimals.trim_end_matches('0').trim_end_matches('.');
            write!(text, " + {decimals} per KiB of arguments").ok();
        }
    }
    let more = config.pricing.tools.len().saturating_sub(PRICES_SHOWN_MAX);
    if more > 0 {
        write!(text, ", {more} more tools with prices of their own").ok();
    }
    text
}

fn rate_limit(config: &Config) -> String {
    match config.rate_limit_per_min {
        0 => "none".to_owned(),
        1 => "1 call a minute per key".to_owned(),
        limit => format!("{limit} calls a minute per key"),
    }
}

fn books(config: &Config) -> String {
    let promise = match config.durability {
        Durability::Answer => "every answer waits until its charge is on disk",
        Durability::Call => "every charge is on disk before the tool starts",
        Durability::None => "written behind: a crash loses the last moments",
    };
    if let Some(redis) = &config.redis {
        let place = redis.url.shown(|_| "***".to_owned());
        return match &config.books {
            Books::File(path) => {
                format!("{place} (shared; {} is this instance's copy for reports)", path.display())
            }
            Books::Ephemeral => format!("{place} (shared; reports come from a temporary copy)"),
        };
    }
    match &config.books {
        Books::File(path) => format!("{} ({promise})", path.display()),
        Books::Ephemeral => "in memory: all is lost when Paygate stops".to_owned(),
    }
}

fn admin_key(about: &About) -> String {
    match &about.new_admin_key {
        Some(key) => {
            format!("{key} (made for this run; --admin-key or PAYGATE_ADMIN_KEY sets one)")
        }
        None => "as configured".to_owned(),
    }
}

fn demo(url: &str, key: &str, admin_key: Option<&str>) -> Vec<String> {
    let admin_key = admin_key.unwrap_or("YOUR_ADMIN_KEY");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":3}}}"#;
    vec![
        String::new(),
        format!("Try it with this API key, which has {DEMO_CREDITS} credits: {key}"),
        String::new(),
        "  call a tool:".to_owned(),
        format!(
            "curl -i {url}/mcp -H 'Content-Type: application/json' -H 'X-API-Key: {key}' -d '{body}'"
        ),
        String::new(),
        "  see what is left:".to_owned(),
        format!("curl {url}/balance -H 'X-API-Key: {key}'"),
        String::new(),
        "  see everything:".to_owned(),
        format!("curl {url}/status -H 'X-Admin-Key: {admin_key}'"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_a_client_here_writes_them() {
        for (address, expected) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("192.0.2.1:3402", "http://192.0.2.1:3402"),
        ] {
            assert_eq!(local_url("http", address.parse().unwrap()), expected);
        }
    }
}
