//! Reading a policy file as evidence of what the operator wants: only a regular file, only the operator's own, only of
//! sensible size, never through a symbolic link. And noticing when it changes.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use wardroom_model::exit::Exit;

use crate::called::wardroom;
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
            format!("there is no policy {}; make one with `{} new {name}`", path.display(), wardroom()),
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

/// How often the file is looked at. What was found has to be found again, so that a text half written is not read: a
/// change is noticed after two looks, and decides within the promised second.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// Notices changes of a policy file, also when an editor replaces it.
///
/// By looking, not by inotify(7): the kernel takes 10 to 16 ms to let go of an inotify descriptor, which every run would
/// wait for at its end.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    clock: OwnedFd,
    answered: Option<Look>,
    found: Option<Look>,
}

/// What tells one state of a file from another: device, inode, length, and the times of content and inode.
type Look = (u64, u64, u64, (i64, i64), (i64, i64));

fn look(path: &Path) -> Option<Look> {
    let found = path.symlink_metadata().ok()?;
    let content = (found.mtime(), found.mtime_nsec());
    Some((found.dev(), found.ino(), found.len(), content, (found.ctime(), found.ctime_nsec())))
}

impl Watch {
    /// Watches a file. The first look answers, too: the file may have changed since it was read.
    pub(super) fn on(path: &Path) -> anyhow::Result<Self> {
        let clock =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC.union(TimerfdFlags::NONBLOCK))?;
        let every = Itimerspec { it_interval: LOOK, it_value: LOOK };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &every)?;
        Ok(Self { path: path.to_owned(), clock, answered: None, found: None })
    }

    /// Takes another look. True, once, when the file is another than before and has come to rest.
    pub(super) fn changed(&mut self) -> bool {
        // How many looks were missed does not matter; that there is none to take is no error.
        let _missed = rustix::io::read(&self.clock, &mut [0; 8]);
        let now = look(&self.path);
        let at_rest = std::mem::replace(&mut self.found, now) == now;
        at_rest && std::mem::replace(&mut self.answered, now) != now
    }

    /// Has the next look answer again: what was found could not be read.
    pub(super) fn look_again(&mut self) {
        self.answered = None;
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.clock.as_fd()
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

    #[test]
    fn a_change_is_noticed_once_when_it_has_come_to_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "x = 1").unwrap();
        let mut watch = Watch::on(&file).unwrap();
        assert_eq!([watch.changed(), watch.changed(), watch.changed()], [false, true, false]);

        std::fs::write(&file, "x = 12").unwrap();
        assert!(!watch.changed(), "it may be half written");
        std::fs::write(&file, "x = 123").unwrap();
        assert_eq!([watch.changed(), watch.changed(), watch.changed()], [false, true, false]);

        let other = dir.path().join("other");
        std::fs::write(&other, "x = 123").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!([watch.changed(), watch.changed(), watch.changed()], [false, true, false]);

        watch.look_again();
        assert_eq!([watch.changed(), watch.changed()], [true, false]);

        std::fs::remove_file(&file).unwrap();
        assert_eq!([watch.changed(), watch.changed(), watch.changed()], [false, true, false]);
    }
}
