//! What `/proc` says of a process that waits for the guard: its image, its directory, its descriptors, its files.
//! Paths come out as they are inside the cell; nothing is followed that the cell could point at the host.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// A file by device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// Where a link under `/proc/PID` leads, as text.
///
/// # Errors
/// The process is gone, or not ours to ask about.
pub fn link(pid: Pid, name: &str) -> Result<Vec<u8>> {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let text = rustix::fs::readlinkat(CWD, path, Vec::with_capacity(256))?;
    Ok(text.into_bytes())
}

/// A link under `/proc/PID` that is held, so that asking it again finds no path anew. It belongs to the process that
/// it was opened for: when that one has gone it leads nowhere, whoever has its number by then.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Opens it, without following it.
    ///
    /// # Errors
    /// The process is gone, or this process has too many descriptors.
    pub fn open(pid: Pid, name: &str) -> Result<Self> {
        let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Self)
    }

    /// Where it leads now.
    ///
    /// # Errors
    /// As [`link`].
    pub fn read(&self) -> Result<Vec<u8>> {
        let text = rustix::fs::readlinkat(&self.0, c"", Vec::with_capacity(256))?;
        Ok(text.into_bytes())
    }
}

/// Where a descriptor of the process leads: a path, `socket:[inode]`, `anon_inode:...`.
///
/// # Errors
/// No such descriptor, or as [`link`].
pub fn descriptor(pid: Pid, fd: u32) -> Result<Vec<u8>> {
    link(pid, &format!("fd/{fd}"))
}

/// The file behind a link under `/proc/PID`, such as `exe` or `fd/3`.
///
/// # Errors
/// As [`link`].
pub fn file(pid: Pid, name: &str) -> Result<FileId> {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// A program in memory: what only an exec changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Its file.
    pub file: FileId,
    /// Where the kernel put the end of its stack: an address of each exec's own, where `randomize_va_space` is not 0.
    pub stack: u64,
}

/// The program that a thread runs.
///
/// # Errors
/// As [`link`].
pub fn loaded(thread: Pid) -> Result<Loaded> {
    let file = file(thread, "exe")?;
    let thread = thread.as_raw_nonzero();
    // Of the thread alone: what its process has used, which is the other choice, is summed up over all threads.
    let stat = read(&format!("/proc/{thread}/task/{thread}/stat"), 1024)?; // 52 fields, the second of at most 66 bytes
    // That second one, the program's name, is the program's to choose. Field 28 is the stack, 0 for who may not know.
    let after = stat.rsplit(|byte| *byte == b')').next().unwrap_or_default();
    let stack = after.split(|byte| *byte == b' ').nth(26);
    let stack = stack.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).ok_or(Errno::SRCH)?;
    Ok(Loaded { file, stack })
}

/// The arguments that a process was executed with, a NUL after each, as the kernel wrote them into its memory. Right after
/// an exec they are that; later the program may have written over them.
///
/// # Errors
/// As [`link`].
pub fn command_line(pid: Pid) -> Result<Vec<u8>> {
    read(&format!("/proc/{}/cmdline", pid.as_raw_nonzero()), MAX_COMMAND)
}

fn read(path: &str, bound: u64) -> Result<Vec<u8>> {
    let mut all = Vec::with_capacity(1024);
    let got = File::open(path).and_then(|file| file.take(bound).read_to_end(&mut all));
    got.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(all)
}

/// The process that a thread belongs to, read from its status: the slow way, for kernels without `PIDFD_GET_INFO`.
///
/// # Errors
/// The thread is gone, or its status is not what the manual says.
pub fn process_of(thread: Pid) -> Result<Pid> {
    let path = format!("/proc/{}/status", thread.as_raw_nonzero());
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0_u8; 512]; // `Tgid:` is the fourth line, after a name of at most 64 bytes
    let got = rustix::io::read(&fd, &mut buffer)?;
    buffer
        .get(..got)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:\t"))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)
}

/// The root directory of a process, to open files beneath.
///
/// # Errors
/// As [`link`].
pub fn root(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A place inside a cell, held without being opened. Links are followed as inside; the path cannot leave the root, nor go
/// through `/proc`'s own links.
///
/// # Errors
/// No such place, or no way to it.
pub fn place(root: impl AsFd, path: &[u8]) -> Result<(OwnedFd, rustix::fs::Stat)> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A named pipe or a device must not hold the guard: nothing is opened before it is known what it is.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
    let stat = rustix::fs::fstat(&place)?;
    Ok((place, stat))
}

/// Which file a path inside a cell leads to, and the first bytes of it, where it is a regular file that the guard may
/// read. Links are followed as inside; the path cannot leave the root, nor go through `/proc`'s own links.
///
/// # Errors
/// No such file, or no way to it.
pub fn look(root: impl AsFd, path: &[u8], head: &mut [u8]) -> Result<(FileId, usize)> {
    let (_place, stat) = place(&root, path)?;
    let found = FileId { device: stat.st_dev, inode: stat.st_ino };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok((found, 0));
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::openat2(&root, path, reading, Mode::empty(), resolve) else {
        return Ok((found, 0)); // executable but not readable: no script, then
    };
    let stat = rustix::fs::fstat(&open)?;
    if (FileId { device: stat.st_dev, inode: stat.st_ino }) != found {
        return Ok((found, 0)); // replaced in between; the second witness settles it
    }
    Ok((found, rustix::io::pread(&open, head, 0).unwrap_or(0)))
}

/// Whether it is sure that nothing is at an absolute path inside a cell, for whoever looks: the first part of it that is not there is
/// missing in a directory that means the same to everybody. In `/proc`, and behind a link that leads nowhere from here, a
/// process may find what we do not.
pub fn is_absent(root: impl AsFd, path: &[u8]) -> bool {
    path.first() == Some(&b'/') && walk(root.as_fd(), path).is_ok_and(|end| end == End::Missing)
}

/// Where a walk ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// At something that is there.
    There,
    /// At a part of the path that is missing in a directory that is the same for everybody.
    Missing,
    /// Where processes differ, or too far away.
    Unsure,
}

/// Goes along a path part by part, each looked at once, with no link followed by the kernel: who chose the path chose the links
/// on it as well, and the kernel would follow 40 of 4,095 bytes each anew for every part that it is asked about.
fn walk(root: BorrowedFd<'_>, path: &[u8]) -> Result<End> {
    let mut left = parts(path); // the next one last
    let mut given = left.len(); // how many of them are the path's, and not a link's
    let mut above: Vec<OwnedFd> = Vec::new();
    for _ in 0..MOST_PARTS {
        if left.len() > MOST_PARTS {
            break;
        }
        let is_given = left.len() <= given;
        let Some(part) = left.pop() else { return Ok(End::There) };
        given = given.min(left.len());
        if part == b".." {
            above.pop(); // above the root is the root
            continue;
        }
        let here = above.last().map_or(root, AsFd::as_fd);
        let is_proc = rustix::fs::fstatfs(here)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(here, part, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) if is_given && !is_proc => return Ok(End::Missing),
            found => found?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Symlink {
            above.push(found);
        } else if is_proc {
            break;
        } else {
            let target = rustix::fs::readlinkat(&found, c"", Vec::with_capacity(256))?.into_bytes();
            if target.first() == Some(&b'/') {
                above.clear();
            }
            left.append(&mut parts(&target));
        }
    }
    Ok(End::Unsure)
}

/// The parts of a path that lead on, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// How far a walk goes, with the parts of the links on its way: a real path has some ten, and each is four system calls and a
/// descriptor.
const MOST_PARTS: usize = 128;
/// The kernel takes at most three quarters of `_STK_LIM` (8 MiB) of arguments and environment together.
const MAX_COMMAND: u64 = 6 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn a_program_in_memory_is_told_by_its_file_its_stack_and_its_arguments() {
        let own = loaded(getpid()).unwrap();
        assert_eq!(own.file, file(getpid(), "exe").unwrap());
        let within = std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let address = |hex| u64::from_str_radix(hex, 16).unwrap();
            line.ends_with("[stack]") && (address(from)..address(to)).contains(&own.stack)
        });
        assert!(within, "{own:?}");
        let arguments: Vec<u8> =
            std::env::args_os().flat_map(|word| [word.as_encoded_bytes(), b"\0"].concat()).collect();
        assert_eq!(command_line(getpid()).unwrap(), arguments);
    }

    #[test]
    fn only_what_nobody_can_find_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        link("there", "good");
        link("there/../../..//./there", "up");
        link("endless", "endless");
        // As long as a link can be, and through one more: some forty of these are what the kernel would follow.
        link(&"there/../".repeat(450), "long");
        link("long/there", "longer");
        link("/proc/self/root/bin/sh", "elsewhere");
        let beneath = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for absent in [
            "/none",
            "/none/x/y",
            "/there/none",
            "/good/none",
            "/up/none",
            "/up/../none",
            "/../none",
            "/file/x",
        ] {
            assert!(is_absent(&beneath, absent.as_bytes()), "{absent}");
        }
        for unsure in
            ["/elsewhere", "/elsewhere/x", "/there", "none", "", "/endless/x", "/long/none", "/longer/none"]
        {
            assert!(!is_absent(&beneath, unsure.as_bytes()), "{unsure}");
        }
        let root = rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap();
        assert!(!is_absent(&root, b"/proc/no-such-process/root/bin/sh"));
        assert!(is_absent(&root, b"/no-such-directory/bin/sh"));
    }

    #[test]
    fn the_process_of_a_thread_is_found() {
        let own = getpid();
        assert_eq!(process_of(own).unwrap(), own);
        assert_eq!(std::thread::spawn(|| process_of(rustix::thread::gettid())).join().unwrap().unwrap(), own);
    }

    #[test]
    fn a_path_cannot_leave_the_root_it_is_looked_up_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("script"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("/../../script", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mut head = [0; 4];
        let (_, got) = look(&root, b"/link", &mut head).unwrap();
        assert_eq!(&head[..got], b"#!/b");
        assert_eq!(look(&root, b"/out", &mut head).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn a_named_pipe_does_not_hold_the_caller() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(look(&root, b"pipe", &mut [0; 4]).unwrap().1, 0);
    }
}
