//! Reading a policy file as evidence of what the operator wants: only a regular file, only the operator's own, only of
//! sensible size, never through a symbolic link. And noticing when it changes.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::geteuid;
use wardroom_model::exit::Exit;

use crate::failure::{Failure, OrExit};

/// The largest policy that is read. The longest that a person wrote in testing had 9 KiB; a megabyte is a mistake.
const LARGEST: u64 = 1 << 20;

/// Reads a policy's text.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let missing = !path.exists() && path.symlink_metadata().is_err();
    if missing {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        return Err(Failure::new(
            Exit::NoSuchAgent,
            format!("there is no policy {}; make one with `wardroom new {name}`", path.display()),
        ));
    }
    read_checked(path)
        .with_context(|| format!("cannot use the policy {}", path.display()))
        .or_exit(Exit::Policy)
}

fn read_checked(path: &Path) -> anyhow::Result<String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits())?).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            bail!(
                "it is a symbolic link, and whoever can change the link could change the policy; put the file itself there"
            )
        }
        opened => opened?,
    };
    check(&file)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).context("it is not UTF-8 text")
}

/// The file is the operator's own, and nobody else could have written it.
fn check(file: &File) -> anyhow::Result<()> {
    let found = file.metadata()?;
    let me = geteuid().as_raw();
    ensure!(found.is_file(), "it is not a regular file");
    ensure!(found.len() <= LARGEST, "it has {} bytes, and a policy has at most {LARGEST}", found.len());
    ensure!(
        found.uid() == me || found.uid() == 0,
        "it belongs to user {}, neither to you nor to root",
        found.uid()
    );
    ensure!(
        found.mode() & 0o022 == 0,
        "others may write to it (mode {:o}); `chmod go-w` it",
        found.mode() & 0o777
    );
    Ok(())
}

/// Notices changes of a policy file, also when an editor replaces it.
#[derive(Debug)]
pub(super) struct Watch {
    notices: OwnedFd,
}

impl Watch {
    /// Watches the directory that the file is in.
    pub(super) fn on(path: &Path) -> anyhow::Result<Self> {
        let notices = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let directory = path.parent().context("a policy file lies in a directory")?;
        let changes = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::ATTRIB;
        inotify::add_watch(&notices, directory, changes)?;
        Ok(Self { notices })
    }

    /// Forgets the notices so far. Which file they were about does not matter: the text is compared anyway.
    pub(super) fn drain(&self) {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.notices, &mut space);
        while reader.next().is_ok() {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_policy_is_a_regular_file_of_the_operators_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "x = 1").unwrap();
        assert_eq!(read(&file).unwrap(), "x = 1");

        let link = dir.path().join("b.toml");
        symlink(&file, &link).unwrap();
        assert!(format!("{:?}", read(&link).unwrap_err()).contains("symbolic link"));

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(format!("{:?}", read(&file).unwrap_err()).contains("others may write"));
    }

    #[test]
    fn a_huge_policy_is_refused_without_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        File::create(&file).unwrap().set_len(100 << 20).unwrap();
        assert!(format!("{:?}", read(&file).unwrap_err()).contains("at most"));
    }
}
