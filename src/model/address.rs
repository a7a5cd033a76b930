//! Client addresses and the lists that allow them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An IPv4 peer on a dual-stack socket appears as `::ffff:1.2.3.4`: the same address as `1.2.3.4`.
pub fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Is it an address of the public internet, whatever it is dressed up as? Private, local, shared and
/// reserved ones are not.
pub fn is_public(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => is_public_v6(six),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    let is_benchmark = first == 198 && second & 0xfe == 18;
    let is_protocols = (first, second, third) == (192, 0, 0);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || first == 0
        || first >= 240
        || is_shared
        || is_benchmark
        || is_protocols)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let four = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // IPv4 behind a translator, and IPv6 over IPv4: what it leads to decides.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(four(high, low))
        }
        // Teredo, and what is for documents.
        [0x2001, 0 | 0xdb8, ..] => false,
        // Only these are given out at all.
        [first, ..] => first & 0xe000 == 0x2000,
    }
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
    fn what_is_public() {
        for (address, expected) in [
            ("93.184.216.34", true),
            ("8.8.8.8", true),
            ("2606:4700:4700::1111", true),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::808:808", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("192.0.0.8", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b:1::1", false),
            ("2002:7f00:1::", false),
            ("2002:808:808::1", true),
            ("2001:0:7f00:1::", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

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
