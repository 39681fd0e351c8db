//! Who is behind a socket: what the guard tells the gate before a connect goes on.

use minicbor::{Decode, Encode};

use crate::event::Actor;

/// One message over the sequenced-packet socket from guard to gate, as CBOR. It comes before the connection does;
/// a connection without one is joined to its program by `sock_diag`, or stays unattributed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Attribution {
    /// The socket's inode number, as `sock_diag` also reports it.
    #[n(0)]
    pub inode: u64,
    /// Who connects.
    #[n(1)]
    pub actor: Actor,
}

impl Attribution {
    /// The longest message: a path of 4,096 bytes (`PATH_MAX`) and its digest, and some tens of bytes around them.
    pub const BOUND: usize = 4096 + 256;
}
