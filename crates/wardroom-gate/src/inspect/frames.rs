//! HTTP/2's frames as they pass, counted by what they move. Its library answers SETTINGS and PING without end, drops empty DATA,
//! and holds interim answers (1xx) until somebody looks; none of that is a request, and none of it is told to anybody. So
//! whoever sends too much of it is ended here, before the library sees it.
//!
//! Nothing here looks into a frame: its first nine bytes say all (RFC 9113, 4.1).

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::{IDLE_FRAMES, PAID_BYTES, PAID_FRAMES, ROUND};

/// How many more frames a peer may send that move nothing.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Cell<u32>,
    spent: Cell<bool>,
}

/// Which side is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Its heads are requests, each of which is decided and on record.
    Agent,
    /// Its heads are answers, of which a request has one; all before that are interim.
    Server,
}

/// The plain text of a connection.
pub(super) struct Frames<S> {
    inner: S,
    peer: Peer,
    read: Cutter,
    written: Cutter,
    allowance: Rc<Allowance>,
}

impl Allowance {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { left: Cell::new(IDLE_FRAMES), spent: Cell::default() })
    }

    /// Once a round ([`ROUND`]) there is some again.
    pub(super) fn renew(&self) {
        self.left.set(self.left.get().max(IDLE_FRAMES));
    }

    /// Whether the connection was ended for it.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// For a head, or a part of a body, of this length.
    fn pay(&self, length: usize) {
        let more = u32::try_from(length / PAID_BYTES).unwrap_or(u32::MAX).saturating_add(PAID_FRAMES);
        self.left.set(self.left.get().saturating_add(more));
    }

    fn take(&self) -> io::Result<()> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.spent.set(true);
                Err(io::Error::new(io::ErrorKind::InvalidData, too_many()))
            }
        }
    }
}

/// What a peer is ended for, in words.
pub(super) fn too_many() -> String {
    format!("{IDLE_FRAMES} frames of HTTP/2 in {} s that move nothing", ROUND.as_secs())
}

impl<S> Frames<S> {
    pub(super) fn new(inner: S, peer: Peer, allowance: Rc<Allowance>) -> Self {
        // The client's preface comes before its first frame (RFC 9113, 3.4).
        let (preface, none) = (Cutter::behind(PREFACE), Cutter::behind(0));
        let (read, written) = match peer {
            Peer::Agent => (preface, none),
            Peer::Server => (none, preface),
        };
        Self { inner, peer, read, written, allowance }
    }

    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { peer, read, allowance, .. } = self;
        read.cut(bytes, |frame| match (frame.kind, *peer) {
            (DATA, _) if frame.length > 0 || frame.flags & END_STREAM != 0 => Ok(()),
            (HEADERS, Peer::Agent) => {
                allowance.pay(0);
                Ok(())
            }
            _ => allowance.take(),
        })
    }

    /// What goes out is answered: by windows, by resets.
    fn said(&mut self, bytes: &[u8]) {
        let Self { written, allowance, .. } = self;
        let counted = written.cut(bytes, |frame| {
            if matches!(frame.kind, DATA | HEADERS) {
                allowance.pay(frame.length);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        match counted {
            Ok(()) => {}
        }
    }
}

/// What a frame says of itself first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

/// Finds the frames in bytes that come in any parts.
#[derive(Debug)]
struct Cutter {
    /// Bytes that belong to what is known already.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl Cutter {
    fn behind(skip: usize) -> Self {
        Self { skip, head: [0; HEAD], filled: 0 }
    }

    fn cut<E>(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head) -> Result<(), E>) -> Result<(), E> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let missing = self.head.get_mut(self.filled..).unwrap_or_default();
            let length = missing.len().min(bytes.len());
            let (here, rest) = bytes.split_at_checked(length).unwrap_or_default();
            missing.iter_mut().zip(here).for_each(|(to, byte)| *to = *byte);
            self.filled += length;
            bytes = rest;
            if self.filled == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                (self.skip, self.filled) = (length, 0);
                each(Head { length, kind, flags })?;
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        Poll::Ready(self.heard(into.filled().get(before..).unwrap_or_default()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.said(bytes.get(..length).unwrap_or_default());
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts))?;
        let mut left = length;
        for part in parts {
            let here = left.min(part.len());
            self.said(part.get(..here).unwrap_or_default());
            left -= here;
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`.
const PREFACE: usize = 24;
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut frame = vec![0, high, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), 0xff);
        frame
    }

    #[test]
    fn frames_are_found_wherever_the_parts_end() {
        let frames = [(4, 0, 6), (0, 1, 0), (1, 4, 300), (0, 0, 1)];
        let bytes: Vec<u8> = std::iter::repeat_n(b'P', PREFACE)
            .chain(frames.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length)))
            .collect();
        for size in [1, 2, 8, 9, 10, 23, 25, 1000] {
            let (mut cutter, mut found) = (Cutter::behind(PREFACE), Vec::new());
            for part in bytes.chunks(size) {
                let all: Result<(), ()> = cutter.cut(part, |head| {
                    found.push((head.kind, head.flags, u16::try_from(head.length).unwrap()));
                    Ok(())
                });
                all.unwrap();
            }
            assert_eq!(found, frames, "{size}");
        }
    }

    /// How many of these frames are let through at once, of at most a hundred thousand.
    fn passed(peer: Peer, frame: &[u8], before: impl FnOnce(&mut Frames<()>)) -> u32 {
        let mut frames = Frames::new((), peer, Allowance::new());
        frames.read = Cutter::behind(0);
        frames.written = Cutter::behind(0);
        before(&mut frames);
        (0..100_000).take_while(|_| frames.heard(frame).is_ok()).count().try_into().unwrap()
    }

    #[test]
    fn what_moves_nothing_has_an_end_and_what_moves_something_has_none() {
        for (idle, kind, flags, length) in [
            ("SETTINGS", 4, 0, 0),
            ("PING", 6, 0, 8),
            ("empty DATA", 0, 0, 0),
            ("WINDOW_UPDATE", 8, 0, 4),
            ("unknown", 0xfa, 0, 3),
        ] {
            for peer in [Peer::Agent, Peer::Server] {
                assert_eq!(passed(peer, &frame(kind, flags, length), |_| {}), IDLE_FRAMES, "{idle}");
            }
        }
        assert_eq!(passed(Peer::Agent, &frame(0, 0, 1), |_| {}), 100_000, "small parts of a large body");
        assert_eq!(
            passed(Peer::Agent, &frame(1, 5, 20), |_| {}),
            100_000,
            "requests have limits of their own"
        );
        assert_eq!(passed(Peer::Server, &frame(1, 4, 20), |_| {}), IDLE_FRAMES, "interim answers");
    }

    #[test]
    fn a_reader_s_windows_are_paid_for_by_what_it_reads_and_time_renews_the_rest() {
        let window = frame(8, 0, 4);
        let read = |frames: &mut Frames<()>| (0..1000).for_each(|_| frames.said(&frame(0, 0, 100)));
        assert_eq!(passed(Peer::Agent, &window, read), IDLE_FRAMES + 1000 * PAID_FRAMES);
        // As a program in Go does that reads by 4 KiB: two windows each time.
        let mut frames = Frames::new((), Peer::Agent, Allowance::new());
        (frames.read, frames.written) = (Cutter::behind(0), Cutter::behind(0));
        for _ in 0..10_000 {
            frames.said(&frame(0, 0, 16 * 1024));
            assert!((0..8).all(|_| frames.heard(&window).is_ok()), "a large answer, and no flood");
        }
        let allowance = Allowance::new();
        while allowance.take().is_ok() {}
        assert!(allowance.is_spent());
        allowance.renew();
        assert!(allowance.take().is_ok());
    }
}
