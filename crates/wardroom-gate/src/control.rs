//! The channel between keeper and gate: sequenced packets, each a number and its payload.
//!
//! The keeper sends the cell's sockets once and then policies and the channel from each new broker, the gate says what is
//! in force; the keeper asks whether the gate lives. There is no other command, and when the keeper's end closes, the gate
//! ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use wardroom_kernel::cellnet::GateSockets;
use wardroom_kernel::message;

/// Bytes of policy text in one packet: well within the default send buffer of a Unix socket (212,992).
const PART: usize = 32 * 1024;
/// The longest policy text, the same as what a policy file may have.
const LONGEST_POLICY: usize = 1024 * 1024;
const MORE: u8 = 1;
const LAST: u8 = 2;
const PING: u8 = 3;
const SOCKETS: u8 = 4;
const SUPPLIER: u8 = 5;
const READY: u8 = 10;
const IN_FORCE: u8 = 11;
const NOT_A_POLICY: u8 = 12;
const PONG: u8 = 13;

/// What a gate says to its keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It serves.
    Ready,
    /// This policy decides from now on: SHA-256 of its text.
    PolicyInForce([u8; 32]),
    /// The text is no policy; the old one stays.
    PolicyRefused(String),
    /// Its loop turns.
    Pong,
}

/// Sends a new policy to a gate; its answer comes by [`receive`].
///
/// # Errors
/// The gate is gone.
pub fn send_policy(control: impl AsFd, text: &str) -> io::Result<()> {
    let mut parts = text.as_bytes().chunks(PART).peekable();
    if parts.peek().is_none() {
        return packet(&control, LAST, &[]);
    }
    while let Some(part) = parts.next() {
        packet(&control, if parts.peek().is_some() { MORE } else { LAST }, part)?;
    }
    Ok(())
}

/// Asks a gate whether it lives, without waiting; it says [`Answer::Pong`].
///
/// # Errors
/// The gate is gone, or so far behind that its queue is full.
pub fn send_ping(control: impl AsFd) -> io::Result<()> {
    send(control, &[PING], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Sends the cell's sockets to a gate that was started without them.
///
/// # Errors
/// The gate is gone.
pub fn send_sockets(control: impl AsFd, sockets: &GateSockets) -> io::Result<()> {
    let GateSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag } = sockets;
    let descriptors: [BorrowedFd<'_>; 6] = [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag].map(AsFd::as_fd);
    message::send(control, &[SOCKETS], &descriptors)
}

/// Gives a gate the channel from its broker, in place of the one before: values come over it
/// ([`wardroom_model::supply`]), and when it ends, there are none.
///
/// # Errors
/// The gate is gone.
pub fn send_supplier(control: impl AsFd, channel: BorrowedFd<'_>) -> io::Result<()> {
    message::send(control, &[SUPPLIER], &[channel])
}

/// Waits for what [`send_sockets`] sends. None when the keeper is gone.
pub(crate) fn await_sockets(control: impl AsFd) -> io::Result<Option<GateSockets>> {
    let mut buffer = [0; 1];
    let Some((_, descriptors)) = message::receive(control, &mut buffer)? else { return Ok(None) };
    match (buffer, <[_; 6]>::try_from(descriptors)) {
        ([SOCKETS], Ok(six)) => Ok(Some(GateSockets::from_fds(six))),
        ([_], Ok(_) | Err(_)) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Waits for the gate's next answer. None when the gate has ended.
///
/// # Errors
/// Those of the socket, and `InvalidData` for what no gate says.
pub fn receive(control: impl AsFd) -> io::Result<Option<Answer>> {
    let mut buffer = vec![0; PART + 1];
    let (_, length) = recv(&control, &mut buffer[..], RecvFlags::empty())?;
    let answer = match buffer.get(..length).and_then(<[u8]>::split_first) {
        None => return Ok(None),
        Some((&READY, [])) => Some(Answer::Ready),
        Some((&PONG, [])) => Some(Answer::Pong),
        Some((&IN_FORCE, digest)) => digest.try_into().ok().map(Answer::PolicyInForce),
        Some((&NOT_A_POLICY, why)) => Some(Answer::PolicyRefused(String::from_utf8_lossy(why).into_owned())),
        Some(_) => None,
    };
    answer.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends an answer.
pub(crate) fn answer(control: impl AsFd, answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Ready => packet(control, READY, &[]),
        Answer::Pong => packet(control, PONG, &[]),
        Answer::PolicyInForce(digest) => packet(control, IN_FORCE, digest),
        Answer::PolicyRefused(why) => {
            let bytes = why.as_bytes();
            packet(control, NOT_A_POLICY, bytes.get(..PART).unwrap_or(bytes))
        }
    }
}

fn packet(control: impl AsFd, kind: u8, payload: &[u8]) -> io::Result<()> {
    send(control, &[&[kind], payload].concat(), SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Puts the parts of a policy together.
#[derive(Debug, Default)]
pub(crate) struct Incoming(Vec<u8>);

/// What reading the channel gave.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing that is complete; read again when there is more.
    Nothing,
    /// A policy's text.
    Policy(String),
    /// A question whether it lives.
    Ping,
    /// The channel from a broker.
    Supplier(OwnedFd),
    /// The keeper is gone.
    Closed,
}

impl Incoming {
    /// Reads one packet without waiting.
    pub(crate) fn hear(&mut self, control: impl AsFd) -> io::Result<Heard> {
        let mut buffer = vec![0; PART + 1];
        let Some((length, descriptors)) = message::receive_now(control, &mut buffer)? else {
            return Ok(Heard::Closed);
        };
        let Some((kind, part)) = buffer.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(Heard::Closed);
        };
        match (*kind, <[_; 1]>::try_from(descriptors)) {
            (PING, Err(_)) => return Ok(Heard::Ping),
            (SUPPLIER, Ok([channel])) => return Ok(Heard::Supplier(channel)),
            (_, _) => {}
        }
        if !matches!(*kind, MORE | LAST) || self.0.len() + part.len() > LONGEST_POLICY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.extend_from_slice(part);
        if *kind == MORE {
            return Ok(Heard::Nothing);
        }
        let text = String::from_utf8(std::mem::take(&mut self.0)).map_err(io::Error::other)?;
        Ok(Heard::Policy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn a_long_policy_arrives_whole_and_answers_come_back() {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (keeper, gate) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let text = "# long\n".repeat(9_000);
        send_policy(&keeper, &text).unwrap();
        let mut incoming = Incoming::default();
        assert!(matches!(incoming.hear(&gate), Ok(Heard::Nothing)));
        assert!(matches!(incoming.hear(&gate), Ok(Heard::Policy(heard)) if heard == text));
        for said in [
            Answer::Ready,
            Answer::PolicyInForce([7; 32]),
            Answer::PolicyRefused("no".to_owned()),
            Answer::Pong,
        ] {
            answer(&gate, &said).unwrap();
            assert_eq!(receive(&keeper).unwrap(), Some(said));
        }
        send_ping(&keeper).unwrap();
        assert!(matches!(incoming.hear(&gate), Ok(Heard::Ping)));
        send_supplier(&keeper, keeper.as_fd()).unwrap();
        assert!(matches!(incoming.hear(&gate), Ok(Heard::Supplier(_))));
        drop(keeper);
        assert!(matches!(incoming.hear(&gate), Ok(Heard::Closed)));
    }
}
