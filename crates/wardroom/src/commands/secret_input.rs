//! Secrets as an operator gives them: typed without being shown, or through a pipe or a descriptor. Never as an argument,
//! which every user of the machine could read.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use wardroom_broker::{CustodyError, without_line_end};
use wardroom_kernel::process::inherited;
use wardroom_model::Secret;
use wardroom_model::exit::Exit;
use zeroize::Zeroizing;

use crate::failure::{Failure, OrExit, let_go};
use crate::signals;

/// The longest: what the store takes.
const LONGEST: usize = 64 * 1024;

/// Where an operator gives a secret.
#[derive(Debug)]
pub(super) enum Input {
    /// On the terminal, or by a pipe.
    Standard,
    /// By a descriptor.
    Given(OwnedFd),
}

impl Input {
    /// What the command line says.
    pub(super) fn of(descriptor: Option<i32>) -> Result<Self, Failure> {
        descriptor.map_or(Ok(Self::Standard), |number| {
            let given = inherited(number).with_context(|| format!("descriptor {number} cannot be read"));
            given.map(Self::Given).or_exit(Exit::Usage)
        })
    }

    /// Reads a secret.
    pub(super) fn secret(&self, prompt: &str) -> Result<Secret, Failure> {
        let read = match self {
            Self::Given(given) => given.try_clone().and_then(|given| read(&mut File::from(given))),
            Self::Standard if stdin().is_terminal() => typed(prompt),
            Self::Standard => read(&mut stdin().lock()),
        };
        read.context("no secret could be read").or_exit(Exit::Usage)
    }

    /// Reads a passphrase: standard input is not for it, because a secret may come from there.
    pub(super) fn passphrase(&self, prompt: &str) -> Result<Secret, CustodyError> {
        match self {
            Self::Given(given) => from_descriptor(given),
            Self::Standard => passphrase(prompt),
        }
    }
}

/// Asks for a passphrase on the terminal.
pub(crate) fn passphrase(prompt: &str) -> Result<Secret, CustodyError> {
    typed(prompt).map_err(|_no_terminal| CustodyError::NobodyToAsk)
}

/// Reads a passphrase from a descriptor.
pub(crate) fn from_descriptor(given: &OwnedFd) -> Result<Secret, CustodyError> {
    let read = given.try_clone().and_then(|given| read(&mut File::from(given)));
    read.map_err(|_closed| CustodyError::NobodyToAsk)
}

/// Reads to the end, without leaving copies behind; one line's end at the end is none of the secret's.
fn read(from: &mut impl Read) -> io::Result<Secret> {
    let mut bytes = Zeroizing::new(vec![0; LONGEST + 1]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room)? {
            0 => return Ok(without_line_end(&Secret::new(bytes.get(..length).unwrap_or_default().to_vec()))),
            n => length += n,
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a secret has at most 64 KiB"))
}

/// Reads one line from the terminal, which does not show it.
fn typed(prompt: &str) -> io::Result<Secret> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let interrupts = signals::heard()?;
    let quiet = Quiet::begin(terminal)?;
    (&quiet.terminal).write_all(prompt.as_bytes())?;
    if let Some(signal) = interrupted(&quiet.terminal, &interrupts)? {
        // Not every shell has its terminal show again what is typed.
        drop(quiet);
        signals::die_by(signal)?;
        return Err(io::ErrorKind::Interrupted.into());
    }
    signals::deadly()?;
    let mut line = Zeroizing::new(vec![0; LONGEST]);
    // A terminal in canonical mode gives one line at once, of at most 4,095 bytes (termios(3)).
    let length = (&quiet.terminal).read(&mut line)?;
    (&quiet.terminal).write_all(b"\n")?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(without_line_end(&Secret::new(line.get(..length).unwrap_or_default().to_vec())))
}

/// Waits until something was typed, or the operator wants no more of it.
fn interrupted(terminal: &File, interrupts: &[(Signal, UnixStream)]) -> io::Result<Option<Signal>> {
    loop {
        let descriptors = interrupts.iter().map(|(_, heard)| heard.as_fd()).chain([terminal.as_fd()]);
        let mut set: Vec<_> = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut set, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut ready = interrupts.iter().zip(&set).filter(|(_, entry)| !entry.revents().is_empty());
        return Ok(ready.next().map(|((signal, _), _)| *signal));
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let_go(tcsetattr(&self.terminal, OptionalActions::Now, &self.before));
    }
}
