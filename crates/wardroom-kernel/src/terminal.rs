//! Pseudo-terminals of a cell, and the operator's own terminal while one is shown on it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, Winsize, isatty, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

/// Both ends of a pseudo-terminal that exists only in a cell's own `/dev/pts`.
#[derive(Debug)]
pub struct Pair {
    /// The end outside, which shows and types.
    pub outside: OwnedFd,
    /// The end inside, which is the agent's terminal.
    pub inside: OwnedFd,
}

/// Makes a terminal in the file system of terminals that `devpts` lies on.
///
/// # Errors
/// What opening `ptmx`, `TIOCSPTLCK` and `TIOCGPTPEER` (Linux 4.13) say.
pub fn open(devpts: impl AsFd, size: Option<Winsize>) -> io::Result<Pair> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let outside = openat(devpts, "ptmx", flags, Mode::empty())?;
    unlockpt(&outside)?;
    // By descriptor, not by name: the name would be looked up in the host's /dev/pts.
    let inside = ioctl_tiocgptpeer(&outside, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    if let Some(size) = size {
        tcsetwinsize(&outside, size)?;
    }
    Ok(Pair { outside, inside })
}

/// The operator's terminal, raw until this is dropped.
#[derive(Debug)]
pub struct Raw<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    /// Makes a terminal raw; `None` when it is none.
    ///
    /// # Errors
    /// What `tcgetattr(3)` and `tcsetattr(3)` say.
    pub fn enter(terminal: F) -> io::Result<Option<Self>> {
        if !isatty(&terminal) {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        // What was typed for the agent is for nobody else. Not `Flush`: it waits until the output is read, which may be never.
        let restored = tcflush(&self.terminal, QueueSelector::IFlush)
            .and_then(|()| tcsetattr(&self.terminal, OptionalActions::Now, &self.before));
        match restored {
            // The terminal may be gone (the operator hung up), and then there is nothing to restore.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Gives `to` the size that `from` has, which sends `SIGWINCH` to what runs on it.
///
/// # Errors
/// What `TIOCGWINSZ` and `TIOCSWINSZ` say.
pub fn copy_size(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    Ok(tcsetwinsize(to, tcgetwinsize(from)?)?)
}
