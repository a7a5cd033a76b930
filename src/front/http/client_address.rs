//! Where a request comes from: the socket's address, or what a trusted proxy forwards.
//!
//! Every proxy appends the address of its own peer to `X-Forwarded-For`, so the list is walked from
//! the right for as long as the address so far is a trusted proxy; what lies further left was
//! written by whoever stands behind it.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HeaderMap;
use ipnet::IpNet;

use crate::model::address::unmapped;
use crate::model::bounds::FORWARDED_HOPS_MAX;

const FORWARDED_FOR: &str = "x-forwarded-for";

pub(super) fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let peer = unmapped(peer);
    if trusted.is_empty() {
        return peer;
    }
    let values: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
    let mut address = peer;
    for hop in hops.take(FORWARDED_HOPS_MAX) {
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
        // Behind something unreadable nothing can be known: the last proxy is the client then.
        let Some(forwarded) = hop_address(hop) else { break };
        address = forwarded;
    }
    address
}

/// `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>().ok();
    address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(unmapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_forward() {
        let trusted = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"];
        for (trusted, peer, headers, expected) in [
            (&trusted[..0], "127.0.0.1", &["1.1.1.1"][..], "127.0.0.1"),
            (&trusted[..0], "::ffff:192.0.2.1", &[], "192.0.2.1"),
            (&trusted, "203.0.113.9", &["1.1.1.1"], "203.0.113.9"),
            (&trusted, "10.1.1.1", &[], "10.1.1.1"),
            (&trusted, "10.1.1.1", &["1.1.1.1"], "1.1.1.1"),
            (&trusted, "::ffff:10.1.1.1", &["1.1.1.1"], "1.1.1.1"),
            (&trusted, "10.1.1.1", &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            (&trusted, "10.1.1.1", &["1.1.1.1, 2.2.2.2, 10.3.3.3"], "2.2.2.2"),
            (&trusted, "10.1.1.1", &["1.1.1.1", "2.2.2.2", "10.3.3.3"], "2.2.2.2"),
            (&trusted, "10.1.1.1", &["10.2.2.2,10.3.3.3"], "10.2.2.2"),
            (&trusted, "10.1.1.1", &["1.1.1.1, unknown"], "10.1.1.1"),
            (&trusted, "10.1.1.1", &["1.1.1.1, unknown, 10.3.3.3"], "10.3.3.3"),
            (&trusted, "10.1.1.1", &[""], "10.1.1.1"),
            (&trusted, "10.1.1.1", &["198.51.100.1:4711"], "198.51.100.1"),
            (&trusted, "fd00::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            (&trusted, "fd00::1", &["[2001:db8::2]"], "2001:db8::2"),
            (&trusted, "10.1.1.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(FORWARDED_FOR, header.parse().unwrap());
            }
            let found = client_address(&map, peer.parse().unwrap(), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        let list = format!("1.1.1.1{}", ", 10.0.0.1".repeat(FORWARDED_HOPS_MAX));
        map.append(FORWARDED_FOR, list.parse().unwrap());
        let found = client_address(&map, "10.9.9.9".parse().unwrap(), &trusted);
        assert_eq!(found, "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
