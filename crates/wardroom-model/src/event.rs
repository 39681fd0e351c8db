//! What a record says. One variant a kind; numbers are forever: a field is added with a new index, never reused.

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::bytes::Captured;
use crate::credential::CredentialNote;
use crate::name::HostName;
use crate::reason::{RuleRef, Verdict};
use crate::request::Request;

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

/// An operator's action.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Operator {
    /// The host user who acted.
    #[n(0)]
    pub uid: u32,
    /// The action, as a command line.
    #[n(1)]
    pub action: Captured,
}

/// The life of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Session {
    /// The cell is about to run its first command.
    #[n(0)]
    Started(#[n(0)] SessionStart),
    /// The cell ended; every process in it is gone.
    #[n(1)]
    Ended(#[n(0)] SessionEnd),
}

/// What a cell was started with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionStart {
    /// The command.
    #[n(0)]
    pub command: Captured,
    /// SHA-256 of the policy text.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    /// Every mechanism with what was asked of the kernel and what it gave.
    #[n(2)]
    pub mechanisms: Vec<Mechanism>,
}

/// A protection as asked and as got. They must be equal for a cell to start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mechanism {
    /// Its name, such as `landlock` or `seccomp`.
    #[n(0)]
    pub name: String,
    /// What the plan asked.
    #[n(1)]
    pub asked: String,
    /// What the kernel says is in force.
    #[n(2)]
    pub got: String,
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionEnd {
    /// The exit status of the command: 0 to 255, 128 + signal if it was killed.
    #[n(0)]
    pub status: u32,
    /// Why, where it was not the command's own end.
    #[n(1)]
    pub because: Option<String>,
}

/// An exec, recorded before it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Exec {
    /// Who executes.
    #[n(0)]
    pub actor: Actor,
    /// The path as given.
    #[n(1)]
    pub path: Captured,
    /// The arguments, NUL-separated, cut at a bound with the digest of the whole.
    #[n(2)]
    pub arguments: Captured,
    /// The working directory.
    #[n(3)]
    pub directory: Captured,
    /// The script's interpreter, where the file starts with `#!`.
    #[n(4)]
    pub interpreter: Option<Captured>,
    /// What became of it.
    #[n(5)]
    pub verdict: Verdict,
}

/// The image after an exec.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Image {
    /// The process, with the image it runs now.
    #[n(0)]
    pub actor: Actor,
    /// Device number of the image.
    #[n(1)]
    pub device: u64,
    /// Inode number of the image.
    #[n(2)]
    pub inode: u64,
    /// What had been announced, when the image is something else.
    #[n(3)]
    pub announced: Option<Captured>,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProcessExit {
    /// Who ended.
    #[n(0)]
    pub actor: Actor,
    /// The wait status's exit code or 128 + signal; none where this kernel does not tell (before 6.15).
    #[n(1)]
    pub status: Option<u32>,
    /// What it had announced to execute last, when it ended before anybody could see whether, or what, it did.
    #[n(2)]
    pub unseen: Option<Captured>,
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[expect(missing_docs, reason = "the names of the operations they record")]
pub enum FileOp {
    #[n(0)]
    OpenWrite,
    #[n(1)]
    Create,
    #[n(2)]
    Truncate,
    #[n(3)]
    Delete,
    #[n(4)]
    Rename,
    #[n(5)]
    Link,
    #[n(6)]
    Symlink,
    #[n(7)]
    MakeDirectory,
    #[n(8)]
    ChangeMode,
    #[n(9)]
    ChangeOwner,
    #[n(10)]
    SetAttribute,
    /// An open of a path on the list of sensitive ones, for reading.
    #[n(11)]
    ReadSensitive,
    #[n(12)]
    MakeNode,
    #[n(13)]
    RemoveAttribute,
}

/// A file event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileAct {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// What.
    #[n(1)]
    pub op: FileOp,
    /// The path, made absolute as seen inside the cell, not resolved.
    #[n(2)]
    pub path: Captured,
    /// The other path of a rename, link or symlink.
    #[n(3)]
    pub other: Option<Captured>,
    /// Mode bits, where the call carries them.
    #[n(4)]
    pub mode: Option<u32>,
    /// What became of it.
    #[n(5)]
    pub verdict: Verdict,
}

/// What was asked of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[expect(missing_docs, reason = "the system calls' own names")]
pub enum SocketOp {
    #[n(0)]
    Connect,
    #[n(1)]
    Bind,
    #[n(2)]
    SendTo,
}

/// A socket call with an address.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SocketAct {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// What.
    #[n(1)]
    pub op: SocketOp,
    /// To where.
    #[n(2)]
    pub address: SocketTarget,
    /// What became of it.
    #[n(3)]
    pub verdict: Verdict,
}

/// The address of a socket call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SocketTarget {
    /// IPv4 or IPv6.
    #[n(0)]
    Inet(#[cbor(n(0), with = "self::socket_address")] SocketAddr),
    /// A Unix socket: a path, or an abstract name after a NUL.
    #[n(1)]
    Unix(#[n(0)] Captured),
    /// Any other family, by its number.
    #[n(2)]
    Other(#[n(0)] u16),
    /// Bytes that are no address.
    #[n(3)]
    Unreadable,
}

/// A connection at the gate. Its attempt and its end share an id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Connection {
    /// Unique within a session.
    #[n(0)]
    pub id: u64,
    /// Who connected, where that is known.
    #[n(1)]
    pub actor: Option<Actor>,
    /// The name that was meant, where the address came from the resolver.
    #[n(2)]
    pub host: Option<HostName>,
    /// The address that the agent dialled (synthetic for names).
    #[cbor(n(3), with = "self::socket_address")]
    pub dialled: SocketAddr,
    /// Which moment of its life.
    #[n(4)]
    pub phase: ConnectionPhase,
}

/// The moments of a connection that are on record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ConnectionPhase {
    /// Decided, before it is dialled.
    #[n(0)]
    Decided(#[n(0)] Verdict),
    /// Over: where it went, how long, how much, and why it ended if not by its peers.
    #[n(1)]
    Ended(#[n(0)] ConnectionEnd),
}

/// The end of a permitted connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConnectionEnd {
    /// The real address; none where it was never reached.
    #[cbor(n(0), with = "self::maybe_socket_address")]
    pub remote: Option<SocketAddr>,
    /// Bytes from the agent.
    #[n(1)]
    pub sent: u64,
    /// Bytes to the agent.
    #[n(2)]
    pub received: u64,
    /// Duration in microseconds.
    #[n(3)]
    pub micros: u64,
    /// How it ended.
    #[n(4)]
    pub verdict: Verdict,
}

/// A name asked of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NameQuery {
    /// The name as asked; canonical where it is one.
    #[n(0)]
    pub name: Captured,
    /// The query type's number (1 A, 28 AAAA, 65 HTTPS, ...).
    #[n(1)]
    pub rtype: u16,
    /// How many such questions this record stands for.
    #[n(2)]
    pub count: u64,
    /// The answer.
    #[n(3)]
    pub verdict: Verdict,
}

/// Packets refused by the cell's firewall, as NFLOG reports them; or connections refused at the gate's door by a limit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Packet {
    /// IP protocol number (17 UDP, 1 ICMP, ...).
    #[n(0)]
    pub protocol: u8,
    /// Destination; port 0 where the protocol has none.
    #[cbor(n(1), with = "self::socket_address")]
    pub destination: SocketAddr,
    /// How many such packets this record stands for.
    #[n(2)]
    pub count: u64,
    /// Who, where that is known.
    #[n(3)]
    pub actor: Option<Actor>,
    /// Always a refusal.
    #[n(4)]
    pub verdict: Verdict,
}

/// A refused system call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Privilege {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// The call, by name.
    #[n(1)]
    pub call: String,
    /// Its arguments, as the registers held them.
    #[n(2)]
    pub arguments: [u64; 6],
    /// What the call's pointer named, where that is readable and of use (a mount's target, ...).
    #[n(3)]
    pub detail: Option<Captured>,
    /// Always a refusal.
    #[n(4)]
    pub verdict: Verdict,
    /// How many such calls this record stands for, 1 unless coalesced.
    #[n(5)]
    pub count: u64,
}

/// A change of policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyChange {
    /// SHA-256 of the text.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// The file.
    #[n(1)]
    pub file: Captured,
    /// The error, where the text was refused and the old policy stays.
    #[n(2)]
    pub refused: Option<Captured>,
    /// The text itself, where it came into force and is short enough (`wardroom run --here` has no file).
    #[n(3)]
    pub text: Option<Captured>,
}

/// Wardroom about its own processes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Supervision {
    /// `scribe`, `gate`, `guard`, `keeper`, `cell`.
    #[n(0)]
    pub process: String,
    /// What happened.
    #[n(1)]
    pub what: String,
}

/// The ledger about itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum LedgerNote {
    /// Opened after an unclean end.
    #[n(0)]
    Recovered(#[n(0)] Recovery),
    /// The wall clock moved against the monotonic one.
    #[n(1)]
    ClockStep {
        /// Nanoseconds by which the wall clock moved.
        #[n(0)]
        nanos: i64,
    },
    /// A segment is complete and will not change.
    #[n(2)]
    Sealed {
        /// The first sequence number in the segment.
        #[n(0)]
        first: u64,
        /// Records in the segment.
        #[n(1)]
        records: u64,
    },
    /// Old segments were removed by the policy's retention.
    #[n(3)]
    Retired {
        /// Records removed, from the oldest kept one downwards.
        #[n(0)]
        before: u64,
        /// The rule that says so.
        #[n(1)]
        rule: Option<RuleRef>,
    },
    /// A producer handed over bytes that are no record.
    #[n(4)]
    Garbled {
        /// Which producer.
        #[n(0)]
        producer: u8,
        /// What was wrong.
        #[n(1)]
        what: String,
    },
}

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recovery {
    /// Records kept.
    #[n(0)]
    pub kept: u64,
    /// Bytes at the end that were no valid frame, cut off.
    #[n(1)]
    pub cut_bytes: u64,
    /// Records that had been handed over and are now appended.
    #[n(2)]
    pub from_handoff: u64,
}

/// One probe of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Probe {
    /// Its id, such as `N2.literal-v4`.
    #[n(0)]
    pub id: String,
    /// `pass`, `FAIL` or `could not test`.
    #[n(1)]
    pub result: String,
    /// The evidence in words.
    #[n(2)]
    pub evidence: Captured,
}

/// IP addresses in CBOR: 4 or 16 bytes.
pub mod ip {
    use super::IpAddr;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes an address as 4 or 16 bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        ip: &IpAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match ip {
            IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
        }
    }

    /// Decodes 4 or 16 bytes.
    ///
    /// # Errors
    /// Any other length.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<IpAddr, DecodeError> {
        let bytes = d.bytes()?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(IpAddr::from(v4));
        }
        <[u8; 16]>::try_from(bytes)
            .map(IpAddr::from)
            .map_err(|_len| DecodeError::message("an IP address has 4 or 16 bytes"))
    }
}

/// Socket addresses in CBOR: `[ip, port]`.
pub mod socket_address {
    use super::{SocketAddr, ip};
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes `[ip, port]`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        a: &SocketAddr,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?;
        ip::encode(&a.ip(), e, c)?;
        e.u16(a.port())?.ok()
    }

    /// Decodes `[ip, port]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode<C>(d: &mut Decoder<'_>, c: &mut C) -> Result<SocketAddr, DecodeError> {
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a socket address is [ip, port]"));
        }
        let ip = ip::decode(d, c)?;
        Ok(SocketAddr::new(ip, d.u16()?))
    }
}

/// An optional socket address: null or `[ip, port]`.
pub mod maybe_socket_address {
    use super::{SocketAddr, socket_address};
    use minicbor::data::Type;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes null or `[ip, port]`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        a: &Option<SocketAddr>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match a {
            Some(a) => socket_address::encode(a, e, c),
            None => e.null()?.ok(),
        }
    }

    /// Decodes null or `[ip, port]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode<C>(d: &mut Decoder<'_>, c: &mut C) -> Result<Option<SocketAddr>, DecodeError> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        socket_address::decode(d, c).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::{Outcome, Reason};

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
