//! Mounts by descriptor: trees are taken, given their attributes while nobody can see them, then attached. No path
//! is looked up twice, and nothing is ever mounted first and protected later.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper in rustix")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

/// How a mount protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent flag of mount_setattr(2)")]
pub struct Protection {
    /// Nothing can be written.
    pub read_only: bool,
    /// Set-user-id and file capabilities mean nothing.
    pub no_suid: bool,
    /// Device nodes mean nothing.
    pub no_dev: bool,
    /// Nothing can be executed or mapped executable.
    pub no_exec: bool,
}

impl Protection {
    /// Read-only, nosuid and nodev: what most of a cell is.
    pub const READ_ONLY: Self = Self { read_only: true, no_suid: true, no_dev: true, no_exec: false };
    /// All of them.
    pub const INERT: Self = Self { no_exec: true, ..Self::READ_ONLY };
    /// Writable data that cannot be executed.
    pub const DATA: Self = Self { read_only: false, ..Self::INERT };

    fn attributes(self) -> MountAttrFlags {
        let pairs = [
            (self.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
            (self.no_suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
            (self.no_dev, MountAttrFlags::MOUNT_ATTR_NODEV),
            (self.no_exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        ];
        pairs.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect()
    }

    /// What the kernel says of the mount that a descriptor lies on.
    ///
    /// # Errors
    /// What `fstatvfs(2)` says.
    pub fn in_force(fd: impl AsFd) -> io::Result<Self> {
        use rustix::fs::StatVfsMountFlags as F;
        // statvfs(3) has no NODEV and NOEXEC in rustix's names on every target; the bits are Linux's ST_*.
        let flags = rustix::fs::fstatvfs(fd)?.f_flag;
        Ok(Self {
            read_only: flags.contains(F::RDONLY),
            no_suid: flags.contains(F::NOSUID),
            no_dev: flags.contains(F::NODEV),
            no_exec: flags.contains(F::NOEXEC),
        })
    }

    /// Whether `self` protects at least as much as `asked`.
    #[must_use]
    pub fn covers(self, asked: Self) -> bool {
        self.read_only >= asked.read_only
            && self.no_suid >= asked.no_suid
            && self.no_dev >= asked.no_dev
            && self.no_exec >= asked.no_exec
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.read_only { "ro" } else { "rw" })?;
        for (on, word) in [(self.no_suid, ",nosuid"), (self.no_dev, ",nodev"), (self.no_exec, ",noexec")] {
            if on {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

/// How a path outside is followed to what will be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Symbolic links of the system are followed, magic links are not.
    SystemLinks,
    /// No symbolic link anywhere in the path: where an agent can write, it may have planted one (attack C2).
    NoLinks,
}

/// Opens a path outside as a place, without any right to its contents.
///
/// # Errors
/// What `openat2(2)` says; `ELOOP` for a forbidden link.
pub fn locate(path: &Path, follow: Follow) -> rustix::io::Result<OwnedFd> {
    let resolve = match follow {
        Follow::SystemLinks => ResolveFlags::NO_MAGICLINKS,
        Follow::NoLinks => ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS,
    };
    rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// A private, detached copy of the mount tree at `place`, with everything mounted beneath it.
///
/// # Errors
/// What `open_tree(2)` and `mount_setattr(2)` say.
pub fn take_tree(
    place: impl AsFd,
    protection: Protection,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(place, "", flags)?;
    set_attributes(tree.as_fd(), protection, idmap, libc::AT_RECURSIVE)?;
    Ok(tree)
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_IDMAP` (Linux 5.12).
const IDMAP: u64 = 0x0010_0000;

/// Protects a mount, private from now on, and optionally maps its owners through a user namespace (Linux 5.12).
/// With `AT_RECURSIVE` for `reach`, either the whole tree changes or nothing does.
fn set_attributes(
    tree: BorrowedFd<'_>,
    protection: Protection,
    idmap: Option<BorrowedFd<'_>>,
    reach: libc::c_int,
) -> io::Result<()> {
    let mut attr = MountAttr {
        attr_set: u64::from(protection.attributes().bits()),
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    if let Some(fd) = idmap {
        attr.attr_set |= IDMAP;
        attr.userns_fd = u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX);
    }
    let flags = libc::AT_EMPTY_PATH | reach;
    let size = size_of::<MountAttr>();
    // SAFETY: the descriptor is borrowed for the call, the path is an empty C string, `attr` is a live struct of `size`.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &raw const attr, size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Protects one attached mount further, and nothing beneath it.
///
/// # Errors
/// What `mount_setattr(2)` says.
pub fn protect(tree: BorrowedFd<'_>, protection: Protection) -> io::Result<()> {
    set_attributes(tree, protection, None, 0)
}

/// Attaches a detached tree at `place`.
///
/// # Errors
/// What `move_mount(2)` says.
pub fn attach(tree: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// A new, detached file system with these options; an option without a value is a flag.
///
/// # Errors
/// What `fsopen(2)`, `fsconfig(2)` and `fsmount(2)` say.
pub fn new_filesystem(
    kind: &str,
    options: &[(&str, Option<&str>)],
    protection: Protection,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, protection.attributes())?)
}

/// Cuts the calling process's mount namespace off from all others: no mount made here is seen there or the reverse.
///
/// # Errors
/// What `mount(2)` says.
pub fn make_private() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as P;
    Ok(rustix::mount::mount_change("/", P::PRIVATE | P::REC)?)
}

/// Makes `root` the root of the calling process and lets go of everything that was mounted before.
///
/// # Errors
/// What `move_mount(2)`, `pivot_root(2)` and `umount2(2)` say.
pub fn enter_root(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // The old root is stacked on the new one at the same place, so no directory is needed for it (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}
