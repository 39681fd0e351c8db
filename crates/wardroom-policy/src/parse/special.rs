//! Which networks hold special addresses: those that a permitted name leads to only where its rule says so. The gate
//! decides about each address as it is dialled; here it is only told whether a network in a rule can ever matter.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The range of the cell's own resolver: inside, these addresses stand for names.
pub(crate) const RESOLVER: Ipv4Net = v4([198, 18, 0, 0], 15);

/// Whether a network has a special address in it.
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

/// The same as in the gate (`special.rs`), where each has its source; a test compares the two.
const V4: [Ipv4Net; 18] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([192, 175, 48, 0], 24),
    RESOLVER,
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// As [`V4`]; everything outside [`GLOBAL`] is special besides.
const V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0], 32),
    v6([0x2002, 0, 0, 0], 16),
    v6([0x2620, 0x4f, 0x8000, 0], 48),
    v6([0x3fff, 0, 0, 0], 20),
];

/// Global unicast (RFC 4291, 2.4).
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// NAT64 with the well-known prefix (RFC 6052): the carried address decides.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

/// The gate's own table: the gate depends on this crate, so only its text can be had here.
#[cfg(test)]
#[path = "../../../wardroom-gate/src/special.rs"]
mod gate;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// The edges of every network of the tables, and their neighbours.
    fn edges() -> Vec<IpAddr> {
        let v4 = V4.iter().flat_map(|net| {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|ip| IpAddr::V4(ip.into()))
        });
        let v6 = V6.iter().chain([&GLOBAL, &NAT64]).flat_map(|net| {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|ip| IpAddr::V6(ip.into()))
        });
        v4.chain(v6).collect()
    }

    #[test]
    fn the_gate_and_the_parser_call_the_same_addresses_special() {
        for ip in edges() {
            assert_eq!(has_special(IpNet::from(ip)), gate::is_special(ip), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn they_agree_about_any_address(v4: u32, v6: u128) {
            let nat64 = u128::from(NAT64.network()) | u128::from(v4);
            for ip in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into()), IpAddr::V6(nat64.into())] {
                prop_assert_eq!(has_special(IpNet::from(ip)), gate::is_special(ip), "{}", ip);
            }
        }
    }
}
