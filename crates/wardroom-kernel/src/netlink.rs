//! Netlink messages: written and read as bytes, exchanged with the kernel over a socket.
//!
//! Attributes come back from the kernel and go into it; none of them comes from an agent, except the packet bytes that
//! NFLOG carries, which this module passes on unread. Lengths are checked all the same: a message that does not
//! parse ends the iteration, and callers treat what is missing as a refusal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Part of a request to the kernel: this is one.
pub(crate) const REQUEST: u16 = 0x1;
/// Answer with an acknowledgement.
pub(crate) const ACK: u16 = 0x4;
/// Answer with everything there is (`NLM_F_ROOT | NLM_F_MATCH`).
pub(crate) const DUMP: u16 = 0x300;
/// Fail if it exists.
pub(crate) const EXCL: u16 = 0x200;
/// Create it.
pub(crate) const CREATE: u16 = 0x400;
/// Put it at the end (for rules).
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The flags `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` share the field of the attribute's type.
const TYPE_MASK: u16 = 0x3fff;
/// The kernel sizes its dump parts to the reader's buffer, up to 32 KiB.
const READ_BUFFER: usize = 32 * 1024;

/// Opens a netlink socket in the calling thread's network namespace; none is `NETLINK_ROUTE`, number 0.
pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    Ok(net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?)
}

/// Messages to be sent in one call.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    acks: u32,
}

impl Batch {
    /// Appends one message: the family's fixed header, then attributes.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.sequence += 1;
        self.acks += u32::from(flags & ACK != 0);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        body(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
    }

    /// Sends all messages and waits for every acknowledgement that was asked for.
    pub(crate) fn apply(&self, socket: impl AsFd) -> io::Result<()> {
        send_all(&socket, &self.bytes)?;
        let mut due = self.acks;
        let mut buffer = vec![0; READ_BUFFER];
        while due > 0 {
            for message in Messages(receive(&socket, &mut buffer)?) {
                if message.kind == ERROR {
                    message.verdict()?;
                    due = due.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Sends the one dump request and hands every message of its answer to `each`.
    pub(crate) fn dump(&self, socket: impl AsFd, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        send_all(&socket, &self.bytes)?;
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            for message in Messages(receive(&socket, &mut buffer)?) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => message.verdict()?,
                    _ => each(&message),
                }
            }
        }
    }

    /// The bytes to send, for callers that exchange a single message themselves.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn send_all(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let sent = net::send(socket, bytes, SendFlags::empty())?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one datagram. `TRUNC` makes the kernel tell its true length, so that a cut one is an error.
fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<&[u8]> {
    let (_, length) = net::recv(socket, &mut *buffer, RecvFlags::TRUNC)?;
    buffer.get(..length).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Writes attributes at the end of a message.
#[derive(Debug)]
pub(crate) struct Attributes<'b>(&'b mut Vec<u8>);

impl Attributes<'_> {
    /// An attribute of plain bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |inner| inner.0.extend_from_slice(value));
    }

    /// A NUL-terminated text.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.nested(kind, |inner| {
            inner.0.extend_from_slice(value.as_bytes());
            inner.0.push(0);
        });
    }

    /// A 32-bit number in network order, as nftables has them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A 16-bit number in network order.
    pub(crate) fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes within an attribute.
    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        body(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        patch(self.0, start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Attributes on their own, without a message around them.
pub(crate) fn attributes(body: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    body(&mut Attributes(&mut bytes));
    bytes
}

fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// One message as received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'b> {
    /// Its type; nfnetlink puts the subsystem in the high byte.
    pub(crate) kind: u16,
    /// What follows the netlink header.
    pub(crate) body: &'b [u8],
}

impl Message<'_> {
    /// What an error message says: zero is an acknowledgement.
    fn verdict(&self) -> io::Result<()> {
        match self.body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The attributes behind a fixed header of `header` bytes.
    pub(crate) fn attributes(&self, header: usize) -> AttributeList<'_> {
        AttributeList(self.body.get(header..).unwrap_or_default())
    }
}

/// Iterates over the messages of a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages<'b>(pub(crate) &'b [u8]);

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let length = usize::try_from(u32::from_ne_bytes(*self.0.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, body })
    }
}

/// Iterates over attributes as `(type, value)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttributeList<'b>(pub(crate) &'b [u8]);

impl<'b> AttributeList<'b> {
    /// The first attribute of a type.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'b [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The first attribute of a type, as a 32-bit number in network order.
    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        self.find(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

impl<'b> Iterator for AttributeList<'b> {
    type Item = (u16, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut batch = Batch::default();
        batch.message(9, ACK, &[7; 4], |a| {
            a.text(1, "wardroom");
            a.nested(2, |inner| inner.be32(3, 0xdead_beef));
        });
        let message = Messages(batch.bytes()).next().unwrap();
        assert_eq!(message.kind, 9);
        assert_eq!(message.attributes(4).find(1), Some(&b"wardroom\0"[..]));
        let inner = message.attributes(4).find(2).unwrap();
        assert_eq!(AttributeList(inner).be32(3), Some(0xdead_beef));
    }

    #[test]
    fn a_message_that_lies_about_its_length_ends_the_iteration() {
        let mut bytes = vec![0; 16];
        bytes[0] = 200;
        assert!(Messages(&bytes).next().is_none());
        assert!(AttributeList(&[3, 0, 1, 0]).next().is_none());
    }
}
