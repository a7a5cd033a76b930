//! Who may speak to this server from a browser, and under which name it answers. A web page must
//! not reach a server on its reader's machine, neither openly (Origin) nor by giving that machine a
//! name of its own (Host, DNS rebinding).
//!
//! Loopback names are safe under any setting when the peer is on this machine, since no foreign
//! name can be made to read `localhost`. Whoever checks health over a network names a machine as it
//! knows it: `/health` answers to any name where everybody may ask, and has nothing that is not for everybody.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{StatusCode, Uri};

use super::respond::{Response, error};

/// The two rules, as configured.
#[derive(Debug)]
pub(super) struct Guard {
    /// Bound to loopback: only names of this machine, and pages from it.
    pub(super) loopback: bool,
    /// Hosts in lower case, with or without a port.
    pub(super) hosts: Vec<String>,
    /// Origins in lower case.
    pub(super) origins: Vec<String>,
}

impl Guard {
    /// The request's origin if it has one and may be here; else the answer that refuses it.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: IpAddr,
    ) -> Result<Option<HeaderValue>, Box<Response>> {
        let forbidden = |message| Err(Box::new(error(StatusCode::FORBIDDEN, message)));
        let from_target = uri.authority().map(hyper::http::uri::Authority::as_str);
        let host = one(headers, &HOST);
        let hosts_pass = match (&host, from_target) {
            (Given::Never, None) => self.host_passes(None, peer),
            (Given::Never, Some(target)) => self.host_passes(Some(target), peer),
            (Given::Once(host), None) => self.host_passes(Some(host), peer),
            (Given::Once(host), Some(target)) => {
                self.host_passes(Some(host), peer) && self.host_passes(Some(target), peer)
            }
            (Given::Unclear, _) => false,
        };
        let is_check = uri.path() == "/health" && !self.loopback;
        if !hosts_pass && !is_check {
            return forbidden(
                "The Host header is not one that this server answers to. The operator can allow it in allowedHosts",
            );
        }
        match one(headers, &ORIGIN) {
            Given::Never => Ok(None),
            Given::Once(origin) if self.origin_passes(origin) => Ok(headers.get(ORIGIN).cloned()),
            Given::Once(_) | Given::Unclear => forbidden(
                "Web pages of this Origin may not use this server. The operator can allow it in allowedOrigins",
            ),
        }
    }

    fn host_passes(&self, host: Option<&str>, peer: IpAddr) -> bool {
        let is_loopback = host.and_then(name_of).is_some_and(is_loopback_name);
        if is_loopback && (self.loopback || peer.is_loopback()) {
            return true;
        }
        if self.hosts.is_empty() {
            return !self.loopback;
        }
        let Some(host) = host else { return false };
        let name = name_of(host);
        let is_allowed = |allowed: &String| {
            let is = |host: &str| allowed.eq_ignore_ascii_case(host);
            is(host) || name.is_some_and(is)
        };
        self.hosts.iter().any(is_allowed)
    }

    fn origin_passes(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let name = origin.split_once("://").and_then(|(_, host)| name_of(host));
        (self.loopback && name.is_some_and(is_loopback_name)) || self.origins.contains(&origin)
    }
}

/// A header that must not be given twice.
#[derive(Debug, PartialEq, Eq)]
enum Given<'a> {
    Never,
    Once(&'a str),
    /// Twice, or not in plain characters.
    Unclear,
}

fn one<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Given<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Given::Never,
        (Some(Ok(value)), None) => Given::Once(value),
        (Some(_), _) => Given::Unclear,
    }
}

/// The name in `name`, `name:port` or `[address]:port`; with its brackets. `None` if it is none.
fn name_of(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(_) => host.find(']')?.checked_add(1)?,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at_checked(end)?;
    let port_is_good = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    (port_is_good && !name.is_empty()).then_some(name)
}

fn is_loopback_name(name: &str) -> bool {
    matches!(name, "127.0.0.1" | "[::1]") || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(loopback: bool, hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Guard { loopback, hosts: owned(hosts), origins: owned(origins) }
    }

    #[test]
    fn hosts() {
        let local = "127.0.0.1";
        let remote = "203.0.113.7";
        for (loopback, allowed, host, peer, passes) in [
            (true, &[][..], Some("localhost"), local, true),
            (true, &[], Some("LocalHost:3402"), local, true),
            (true, &[], Some("127.0.0.1:1"), local, true),
            (true, &[], Some("[::1]:3402"), local, true),
            (true, &[], Some("[::1"), local, false),
            (true, &[], Some("localhost:80x"), local, false),
            (true, &[], Some("localhost.evil.example"), local, false),
            (true, &[], Some("evil.example:3402"), local, false),
            (true, &[], Some("127.0.0.1.evil.example"), local, false),
            (true, &[], Some(""), local, false),
            (true, &[], None, local, false),
            (true, &["a.example"], Some("a.example"), local, true),
            (true, &["a.example"], Some("localhost:3402"), local, true),
            (false, &[], Some("anything"), remote, true),
            (false, &[], None, remote, true),
            (false, &["a.example"], Some("a.example:8443"), remote, true),
            (false, &["a.example:8443"], Some("A.example:8443"), remote, true),
            (false, &["a.example:8443"], Some("a.example"), remote, false),
            (false, &["a.example"], Some("b.example"), remote, false),
            (false, &["a.example"], Some("localhost"), remote, false),
            (false, &["a.example"], Some("localhost"), local, true),
            (false, &["a.example"], None, remote, false),
            (false, &["[2001:db8::1]"], Some("[2001:db8::1]:80"), remote, true),
        ] {
            let guard = guard(loopback, allowed, &[]);
            let peer = peer.parse().unwrap();
            assert_eq!(guard.host_passes(host, peer), passes, "{guard:?} {host:?} {peer}");
        }
    }

    #[test]
    fn origins() {
        for (loopback, allowed, origin, passes) in [
            (true, &[][..], "http://localhost:5173", true),
            (true, &[], "https://127.0.0.1", true),
            (true, &[], "http://[::1]:80", true),
            (true, &[], "http://localhost.evil.example", false),
            (true, &[], "null", false),
            (true, &[], "", false),
            (true, &["https://a.example"], "https://A.example", true),
            (false, &[], "http://localhost", false),
            (false, &["https://a.example"], "https://a.example", true),
            (false, &["https://a.example"], "http://a.example", false),
            (false, &["https://a.example"], "https://a.example:8443", false),
            (false, &["https://a.example"], "https://b.example", false),
        ] {
            let guard = guard(loopback, &[], allowed);
            assert_eq!(guard.origin_passes(origin), passes, "{guard:?} {origin}");
        }
    }

    #[test]
    fn what_is_given_twice_or_in_the_target_too_is_refused() {
        let guard = guard(true, &[], &[]);
        let peer = "127.0.0.1".parse().unwrap();
        let check = |uri: &str, given: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                let name: hyper::header::HeaderName = name.parse().unwrap();
                headers.append(name, value.parse().unwrap());
            }
            guard.check(&headers, &uri.parse().unwrap(), peer).is_ok()
        };
        assert!(check("/mcp", &[("host", "localhost")]));
        assert!(!check("/health", &[("host", "evil.example")]), "not on this machine");
        assert!(!check("/mcp", &[("host", "localhost"), ("host", "localhost")]));
        assert!(!check("http://evil.example/mcp", &[("host", "localhost")]));
        assert!(!check("http://localhost/mcp", &[("host", "evil.example")]));
        assert!(check("http://localhost/mcp", &[("host", "localhost")]));
        let origin = ("origin", "http://localhost");
        assert!(check("/", &[("host", "localhost"), origin]));
        assert!(!check("/", &[("host", "localhost"), origin, ("origin", "https://evil.example")]));
        assert!(!check("/", &[("host", "localhost"), ("origin", "http://löcalhost")]));
    }
}
