//! Moving bytes between sockets through a pipe, without copying them (`splice(2)`).
//!
//! A pipe holds what was taken from one socket and not yet given to the other. It never looks at the bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// Makes a pipe of this many bytes, or of what the kernel gives (`fs.pipe-user-pages-soft` makes it small for a
    /// user who has many).
    ///
    /// # Errors
    /// Too many open descriptors.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = fcntl_setpipe_size(&write, capacity).unwrap_or(DEFAULT_CAPACITY);
        Ok(Self { read, write, capacity, held: 0 })
    }

    /// Bytes that wait inside.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what the socket has, up to the pipe's capacity. Zero means that the peer has finished sending. Only for
    /// an empty pipe: then "would block" is the socket's answer and not the pipe's.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing; otherwise the socket's error.
    pub fn fill(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = splice(socket, None, &self.write, None, self.capacity, NOW)?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives the socket what it takes.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing; otherwise the socket's error.
    pub fn drain(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.read, None, socket, None, self.held, NOW)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }
}

/// What a pipe holds unless asked otherwise (`pipe(7)`).
const DEFAULT_CAPACITY: usize = 65_536;
const NOW: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_pass_and_the_end_is_told() {
        let (mut near, from) = UnixStream::pair().unwrap();
        let (to, mut far) = UnixStream::pair().unwrap();
        let mut pipe = Pipe::new(1 << 20).unwrap();
        assert_eq!(pipe.fill(&from).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        near.write_all(b"hello").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 5);
        assert_eq!(pipe.drain(&to).unwrap(), 5);
        assert_eq!(pipe.held(), 0);
        let mut got = [0; 5];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(near);
        assert_eq!(pipe.fill(&from).unwrap(), 0);
    }
}
