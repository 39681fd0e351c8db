//! A connect, which the guard makes for its caller. It never lets one go on: until the kernel read it again, another thread
//! could have put another address into that memory, or another socket into that descriptor's place, and a Unix socket of
//! the host's is found by its file whatever the network namespace. So the socket is taken and the address read once, and
//! a file is connected to only if a program of the cell listens there.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, ipproto};
use rustix::process::{Gid, Pid, Uid};
use wardroom_kernel::identity::FileId;
use wardroom_kernel::notify::{Listener, Notification, NotifyError, Reply};
use wardroom_kernel::{foreign, identity};
use wardroom_model::{Reason, Verdict};

use super::place::{AT_FDCWD, absolute};
use super::processes::descriptor_limit;
use super::{Guard, GuardError, Trouble};

/// A caller's socket, held for a moment.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    pub(super) family: AddressFamily,
    pub(super) inode: u64,
    /// The IP protocol number, for the internet families.
    pub(super) protocol: Option<u8>,
    /// Who made it: the agent, as this process sees it.
    owner: (Uid, Gid),
}

impl Held {
    fn new(fd: OwnedFd) -> rustix::io::Result<Self> {
        let family = sockopt::socket_domain(&fd)?;
        let stat = rustix::fs::fstat(&fd)?;
        let protocol = match family {
            AddressFamily::INET | AddressFamily::INET6 => sockopt::socket_protocol(&fd)?,
            _ => None,
        };
        Ok(Self {
            family,
            inode: stat.st_ino,
            protocol: protocol.and_then(|protocol| u8::try_from(protocol.as_raw().get()).ok()),
            owner: (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)),
            fd,
        })
    }
}

/// What is left to do with a caller's socket, outside of everything that the guard's threads share: even letting go of it can
/// take a while, where its caller has closed it meanwhile and wants it to linger.
#[derive(Debug)]
pub(super) struct Errand {
    call: u64,
    socket: Held,
    to: Task,
}

#[derive(Debug)]
pub(super) enum Task {
    /// Connect it to an address as the caller gave it. No path of a Unix socket.
    ConnectTo(Vec<u8>),
    /// Connect it to a socket's file.
    ConnectToFile(OwnedFd),
    /// Nothing but this answer.
    Answer(Reply),
}

/// A connect that is not made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// The kernel itself would say so.
    ByKernel(Errno),
    /// A socket's file on which nobody in the cell listens.
    Foreign,
    /// No agent may do this.
    Never(&'static str, Errno),
}

impl Refused {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::ByKernel(_) => Verdict::observed(),
            Self::Foreign => Verdict::refused(Reason::ForeignSocket),
            Self::Never(what, _) => Verdict::refused(Reason::PrivilegeWithheld(what.to_owned())),
        }
    }

    pub(super) fn errno(self) -> Errno {
        match self {
            Self::ByKernel(errno) | Self::Never(_, errno) => errno,
            // What a socket's file says on which nobody listens any more: so programs replace it.
            Self::Foreign => Errno::CONNREFUSED,
        }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::ByKernel(errno)
    }
}

impl Guard {
    /// A copy of a caller's socket; the inner error is what the kernel would have said.
    pub(super) fn held(&mut self, thread: Pid, fd: u32) -> Result<rustix::io::Result<Held>, Trouble> {
        Ok(self.processes.descriptor(thread, fd)?.and_then(Held::new))
    }

    /// Whether a socket was made in the cell: one of the operator's, given as standard input, leads to other places by the same
    /// names.
    pub(super) fn is_the_cells(&mut self, call: &Notification, socket: &Held) -> rustix::io::Result<bool> {
        let cookie = foreign::network_cookie(&socket.fd)?;
        if self.network.is_none()
            && foreign::network(&socket.fd)? == identity::file(call.thread, "ns/net")?
            // Only now is it sure that both were the caller's.
            && self.listener.is_waiting(call.id)
        {
            self.network = Some(cookie);
        }
        Ok(self.network == Some(cookie))
    }

    /// Finds out where a connect leads.
    pub(super) fn task(&mut self, call: &Notification, socket: &Held, given: &[u8]) -> Result<Task, Refused> {
        if !self.is_the_cells(call, socket).is_ok_and(|own| own) {
            return Err(Refused::Never("connect a socket that was made outside of the cell", Errno::PERM));
        }
        match (socket.family, path(given)) {
            (AddressFamily::UNIX, Some(path)) => Ok(Task::ConnectToFile(self.own_file(call, socket, path?)?)),
            (AddressFamily::UNIX | AddressFamily::INET | AddressFamily::INET6, _) => {
                Ok(Task::ConnectTo(given.to_vec()))
            }
            // For netlink a connect asks for privileges, and those would be the guard's.
            _ => Err(Refused::Never("connect a socket of this family", Errno::OPNOTSUPP)),
        }
    }

    /// Opens the cell's root directory, once.
    pub(super) fn learn_root(&mut self, call: &Notification) {
        if self.root.is_none()
            && let Ok(root) = identity::root(call.thread)
            // Only now is it sure that it is the caller's, and not of who has its number by now.
            && self.listener.is_waiting(call.id)
        {
            self.root = Some(root);
        }
    }

    /// The file at this path, if a program of the cell listens there.
    fn own_file(&mut self, call: &Notification, socket: &Held, path: &[u8]) -> Result<OwnedFd, Refused> {
        let path =
            absolute(call.thread, u64::from(AT_FDCWD), path.to_vec()).map_err(|_lacks_means| Errno::NFILE)?;
        self.learn_root(call);
        let Some(root) = &self.root else { return Err(Errno::NOENT.into()) };
        let (user, group) = socket.owner;
        let (file, stat) = foreign::acting_as(user, group, || identity::place(root, &path))???;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
            return Err(Errno::CONNREFUSED.into());
        }
        if !self.listeners.has(FileId { device: stat.st_dev, inode: stat.st_ino }) {
            return Err(Refused::Foreign);
        }
        Ok(file)
    }
}

/// The path in a Unix socket's address: none in an abstract or empty one, an error where the kernel would not read it.
fn path(address: &[u8]) -> Option<rustix::io::Result<&[u8]>> {
    let (family, rest) = address.split_first_chunk::<2>()?;
    if AddressFamily::from_raw(u16::from_ne_bytes(*family)) != AddressFamily::UNIX
        || matches!(rest, [] | [0, ..])
    {
        return None;
    }
    if rest.len() > SUN_PATH {
        return Some(Err(Errno::INVAL));
    }
    Some(Ok(rest.split(|byte| *byte == 0).next().unwrap_or_default()))
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Over(Reply),
    /// The caller waits, and what it waits for has not come. The errno is what it hears if it waits no longer.
    Waits(Errno),
}

impl Errand {
    pub(super) fn new(call: u64, socket: Held, to: Task) -> Self {
        Self { call, socket, to }
    }

    /// For a caller that is gone: its socket may linger.
    pub(super) fn let_go(call: u64, socket: Held) -> Self {
        Self::new(call, socket, Task::Answer(Reply::Errno(Errno::INTR)))
    }

    /// Does it and answers. Where the caller has to wait, another thread waits with it.
    pub(super) fn run(self, listener: &Arc<Listener>, waiting: &Arc<()>) -> Result<(), GuardError> {
        let late = match self.attempt()? {
            Attempt::Over(reply) => return Ok(answer(listener, self, reply)?),
            Attempt::Waits(late) => late,
        };
        if Arc::strong_count(waiting) > MAX_WAITING.min(descriptor_limit() / 32) {
            return Ok(answer(listener, self, Reply::Errno(late))?);
        }
        let (weak, waiting, call) = (Arc::downgrade(listener), Arc::clone(waiting), self.call);
        let body = move || {
            let end = self.wait(&weak, late);
            drop(waiting);
            end
        };
        match std::thread::Builder::new().name("guard-waits".to_owned()).spawn(body) {
            // It answers by itself. Should it fail, so does the listener for everybody.
            Ok(_thread) => Ok(()),
            Err(_none) => {
                let _caller_lives: bool = listener.answer(call, Reply::Errno(late))?;
                Ok(())
            }
        }
    }

    /// Waits until the connection stands, has failed, or nobody waits for it. The listener is held for moments only: a guard
    /// that ends has every call fail.
    fn wait(self, listener: &Weak<Listener>, late: Errno) -> Result<(), GuardError> {
        let mut left = sockopt::socket_timeout(&self.socket.fd, Timeout::Send).unwrap_or_default();
        loop {
            self.pause();
            let Some(listener) = listener.upgrade() else { return Ok(()) };
            if !listener.is_waiting(self.call) {
                return Ok(());
            }
            if let Attempt::Over(reply) = self.attempt()? {
                return Ok(answer(&listener, self, reply)?);
            }
            left = left.map(|left| left.saturating_sub(STEP));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(answer(&listener, self, Reply::Errno(late))?);
            }
        }
    }

    /// A full queue of a Unix socket's listener tells nobody when it has room again.
    fn pause(&self) {
        let step = Timespec { tv_sec: 0, tv_nsec: i64::from(STEP.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.socket.fd, PollFlags::OUT)];
        let watched = if self.socket.family == AddressFamily::UNIX { &mut fds[..0] } else { &mut fds[..] };
        // An interruption is an early look.
        let _early = rustix::event::poll(watched, Some(&step));
    }

    /// One attempt that does not wait, whatever the caller's socket says. Where a thread of the agent's puts that back in
    /// these microseconds it does wait, and another thread answers meanwhile.
    fn attempt(&self) -> Result<Attempt, GuardError> {
        let Held { fd, protocol, .. } = &self.socket;
        let datagrams = protocol.is_some_and(|protocol| u32::from(protocol) == ipproto::UDP.as_raw().get());
        let got = match (&self.to, rustix::fs::fcntl_getfl(fd)) {
            (Task::Answer(reply), _) => return Ok(Attempt::Over(*reply)),
            (_, Err(errno)) => Err(errno),
            (_, Ok(flags)) if datagrams || flags.contains(OFlags::NONBLOCK) => self.connect()?,
            (_, Ok(flags)) => match self.connect_at_once(flags)? {
                Err(Errno::ALREADY) => return Ok(Attempt::Waits(Errno::INPROGRESS)),
                Err(Errno::AGAIN) if self.socket.family == AddressFamily::UNIX => {
                    return Ok(Attempt::Waits(Errno::AGAIN));
                }
                got => got,
            },
        };
        Ok(Attempt::Over(got.map_or_else(Reply::Errno, |()| Reply::Done)))
    }

    fn connect_at_once(&self, flags: OFlags) -> Result<rustix::io::Result<()>, GuardError> {
        let fd = &self.socket.fd;
        if let Err(errno) = rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK) {
            return Ok(Err(errno));
        }
        let got = match self.connect()? {
            // Over loopback it is done already, and the second time says so.
            Err(Errno::INPROGRESS) => self.connect()?,
            got => got,
        };
        Ok(got.and(rustix::fs::fcntl_setfl(fd, flags)))
    }

    fn connect(&self) -> Result<rustix::io::Result<()>, GuardError> {
        let Held { fd, family, owner: (user, group), .. } = &self.socket;
        let connect = || match &self.to {
            Task::ConnectTo(address) => foreign::connect(fd, address),
            Task::ConnectToFile(file) => foreign::connect_to_file(fd, file),
            Task::Answer(_) => Ok(()),
        };
        if *family != AddressFamily::UNIX {
            return Ok(connect());
        }
        // The other side may ask who connected.
        foreign::acting_as(*user, *group, connect)
            .map(Result::flatten)
            .map_err(|errno| GuardError::Kernel { what: "being itself again", errno })
    }
}

/// Lets go of the socket first: when the caller closes it, nobody else may hold it open.
fn answer(listener: &Listener, errand: Errand, reply: Reply) -> Result<(), NotifyError> {
    let call = errand.call;
    drop(errand);
    let _caller_lives: bool = listener.answer(call, reply)?;
    Ok(())
}

/// `sizeof(sockaddr_un.sun_path)`.
const SUN_PATH: usize = 108;
/// How often it is looked whether there is room now, and whether somebody still waits for it.
const STEP: Duration = Duration::from_millis(10);
/// Connects that wait at the same time, each with a thread. Over loopback only a listener that does not accept makes one wait.
const MAX_WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address_is_read_as_the_kernel_reads_it() {
        let unix = |rest: &[u8]| [&1_u16.to_ne_bytes()[..], rest].concat();
        assert_eq!(path(&unix(b"/a/b\0c")), Some(Ok(&b"/a/b"[..])));
        assert_eq!(path(&unix(&[b'x'; 108])), Some(Ok(&[b'x'; 108][..])));
        assert_eq!(path(&unix(&[b'x'; 109])), Some(Err(Errno::INVAL)));
        for none in [unix(b""), unix(b"\0name"), [&2_u16.to_ne_bytes()[..], b"/a"].concat(), vec![1]] {
            assert_eq!(path(&none), None, "{none:?}");
        }
    }
}
