//! Who is behind a socket: what the guard tells the gate before a connect goes on.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::event::Actor;

/// One message over the sequenced-packet socket from guard to gate, as CBOR. It comes before the connection or the packet
/// does; a connection without one stays unattributed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Attribution {
    /// The socket's inode number, as `sock_diag` also reports it.
    #[n(0)]
    pub inode: u64,
    /// Who connects, or sends.
    #[n(1)]
    pub actor: Actor,
    /// Where to: what joins the program with the firewall's report, should the packet be refused.
    #[cbor(n(2), with = "crate::event::socket_address")]
    pub destination: SocketAddr,
    /// The socket's IP protocol number, where the kernel tells it.
    #[n(3)]
    pub protocol: Option<u8>,
}

impl Attribution {
    /// The longest message: a path of 4,096 bytes (`PATH_MAX`) and its digest, and some tens of bytes around them.
    pub const BOUND: usize = 4096 + 256;
}
