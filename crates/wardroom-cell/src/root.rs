//! The file system of a cell: an empty directory in memory on which the plan's mounts are placed, in their order.
//!
//! Sources outside are opened once and then handled by descriptor. Places inside are found without following any link,
//! because what is mounted there may be the agent's own, with links that it planted for this moment.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use minicbor::{Decode, Encode};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, sendfile,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use wardroom_kernel::mount::{self, Follow, Protection};
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{AGENT_ID, Mount};

use crate::error::{At, Fault, Step};

/// A part of the host's tree, taken and protected, not yet placed.
#[derive(Debug)]
pub(crate) struct Taken {
    from: OwnedFd,
    kind: Kind,
}

/// What was taken, and so how it is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Kind {
    /// A mount, for a directory.
    #[n(0)]
    Directory,
    /// A mount, for a file.
    #[n(1)]
    File,
    /// A file that is open to be copied.
    #[n(2)]
    Contents,
}

impl Taken {
    /// As it came over a socket.
    pub(crate) fn new(from: OwnedFd, kind: Kind) -> Self {
        Self { from, kind }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Its descriptor, to be sent.
    pub(crate) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

/// Takes what a mount brings from the host; `None` when it brings nothing, or it is optional and does not exist.
pub(crate) fn take(
    mount: &Mount,
    idmap: impl FnOnce(u32, u32) -> io::Result<Option<OwnedFd>>,
) -> Result<Option<Taken>, Fault> {
    match mount {
        Mount::Bind { source, write, exec, owned, optional, target: _ } => {
            let options = BindOptions { write: *write, exec: *exec, owned: *owned, optional: *optional };
            take_tree(source, options, idmap)
        }
        Mount::Copy { source, target: _ } => take_contents(source),
        Mount::Tmpfs { .. }
        | Mount::File { .. }
        | Mount::Directory { .. }
        | Mount::Symlink { .. }
        | Mount::Proc
        | Mount::Dev => Ok(None),
    }
}

fn take_tree(
    source: &Path,
    bind: BindOptions,
    idmap: impl FnOnce(u32, u32) -> io::Result<Option<OwnedFd>>,
) -> Result<Option<Taken>, Fault> {
    let follow = if bind.write { Follow::NoLinks } else { Follow::SystemLinks };
    let shown = source.display().to_string();
    let place = match mount::locate(source, follow) {
        Err(Errno::NOENT) if bind.optional => return Ok(None),
        other => other.at(Step::Source, shown.clone())?,
    };
    let stat = fstat(&place).at(Step::Source, shown.clone())?;
    let map =
        if bind.owned { idmap(stat.st_uid, stat.st_gid).at(Step::Source, shown.clone())? } else { None };
    let asked = bind.protection();
    let tree = mount::take_tree(&place, asked, map.as_ref().map(AsFd::as_fd)).at(Step::Source, shown)?;
    let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok(Some(Taken::new(tree, if directory { Kind::Directory } else { Kind::File })))
}

/// The longest file that is copied; a mount costs a start about as much.
const MOST_COPIED: usize = 64 << 10;

/// Takes the source of a [`Mount::Copy`].
fn take_contents(source: &Path) -> Result<Option<Taken>, Fault> {
    // Not to wait for anybody, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // It is opened with the keeper's rights, and the plan saw a file here. A link that has come since could lead to a device, to which
    // opening does something, or into /proc, which tells more to who opens than to the agent.
    let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    match openat2(CWD, source, flags, Mode::empty(), resolve) {
        Ok(file) if is_copied(&fstat(&file).at(Step::Source, shown(source))?) => {
            Ok(Some(Taken::new(file, Kind::Contents)))
        }
        Err(Errno::NOENT) => Ok(None),
        Ok(_) | Err(Errno::ACCESS | Errno::LOOP) => take_tree(source, COPY, |_, _| Ok(None)),
        Err(errno) => Err(Fault::new(Step::Source, shown(source), &errno.into())),
    }
}

/// A [`Mount::Copy`] that is bound after all.
const COPY: BindOptions = BindOptions { write: false, exec: false, owned: false, optional: true };

/// Whether a file is short, and readable for everybody inside as it is for everybody outside.
fn is_copied(stat: &Stat) -> bool {
    let readable = Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH);
    let short = usize::try_from(stat.st_size).is_ok_and(|size| size <= MOST_COPIED);
    FileType::from_raw_mode(stat.st_mode).is_file() && readable && short
}

/// The switches of [`Mount::Bind`].
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they mirror the fields of the plan")]
pub(crate) struct BindOptions {
    pub(crate) write: bool,
    pub(crate) exec: bool,
    pub(crate) owned: bool,
    pub(crate) optional: bool,
}

impl BindOptions {
    fn protection(self) -> Protection {
        Protection { read_only: !self.write, no_suid: true, no_dev: true, no_exec: !self.exec }
    }
}

/// The root that is being built.
#[derive(Debug)]
pub(crate) struct Root {
    dir: Rc<OwnedFd>,
    /// The directory inside that was looked up last: most mounts share theirs with the one before.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// What was asked of each mount and what the kernel says of it.
    pub(crate) mechanisms: Vec<Mechanism>,
}

/// The most that the root itself may hold: files of the plan, copies and mount points, some hundred.
const ROOT_SIZE: &str = "8m";

impl Root {
    /// An empty root in memory, stacked on the old one so that it is attached and can be entered.
    pub(crate) fn new() -> Result<Self, Fault> {
        let step = Step::Root;
        mount::make_private().at(step, "cut off from the host's mounts")?;
        let options = [("mode", Some("0755")), ("size", Some(ROOT_SIZE)), ("nr_inodes", Some("4096"))];
        let open = Protection { read_only: false, ..Protection::READ_ONLY };
        let dir = mount::new_filesystem("tmpfs", &options, open).at(step, "a file system in memory")?;
        let old = mount::locate(Path::new("/"), Follow::NoLinks).at(step, "/")?;
        mount::attach(&dir, &old).at(step, "attach the new root")?;
        Ok(Self { dir: Rc::new(dir), last: None, mechanisms: Vec::new() })
    }

    /// Carries out one line of the plan that is neither `/proc` nor `/dev`. `taken` is the source of a bind.
    pub(crate) fn place(&mut self, mount: &Mount, taken: Option<Taken>) -> Result<(), Fault> {
        match mount {
            Mount::Bind { target, write, exec, owned, optional, source: _ } => {
                let options = BindOptions { write: *write, exec: *exec, owned: *owned, optional: *optional };
                self.put(taken, target, options)
            }
            Mount::Copy { target, source: _ } => self.put(taken, target, COPY),
            Mount::Tmpfs { target, size, mode, exec } => self.tmpfs(target, *size, *mode, *exec),
            Mount::File { target, contents, mode } => self.file(target, contents, *mode),
            Mount::Directory { target, mode } => {
                let (parent, name) = self.parent(target)?;
                make_directory(&parent, name, *mode).at(Step::Mount, shown(target))
            }
            Mount::Symlink { target, to } => {
                let (parent, name) = self.parent(target)?;
                symlinkat(to, &parent, name).at(Step::Mount, shown(target))
            }
            Mount::Proc | Mount::Dev => Err(Fault::said(Step::Mount, "not a mount of this kind")),
        }
    }

    /// Places what was taken, if something was.
    fn put(&mut self, taken: Option<Taken>, target: &Path, options: BindOptions) -> Result<(), Fault> {
        let Some(Taken { from, kind }) = taken else { return Ok(()) };
        match kind {
            Kind::Directory => {
                let place = self.directory(target)?;
                self.attach_at(&from, &place, target, options.protection())
            }
            Kind::File => self.attach_to_file(&from, target, options.protection()),
            Kind::Contents => self.copy(&from, target),
        }
    }

    /// Attaches a file's tree and notes what the kernel says of it.
    pub(crate) fn attach_to_file(
        &mut self,
        tree: &OwnedFd,
        target: &Path,
        asked: Protection,
    ) -> Result<(), Fault> {
        let place = self.empty_file(target)?;
        self.attach_at(tree, &place, target, asked)
    }

    /// Copies a file, which may be written to outside meanwhile.
    fn copy(&mut self, from: &OwnedFd, target: &Path) -> Result<(), Fault> {
        let to = self.new_file(target, 0o444)?;
        let mut left = MOST_COPIED;
        while left > 0 {
            match sendfile(&to, from, None, left).at(Step::Mount, shown(target))? {
                0 => break,
                copied => left -= copied,
            }
        }
        Ok(())
    }

    pub(crate) fn attach_at(
        &mut self,
        tree: &OwnedFd,
        place: &OwnedFd,
        target: &Path,
        asked: Protection,
    ) -> Result<(), Fault> {
        mount::attach(tree, place).at(Step::Mount, shown(target))?;
        // What was looked up before may lie beneath it now.
        self.last.take_if(|(path, _)| path.starts_with(target));
        let got = Protection::in_force(tree).at(Step::Check, shown(target))?;
        if !got.covers(asked) {
            return Err(Fault::said(Step::Check, format!("{}: asked {asked}, got {got}", target.display())));
        }
        // A host that protects more (a read-only disk) is no difference in protection, but the plan may need to write.
        if got.read_only && !asked.read_only {
            let error = io::Error::from(Errno::ROFS);
            return Err(Fault::new(Step::Mount, format!("{} must be writable", target.display()), &error));
        }
        let name = format!("mount {}", target.display());
        self.mechanisms.push(Mechanism {
            name,
            asked: asked.to_string(),
            got: asked_part(asked, got).to_string(),
        });
        Ok(())
    }

    fn tmpfs(&mut self, target: &Path, size: u64, mode: u32, exec: bool) -> Result<(), Fault> {
        let protection = Protection { no_exec: !exec, ..Protection::DATA };
        let tree = memory(size, mode, protection).at(Step::Mount, shown(target))?;
        let place = self.directory(target)?;
        self.attach_at(&tree, &place, target, protection)
    }

    fn new_file(&mut self, target: &Path, mode: u32) -> Result<OwnedFd, Fault> {
        let (parent, name) = self.parent(target)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::from_raw_mode(mode)).at(Step::Mount, shown(target))
    }

    fn file(&mut self, target: &Path, contents: &[u8], mode: u32) -> Result<(), Fault> {
        let file = self.new_file(target, mode)?;
        let mut rest = contents;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest).at(Step::Mount, shown(target))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// The directory inside at `target`, made if it is not there.
    pub(crate) fn directory(&mut self, target: &Path) -> Result<Rc<OwnedFd>, Fault> {
        if let Some((path, found)) = &self.last
            && path == target
        {
            return Ok(Rc::clone(found));
        }
        let found = Rc::new(match self.find(&relative(target)?, OFlags::DIRECTORY) {
            Err(Errno::NOENT) => self.make(target)?,
            other => other.at(Step::Mount, shown(target))?,
        });
        self.last = Some((target.to_owned(), Rc::clone(&found)));
        Ok(found)
    }

    fn make(&mut self, target: &Path) -> Result<OwnedFd, Fault> {
        let (parent, name) = self.parent(target)?;
        make_directory(&parent, name, 0o755).at(Step::Mount, shown(target))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::empty()).at(Step::Mount, shown(target))
    }

    /// A file inside at `target` to mount on, made if it is not there.
    pub(crate) fn empty_file(&mut self, target: &Path) -> Result<OwnedFd, Fault> {
        let (parent, name) = self.parent(target)?;
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::from_raw_mode(0o444)).at(Step::Mount, shown(target))
    }

    /// The directory that `target` lies in, made as needed, and its last component.
    pub(crate) fn parent<'a>(&mut self, target: &'a Path) -> Result<(Rc<OwnedFd>, &'a OsStr), Fault> {
        let wrong = || Fault::said(Step::Mount, format!("{} is no place inside a cell", target.display()));
        let name = target.file_name().ok_or_else(wrong)?;
        let parent = target.parent().ok_or_else(wrong)?;
        Ok((self.directory_or_root(parent)?, name))
    }

    fn directory_or_root(&mut self, target: &Path) -> Result<Rc<OwnedFd>, Fault> {
        if target == Path::new("/") { Ok(Rc::clone(&self.dir)) } else { self.directory(target) }
    }

    /// Looks up a path inside without following links and without leaving.
    pub(crate) fn find(&self, relative: &Path, more: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.dir, relative, OFlags::PATH | OFlags::CLOEXEC | more, Mode::empty(), resolve)
    }

    /// A file that is nowhere any more and that anybody may read, but for Landlock: see [`crate::privileges::landlock`].
    pub(crate) fn forbidden_file(&mut self) -> Result<OwnedFd, Fault> {
        let step = Step::Landlock;
        let place = Path::new("/forbidden");
        let file = self.empty_file(place)?;
        let (parent, name) = self.parent(place)?;
        unlinkat(&parent, name, AtFlags::empty()).at(step, "a file to try Landlock on")?;
        Ok(file)
    }

    /// Protects the root itself, enters it, and lets go of the host's tree.
    pub(crate) fn enter(&mut self) -> Result<(), Fault> {
        let step = Step::Root;
        mount::enter_root(&self.dir).at(step, "enter the new root")?;
        mount::protect(self.dir.as_fd(), Protection::INERT).at(step, "make the new root read-only")?;
        let got = Protection::in_force(&self.dir).at(Step::Check, "/")?;
        if got != Protection::INERT {
            return Err(Fault::said(Step::Check, format!("/: asked {}, got {got}", Protection::INERT)));
        }
        self.mechanisms.push(Mechanism {
            name: "mount /".into(),
            asked: Protection::INERT.to_string(),
            got: got.to_string(),
        });
        Ok(())
    }
}

/// A file system in memory that belongs to the agent.
pub(crate) fn memory(size: u64, mode: u32, protection: Protection) -> io::Result<OwnedFd> {
    let (size_text, mode_text, owner) = (size.to_string(), format!("{mode:o}"), AGENT_ID.to_string());
    // An inode costs the kernel about a kilobyte that `size` does not count, so there is one for each 4 KiB page.
    let inodes = (size / 4096).max(1024).to_string();
    let options = [
        ("size", Some(size_text.as_str())),
        ("nr_inodes", Some(inodes.as_str())),
        ("mode", Some(mode_text.as_str())),
        ("uid", Some(owner.as_str())),
        ("gid", Some(owner.as_str())),
    ];
    mount::new_filesystem("tmpfs", &options, protection)
}

/// What the kernel gives beyond what was asked is not reported as a difference.
fn asked_part(asked: Protection, got: Protection) -> Protection {
    Protection {
        read_only: got.read_only && asked.read_only,
        no_suid: got.no_suid && asked.no_suid,
        no_dev: got.no_dev && asked.no_dev,
        no_exec: got.no_exec && asked.no_exec,
    }
}

fn make_directory(parent: impl AsFd, name: &OsStr, mode: u32) -> rustix::io::Result<()> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// The path without its leading slash; a path that is not absolute and plain names nothing inside.
fn relative(target: &Path) -> Result<PathBuf, Fault> {
    let mut components = target.components();
    let plain = components.next() == Some(Component::RootDir)
        && components.clone().all(|c| matches!(c, Component::Normal(_)))
        && !target.as_os_str().as_bytes().contains(&0);
    let rest = components.as_path();
    if plain && !rest.as_os_str().is_empty() {
        Ok(rest.to_path_buf())
    } else {
        Err(Fault::said(Step::Mount, format!("{} is no place inside a cell", target.display())))
    }
}

fn shown(target: &Path) -> String {
    target.display().to_string()
}
