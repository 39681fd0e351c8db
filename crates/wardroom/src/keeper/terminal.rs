//! The operator's terminal while an agent is shown on it. The agent has a terminal of its own; this one is only copied
//! from and to, so that nothing inside can push input into it or change it (TIOCSTI, TIOCLINUX).

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcgetpgrp, tcgetwinsize};
use signal_hook::consts::SIGWINCH;
use wardroom_kernel::terminal::{Raw, copy_size};
use wardroom_model::exit::Exit;

use super::processes;
use super::worker::Worker;
use crate::clock::Deadline;
use crate::failure::{Failure, OrExit};
use crate::screen;

/// Copies between the operator's terminal and an agent's until dropped, which puts the operator's back as it was.
#[derive(Debug)]
pub(crate) struct Relay {
    worker: Worker<io::Result<()>>,
    _raw: Option<Raw<io::Stdin>>,
}

/// How long the last of the agent's output may take to be shown. A terminal that nobody reads, or that is stopped, would have
/// everybody wait for it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a command may take to be there.
const SOON: Duration = Duration::from_secs(2);
/// How long a terminal without anybody on it is left alone.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

impl Relay {
    /// Shows the agent's terminal, by its outer end.
    pub(crate) fn start(outside: OwnedFd) -> Result<Self, Failure> {
        let raw = Raw::enter(stdin()).or_exit(Exit::Internal)?;
        let resized = resizes().or_exit(Exit::Internal)?;
        let worker = Worker::start("relay", move |stop| copy(&File::from(outside), stop, &resized))
            .or_exit(Exit::Internal)?;
        screen::is_raw(raw.is_some());
        Ok(Self { worker, _raw: raw })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.worker.stop();
        let ended = processes::wait_readable(self.worker.ended(), Deadline::after(LAST_WORDS));
        // What could not be shown any more is no reason to fail: the terminal is gone, or the agent is. A thread that still waits
        // for it is left behind, and ends with this process.
        if ended.is_ok_and(|ended| ended)
            && let Some(Ok(Ok(()) | Err(_)) | Err(_)) | None = self.worker.finish()
        {}
        screen::is_raw(false);
    }
}

/// The size of the operator's terminal.
pub(crate) fn size() -> Option<Winsize> {
    tcgetwinsize(stdin()).or_else(|_no_terminal| tcgetwinsize(stdout())).ok()
}

/// Where the agent's terminal is shown: on the operator's, whichever stream that is. What goes to a file or a pipe goes
/// there directly, and nothing else is to be mixed into it.
fn shown_on() -> io::Result<File> {
    let own = if stdout().is_terminal() {
        stdout().as_fd().try_clone_to_owned()?
    } else if stderr().is_terminal() {
        stderr().as_fd().try_clone_to_owned()?
    } else {
        stdin().as_fd().try_clone_to_owned()?
    };
    Ok(File::from(own))
}

/// Becomes readable whenever the terminal's size changes.
fn resizes() -> io::Result<std::os::unix::net::UnixStream> {
    let (resized, signalled) = std::os::unix::net::UnixStream::pair()?;
    resized.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGWINCH, signalled)?;
    Ok(resized)
}

/// Copies until told to stop, then shows what is left.
fn copy(
    outside: &File,
    stopped: BorrowedFd<'_>,
    mut resized: &std::os::unix::net::UnixStream,
) -> io::Result<()> {
    let mut keyboard = stdin().is_terminal().then(stdin);
    let screen = shown_on()?;
    let mut listening = false;
    let soon = Deadline::after(SOON);
    loop {
        // Until somebody is there to be interrupted, what is typed waits where it is. Whoever asks from another pid namespace is
        // not told who is there.
        listening = listening || tcgetpgrp(outside).is_ok() || soon.left().is_none();
        let mut sources = vec![
            PollFd::new(outside, PollFlags::IN),
            PollFd::from_borrowed_fd(stopped, PollFlags::IN),
            PollFd::new(resized, PollFlags::IN),
        ];
        let heard = keyboard.as_ref().filter(|_| listening);
        sources.extend(heard.map(|keyboard| PollFd::from_borrowed_fd(keyboard.as_fd(), PollFlags::IN)));
        let until = (keyboard.is_some() && !listening).then_some(LOOK_AGAIN);
        match poll(&mut sources, until.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        if let [_, _, true, ..] = ready[..] {
            while resized.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
            copy_size(stdin(), outside)?;
        }
        if let [_, false, _, true] = ready[..]
            && !pump(&mut stdin().lock(), &mut &*outside)?
        {
            keyboard = None;
        }
        match ready[..] {
            [true, ..] if !pump(&mut &*outside, &mut &screen)? => return Ok(()),
            [false, true, ..] => return Ok(()),
            _ => {}
        }
        // Told to stop: what is still on its way is shown, but nobody waits for more.
        if let [true, true, ..] = ready[..]
            && poll(&mut [PollFd::new(outside, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?
                == 0
        {
            return Ok(());
        }
    }
}

/// Copies what there is. False at the end: of input, or of a terminal that nobody holds any more (`EIO`).
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
    let mut bytes = [0; 16 * 1024];
    let n = match from.read(&mut bytes) {
        Ok(n) => n,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => 0,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(error) => return Err(error),
    };
    to.write_all(bytes.get(..n).unwrap_or_default())?;
    to.flush()?;
    Ok(n > 0)
}
