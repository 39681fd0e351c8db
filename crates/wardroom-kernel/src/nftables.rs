//! The cell's firewall, spoken to nf_tables over netlink without the `nft` program.
//!
//! One table, written in one atomic batch, default drop, then asked back and compared ([`crate::nftcheck`]).
//! It lives in the cell's own network namespace and never touches the host's rules.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use crate::netlink::{ACK, APPEND, Attributes, Batch, CREATE, EXCL, attributes};
use crate::ruleset::{CHAINS, Chain, Hook, SETS, TABLE, rules};

/// Where an expression keeps a value: the sixteen 32-bit registers are numbered from 8, the four wide ones that
/// overlay them from 1, and the kernel reports a register that starts a wide one by the wide one's number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Register(pub(crate) u32);

/// The first wide register.
pub(crate) const R1: Register = Register(1);
/// The second 32-bit part of the first wide register: behind an IPv4 address.
pub(crate) const R1_SECOND: Register = Register(9);
/// The second wide register: behind an IPv6 address.
pub(crate) const R2: Register = Register(2);
const VERDICT: Register = Register(0);

/// Which header a payload expression reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base {
    /// IPv4 or IPv6.
    Network,
    /// TCP, UDP, ICMP.
    Transport,
}

/// One expression of a rule. All that the cell's firewall needs, and nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expression {
    /// Load the network protocol (`NFPROTO_*`).
    NetworkProtocol,
    /// Load the transport protocol (`IPPROTO_*`).
    TransportProtocol,
    /// Load the index of the device a packet came in by.
    InputDevice,
    /// Load bytes of a header.
    Payload(Base, u32, u32, Register),
    /// Load the connection's status bits.
    ConnectionStatus,
    /// Keep only these bits of the first register.
    Mask(&'static [u8]),
    /// Go on if the first register begins with these bytes.
    Equal(&'static [u8]),
    /// Go on if the first register does not begin with these bytes.
    Differs(&'static [u8]),
    /// Go on if the registers from the first on are in this set.
    In(&'static str),
    /// Load a port into the first register.
    Port(u16),
    /// Send the connection to the port in the first register of this machine.
    Redirect,
    /// Report the packet to this NFLOG group.
    Log(u16),
    /// Answer with a TCP reset and drop.
    Reset,
    /// Answer with "port unreachable" and drop.
    Unreachable,
    /// Let it pass.
    Accept,
}

/// Netlink messages of nf_tables: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*`.
pub(crate) const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
const NEW_SET: u16 = (SUBSYSTEM << 8) | 9;
const NEW_ELEMENT: u16 = (SUBSYSTEM << 8) | 12;
const DELETE_ELEMENT: u16 = (SUBSYSTEM << 8) | 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// `struct nfgenmsg`: family `NFPROTO_INET` (IPv4 and IPv6 alike), version 0, resource 0.
pub(crate) const INET: [u8; 4] = [1, 0, 0, 0];
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Puts the whole table in force, with these literal addresses let through to the gate.
pub(crate) fn install(socket: impl AsFd, literals: &[SocketAddr]) -> io::Result<()> {
    let mut batch = begin();
    batch.message(NEW_TABLE, CREATE | EXCL, &INET, |a| a.text(1, TABLE));
    for set in SETS {
        batch.message(NEW_SET, CREATE | EXCL, &INET, |a| {
            a.text(1, TABLE);
            a.text(2, set.name);
            a.be32(3, 0);
            a.be32(4, set.key_type);
            a.be32(5, set.key_length);
            a.be32(10, set.id);
        });
    }
    put_literals(&mut batch, literals);
    for chain in CHAINS {
        batch.message(NEW_CHAIN, CREATE | EXCL, &INET, |a| put_chain(a, chain));
    }
    let rules = rules();
    let mut left = rules.len();
    for (chain, rule) in rules {
        left -= 1;
        // The batch holds as a whole or not at all, and errors come unasked: one acknowledgement, at its end, is enough.
        let ack = if left == 0 { ACK } else { 0 };
        batch.message(NEW_RULE, CREATE | APPEND | ack, &INET, |a| {
            a.text(1, TABLE);
            a.text(2, chain);
            a.nested(4, |list| {
                for expression in rule {
                    list.nested(1, |e| expression.put(e));
                }
            });
        });
    }
    commit(batch).apply(socket)
}

/// Replaces the literal addresses that reach the gate, in one atomic step.
pub(crate) fn replace_literals(socket: impl AsFd, literals: &[SocketAddr]) -> io::Result<()> {
    let mut batch = begin();
    for set in SETS {
        batch.message(DELETE_ELEMENT, ACK, &INET, |a| {
            a.text(1, TABLE);
            a.text(2, set.name);
        });
    }
    put_literals(&mut batch, literals);
    commit(batch).apply(socket)
}

fn begin() -> Batch {
    let mut batch = Batch::default();
    let [_, subsystem] = SUBSYSTEM.to_be_bytes();
    batch.message(BATCH_BEGIN, 0, &[0, 0, 0, subsystem], |_| ());
    batch
}

fn commit(mut batch: Batch) -> Batch {
    let [_, subsystem] = SUBSYSTEM.to_be_bytes();
    batch.message(BATCH_END, 0, &[0, 0, 0, subsystem], |_| ());
    batch
}

pub(crate) fn put_chain(a: &mut Attributes<'_>, chain: &Chain) {
    a.text(1, TABLE);
    a.text(3, chain.name);
    a.nested(4, |hook| {
        hook.be32(1, chain.hook.number());
        hook.bytes(2, &chain.priority.to_be_bytes());
    });
    a.be32(5, if chain.drop { DROP } else { ACCEPT });
    a.text(7, chain.kind);
}

fn put_literals(batch: &mut Batch, literals: &[SocketAddr]) {
    for set in SETS {
        let keys: Vec<Vec<u8>> =
            literals.iter().filter(|l| l.ip().to_canonical().is_ipv4() == set.v4).map(key).collect();
        if keys.is_empty() {
            continue;
        }
        batch.message(NEW_ELEMENT, CREATE | ACK, &INET, |a| {
            a.text(1, TABLE);
            a.text(2, set.name);
            a.nested(3, |list| {
                for key in &keys {
                    list.nested(1, |element| element.nested(1, |data| data.bytes(1, key)));
                }
            });
        });
    }
}

/// Address and port as a set's key holds them: each part padded to whole registers.
pub(crate) fn key(literal: &SocketAddr) -> Vec<u8> {
    let mut key = match literal.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    key.extend_from_slice(&literal.port().to_be_bytes());
    key.extend_from_slice(&[0; 2]);
    key
}

impl Expression {
    /// Writes name and data of the expression.
    fn put(self, a: &mut Attributes<'_>) {
        let (name, data) = self.encoded();
        a.text(1, name);
        a.bytes(2, &data);
    }

    /// Its name, and its data as attributes.
    pub(crate) fn encoded(self) -> (&'static str, Vec<u8>) {
        let name = match self {
            Self::NetworkProtocol | Self::TransportProtocol | Self::InputDevice => "meta",
            Self::Payload(..) => "payload",
            Self::ConnectionStatus => "ct",
            Self::Mask(_) => "bitwise",
            Self::Equal(_) | Self::Differs(_) => "cmp",
            Self::In(_) => "lookup",
            Self::Port(_) | Self::Accept => "immediate",
            Self::Redirect => "redir",
            Self::Log(_) => "log",
            Self::Reset | Self::Unreachable => "reject",
        };
        (name, attributes(|a| self.put_data(a)))
    }

    /// The attributes' numbers are those of `linux/netfilter/nf_tables.h`, per expression.
    fn put_data(self, a: &mut Attributes<'_>) {
        match self {
            Self::NetworkProtocol => numbers(a, [(1, R1.0), (2, 15)]),
            Self::TransportProtocol => numbers(a, [(1, R1.0), (2, 16)]),
            Self::InputDevice => numbers(a, [(1, R1.0), (2, 4)]),
            Self::ConnectionStatus => numbers(a, [(1, R1.0), (2, 2)]),
            Self::Payload(base, offset, length, register) => {
                let base = match base {
                    Base::Network => 1,
                    Base::Transport => 2,
                };
                numbers(a, [(1, register.0), (2, base), (3, offset), (4, length)]);
            }
            Self::Mask(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                numbers(a, [(1, R1.0), (2, R1.0), (3, length)]);
                a.nested(4, |data| data.bytes(1, mask));
                a.nested(5, |data| data.bytes(1, &vec![0; mask.len()]));
            }
            Self::Equal(value) => compare(a, 0, value),
            Self::Differs(value) => compare(a, 1, value),
            Self::In(set) => {
                a.text(1, set);
                a.be32(2, R1.0);
            }
            Self::Port(port) => {
                a.be32(1, R1.0);
                a.nested(2, |data| data.bytes(1, &port.to_be_bytes()));
            }
            Self::Redirect => a.be32(1, R1.0),
            Self::Log(group) => {
                a.be16(1, group);
                a.be32(3, crate::nflog::COPY_RANGE);
            }
            Self::Reset => a.be32(1, 1),
            Self::Unreachable => {
                a.be32(1, 2);
                a.bytes(2, &[1]);
            }
            Self::Accept => {
                a.be32(1, VERDICT.0);
                a.nested(2, |data| data.nested(2, |verdict| verdict.be32(1, ACCEPT)));
            }
        }
    }
}

fn numbers<const N: usize>(a: &mut Attributes<'_>, pairs: [(u16, u32); N]) {
    for (kind, value) in pairs {
        a.be32(kind, value);
    }
}

fn compare(a: &mut Attributes<'_>, operator: u32, value: &[u8]) {
    numbers(a, [(1, R1.0), (2, operator)]);
    a.nested(3, |data| data.bytes(1, value));
}

impl Hook {
    /// `NF_INET_*`.
    fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
        }
    }
}
