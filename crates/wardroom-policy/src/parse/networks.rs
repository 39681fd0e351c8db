//! `networks`: where a permitted name may lead besides public addresses. Each is written as it is printed, so that no other
//! tool reads the same text as another network.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::table::Table;
use crate::diagnose::{At, Diagnostic, Report};
use crate::special::{RESOLVER, carried, has_special, overlap};

/// `networks`: address and prefix length, the host bits zero.
pub(crate) fn networks(table: &mut Table<'_>, report: &mut Report) -> Option<At<Vec<IpNet>>> {
    let list = table.texts("networks", report)?;
    let found = list.value.iter().filter_map(|text| network(text, report)).collect();
    Some(At { value: found, span: list.span })
}

fn network(text: &At<String>, report: &mut Report) -> Option<IpNet> {
    let net = text.value.parse::<IpNet>().ok();
    let mistake = match net {
        None => Some(Mistake {
            title: format!("{:?} is no network", text.value),
            label: "this network",
            help: "write address and prefix length, as \"10.0.0.0/8\"".to_owned(),
        }),
        Some(net) => misspelt(&text.value, net).or_else(|| useless(net)),
    };
    let Some(Mistake { title, label, help }) = mistake else { return net };
    report.push(Diagnostic::new(title, text.span.clone(), label).help(help));
    None
}

struct Mistake {
    title: String,
    label: &'static str,
    help: String,
}

/// A network in another notation than the one that everybody reads alike.
fn misspelt(text: &str, net: IpNet) -> Option<Mistake> {
    let plain = net.trunc();
    let help = format!("did you mean `{plain}`?");
    // 010 is 10 here and 8 to whoever follows `inet_aton`.
    if net.to_string() != text {
        let title = format!("{text:?} is not the plain notation of a network");
        return Some(Mistake { title, label: "other programs may read another network", help });
    }
    if plain != net {
        let title = format!("`{net}` has bits behind its prefix");
        return Some(Mistake { title, label: "this network", help });
    }
    let IpNet::V6(v6) = net else { return None };
    // Addresses are compared in their IPv4 form, which is in no such network.
    carried(MAPPED, v6).map(|v4| Mistake {
        title: format!("`{net}` is an IPv4 network in IPv6 clothes"),
        label: "could never match",
        help: format!("write `{v4}`"),
    })
}

/// A network that permits too much, or nothing.
fn useless(net: IpNet) -> Option<Mistake> {
    if net.prefix_len() == 0 {
        return Some(Mistake {
            title: format!("`{net}` is every address there is"),
            label: "permits everything special",
            help: "name the networks that the host really leads to".to_owned(),
        });
    }
    if matches!(net, IpNet::V4(v4) if overlap(v4, RESOLVER)) {
        return Some(Mistake {
            title: format!("`{net}` has addresses of the cell's own resolver ({RESOLVER})"),
            label: "these lead nowhere outside",
            help: "name networks without them".to_owned(),
        });
    }
    (!has_special(net)).then(|| Mistake {
        title: format!("`{net}` has no special address in it"),
        label: "could never matter",
        help: "leave it out: public addresses need no permission of their own".to_owned(),
    })
}

/// `::ffff:0:0/96`, IPv4 addresses as IPv6 sockets show them (RFC 4291, 2.5.5.2).
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
