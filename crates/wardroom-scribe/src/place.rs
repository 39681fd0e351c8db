//! The directory that a ledger lies in: private, not a link, and ours, or it is not used at all.
//!
//! Every file in it is opened relative to the directory's descriptor and never through a symbolic link, so that
//! nobody who can rename a parent can make the scribe write elsewhere.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use thiserror::Error;

/// Why a directory cannot hold a ledger, or a file in it cannot be used.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The kernel refused.
    #[error("cannot {doing} {path}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A symbolic link, or no directory.
    #[error("{0} is not a directory of its own (a link, or a file): move it away")]
    NotADirectory(PathBuf),
    /// Somebody else's.
    #[error(
        "{path} belongs to user {owner}, and this is user {us}: run as that user, or choose another directory"
    )]
    OtherOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others may enter or change it.
    #[error("{path} is open to others (mode {mode:03o}): `chmod 700` it, after looking at what is inside")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another scribe holds it.
    #[error("another scribe is writing to {0}")]
    Locked(PathBuf),
}

impl PlaceError {
    /// Whether data may be lost: it was written, and the kernel could not bring it to the disk.
    pub(crate) fn is_failed_sync(&self) -> bool {
        match self {
            Self::System { doing, .. } => *doing == SYNC,
            Self::NotADirectory(_) | Self::OtherOwner { .. } | Self::Open { .. } | Self::Locked(_) => false,
        }
    }
}

/// The one act whose failure cannot be tried again.
pub(crate) const SYNC: &str = "sync";

/// An open, checked directory.
#[derive(Debug)]
pub struct Place {
    fd: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// Opens a directory, making it (and its parents) with mode 0700 where it does not exist.
    ///
    /// # Errors
    /// It is a link, somebody else's, or open to others.
    pub fn open_or_create(path: &Path) -> Result<Self, PlaceError> {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(PlaceError::System { doing: "create", path: path.to_owned(), source }),
        }
        let place = Self::open_for_reading(path)?;
        place.check_private()?;
        Ok(place)
    }

    /// Opens an existing directory, whoever it belongs to: for reading a copy.
    ///
    /// # Errors
    /// It does not exist, is a link, or may not be entered.
    pub fn open_for_reading(path: &Path) -> Result<Self, PlaceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(PlaceError::NotADirectory(path.to_owned())),
            Err(errno) => {
                Err(PlaceError::System { doing: "open", path: path.to_owned(), source: errno.into() })
            }
        }
    }

    fn check_private(&self) -> Result<(), PlaceError> {
        let stat = fstat(&self.fd).map_err(self.failed("examine", ""))?;
        let us = geteuid().as_raw();
        if stat.st_uid != us {
            return Err(PlaceError::OtherOwner { path: self.path.clone(), owner: stat.st_uid, us });
        }
        let mode = stat.st_mode & 0o777;
        if mode & 0o077 != 0 {
            return Err(PlaceError::Open { path: self.path.clone(), mode });
        }
        Ok(())
    }

    /// Takes the lock that makes this process the directory's only scribe, until the directory is closed.
    ///
    /// # Errors
    /// [`PlaceError::Locked`] where another process holds it.
    pub fn lock(&self) -> Result<(), PlaceError> {
        match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(PlaceError::Locked(self.path.clone())),
            Err(errno) => Err(self.failed("lock", "")(errno)),
        }
    }

    /// Opens a file for reading and writing, making it with mode 0600.
    ///
    /// # Errors
    /// The kernel's, or the name is a link.
    pub fn writable(&self, name: &str) -> Result<File, PlaceError> {
        self.file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes a file that did not exist.
    ///
    /// # Errors
    /// It exists, or the kernel refuses.
    pub fn fresh(&self, name: &str) -> Result<File, PlaceError> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file for reading; `None` where there is none.
    ///
    /// # Errors
    /// The kernel's, or the name is a link.
    pub fn readable(&self, name: &str) -> Result<Option<File>, PlaceError> {
        match self.file(name, OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(PlaceError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file(&self, name: &str, flags: OFlags) -> Result<File, PlaceError> {
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = openat(&self.fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode);
        opened.map(File::from).map_err(self.failed("open", name))
    }

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), PlaceError> {
        renameat(&self.fd, from, &self.fd, to).map_err(self.failed("rename", from))
    }

    /// Removes a file; that there is none is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, name: &str) -> Result<(), PlaceError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name)(errno)),
        }
    }

    /// Makes renames and new names last through a power cut.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> Result<(), PlaceError> {
        rustix::fs::fsync(&self.fd).map_err(self.failed("sync", ""))
    }

    /// The names in the directory, in no order. Names that are not UTF-8 are not ours.
    ///
    /// # Errors
    /// The kernel's.
    pub fn names(&self) -> Result<Vec<String>, PlaceError> {
        let failed = || self.failed("list", "");
        let directory = rustix::fs::Dir::read_from(&self.fd).map_err(failed())?;
        let mut names = Vec::new();
        for entry in directory {
            let entry = entry.map_err(failed())?;
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn io(&self, doing: &'static str, name: &str, source: io::Error) -> PlaceError {
        PlaceError::System { doing, path: self.path.join(name), source }
    }

    pub(crate) fn failed(&self, doing: &'static str, name: &str) -> impl FnOnce(Errno) -> PlaceError {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        move |errno| PlaceError::System { doing, path, source: errno.into() }
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_or_an_open_directory_is_refused_and_says_what_to_do() {
        let base = tempfile::tempdir().unwrap();
        let real = base.path().join("real");
        Place::open_or_create(&real).unwrap();
        let link = base.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(Place::open_or_create(&link), Err(PlaceError::NotADirectory(_))));
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Place::open_or_create(&real).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_file_that_is_a_link_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::open_or_create(&base.path().join("ledger")).unwrap();
        symlink("/etc/passwd", place.path().join("checkpoint")).unwrap();
        assert!(place.writable("checkpoint").is_err());
    }

    #[test]
    fn a_directory_has_one_scribe() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("ledger");
        let first = Place::open_or_create(&path).unwrap();
        first.lock().unwrap();
        let second = Place::open_or_create(&path).unwrap();
        assert!(matches!(second.lock(), Err(PlaceError::Locked(_))));
        drop(first);
        second.lock().unwrap();
    }
}
