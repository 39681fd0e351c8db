//! A cell that stands: programs are started in it, frozen, signalled and ended, from outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::termios::Winsize;
use wardroom_kernel::cellnet::CellSockets;
use wardroom_kernel::terminal::{self, Pair};
use wardroom_model::event::Mechanism;

use crate::announce::{Announcement, Announcements, Tag};
use crate::build::Built;
use crate::cgroup::Cgroup;
use crate::wire::{self, Program, Reply, Request};

/// The first process of a cell. Dropping it ends it, and with it everything in the cell.
#[derive(Debug)]
pub(crate) struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Init {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, reaped: false }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until init, and so every process of its pid namespace, is gone.
    fn wait(&mut self) -> io::Result<()> {
        while !self.reaped {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(_) | Err(Errno::CHILD) => self.reaped = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.reaped {
            match self.kill().and_then(|()| self.wait()) {
                // The kernel kills it anyway when we end (its parent death signal), so there is nothing more to do.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// A program to start in a cell.
#[derive(Debug)]
pub struct Spawn {
    /// The program, looked for along `PATH` of `env` if it has no slash, and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// The complete environment, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The working directory inside.
    pub directory: PathBuf,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
    /// Whether standard input becomes the program's controlling terminal. It must be one of this cell's own.
    pub terminal: bool,
}

/// A program that was started in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpawnId(u32);

/// What a cell reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellEvent {
    /// A program could not be started. Its end, with status 127 (not found) or 126, is reported as well.
    SpawnFailed {
        /// Which.
        id: SpawnId,
        /// The kernel's answer.
        errno: Errno,
        /// At what.
        what: String,
    },
    /// A program ended: its exit code, or 128 and the signal that killed it.
    Exited {
        /// Which.
        id: SpawnId,
        /// Its status as a shell reports it.
        status: u32,
    },
    /// The cell is gone.
    Ended,
}

/// A cell. Dropping it ends everything in it and removes what was made for it.
#[derive(Debug)]
pub struct Cell {
    // In this order: everything in the cell ends before its control group is removed.
    init: Init,
    control: OwnedFd,
    terminals: OwnedFd,
    cgroup: Option<Cgroup>,
    mechanisms: Vec<Mechanism>,
    listener: Option<OwnedFd>,
    sockets: Option<CellSockets>,
    announcements: Announcements,
    last: u32,
}

impl Cell {
    pub(crate) fn new(
        init: Init,
        control: OwnedFd,
        terminals: OwnedFd,
        cgroup: Option<Cgroup>,
        built: Built,
    ) -> Self {
        let Built { mechanisms, listener, sockets } = built;
        let (listener, sockets) = (Some(listener), Some(sockets));
        Self {
            init,
            control,
            terminals,
            cgroup,
            mechanisms,
            listener,
            sockets,
            announcements: Announcements::default(),
            last: 0,
        }
    }

    /// The process id of the cell's init, as the host sees it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.init.pid()
    }

    /// A descriptor for init: readable when the cell is gone.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.init.pidfd.as_fd()
    }

    /// Every mechanism with what was asked and what the kernel says is in force.
    #[must_use]
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// The listener of the system call filter, for the guard; once.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// The sockets of the cell's network, for the gate; once.
    pub fn take_sockets(&mut self) -> Option<CellSockets> {
        self.sockets.take()
    }

    /// What was asked to start here, for the guard.
    #[must_use]
    pub fn announcements(&self) -> Announcements {
        self.announcements.clone()
    }

    /// Readable when [`Self::next_event`] has something to say.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// A terminal of the cell's own. Its inside end is for [`Spawn::stdio`]; the operator's terminal is never given.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn open_terminal(&self, size: Option<Winsize>) -> io::Result<Pair> {
        terminal::open(&self.terminals, size)
    }

    /// Starts a program under the walls of the cell.
    ///
    /// # Errors
    /// When a stream is a directory, or the kernel gives no randomness. That the program could not be started is told by [`CellEvent::SpawnFailed`], that the cell is
    /// gone by [`CellEvent::Ended`].
    pub fn spawn(&mut self, spawn: Spawn) -> io::Result<SpawnId> {
        let Spawn { argv, env, directory, stdio, terminal } = spawn;
        stdio.iter().try_for_each(is_a_stream)?;
        let tag = Tag::new()?;
        self.last += 1;
        let announcement = Announcement { tag, argv: argv.clone(), directory: directory.clone() };
        self.announcements.add(self.last, announcement);
        let program = Program {
            tag: tag.register(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: env.into_iter().map(Into::into).collect(),
            directory: directory.into_os_string().into_encoded_bytes().into(),
            terminal,
        };
        // In memory rather than in the message, which has a bound that is below the kernel's own for arguments.
        let body = wire::in_memory("spawn", &program)?;
        let [input, output, error] = &stdio;
        let descriptors = [body.as_fd(), input.as_fd(), output.as_fd(), error.as_fd()];
        wire::tell(&self.control, &Request::Spawn(self.last), &descriptors)?;
        Ok(SpawnId(self.last))
    }

    /// The next thing that the cell reports. Blocks until there is one.
    ///
    /// # Errors
    /// When the conversation with init fails, which ends the cell.
    pub fn next_event(&self) -> io::Result<CellEvent> {
        // A spawn failure with its short text is the longest.
        match wire::receive(&self.control, &mut [0; 1024]) {
            Ok(Some((Reply::Exited { id, status }, _))) => {
                self.announcements.remove(id);
                Ok(CellEvent::Exited { id: SpawnId(id), status })
            }
            Ok(Some((Reply::SpawnFailed { id, errno, what }, _))) => {
                Ok(CellEvent::SpawnFailed { id: SpawnId(id), errno: Errno::from_raw_os_error(errno), what })
            }
            Ok(None) => Ok(CellEvent::Ended),
            Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => {
                Ok(CellEvent::Ended)
            }
            Ok(Some((Reply::Failed(_) | Reply::Built(_), _))) => {
                self.kill()?;
                Err(io::ErrorKind::InvalidData.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to a program that was started, and to the processes of its group.
    ///
    /// # Errors
    /// When the cell is gone. A program that ended meanwhile is no error.
    pub fn signal(&self, id: SpawnId, signal: Signal) -> io::Result<()> {
        wire::send(&self.control, &Request::Signal { id: id.0, signal: signal.as_raw() }, &[])
    }

    /// Stops everything in the cell where it is.
    ///
    /// # Errors
    /// When it cannot be stopped; then it should be killed.
    pub fn freeze(&self) -> io::Result<()> {
        match self.cgroup.as_ref().map(Cgroup::freeze) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(error),
            // No freezer: all are stopped by signal. Only the keeper can make them go on, since all of them are stopped.
            Some(Ok(false)) | None => {
                wire::send(&self.control, &Request::SignalAll(Signal::STOP.as_raw()), &[])
            }
        }
    }

    /// Lets everything in the cell go on.
    ///
    /// # Errors
    /// When the control group cannot be written, or the cell is gone.
    pub fn thaw(&self) -> io::Result<()> {
        match self.cgroup.as_ref().map(Cgroup::thaw) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(false)) | None => {
                wire::send(&self.control, &Request::SignalAll(Signal::CONT.as_raw()), &[])
            }
        }
    }

    /// Kills everything in the cell, frozen or not.
    ///
    /// # Errors
    /// When init cannot be signalled.
    pub fn kill(&self) -> io::Result<()> {
        self.init.kill()?;
        match &self.cgroup {
            // A frozen process of the first control groups takes its SIGKILL only when it is thawed.
            Some(cgroup) => cgroup.thaw().map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether the cell is gone, without waiting.
    ///
    /// # Errors
    /// What `poll(2)` says.
    pub fn is_gone(&self) -> io::Result<bool> {
        let mut ready = [PollFd::new(&self.init.pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut ready, Some(&now))? > 0)
    }

    /// Ends the cell: kills what is left in it, waits for the last process, and removes what was made for it.
    ///
    /// # Errors
    /// When something is left behind.
    pub fn end(mut self) -> io::Result<()> {
        self.kill()?;
        self.init.wait()?;
        match self.cgroup.take() {
            Some(cgroup) => cgroup.remove(),
            None => Ok(()),
        }
    }
}

/// A directory of the host's leads out of the cell: its names can be listed, and the sockets beneath it connected to. A
/// block device is a file system as a whole. A socket of the host's speaks in the host's network, and any but a Unix stream
/// could be turned to another peer.
fn is_a_stream(stdio: &OwnedFd) -> io::Result<()> {
    match FileType::from_raw_mode(rustix::fs::fstat(stdio)?.st_mode) {
        FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice => Ok(()),
        FileType::Socket
            if sockopt::socket_domain(stdio)? == AddressFamily::UNIX
                && sockopt::socket_type(stdio)? != SocketType::DGRAM =>
        {
            Ok(())
        }
        FileType::Socket
        | FileType::Directory
        | FileType::BlockDevice
        | FileType::Symlink
        | FileType::Unknown => Err(io::Error::other(
            "standard input and output may be a file, a pipe, a Unix stream socket or a terminal, and nothing else",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_no_stream() {
        let open = |path: &str| OwnedFd::from(std::fs::File::open(path).unwrap());
        assert!(is_a_stream(&open("/")).is_err());
        for stream in ["/dev/null", "/proc/self/exe"] {
            assert!(is_a_stream(&open(stream)).is_ok(), "{stream}");
        }
    }

    #[test]
    fn a_socket_that_can_be_turned_to_another_peer_is_no_stream() {
        use std::os::unix::net::{UnixDatagram, UnixStream};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for socket in [OwnedFd::from(UnixDatagram::unbound().unwrap()), tcp.into(), listener.into()] {
            assert!(is_a_stream(&socket).is_err());
        }
        assert!(is_a_stream(&OwnedFd::from(UnixStream::pair().unwrap().0)).is_ok());
    }
}
