//! Where Redis is, as its URL says it:
//!
//! - `redis://[user][:password]@host[:port][/database]` for one server,
//! - `redis+sentinel://…@host[:port],host[:port],…/master[/database]` for what Sentinels watch over,
//! - `redis+cluster://…@host[:port],host[:port],…` for a cluster; some of its nodes are enough.
//!
//! `rediss` in the place of `redis` is TLS. No error has the URL in it, which has a password in it.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

use super::super::RedisReach;
use crate::store::StoreError;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A server's host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store::redis) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// `host:port`, as Redis writes it; a host that is left out is the one that says so.
    pub(super) fn read(text: &str, teller: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { &teller.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What stands behind the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    /// The name of the master.
    Sentinel(String),
    Cluster,
}

/// What is wrong with a URL, if anything, without the URL.
pub(in crate::store::redis) fn check(url: &str) -> Result<(), &'static str> {
    parts(url).map(|_| ())
}

/// Where a URL leads, without user and password.
pub(in crate::store::redis) fn shown(url: &SecretString) -> String {
    let Ok(place) = Place::read(url) else { return String::new() };
    let hosts: Vec<String> = place.hosts.iter().map(Address::to_string).collect();
    let (hosts, database) = (hosts.join(","), place.login.db());
    if database == 0 { hosts } else { format!("{hosts}/{database}") }
}

/// All that a URL says.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) hosts: Vec<Address>,
    pub(super) is_tls: bool,
    /// User, password, database.
    pub(super) login: RedisConnectionInfo,
}

impl Place {
    pub(super) fn read(url: &SecretString) -> Result<Self, StoreError> {
        parts(url.expose_secret()).map_err(|why| StoreError::Unfit(format!("the Redis URL {why}")))
    }

    /// How the Sentinels themselves are logged into.
    pub(super) fn sentinel_login(reach: &RedisReach) -> RedisConnectionInfo {
        let login = RedisConnectionInfo::default().set_skip_set_lib_name();
        let Some((user, password)) = &reach.sentinel_login else { return login };
        let login = login.set_password(password.expose_secret());
        if user.is_empty() { login } else { login.set_username(user) }
    }
}

fn parts(url: &str) -> Result<Place, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("has no `redis://` in front")?;
    let scheme = scheme.to_ascii_lowercase();
    let (is_tls, what) = match scheme.split_once('+').unwrap_or((&scheme, "")) {
        ("redis" | "valkey", what) => (false, what),
        ("rediss" | "valkeys", what) => (true, what),
        _ => {
            return Err(
                "must begin with `redis://`, `rediss://`, or one of these with `+sentinel` or `+cluster`",
            );
        }
    };
    if rest.contains(['?', '#']) {
        return Err("has settings behind `?` or `#`, which are not known here");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let path = path.trim_end_matches('/');
    let (kind, database, port) = match what {
        "" => (Kind::Server, path, REDIS_PORT),
        "cluster" if matches!(path, "" | "0") => (Kind::Cluster, path, REDIS_PORT),
        "cluster" => return Err("names a database, and a cluster has only number 0"),
        "sentinel" => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err(
                    "must name the master behind the Sentinels: `redis+sentinel://host/name`",
                );
            }
            (Kind::Sentinel(master.to_owned()), database, SENTINEL_PORT)
        }
        _ => return Err("may only have `+sentinel` or `+cluster` behind its scheme"),
    };
    let (mut addresses, mut login) = (Vec::new(), None);
    for host in hosts.split(',') {
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if has_port { String::new() } else { format!(":{port}") };
        let one = format!("redis://{user}{host}{port}/{database}").into_connection_info();
        let one = one.map_err(
            |_| "cannot be read; a user and a password are percent-encoded, a database is a number",
        )?;
        let ConnectionAddr::Tcp(host, port) = one.addr() else { return Err("names no host") };
        addresses.push(Address { host: host.clone(), port: *port });
        login.get_or_insert_with(|| one.redis_settings().clone());
    }
    if kind == Kind::Server && addresses.len() > 1 {
        return Err("names several servers; write `redis+sentinel://` or `redis+cluster://`");
    }
    let login = login.ok_or("names no host")?.set_lib_name("paygate", env!("CARGO_PKG_VERSION"));
    Ok(Place { kind, hosts: addresses, is_tls, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Place, String> {
        Place::read(&url.to_owned().into()).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_say_where_redis_is() {
        let sentinel = || Kind::Sentinel("mymaster".to_owned());
        let cases = [
            ("redis://h", Kind::Server, "h:6379", false, 0, None),
            ("redis://u:p%40ss@h:1/3", Kind::Server, "h:1", false, 3, Some("p@ss")),
            ("rediss://:p@[::1]:7/", Kind::Server, "[::1]:7", true, 0, Some("p")),
            ("REDISS://h", Kind::Server, "h:6379", true, 0, None),
            ("valkeys://h", Kind::Server, "h:6379", true, 0, None),
            ("redis+sentinel://a,b:1/mymaster", sentinel(), "a:26379 b:1", false, 0, None),
            ("rediss+sentinel://:p@a:2/mymaster/4", sentinel(), "a:2", true, 4, Some("p")),
            ("redis+cluster://u:p@a:1,b:2", Kind::Cluster, "a:1 b:2", false, 0, Some("p")),
            ("redis+cluster://a/0", Kind::Cluster, "a:6379", false, 0, None),
        ];
        for (url, kind, hosts, is_tls, database, password) in cases {
            let place = read(url).unwrap();
            let found: Vec<_> = place.hosts.iter().map(ToString::to_string).collect();
            assert_eq!((&place.kind, found.join(" ").as_str()), (&kind, hosts), "{url}");
            assert_eq!((place.is_tls, place.login.db()), (is_tls, database), "{url}");
            assert_eq!(place.login.password(), password, "{url}");
            assert!(!format!("{place:?}").contains("p@ss"), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        let cases = [
            ("h:6379", "redis://"),
            ("http://:secret@h", "rediss://"),
            ("redis+x://:secret@h", "+sentinel"),
            ("redis://:secret@a,b", "several servers"),
            ("redis://:secret@h/x", "a database is a number"),
            ("redis://:secret@h?protocol=resp3", "behind `?`"),
            ("redis://:secret@", "cannot be read"),
            ("redis+sentinel://:secret@h", "name the master"),
            ("redis+cluster://:secret@h/2", "only number 0"),
        ];
        for (url, part) in cases {
            let error = read(url).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn redis_may_leave_its_own_host_out() {
        let teller = Address { host: "h".to_owned(), port: 1 };
        let read = |text| Address::read(text, &teller).map(|address| address.to_string());
        assert_eq!(read("10.0.0.1:7000").as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(read("::1:7000").as_deref(), Some("[::1]:7000"));
        assert_eq!(read(":7000").as_deref(), Some("h:7000"));
        assert_eq!(read("h:port"), None);
    }
}
