//! Maps of users and groups between a cell and the host.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitIdOptions, pidfd_send_signal, waitid};

use crate::process::resting_in_user_namespace;

/// One line of a map: `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Writes both maps of a process's user namespace. `None` is the calling process.
///
/// # Errors
/// What the kernel says (`user_namespaces(7)`): each map can be written once.
pub fn write(pid: Option<Pid>, uids: Extent, gids: Extent, deny_setgroups: bool) -> io::Result<()> {
    let directory =
        pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{}", pid.as_raw_nonzero()));
    if deny_setgroups {
        write_file(&format!("{directory}/setgroups"), "deny")?;
    }
    write_file(&format!("{directory}/gid_map"), &line(gids))?;
    write_file(&format!("{directory}/uid_map"), &line(uids))
}

fn line(Extent { inside, outside, count }: Extent) -> String {
    format!("{inside} {outside} {count}\n")
}

fn write_file(path: &str, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// A user namespace that exists only as a map for an id-mapped mount: ids on disk are `inside`, seen as `outside`.
///
/// # Errors
/// What `clone3(2)` and the writing of the maps say.
pub fn namespace(uids: Extent, gids: Extent) -> io::Result<OwnedFd> {
    let (pid, pidfd) = resting_in_user_namespace()?;
    let result = write(Some(pid), uids, gids, false).and_then(|()| {
        let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    });
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    result
}
