//! File leases: whoever opens a leased file waits in the kernel until the holder gives the lease back, and is known by
//! its process id meanwhile. Needs no privilege but that the file is the caller's own (or `CAP_LEASE`).
//!
//! Nothing here decides what an opening means. A program that asks not to wait (`O_NONBLOCK`) fails with `EWOULDBLOCK`;
//! the holder hears of it all the same, and not from whom.
#![expect(unsafe_code, reason = "leases and the owner of their signal have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// The signals by which the kernel tells this thread that somebody wants to open what it has under lease.
#[derive(Debug)]
pub struct Breaks(OwnedFd);

impl Breaks {
    /// Hears of the leases that the calling thread takes from now on. No other thread may wait for them.
    ///
    /// # Errors
    /// What `pthread_sigmask(3)` and `signalfd(2)` say.
    pub fn of_this_thread() -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the pointer is valid for a set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset initialised it.
        let mut set = unsafe { set.assume_init() };
        // SAFETY: `set` is an initialised set and SIGIO a valid signal.
        unsafe { libc::sigaddset(&raw mut set, libc::SIGIO) };
        // Unblocked it would end the process, which is what SIGIO does where nobody asked for it.
        // SAFETY: `set` is initialised; a null pointer asks for no copy of the old mask.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        // SAFETY: `set` is initialised and outlives the call; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd succeeded, so the descriptor is new and ours.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Forgets the signals that have come. Which leases they were about is for [`Lease::is_held`] to say.
    ///
    /// # Errors
    /// What `read(2)` says.
    pub fn drain(&self) -> io::Result<()> {
        let mut signals = [0_u8; 1024]; // whole `signalfd_siginfo`s, of 128 bytes
        loop {
            match rustix::io::read(&self.0, &mut signals) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Breaks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A regular file, open for reading, that can be put under a lease. Dropping it gives the lease back.
#[derive(Debug)]
pub struct Lease {
    file: OwnedFd,
    /// The thread that hears of those who want to open it.
    owner: Owner,
}

impl Lease {
    /// Without a lease yet. The calling thread, which has its [`Breaks`], will hear of those who want to open the file.
    #[must_use]
    pub fn new(file: OwnedFd, _heard: &Breaks) -> Self {
        let owner = Owner { kind: F_OWNER_TID, id: rustix::thread::gettid().as_raw_nonzero().get() };
        Self { file, owner }
    }

    /// Takes the lease, so that every opening waits. False while somebody else has the file open.
    ///
    /// # Errors
    /// `EACCES` for a file of another user's, `EINVAL` for a file system without leases; what `F_SETLEASE` says.
    pub fn take(&self) -> io::Result<bool> {
        self.own()?;
        match self.set(libc::F_WRLCK) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says whom to tell. Before each lease, because giving one back forgets it; and not after, because the default is
    /// the whole process, any thread of which would get the signal and end it.
    fn own(&self) -> io::Result<()> {
        // SAFETY: `owner` is the kernel's `struct f_owner_ex`, and outlives the call.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), F_SETOWN_EX, &raw const self.owner) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives the lease back: whoever waits goes on.
    ///
    /// # Errors
    /// What `F_SETLEASE` says.
    pub fn give_back(&self) -> io::Result<()> {
        match self.set(libc::F_UNLCK) {
            // The kernel takes one back by itself when its holder was away for too long.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            other => other,
        }
    }

    /// Whether the lease is held, and nobody wants to open the file.
    ///
    /// # Errors
    /// What `F_GETLEASE` says.
    pub fn is_held(&self) -> io::Result<bool> {
        // SAFETY: this command takes no argument.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) } {
            -1 => Err(io::Error::last_os_error()),
            // A lease that is wanted is told as what it has to become.
            kind => Ok(kind == libc::F_WRLCK),
        }
    }

    fn set(&self, kind: libc::c_int) -> io::Result<()> {
        // SAFETY: this command takes a plain number.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, kind) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Somebody who waits to open a leased file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The leased file's inode number.
    pub inode: u64,
    /// The process.
    pub process: Pid,
    /// Whether it wants to write.
    pub writes: bool,
}

/// Everybody who waits for a lease that `holder` has, by `/proc/locks`.
///
/// # Errors
/// It cannot be read.
pub fn waiting(holder: Pid) -> io::Result<Vec<Waiting>> {
    Ok(parse(&std::fs::read_to_string("/proc/locks")?, holder))
}

/// Lines as `1: LEASE  BREAKING  READ 4711 fe:00:1001 0 EOF`, each followed by those of who waits for it:
/// `1: -> LEASE  BREAKER   READ 4712 <none>:0 0 EOF` (`lock_get_status` in `fs/locks.c`, Linux 6.2 to 6.18).
fn parse(locks: &str, holder: Pid) -> Vec<Waiting> {
    let mut found = Vec::new();
    let mut wanted = None;
    for line in locks.lines() {
        let mut words = line.split_whitespace().skip(1).peekable();
        let waits = words.next_if_eq(&"->").is_some();
        let words: Vec<&str> = words.collect();
        let [class, _state, kind, pid, file, ..] = words.as_slice() else { continue };
        let pid = pid.parse().ok().and_then(Pid::from_raw);
        if !waits {
            let own = *class == "LEASE" && pid == Some(holder);
            wanted = file.rsplit(':').next().and_then(|inode| inode.parse().ok()).filter(|_| own);
        } else if let (Some(inode), Some(process)) = (wanted, pid) {
            found.push(Waiting { inode, process, writes: *kind == "WRITE" });
        }
    }
    found
}

/// The kernel's `struct f_owner_ex`.
#[derive(Debug)]
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// `F_SETOWN_EX` and `F_OWNER_TID` of `asm-generic/fcntl.h`.
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::sync::mpsc;

    #[test]
    fn who_opens_a_leased_file_waits_and_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decoy");
        fs::write(&path, "x").unwrap();
        let breaks = Breaks::of_this_thread().unwrap();
        let lease = Lease::new(File::open(&path).unwrap().into(), &breaks);
        assert!(lease.take().unwrap() && lease.is_held().unwrap());
        let own = rustix::process::getpid();
        let inode = rustix::fs::fstat(&lease).unwrap().st_ino;
        // Twice, because a lease that is given back forgets whom to tell, and the default would end this process.
        for _ in 0..2 {
            let path = path.clone();
            let (opened, told) = mpsc::channel();
            let opener = std::thread::spawn(move || {
                let file = File::open(&path).unwrap();
                opened.send(()).unwrap();
                drop(file);
            });
            while lease.is_held().unwrap() {
                std::thread::yield_now();
            }
            breaks.drain().unwrap();
            assert!(told.try_recv().is_err(), "it did not wait");
            assert_eq!(waiting(own).unwrap(), [Waiting { inode, process: own, writes: false }]);
            lease.give_back().unwrap();
            opener.join().unwrap();
            assert!(lease.take().unwrap(), "nobody has it open any more");
        }
    }

    #[test]
    fn a_file_that_is_open_elsewhere_cannot_be_leased() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let breaks = Breaks::of_this_thread().unwrap();
        let lease = Lease::new(File::open(file.path()).unwrap().into(), &breaks);
        assert!(!lease.take().unwrap());
        assert!(!lease.is_held().unwrap());
    }

    #[test]
    fn only_those_who_wait_for_the_holders_leases_are_told() {
        let locks = "1: LEASE  BREAKING  READ 19749 fe:00:10084417 0 EOF\n\
                     1: -> LEASE  BREAKER   READ 19751 <none>:0 0 EOF\n\
                     1: -> LEASE  BREAKER   WRITE 19752 <none>:0 0 EOF\n\
                     2: LEASE  ACTIVE    WRITE 19749 fe:00:1 0 EOF\n\
                     3: POSIX  ADVISORY  WRITE 19749 fe:00:2 0 EOF\n\
                     3: -> POSIX  ADVISORY  WRITE 19753 fe:00:2 0 EOF\n\
                     4: LEASE  BREAKING  READ 7 fe:00:3 0 EOF\n\
                     4: -> LEASE  BREAKER   READ 8 <none>:0 0 EOF\n\
                     broken line\n";
        let pid = |number| Pid::from_raw(number).unwrap();
        let told = parse(locks, pid(19749));
        assert_eq!(
            told,
            [
                Waiting { inode: 10_084_417, process: pid(19751), writes: false },
                Waiting { inode: 10_084_417, process: pid(19752), writes: true },
            ]
        );
    }
}
