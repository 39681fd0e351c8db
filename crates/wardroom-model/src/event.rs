//! What a record says. One variant a kind; numbers are forever: a field is added with a new index, never reused.

mod address;
mod network;
mod own;
mod process;

use minicbor::{Decode, Encode};

use crate::bytes::Captured;
use crate::credential::CredentialNote;
use crate::request::Request;

pub use address::{ip, maybe_socket_address, socket_address};
pub use network::{
    Connection, ConnectionEnd, ConnectionPhase, NameQuery, Packet, SocketAct, SocketOp, SocketTarget,
};
pub use own::{
    LedgerNote, Mechanism, Operator, PolicyChange, Probe, Recovery, Session, SessionEnd, SessionStart,
    Supervision,
};
pub use process::{Exec, FileAct, FileOp, Image, Privilege, ProcessExit};

/// The process behind an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Actor {
    /// Process id as the host sees it; 0 where nobody can say whose it was.
    #[n(0)]
    pub pid: u32,
    /// The image the process runs, as seen inside the cell.
    #[n(1)]
    pub program: Program,
}

/// A program by its image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Program {
    /// The image's path inside the cell.
    #[n(0)]
    pub path: Captured,
    /// Whether the image lies on the read-only system. Only then does its name count as an identity.
    #[n(1)]
    pub trusted: bool,
}

/// One entry of a ledger, without its position and time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// The operator did something with this agent.
    #[n(0)]
    Operator(#[n(0)] Operator),
    /// A cell started or ended.
    #[n(1)]
    Session(#[n(0)] Session),
    /// A program is about to be executed.
    #[n(2)]
    Exec(#[n(0)] Exec),
    /// The image that the kernel really loaded: the second witness of an exec.
    #[n(3)]
    Image(#[n(0)] Image),
    /// A process ended.
    #[n(4)]
    Exit(#[n(0)] ProcessExit),
    /// A change to the file system, or an open of a sensitive path.
    #[n(5)]
    File(#[n(0)] FileAct),
    /// A socket call with an address, as the guard saw it.
    #[n(6)]
    Socket(#[n(0)] SocketAct),
    /// A connection at the gate: decided, or ended.
    #[n(7)]
    Connection(#[n(0)] Connection),
    /// A name asked of the resolver.
    #[n(8)]
    Name(#[n(0)] NameQuery),
    /// A packet that the cell's firewall refused.
    #[n(9)]
    Packet(#[n(0)] Packet),
    /// A refused system call: an attempt at a privilege.
    #[n(10)]
    Privilege(#[n(0)] Privilege),
    /// The policy was read, replaced, or refused.
    #[n(11)]
    Policy(#[n(0)] PolicyChange),
    /// A process of Wardroom's own started, failed, was restarted, or acted on the cell.
    #[n(12)]
    Supervision(#[n(0)] Supervision),
    /// What the ledger says of itself: recovery, clock steps, sealing, retention.
    #[n(13)]
    Ledger(#[n(0)] LedgerNote),
    /// One result of `verify`.
    #[n(14)]
    Probe(#[n(0)] Probe),
    /// A request inside a connection that the gate opens: decided, or ended.
    #[n(15)]
    Request(#[n(0)] Request),
    /// Something happened to a credential.
    #[n(16)]
    Credential(#[n(0)] CredentialNote),
}

/// The kinds of record, for filters and for the frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is documented at the variant of Event with its name")]
pub enum Kind {
    Operator,
    Session,
    Exec,
    Image,
    Exit,
    File,
    Socket,
    Connection,
    Name,
    Packet,
    Privilege,
    Policy,
    Supervision,
    Ledger,
    Probe,
    Request,
    Credential,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Operator,
        Self::Session,
        Self::Exec,
        Self::Image,
        Self::Exit,
        Self::File,
        Self::Socket,
        Self::Connection,
        Self::Name,
        Self::Packet,
        Self::Privilege,
        Self::Policy,
        Self::Supervision,
        Self::Ledger,
        Self::Probe,
        Self::Request,
        Self::Credential,
    ];

    /// The number in a frame's header.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Operator => 0,
            Self::Session => 1,
            Self::Exec => 2,
            Self::Image => 3,
            Self::Exit => 4,
            Self::File => 5,
            Self::Socket => 6,
            Self::Connection => 7,
            Self::Name => 8,
            Self::Packet => 9,
            Self::Privilege => 10,
            Self::Policy => 11,
            Self::Supervision => 12,
            Self::Ledger => 13,
            Self::Probe => 14,
            Self::Request => 15,
            Self::Credential => 16,
        }
    }

    /// The word used in filters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Session => "session",
            Self::Exec => "exec",
            Self::Image => "image",
            Self::Exit => "exit",
            Self::File => "file",
            Self::Socket => "socket",
            Self::Connection => "net",
            Self::Name => "dns",
            Self::Packet => "packet",
            Self::Privilege => "privilege",
            Self::Policy => "policy",
            Self::Supervision => "supervision",
            Self::Ledger => "ledger",
            Self::Probe => "probe",
            Self::Request => "http",
            Self::Credential => "credential",
        }
    }
}

impl Event {
    /// The kind of this event.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Operator(_) => Kind::Operator,
            Self::Session(_) => Kind::Session,
            Self::Exec(_) => Kind::Exec,
            Self::Image(_) => Kind::Image,
            Self::Exit(_) => Kind::Exit,
            Self::File(_) => Kind::File,
            Self::Socket(_) => Kind::Socket,
            Self::Connection(_) => Kind::Connection,
            Self::Name(_) => Kind::Name,
            Self::Packet(_) => Kind::Packet,
            Self::Privilege(_) => Kind::Privilege,
            Self::Policy(_) => Kind::Policy,
            Self::Supervision(_) => Kind::Supervision,
            Self::Ledger(_) => Kind::Ledger,
            Self::Probe(_) => Kind::Probe,
            Self::Request(_) => Kind::Request,
            Self::Credential(_) => Kind::Credential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::HostName;
    use crate::reason::{Outcome, Reason, Verdict};

    #[test]
    fn kinds_are_numbered_in_the_order_of_all() {
        for (number, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(usize::from(kind.number()), number);
        }
    }

    #[test]
    fn an_event_survives_its_encoding() {
        let event = Event::Connection(Connection {
            id: 7,
            actor: Some(Actor {
                pid: 42,
                program: Program { path: Captured::from("/usr/bin/curl"), trusted: true },
            }),
            host: Some(HostName::parse("api.example.com").unwrap()),
            dialled: "198.18.0.1:443".parse().unwrap(),
            phase: ConnectionPhase::Ended(ConnectionEnd {
                remote: Some("[2001:db8::1]:443".parse().unwrap()),
                sent: 1,
                received: 2,
                micros: 3,
                verdict: Verdict {
                    outcome: Outcome::Failed,
                    reason: Reason::SpecialAddress("10.0.0.1".parse().unwrap()),
                    rule: None,
                },
            }),
        });
        let bytes = minicbor::to_vec(&event).unwrap();
        assert_eq!(minicbor::decode::<Event>(&bytes).unwrap(), event);
    }
}
