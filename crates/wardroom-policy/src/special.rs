//! Special-purpose addresses: those that no public name may lead to unless the policy names them.
//!
//! The tables are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), with multicast.
//! What the registries call globally reachable inside a special block (a handful of anycast services) counts as special as
//! well: a public service does not live there. So do forms that carry an IPv4 address inside an IPv6 one, but for NAT64's
//! well-known prefix, which hosts without IPv4 need; there the carried address decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The range of the cell's own resolver: inside, these addresses stand for names.
pub(crate) const RESOLVER: Ipv4Net = v4([198, 18, 0, 0], 15);

/// Whether an address is special (private, loopback, link-local, documentation, ...): whoever dials asks this.
#[must_use]
pub fn is_special(ip: IpAddr) -> bool {
    has_special(ip.into())
}

/// Whether a network has a special address in it, so that naming it in a rule can ever matter.
pub(crate) fn has_special(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => has_special_v4(net),
        IpNet::V6(net) => has_special_v6(net),
    }
}

/// Whether two networks have an address in common: then one of them holds the other.
pub(crate) fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The IPv4 network that stands behind these 96 bits of an IPv6 one.
pub(crate) fn carried(prefix: Ipv6Net, net: Ipv6Net) -> Option<Ipv4Net> {
    let length = net.prefix_len().checked_sub(96)?;
    let [.., a, b, c, d] = net.network().octets();
    let carried = Ipv4Net::new(Ipv4Addr::new(a, b, c, d), length).ok()?;
    prefix.contains(&net).then_some(carried)
}

fn has_special_v4(net: Ipv4Net) -> bool {
    V4.iter().any(|special| overlap(*special, net))
}

fn has_special_v6(net: Ipv6Net) -> bool {
    match carried(NAT64, net) {
        Some(carried) => has_special_v4(carried),
        None => {
            let holds = |special: &Ipv6Net| special.contains(&net) || net.contains(special);
            !GLOBAL.contains(&net) || V6.iter().any(holds)
        }
    }
}

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b, c, d]: [u16; 4], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// IPv4 networks.
const V4: [Ipv4Net; 18] = [
    v4([0, 0, 0, 0], 8),       // this network (RFC 791)
    v4([10, 0, 0, 0], 8),      // private (RFC 1918)
    v4([100, 64, 0, 0], 10),   // shared, carrier-grade NAT (RFC 6598)
    v4([127, 0, 0, 0], 8),     // loopback (RFC 1122)
    v4([169, 254, 0, 0], 16),  // link local, cloud metadata (RFC 3927)
    v4([172, 16, 0, 0], 12),   // private (RFC 1918)
    v4([192, 0, 0, 0], 24),    // IETF protocol assignments (RFC 6890)
    v4([192, 0, 2, 0], 24),    // documentation (RFC 5737)
    v4([192, 31, 196, 0], 24), // AS112 (RFC 7535)
    v4([192, 52, 193, 0], 24), // AMT (RFC 7450)
    v4([192, 88, 99, 0], 24),  // 6to4 relay anycast, deprecated (RFC 7526)
    v4([192, 168, 0, 0], 16),  // private (RFC 1918)
    v4([192, 175, 48, 0], 24), // AS112 (RFC 7534)
    RESOLVER,                  // benchmarking (RFC 2544)
    v4([198, 51, 100, 0], 24), // documentation (RFC 5737)
    v4([203, 0, 113, 0], 24),  // documentation (RFC 5737)
    v4([224, 0, 0, 0], 4),     // multicast (RFC 5771)
    v4([240, 0, 0, 0], 4),     // reserved and broadcast (RFC 1112, RFC 919)
];

/// IPv6 networks. Everything outside [`GLOBAL`] is special besides: unspecified, loopback, v4-compatible, v4-mapped, local NAT64
/// (`64:ff9b:1::/48`), discard, unique local, link and site local, multicast, and whatever is not yet assigned.
const V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0], 23), // IETF protocol assignments: Teredo, ORCHID, benchmarking (RFC 2928)
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation (RFC 3849)
    v6([0x2002, 0, 0, 0], 16), // 6to4 (RFC 3056)
    v6([0x2620, 0x4f, 0x8000, 0], 48), // AS112 (RFC 7534)
    v6([0x3fff, 0, 0, 0], 20), // documentation (RFC 9637)
];

/// Global unicast (RFC 4291, 2.4).
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// NAT64 with the well-known prefix (RFC 6052): the carried address decides.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_form_is_recognised() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:1:2::3",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_special(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_not() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "2003::1",
        ] {
            assert!(!is_special(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_network_has_a_special_address_if_it_touches_one() {
        for (text, special) in [
            ("8.0.0.0/6", true),
            ("8.0.0.0/7", false),
            ("9.0.0.0/8", false),
            ("10.1.0.0/16", true),
            ("2000::/3", true),
            ("2a00::/16", false),
            ("64:ff9b::a00:0/104", true),
            ("64:ff9b::808:800/120", false),
            ("64:ff9b::/95", true),
        ] {
            assert_eq!(has_special(text.parse().unwrap()), special, "{text}");
        }
    }
}
