//! The socket files on which programs of the cell listen. A Unix socket can be bound once, and listens only once it is
//! bound: so whoever has called `listen` has its file for good, and the kernel tells which one that is. No name is
//! believed, and no question of who could have bound what is asked later.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::process::Pid;
use wardroom_kernel::foreign;
use wardroom_kernel::identity::FileId;
use wardroom_kernel::notify::{Notification, Reply};

use super::connect::{Errand, Held, Task};
use super::place::low;
use super::processes::descriptor_limit;
use super::{Decided, Guard, Trouble};

/// All of them. Each file is held, so that its number cannot become another file's.
#[derive(Debug, Default)]
pub(super) struct Listeners(BTreeMap<FileId, Listening>);

#[derive(Debug)]
struct Listening {
    _file: OwnedFd,
    /// The socket's own inode number.
    socket: u64,
}

impl Listeners {
    pub(super) fn has(&self, file: FileId) -> bool {
        self.0.contains_key(&file)
    }

    /// Notes a socket that is about to listen. One that is bound to no file needs no note: its name is the cell's own.
    fn note(&mut self, thread: Pid, socket: &Held) -> rustix::io::Result<()> {
        let file = match foreign::bound_file(&socket.fd) {
            Err(Errno::NOENT) => return Ok(()),
            file => file?,
        };
        let stat = rustix::fs::fstat(&file)?;
        let most = MAX_LISTENERS.min(descriptor_limit() / 16);
        if self.0.len() >= most {
            self.forget_the_closed(thread)?;
        }
        if self.0.len() >= most {
            return Err(Errno::NOBUFS);
        }
        let id = FileId { device: stat.st_dev, inode: stat.st_ino };
        self.0.insert(id, Listening { _file: file, socket: socket.inode });
        Ok(())
    }

    /// Lets go of the files whose socket is no more. A name of a socket's can look like another line of the list, and keeps
    /// a file a little longer then; it can make none disappear.
    fn forget_the_closed(&mut self, thread: Pid) -> rustix::io::Result<()> {
        let list = std::fs::read(format!("/proc/{}/net/unix", thread.as_raw_nonzero()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let open: BTreeSet<u64> = list.split(|byte| *byte == b'\n').filter_map(inode).collect();
        self.0.retain(|_, listening| open.contains(&listening.socket));
        Ok(())
    }
}

impl Guard {
    /// A socket is about to listen. Should another one take its place before it does, that one is not connected to.
    pub(super) fn listen(&mut self, call: &Notification) -> Result<Decided, Trouble> {
        let [fd, ..] = call.arguments;
        let Ok(socket) = self.held(call.thread, low(fd))? else { return Ok(Reply::Continue.into()) };
        if !self.listener.is_waiting(call.id) {
            return Ok(Decided::Errand(Errand::let_go(call.id, socket)));
        }
        let reply = match socket.family {
            // What the operator gave keeps its file to itself.
            AddressFamily::UNIX if self.is_the_cells(call, &socket).is_ok_and(|own| own) => {
                self.listeners.note(call.thread, &socket).map_or_else(Reply::Errno, |()| Reply::Continue)
            }
            _ => Reply::Continue,
        };
        Ok(Decided::Errand(Errand::new(call.id, socket, Task::Answer(reply))))
    }
}

/// The seventh word of a line of `/proc/net/unix`.
fn inode(line: &[u8]) -> Option<u64> {
    let word = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(6)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Socket files on which a cell listens at the same time; each costs a descriptor. A desktop session has some fifty.
const MAX_LISTENERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_inode_is_the_seventh_word() {
        let line = b"000000005d6f1b27: 00000002 00000000 00010000 0001 01 18407 /run/x y";
        assert_eq!(inode(line), Some(18407));
        assert_eq!(inode(b"Num       RefCount Protocol Flags    Type St Inode Path"), None);
        assert_eq!(inode(b""), None);
    }
}
