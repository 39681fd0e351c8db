//! The begin of a TLS connection that is passed on: the ClientHello, the server's first answer and, where that asks for
//! another ClientHello, that one too.
//!
//! A HelloRetryRequest makes a client say its name again (RFC 8446, 4.1.4), and a server may believe the second. So
//! nothing that follows the first hello reaches a server before its answer is seen not to be one, and the second hello
//! must name the same host. Of an answer the first 38 bytes are looked at; it is passed on as it comes.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::ContentType;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use wardroom_model::Reason;

use crate::hello::{self, Flight, Records, USUAL};
use crate::limits::{ANSWER_TIME, HELLO_TIME, Limits};
use crate::relay::{Traffic, send};

/// How often it is looked whether the agent is still there. Most servers answer sooner.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// `HandshakeType::server_hello`, which a HelloRetryRequest has as well.
const SERVER_HELLO: u8 = 2;
/// What stands before the random of a ServerHello: its type, its length and a version.
const BEFORE_RANDOM: usize = 6;
/// A handshake message's type and length.
const MESSAGE_HEAD: usize = 4;
/// The random that makes a ServerHello a HelloRetryRequest: SHA-256 of that word (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Why a connection ended before both sides had finished.
#[derive(Debug)]
pub(crate) enum Broken {
    /// A side is gone, or does not answer.
    Gone(io::Error),
    /// The agent said what it may not.
    Refused(Reason),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// Passes the agent's first flight on, the server's answer back, and a second hello of the agent's where one is asked for.
pub(crate) async fn exchange(
    limits: &Limits,
    (agent, server): (&TcpStream, &TcpStream),
    flight: &Flight,
    traffic: &Traffic,
) -> Result<(), Broken> {
    let (hello, rest) = flight.parts();
    send(server, hello, &traffic.sent).await?;
    let answer = tokio::select! {
        answer = timeout(ANSWER_TIME, answered(server, agent, traffic)) => answer,
        () = left(agent) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the program left").into()),
    };
    let silent = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "no answer to the ClientHello");
    if !answer.map_err(silent)?? {
        return Ok(send(server, rest, &traffic.sent).await?);
    }
    let waiting = limits.waiting().map_err(|r| Broken::Refused(Reason::LimitReached(r.to_string())))?;
    let second = timeout(HELLO_TIME, hello::read_again(agent, &flight.host, rest.to_vec())).await;
    drop(waiting);
    let second = second.unwrap_or(Err(Reason::TooSlow)).map_err(Broken::Refused)?;
    Ok(send(server, &second.bytes, &traffic.sent).await?)
}

/// Returns when the agent's side is closed, and nothing of it is left to read: who gave up must not hold a place.
async fn left(agent: &TcpStream) {
    let mut byte = [0];
    loop {
        sleep(LOOK_AGAIN).await;
        match recv(agent, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 1..)) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok((_, 0)) | Err(_) => return,
        }
    }
}

/// Passes the begin of the server's answer on. True if it asks for another ClientHello.
async fn answered(server: &TcpStream, agent: &TcpStream, traffic: &Traffic) -> io::Result<bool> {
    let mut answer = Answer::default();
    let mut piece = Vec::with_capacity(USUAL);
    loop {
        server.readable().await?;
        piece.clear();
        match server.try_read_buf(&mut piece) {
            // The end is passed on by who moves the bytes.
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        }
        send(agent, &piece, &traffic.received).await?;
        if let Some(retry) = answer.feed(&piece) {
            return Ok(retry);
        }
    }
}

/// What is known of a server's first message, between its pieces.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    records: Records,
    /// The message up to its random.
    begin: Vec<u8>,
    /// How much of the message has come.
    come: usize,
}

impl Answer {
    /// Takes the next piece. Whether the message is a HelloRetryRequest: no once that is certain, and yes once it is whole,
    /// as a client answers it then and not before.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> Option<bool> {
        while !piece.is_empty() {
            let part = self.records.part(&mut piece);
            // Servers before TLS 1.3 may warn before they answer (RFC 6066, 3).
            if part.kind == ContentType::Alert {
                continue;
            }
            if part.kind != ContentType::Handshake {
                return Some(false);
            }
            if part.is_head {
                continue;
            }
            let missing = BEFORE_RANDOM + RETRY.len() - self.begin.len();
            self.begin.extend_from_slice(part.bytes.get(..missing).unwrap_or(part.bytes));
            self.come += part.bytes.len();
            if let Some(retry) = self.is_retry() {
                return Some(retry);
            }
        }
        None
    }

    fn is_retry(&self) -> Option<bool> {
        if self.begin.first().is_some_and(|kind| *kind != SERVER_HELLO) {
            return Some(false);
        }
        if *self.begin.get(BEFORE_RANDOM..BEFORE_RANDOM + RETRY.len())? != RETRY {
            return Some(false);
        }
        let &[_, high, middle, low, ..] = self.begin.as_slice() else { return None };
        let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
        (self.come >= MESSAGE_HEAD + length).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a ServerHello with this random, of at most so many bytes each.
    fn server_hello(random: &[u8; 32], size: usize) -> Vec<u8> {
        let message = [&[SERVER_HELLO, 0, 0, 42, 3, 3][..], random, &[0, 0x13, 1, 0, 0, 2, 0, 0]].concat();
        let record = |part: &[u8]| [&[22, 3, 3, 0, u8::try_from(part.len()).unwrap()][..], part].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn fed(bytes: &[u8], size: usize) -> Option<bool> {
        let mut answer = Answer::default();
        bytes.chunks(size).find_map(|piece| answer.feed(piece))
    }

    #[test]
    fn a_retry_is_known_by_its_random_in_any_pieces() {
        let mut other = RETRY;
        other[31] ^= 1;
        let warning = [21, 3, 3, 0, 2, 1, 112];
        for (record, piece) in [(1, 1), (7, 3), (46, 1), (46, 10_000), (37, 5)] {
            let (retry, plain) = (server_hello(&RETRY, record), server_hello(&other, record));
            assert_eq!(fed(&retry, piece), Some(true), "{record} {piece}");
            assert_eq!(fed(&plain, piece), Some(false), "{record} {piece}");
            assert_eq!(fed(&[&warning[..], &retry].concat(), piece), Some(true));
        }
        assert_eq!(fed(&server_hello(&RETRY, 46)[..50], 1), None, "one byte short");
        assert_eq!(fed(&server_hello(&other, 46)[..43], 1), Some(false));
        assert_eq!(fed(&warning, 1), None);
    }

    #[test]
    fn what_is_no_server_hello_is_no_retry_at_its_first_byte() {
        assert_eq!(fed(b"HTTP/1.1 400 Bad Request\r\n", 1), Some(false));
        assert_eq!(fed(&[22, 3, 3, 0, 1, 1], 1), Some(false));
        assert_eq!(fed(&[20, 3, 3, 0, 1, 1], 1), Some(false));
        assert_eq!(fed(&[22, 3, 3, 0, 0, 23], 1), Some(false), "an empty record, and another");
    }
}
