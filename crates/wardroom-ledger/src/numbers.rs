//! Numbers of the internet's registries as the words that people know. A number without a word stays a number.

use std::borrow::Cow;

/// Query types of the DNS that programs really ask (IANA, "Domain Name System Parameters").
const QUERY_TYPES: &[(u16, &str)] = &[
    // Where questions of many types are counted together.
    (0, "any"),
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (41, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// Protocols above IP (IANA, "Assigned Internet Protocol Numbers").
const PROTOCOLS: &[(u8, &str)] = &[
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPv4"),
    (6, "TCP"),
    (17, "UDP"),
    (33, "DCCP"),
    (41, "IPv6"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (132, "SCTP"),
    (136, "UDPLite"),
];

/// A query type's word; `TYPE12345` for one without (RFC 3597).
#[must_use]
pub fn query_type(number: u16) -> Cow<'static, str> {
    word(QUERY_TYPES, number).map_or_else(|| format!("TYPE{number}").into(), Cow::Borrowed)
}

/// A protocol's word; `protocol 200` for one without.
#[must_use]
pub fn protocol(number: u8) -> Cow<'static, str> {
    word(PROTOCOLS, number).map_or_else(|| format!("protocol {number}").into(), Cow::Borrowed)
}

fn word<N: Copy + PartialEq>(table: &[(N, &'static str)], number: N) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == number).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_words_and_others_stay_numbers() {
        assert_eq!([1, 28, 65, 16].map(query_type).join(" "), "A AAAA HTTPS TXT");
        assert_eq!(query_type(65_280), "TYPE65280");
        assert_eq!([6, 17, 1, 58].map(protocol).join(" "), "TCP UDP ICMP ICMPv6");
        assert_eq!(protocol(200), "protocol 200");
    }
}
