//! Special-purpose addresses: those that no public name may lead to unless the policy names them.
//!
//! The tables are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), with multicast.
//! What the registries call globally reachable inside a special block (a handful of anycast services) is refused as
//! well: a public service does not live there. Forms that carry an IPv4 address inside an IPv6 one are refused, but for
//! NAT64's well-known prefix, which hosts without IPv4 need; there the carried address decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks: first address and prefix length.
const V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),       // this network (RFC 791)
    ([10, 0, 0, 0], 8),      // private (RFC 1918)
    ([100, 64, 0, 0], 10),   // shared, carrier-grade NAT (RFC 6598)
    ([127, 0, 0, 0], 8),     // loopback (RFC 1122)
    ([169, 254, 0, 0], 16),  // link local, cloud metadata (RFC 3927)
    ([172, 16, 0, 0], 12),   // private (RFC 1918)
    ([192, 0, 0, 0], 24),    // IETF protocol assignments (RFC 6890)
    ([192, 0, 2, 0], 24),    // documentation (RFC 5737)
    ([192, 31, 196, 0], 24), // AS112 (RFC 7535)
    ([192, 52, 193, 0], 24), // AMT (RFC 7450)
    ([192, 88, 99, 0], 24),  // 6to4 relay anycast, deprecated (RFC 7526)
    ([192, 168, 0, 0], 16),  // private (RFC 1918)
    ([192, 175, 48, 0], 24), // AS112 (RFC 7534)
    ([198, 18, 0, 0], 15),   // benchmarking (RFC 2544): our own synthetic addresses
    ([198, 51, 100, 0], 24), // documentation (RFC 5737)
    ([203, 0, 113, 0], 24),  // documentation (RFC 5737)
    ([224, 0, 0, 0], 4),     // multicast (RFC 5771)
    ([240, 0, 0, 0], 4),     // reserved and broadcast (RFC 1112, RFC 919)
];

/// IPv6 networks: first address and prefix length. Everything outside 2000::/3 is special besides.
const V6: &[([u16; 4], u32)] = &[
    ([0x2001, 0, 0, 0], 23), // IETF protocol assignments: Teredo, ORCHID, benchmarking (RFC 2928)
    ([0x2001, 0xdb8, 0, 0], 32), // documentation (RFC 3849)
    ([0x2002, 0, 0, 0], 16), // 6to4 (RFC 3056)
    ([0x2620, 0x4f, 0x8000, 0], 48), // AS112 (RFC 7534)
    ([0x3fff, 0, 0, 0], 20), // documentation (RFC 9637)
];

/// `64:ff9b::/96`, NAT64 with the well-known prefix (RFC 6052).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether an address is special.
pub(crate) fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => is_special_v6(v6),
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    let ip = u32::from(ip);
    V4.iter().any(|(network, length)| (ip ^ u32::from_be_bytes(*network)) >> (32 - length) == 0)
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    if [a, b, c, d, e, f] == NAT64 {
        let [g0, g1] = g.to_be_bytes();
        let [h0, h1] = h.to_be_bytes();
        return is_special_v4(Ipv4Addr::new(g0, g1, h0, h1));
    }
    // Unspecified, loopback, v4-compatible, v4-mapped, local NAT64 (64:ff9b:1::/48), discard, unique local, link and
    // site local, multicast, and whatever is not yet assigned.
    let global_unicast = a >> 13 == 1;
    let high = u64::from_be_bytes(ip.octets().first_chunk().copied().unwrap_or_default());
    !global_unicast || V6.iter().any(|(network, length)| (high ^ joined(*network)) >> (64 - length) == 0)
}

fn joined([a, b, c, d]: [u16; 4]) -> u64 {
    (u64::from(a) << 48) | (u64::from(b) << 32) | (u64::from(c) << 16) | u64::from(d)
}

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
}
