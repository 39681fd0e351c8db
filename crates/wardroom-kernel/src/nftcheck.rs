//! Asks the kernel for the firewall that is in force, and compares it with the one that was asked for: every chain, every
//! expression of every rule, every address of every set. It changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::netlink::{AttributeList, Batch, DUMP, attributes};
use crate::nftables::{Expression, INET, SUBSYSTEM, key, put_chain};
use crate::ruleset::{CHAINS, Chain, SETS, TABLE, rules};

const GET_CHAIN: u16 = (SUBSYSTEM << 8) | 4;
const GET_RULE: u16 = (SUBSYSTEM << 8) | 7;
const GET_ELEMENT: u16 = (SUBSYSTEM << 8) | 13;
/// `struct nfgenmsg`.
const NFGENMSG: usize = 4;

/// Asks the kernel for the table and says, in words, the first way in which it is not what was asked.
pub(crate) fn difference(socket: impl AsFd, literals: &[SocketAddr]) -> io::Result<Option<String>> {
    let mut chains = BTreeMap::new();
    dump(&socket, GET_CHAIN, None, |a| {
        let name = a.find(3).map(<[u8]>::to_vec);
        chains
            .insert(name, a.collect::<BTreeMap<_, _>>().into_iter().map(|(k, v)| (k, v.to_vec())).collect());
    })?;
    if let Some(wrong) = CHAINS.iter().find(|chain| !chain_holds(chain, &chains)) {
        return Ok(Some(format!("chain {}", wrong.name)));
    }
    let mut got = Vec::new();
    dump(&socket, GET_RULE, None, |a| got.push((a.find(2).map(<[u8]>::to_vec), owned(a.find(4)))))?;
    let asked = rules();
    if got.len() != asked.len() {
        return Ok(Some(format!("{} rules instead of {}", got.len(), asked.len())));
    }
    for (index, (chain, rule)) in asked.iter().enumerate() {
        let found = got.iter().filter(|(name, _)| name.as_deref().is_some_and(|n| is_text(n, chain)));
        let place = asked.iter().take(index).filter(|(other, _)| other == chain).count();
        if !found.clone().nth(place).is_some_and(|(_, list)| rule_holds(rule, list)) {
            return Ok(Some(format!("rule {place} of chain {chain}")));
        }
    }
    set_difference(socket, literals)
}

type Dumped = BTreeMap<u16, Vec<u8>>;

fn chain_holds(chain: &Chain, got: &BTreeMap<Option<Vec<u8>>, Dumped>) -> bool {
    let asked = attributes(|a| put_chain(a, chain));
    let name = AttributeList(&asked).find(3).map(<[u8]>::to_vec);
    let Some(found) = got.get(&name) else { return false };
    AttributeList(&asked).all(|(kind, value)| found.get(&kind).is_some_and(|f| f == value))
}

fn owned(list: Option<&[u8]>) -> Vec<u8> {
    list.unwrap_or_default().to_vec()
}

fn is_text(bytes: &[u8], text: &str) -> bool {
    bytes.strip_suffix(&[0]) == Some(text.as_bytes())
}

/// Every expression in order, and within each every attribute that was asked, with the very same bytes. The kernel
/// reports more than it is told (defaults), which is no difference.
fn rule_holds(rule: &[Expression], list: &[u8]) -> bool {
    let got: Vec<&[u8]> = AttributeList(list).map(|(_, expression)| expression).collect();
    got.len() == rule.len()
        && rule.iter().zip(got).all(|(asked, got)| {
            let (name, data) = asked.encoded();
            let got_data = AttributeList(AttributeList(got).find(2).unwrap_or_default());
            AttributeList(got).find(1).is_some_and(|n| is_text(n, name))
                && AttributeList(&data).all(|(kind, value)| got_data.find(kind) == Some(value))
        })
}

fn set_difference(socket: impl AsFd, literals: &[SocketAddr]) -> io::Result<Option<String>> {
    for set in SETS {
        let mut got = Vec::new();
        dump(&socket, GET_ELEMENT, Some(set.name), |a| {
            for (_, element) in AttributeList(a.find(3).unwrap_or_default()) {
                let key = AttributeList(element).find(1).unwrap_or_default();
                got.push(owned(AttributeList(key).find(1)));
            }
        })?;
        let mut asked: Vec<_> =
            literals.iter().filter(|l| l.ip().to_canonical().is_ipv4() == set.v4).map(key).collect();
        asked.sort_unstable();
        asked.dedup();
        got.sort_unstable();
        if asked != got {
            return Ok(Some(format!("set {} holds {} addresses, not {}", set.name, got.len(), asked.len())));
        }
    }
    Ok(None)
}

fn dump(
    socket: impl AsFd,
    kind: u16,
    set: Option<&str>,
    mut each: impl FnMut(AttributeList<'_>),
) -> io::Result<()> {
    let mut request = Batch::default();
    request.message(kind, DUMP, &INET, |a| {
        a.text(1, TABLE);
        if let Some(set) = set {
            a.text(2, set);
        }
    });
    request.dump(socket, |message| each(message.attributes(NFGENMSG)))
}
