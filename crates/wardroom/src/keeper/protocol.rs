//! What the operator's commands (`exec`, `ps`, `stop`) and a keeper say to each other: one request and its answers
//! over a sequenced-packet socket, with descriptors beside them. The socket lies in a directory that only the operator
//! can enter, and the keeper asks the kernel who is calling all the same.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use minicbor::{Decode, Encode};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use wardroom_kernel::message;

/// The longest message: an argument list of a person's making fits; a longer one is refused by the sender.
const LONGEST: usize = 128 * 1024;

/// How long a keeper may take to take a call.
const TAKING: Duration = Duration::from_secs(2);

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Request {
    /// What runs?
    #[n(0)]
    Status,
    /// End the cell.
    #[n(1)]
    Stop,
    /// Run a command inside; its stdin, stdout and stderr come along.
    #[n(2)]
    Exec {
        /// The command and its arguments.
        #[n(0)]
        command: Vec<minicbor::bytes::ByteVec>,
        /// Give it a terminal of its own instead; its master side comes back.
        #[n(1)]
        terminal: bool,
        /// The operator's `TERM`.
        #[n(2)]
        term: Option<String>,
        /// How large the operator's terminal is: rows and columns.
        #[n(3)]
        size: Option<(u16, u16)>,
    },
    /// Put on record what the operator is about to do.
    #[n(3)]
    Record {
        /// What.
        #[n(0)]
        action: String,
    },
}

/// What a keeper answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Answer {
    /// To `Status`.
    #[n(0)]
    Running {
        /// The keeper's process id.
        #[n(0)]
        keeper: u32,
        /// Since when, in nanoseconds of the Unix epoch.
        #[n(1)]
        since: u64,
        /// What it runs.
        #[n(2)]
        command: String,
    },
    /// To `Exec` with a terminal: the master side comes along.
    #[n(1)]
    Terminal,
    /// The command ended, or the cell did.
    #[n(2)]
    Ended {
        /// Its exit status: 0 to 255.
        #[n(0)]
        status: u32,
    },
    /// It is on record.
    #[n(4)]
    Recorded,
    /// The command could not be started; its end follows, with the status that a shell gives it.
    #[n(5)]
    NotStarted {
        /// Why not.
        #[n(0)]
        why: String,
    },
    /// Not done, and why.
    #[n(3)]
    Refused {
        /// The reason.
        #[n(0)]
        why: String,
    },
}

/// One end of a conversation.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

impl Line {
    /// Calls a keeper. `WouldBlock` where it takes no call for long.
    pub(crate) fn call(path: &Path) -> io::Result<Self> {
        let socket = seqpacket()?;
        // A connect heeds it as well, while the queue of calls is full.
        set_socket_timeout(&socket, Timeout::Send, Some(TAKING))?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Waits no longer than this for whatever is said or heard next.
    pub(crate) fn for_at_most(&self, limit: Duration) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, Some(limit))?)
    }

    /// Answers calls at `path`, over whatever a keeper that is gone left there.
    pub(crate) fn answer_at(path: &Path) -> io::Result<OwnedFd> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = seqpacket()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        listen(&socket, 16)?;
        Ok(socket)
    }

    /// Takes a call.
    pub(crate) fn accepted(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Says something, with descriptors.
    pub(crate) fn say(&self, message: &impl Encode<()>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = minicbor::to_vec(message).map_err(io::Error::other)?;
        if bytes.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, "the command line is too long"));
        }
        message::send(&self.0, &bytes, descriptors)
    }

    /// Hears one message; none when the other side is gone.
    pub(crate) fn hear<M: for<'b> Decode<'b, ()>>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; LONGEST];
        let Some((length, descriptors)) = message::receive(&self.0, &mut bytes)? else { return Ok(None) };
        let said = bytes.get(..length).unwrap_or_default();
        minicbor::decode(said).map(|message| Some((message, descriptors))).map_err(io::Error::other)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_with_its_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        let listener = Line::answer_at(&path).unwrap();
        let caller = Line::call(&path).unwrap();
        let callee = Line::accepted(rustix::net::accept(&listener).unwrap());
        let request = Request::Exec {
            command: vec![b"true".to_vec().into()],
            terminal: false,
            term: None,
            size: Some((24, 80)),
        };
        let (a, b) = io::pipe().unwrap();
        caller.say(&request, &[a.as_fd(), b.as_fd()]).unwrap();
        let (heard, descriptors) = callee.hear::<Request>().unwrap().unwrap();
        assert_eq!(heard, request);
        assert_eq!(descriptors.len(), 2);
        drop(caller);
        assert!(callee.hear::<Request>().unwrap().is_none());
    }
}
