//! Whole messages with descriptors over a pair of sequenced-packet sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The most descriptors in one message; the kernel's own bound is 253 (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 32;

/// Two connected ends.
///
/// # Errors
/// What `socketpair(2)` says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message.
///
/// # Errors
/// What `sendmsg(2)` says; `EPIPE` instead of a signal when the other end is closed.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    let sent = loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one message into `buffer`; `None` at the end of the conversation.
///
/// # Errors
/// What `recvmsg(2)` says; a message that does not fit, in bytes or descriptors, is an error.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    receive_by(socket, buffer, RecvFlags::empty())
}

/// The same, for a message that has come already.
///
/// # Errors
/// `WouldBlock` when there is none; else as [`receive`].
pub fn receive_now(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    receive_by(socket, buffer, RecvFlags::DONTWAIT)
}

fn receive_by(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = loop {
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            // The other end closed with something of ours unread: said once, before what it sent to us.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        let RecvAncillaryMessage::ScmRights(received) = message else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an unexpected control message"));
        };
        descriptors.extend(received);
    }
    if result.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that does not fit"));
    }
    Ok(if result.bytes == 0 { None } else { Some((result.bytes, descriptors)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = pair().unwrap();
        send(&a, b"one", &[a.as_fd(), b.as_fd()]).unwrap();
        send(&a, b"two", &[]).unwrap();
        let mut buffer = [0; 16];
        let (length, descriptors) = receive(&b, &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"one"[..], 2));
        assert_eq!(receive(&b, &mut buffer).unwrap().unwrap().0, 3);
    }

    #[test]
    fn the_last_word_of_an_end_that_did_not_listen_arrives() {
        let (a, b) = pair().unwrap();
        send(&a, b"unread", &[]).unwrap();
        send(&b, b"last", &[]).unwrap();
        drop(b);
        assert_eq!(receive(&a, &mut [0; 8]).unwrap().unwrap().0, 4);
        assert!(receive(&a, &mut [0; 8]).unwrap().is_none());
    }

    #[test]
    fn a_cut_message_is_an_error_and_the_end_is_none() {
        let (a, b) = pair().unwrap();
        send(&a, b"longer than the buffer", &[]).unwrap();
        assert!(receive(&b, &mut [0; 4]).is_err());
        drop(a);
        assert!(receive(&b, &mut [0; 4]).unwrap().is_none());
    }
}
