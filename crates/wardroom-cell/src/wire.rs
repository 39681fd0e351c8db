//! What the keeper and a cell's init say to each other. Both are this program, in the same version, so the encoding is
//! private to them; no other process ever holds an end of this conversation.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minicbor::{Decode, Encode};
use wardroom_kernel::{memory_file, message};
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{CellPlan, Identity, LandlockRule, Limits, Mount};

use crate::error::Fault;
use crate::root::Kind;

/// The keeper to init.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) enum Request {
    /// First of all. With a descriptor: the [`Blueprint`] in memory.
    #[n(5)]
    Plan,
    /// The mapping and the control group are in place: build.
    #[n(0)]
    Go,
    /// Start a program. With four descriptors: the [`Program`] in memory, then its standard input, output and error.
    #[n(1)]
    Spawn(#[n(0)] u32),
    /// Send a signal to the process group of a program that was started.
    #[n(2)]
    Signal {
        #[n(0)]
        id: u32,
        #[n(1)]
        signal: i32,
    },
    /// Send a signal to everything in the cell but init.
    #[n(3)]
    SignalAll(#[n(0)] i32),
    /// Before [`Request::Go`], in system mode: sources that the keeper took, a descriptor for each line.
    #[n(4)]
    Sources(#[n(0)] Vec<Source>),
}

/// What init needs of a plan.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Blueprint {
    #[n(0)]
    pub(crate) host_name: String,
    #[n(1)]
    pub(crate) identity: Identity,
    #[n(2)]
    pub(crate) mounts: Vec<Mount>,
    #[n(3)]
    pub(crate) landlock: Vec<LandlockRule>,
    #[n(4)]
    pub(crate) limits: Limits,
    #[n(5)]
    pub(crate) literals: Vec<SocketAddr>,
    #[n(6)]
    pub(crate) audit_reads: bool,
    #[n(7)]
    pub(crate) may_trace: bool,
}

impl Blueprint {
    pub(crate) fn of(plan: &CellPlan) -> Self {
        Self {
            host_name: plan.agent.as_str().to_owned(),
            identity: plan.identity,
            mounts: plan.mounts.clone(),
            landlock: plan.landlock.clone(),
            limits: plan.limits,
            literals: plan.literals.clone(),
            audit_reads: plan.audit_reads,
            may_trace: plan.may_trace,
        }
    }
}

/// A source of a mount, taken by the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Source {
    /// Which of the plan's mounts it is for.
    #[n(0)]
    pub(crate) mount: u32,
    /// What was taken.
    #[n(1)]
    pub(crate) kind: Kind,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Program {
    #[n(0)]
    pub(crate) argv: Vec<minicbor::bytes::ByteVec>,
    #[n(1)]
    pub(crate) env: Vec<minicbor::bytes::ByteVec>,
    #[n(2)]
    pub(crate) directory: minicbor::bytes::ByteVec,
    #[n(3)]
    pub(crate) terminal: bool,
    /// For the guard, in its first exec.
    #[n(4)]
    pub(crate) tag: u64,
}

/// Init to the keeper.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Reply {
    /// A step failed; init ends.
    #[n(0)]
    Failed(#[n(0)] Fault),
    /// The cell stands. With descriptors: the terminals' file system, the listener, the network's sockets.
    #[n(1)]
    Built(#[n(0)] Vec<Mechanism>),
    /// A program did not start.
    #[n(2)]
    SpawnFailed {
        #[n(0)]
        id: u32,
        #[n(1)]
        errno: i32,
        #[n(2)]
        what: String,
    },
    /// A program that was asked for ended: 0 to 255, or 128 + signal.
    #[n(3)]
    Exited {
        #[n(0)]
        id: u32,
        #[n(1)]
        status: u32,
    },
}

/// The longest message: [`Reply::Built`] with some sixty mechanisms of some hundred bytes, with room.
pub(crate) const LONGEST: usize = 64 * 1024;

pub(crate) fn send<M: Encode<()>>(socket: impl AsFd, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = minicbor::to_vec(message).map_err(|error| io::Error::other(error.to_string()))?;
    message::send(socket, &bytes, fds)
}

/// Says something to init. One that has ended is heard of next.
pub(crate) fn tell(control: impl AsFd, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    match send(control, request, fds) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
        sent => sent,
    }
}

pub(crate) fn receive<M: for<'b> Decode<'b, ()>>(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let Some((length, fds)) = message::receive(socket, buffer)? else { return Ok(None) };
    let bytes = buffer.get(..length).unwrap_or_default();
    let message = minicbor::decode(bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Some((message, fds)))
}

/// Something as a file in memory, for what may be longer than a message.
pub(crate) fn in_memory<M: Encode<()>>(name: &str, what: &M) -> io::Result<OwnedFd> {
    let bytes = minicbor::to_vec(what).map_err(|error| io::Error::other(error.to_string()))?;
    memory_file::make(name, &bytes)
}

/// The reverse of [`in_memory`].
pub(crate) fn from_memory<M: for<'b> Decode<'b, ()>>(file: OwnedFd) -> io::Result<M> {
    minicbor::decode(&memory_file::read(file)?).map_err(|error| io::Error::other(error.to_string()))
}
