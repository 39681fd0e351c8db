//! What the firewall of a cell says: names and permitted literals to the gate, loopback to the agent, all else refused.
//!
//! The namespace has no device but `lo`, so nothing would leave even without a rule; the rules are there to
//! turn connections towards the gate, to answer everything else at once, and to report it.

use crate::nftables::Expression::{
    Accept, ConnectionStatus, Differs, Equal, In, InputDevice, Log, Mask, NetworkProtocol, Payload, Port,
    Redirect, Reset, TransportProtocol, Unreachable,
};
use crate::nftables::{Base, Expression, R1, R1_SECOND, R2};

/// The one table.
pub(crate) const TABLE: &str = "wardroom";
/// The gate's port inside the cell. Below 1024, so that no program of the agent's can hold it; 911 has no service.
pub const GATE_PORT: u16 = 911;
/// The NFLOG group of refused packets, private to the network namespace.
pub(crate) const LOG_GROUP: u16 = 1;

/// Where a chain is attached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hook {
    /// To local sockets.
    Input,
    /// Through the namespace.
    Forward,
    /// From local sockets.
    Output,
}

/// A base chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
    pub(crate) drop: bool,
}

/// Address translation decides first (-100), then the wall (0).
pub(crate) const CHAINS: &[Chain] = &[
    Chain { name: "divert", kind: "nat", hook: Hook::Output, priority: -100, drop: false },
    Chain { name: "wall", kind: "filter", hook: Hook::Output, priority: 0, drop: true },
    Chain { name: "arrive", kind: "filter", hook: Hook::Input, priority: 0, drop: true },
    Chain { name: "pass", kind: "filter", hook: Hook::Forward, priority: 0, drop: true },
];

/// A set of literal addresses with ports.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) v4: bool,
    /// What `nft list` shows the key as: `ipv4_addr . inet_service` and `ipv6_addr . inet_service`.
    pub(crate) key_type: u32,
    pub(crate) key_length: u32,
    pub(crate) id: u32,
}

/// The literal addresses that the policy names.
pub(crate) const SETS: &[Set] = &[
    Set { name: LITERALS4, v4: true, key_type: (7 << 6) | 13, key_length: 8, id: 1 },
    Set { name: LITERALS6, v4: false, key_type: (8 << 6) | 13, key_length: 20, id: 2 },
];

const LITERALS4: &str = "literals4";
const LITERALS6: &str = "literals6";

const IPV4: Expression = Equal(&[2]);
const IPV6: Expression = Equal(&[10]);
const TCP: Expression = Equal(&[6]);
const ICMP: Expression = Equal(&[1]);
const ICMPV6: Expression = Equal(&[58]);

const DADDR4: Expression = Payload(Base::Network, 16, 4, R1);
const DADDR6: Expression = Payload(Base::Network, 24, 16, R1);
const ICMP_TYPE: Expression = Payload(Base::Transport, 0, 1, R1);
const TCP_FLAGS: Expression = Payload(Base::Transport, 13, 1, R1);
const DPORT: Expression = Payload(Base::Transport, 2, 2, R1);
const LOOPBACK6: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// `IPS_DST_NAT`, in the machine's own byte order as the kernel keeps it.
const DIVERTED: [u8; 4] = 0x20_u32.to_ne_bytes();

/// All rules in order, each with its chain.
pub(crate) fn rules() -> Vec<(&'static str, &'static [Expression])> {
    let chains: [(&str, &[&[Expression]]); 3] = [("divert", DIVERT), ("wall", WALL), ("arrive", ARRIVE)];
    chains.iter().flat_map(|(chain, rules)| rules.iter().map(move |rule| (*chain, *rule))).collect()
}

const DIVERT: &[&[Expression]] = &[
    // Names: 198.18.0.0/15, where every address stands for one.
    &[
        NetworkProtocol,
        IPV4,
        TransportProtocol,
        TCP,
        DADDR4,
        Mask(&[255, 254, 0, 0]),
        Equal(&[198, 18, 0, 0]),
        Port(GATE_PORT),
        Redirect,
    ],
    &[
        NetworkProtocol,
        IPV4,
        TransportProtocol,
        TCP,
        DADDR4,
        Payload(Base::Transport, 2, 2, R1_SECOND),
        In(LITERALS4),
        Port(GATE_PORT),
        Redirect,
    ],
    &[
        NetworkProtocol,
        IPV6,
        TransportProtocol,
        TCP,
        DADDR6,
        Payload(Base::Transport, 2, 2, R2),
        In(LITERALS6),
        Port(GATE_PORT),
        Redirect,
    ],
];

const WALL: &[&[Expression]] = &[
    // Both directions of what was diverted.
    &[ConnectionStatus, Mask(&DIVERTED), Differs(&[0; 4]), Accept],
    // The gate's own port, addressed directly: it has no meaning without a diversion.
    &[TransportProtocol, TCP, DPORT, Equal(&GATE_PORT.to_be_bytes()), Log(LOG_GROUP), Reset],
    // Loopback is the agent's own; the resolver listens there.
    &[NetworkProtocol, IPV4, DADDR4, Mask(&[255, 0, 0, 0]), Equal(&[127, 0, 0, 0]), Accept],
    &[NetworkProtocol, IPV6, DADDR6, Equal(LOOPBACK6), Accept],
    // The answers of `reject` below pass this chain as well; without these the agent would hang.
    &[TransportProtocol, TCP, TCP_FLAGS, Mask(&[0x04]), Equal(&[0x04]), Accept],
    &[NetworkProtocol, IPV4, TransportProtocol, ICMP, ICMP_TYPE, Equal(&[3]), Accept],
    &[NetworkProtocol, IPV6, TransportProtocol, ICMPV6, ICMP_TYPE, Equal(&[1]), Accept],
    // Everything else: reported, and answered at once.
    &[TransportProtocol, TCP, Log(LOG_GROUP), Reset],
    &[Log(LOG_GROUP), Unreachable],
];

/// What the wall let out comes back in on `lo`, device 1 of every namespace; nothing else can arrive.
const ARRIVE: &[&[Expression]] = &[&[InputDevice, Equal(&LO), Accept]];

const LO: [u8; 4] = 1_u32.to_ne_bytes();
