//! Client addresses and the lists that allow them.

use std::net::IpAddr;

use ipnet::IpNet;

/// An IPv4 peer on a dual-stack socket appears as `::ffff:1.2.3.4`: the same address as `1.2.3.4`.
pub fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// One entry of an allowlist: an address or a network of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedNetwork(IpNet);

impl AllowedNetwork {
    /// Reads `203.0.113.7`, `203.0.113.0/24`, `2001:db8::1` or `2001:db8::/32`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self(IpNet::from(unmapped(address))));
        }
        let network: IpNet = text.parse().ok()?;
        if let IpNet::V6(six) = network
            && let Some(four) = six.addr().to_ipv4_mapped()
            && let Some(length) = six.prefix_len().checked_sub(96)
        {
            return ipnet::Ipv4Net::new(four, length).ok().map(|four| Self(IpNet::V4(four)));
        }
        Some(Self(network))
    }

    /// Is this (unmapped) address in it?
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&unmapped(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("::ffff:192.0.2.0/120", "192.0.2.77", true),
            ("::1", "::1", true),
        ];
        for (entry, address, expected) in cases {
            let entry = AllowedNetwork::parse(entry).unwrap();
            assert_eq!(entry.contains(address.parse().unwrap()), expected, "{entry:?} {address}");
        }
        for wrong in ["", "localhost", "10.0.0.0/33", "1.2.3", "10.0.0.0/", "::/129"] {
            assert_eq!(AllowedNetwork::parse(wrong), None, "{wrong}");
        }
    }
}
