//! Sockets of a process that waits for the guard, held for a moment: connected for it, and asked where they are bound.
#![expect(unsafe_code, reason = "connect(2) with an address as bytes and SIOCUNIXFILE have no safe wrapper")]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::identity::FileId;

/// Connects a socket to an address as it lies in memory. The caller sees to it that it is no Unix socket's path, which
/// would be looked up here and not where it came from.
///
/// # Errors
/// What `connect(2)` says.
pub fn connect(socket: impl AsFd, address: &[u8]) -> Result<()> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_long| Errno::INVAL)?;
    // SAFETY: the kernel reads `length` bytes at the address, which is borrowed, and needs no alignment of them.
    let got = unsafe { libc::connect(socket.as_fd().as_raw_fd(), address.as_ptr().cast(), length) };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Connects a Unix socket to the one that is bound to this file, held with `O_PATH`.
///
/// # Errors
/// What `connect(2)` says.
pub fn connect_to_file(socket: impl AsFd, file: impl AsFd) -> Result<()> {
    let family = libc::sa_family_t::try_from(libc::AF_UNIX).map_err(|_range| Errno::AFNOSUPPORT)?;
    let path = format!("/proc/self/fd/{}\0", file.as_fd().as_raw_fd());
    connect(socket, &[&family.to_ne_bytes()[..], path.as_bytes()].concat())
}

/// The file that a Unix socket is bound to, with `O_PATH` (Linux 4.12). It needs `CAP_NET_ADMIN` over the socket's network
/// namespace, which whoever made a cell has.
///
/// # Errors
/// `ENOENT`: it is bound to no file.
pub fn bound_file(socket: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: the ioctl takes no argument and gives a new descriptor.
    let got = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCUNIXFILE, 0) };
    if got < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel just made this descriptor, close-on-exec, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(got) })
}

/// The network namespace that a socket was made in, by the number that the kernel gives each once (Linux 5.14).
///
/// # Errors
/// What `getsockopt(2)` says.
pub fn network_cookie(socket: impl AsFd) -> Result<u64> {
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most `length` bytes, which the integer has.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if got == 0 { Ok(cookie) } else { Err(last_errno()) }
}

/// The same as a file, to be compared with a process's. It needs `CAP_NET_ADMIN` over that namespace.
///
/// # Errors
/// It is not ours to ask about.
pub fn network(socket: impl AsFd) -> Result<FileId> {
    // SAFETY: the ioctl takes no argument and gives a new descriptor.
    let got = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS, 0) };
    if got < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel just made this descriptor, close-on-exec, and nothing else owns it.
    let namespace = unsafe { OwnedFd::from_raw_fd(got) };
    let stat = rustix::fs::fstat(&namespace)?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// Acts as another user: what is permitted, and what the other side of a connection is told, is theirs. Of the calling
/// thread alone; its real and saved ids stay, so that the other user can do nothing to it. Nothing changes where the thread
/// is that user already. The supplementary groups are given up for good.
///
/// # Errors
/// The thread may not become that user; nothing was done then. Or, the outer one, it could not become itself again.
pub fn acting_as<T>(user: Uid, group: Gid, act: impl FnOnce() -> T) -> Result<Result<T>> {
    let (own, own_group) = (rustix::process::geteuid(), rustix::process::getegid());
    if own == user {
        return Ok(Ok(act()));
    }
    let become_them = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(None, group, None))
        .and_then(|()| set_thread_res_uid(None, user, None));
    let done = become_them.map(|()| act());
    set_thread_res_uid(None, own, None)?;
    set_thread_res_gid(None, own_group, None)?;
    Ok(done)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `SIOCUNIXFILE` of `linux/un.h`: `SIOCPROTOPRIVATE + 0`.
const SIOCUNIXFILE: libc::Ioctl = 0x89e0;
/// `SIOCGSKNS` of `linux/sockios.h`.
const SIOCGSKNS: libc::Ioctl = 0x894c;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn held(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_socket_is_connected_by_the_file_of_another_whatever_its_name_is_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let file = held(&path);
        std::fs::rename(&path, dir.path().join("other")).unwrap();
        let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM);
        let socket = rustix::net::socket(family, kind, None).unwrap();
        connect_to_file(&socket, &file).unwrap();
        listener.accept().unwrap();
        assert_eq!(connect(&socket, &1_u16.to_ne_bytes()), Err(Errno::INVAL));
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_bound_socket_tells_its_file_and_others_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        match bound_file(&listener) {
            Err(Errno::PERM) => eprintln!("SKIPPED: a_bound_socket_tells_its_file: needs CAP_NET_ADMIN"),
            file => {
                let (got, asked) =
                    (rustix::fs::fstat(file.unwrap()).unwrap(), rustix::fs::fstat(held(&path)).unwrap());
                assert_eq!((got.st_dev, got.st_ino), (asked.st_dev, asked.st_ino));
                assert_eq!(bound_file(UnixStream::pair().unwrap().0).unwrap_err(), Errno::NOENT);
            }
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_socket_tells_where_it_was_made() {
        let (one, other) = UnixStream::pair().unwrap();
        assert_eq!(network_cookie(&one), network_cookie(&other));
        assert_ne!(network_cookie(&one), Ok(0));
        match network(&one) {
            Err(Errno::PERM) => eprintln!("SKIPPED: a_socket_tells_where_it_was_made: needs CAP_NET_ADMIN"),
            got => assert_eq!(got, crate::identity::file(rustix::process::getpid(), "ns/net")),
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn one_thread_acts_as_another_user_and_is_itself_again() {
        std::thread::spawn(|| {
            let own = rustix::process::geteuid();
            assert_eq!(
                acting_as(own, rustix::process::getegid(), rustix::process::geteuid).unwrap(),
                Ok(own)
            );
            let other = Uid::from_raw(4711);
            match acting_as(other, Gid::from_raw(4711), rustix::process::geteuid).unwrap() {
                Err(Errno::PERM) => eprintln!("SKIPPED: one_thread_acts_as_another_user: not root"),
                got => assert_eq!(got, Ok(other)),
            }
            assert_eq!(rustix::process::geteuid(), own);
        })
        .join()
        .unwrap();
    }
}
