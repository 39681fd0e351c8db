//! Puts decoys into an agent's home, from outside and before the agent runs. The agent may have made anything of its
//! home: nothing is followed out of it (`RESOLVE_BENEATH`, no links), and no file that is there is ever changed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, linkat, mkdirat, openat2,
    unlinkat,
};
use rustix::io::{Errno, Result};

/// What lies where a decoy should.
#[derive(Debug)]
pub(super) enum Found {
    /// The decoy, open for reading.
    Decoy(OwnedFd),
    /// Something that the agent has put there, or a way that it has closed.
    Other,
}

/// Opens the decoy at a path beneath a home, and makes it where there is nothing.
pub(super) fn plant(
    home: impl AsFd,
    path: &Path,
    contents: &[u8],
    owner: Option<(Uid, Gid)>,
) -> Result<Found> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let mut directory = open(&home, OsStr::new("."), DIRECTORY)?;
    for part in above.components() {
        let Component::Normal(part) = part else { return Err(Errno::INVAL) };
        directory = match enter(&directory, part, owner) {
            Err(errno) if is_agents_doing(errno) => return Ok(Found::Other),
            entered => entered?,
        };
    }
    match look(&directory, name, contents) {
        Err(Errno::NOENT) => {
            make(&directory, name, contents, owner)?;
            look(&directory, name, contents)
        }
        Err(errno) if is_agents_doing(errno) => Ok(Found::Other),
        found => found,
    }
}

/// A directory in a directory, made if there is none.
fn enter(above: &OwnedFd, name: &OsStr, owner: Option<(Uid, Gid)>) -> Result<OwnedFd> {
    match open(above, name, DIRECTORY) {
        Err(Errno::NOENT) => {
            mkdirat(above, name, Mode::RWXU)?;
            let made = open(above, name, DIRECTORY)?;
            give(&made, owner)?;
            Ok(made)
        }
        entered => entered,
    }
}

/// The decoy that is there, if it is one: byte for byte, so that the agent's own words stay its own.
fn look(directory: &OwnedFd, name: &OsStr, contents: &[u8]) -> Result<Found> {
    // Not to be held by a named pipe.
    let file = open(directory, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let stat = fstat(&file)?;
    let long = u64::try_from(stat.st_size).ok() == u64::try_from(contents.len()).ok();
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !long {
        return Ok(Found::Other);
    }
    let mut there = vec![0; contents.len()];
    let read = rustix::io::pread(&file, &mut there, 0)?;
    let same = read == contents.len() && there == contents;
    Ok(if same { Found::Decoy(file) } else { Found::Other })
}

/// Under its name only when it is whole: half a decoy, which a kill could leave, would be taken for a file of the agent's at the next
/// start.
fn make(directory: &OwnedFd, name: &OsStr, contents: &[u8], owner: Option<(Uid, Gid)>) -> Result<()> {
    match openat2(directory, ".", OFlags::WRONLY | OFlags::TMPFILE | ALWAYS, PRIVATE, WITHIN) {
        Ok(file) => {
            let file = fill(file, contents, owner)?;
            let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, nameless, directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        // Not every file system has files without a name: `open(2)`.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => make_in_place(directory, name, contents, owner),
        Err(errno) => Err(errno),
    }
}

fn make_in_place(
    directory: &OwnedFd,
    name: &OsStr,
    contents: &[u8],
    owner: Option<(Uid, Gid)>,
) -> Result<()> {
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = openat2(directory, name, new | ALWAYS, PRIVATE, WITHIN)?;
    match fill(file, contents, owner) {
        Ok(_whole) => Ok(()),
        Err(errno) => {
            unlinkat(directory, name, AtFlags::empty())?;
            Err(errno)
        }
    }
}

fn fill(file: OwnedFd, contents: &[u8], owner: Option<(Uid, Gid)>) -> Result<File> {
    give(&file, owner)?;
    let mut file = File::from(file);
    file.write_all(contents).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(file)
}

fn give(made: &OwnedFd, owner: Option<(Uid, Gid)>) -> Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    chownat(made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn open(above: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd> {
    openat2(above, name, flags | ALWAYS, Mode::empty(), WITHIN)
}

/// A link, a file for a directory, permissions taken away, a socket: what only the agent can have done to its home.
fn is_agents_doing(errno: Errno) -> bool {
    matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::ACCESS | Errno::NXIO)
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const WITHIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn planted(home: &Path, path: &str) -> Result<Found> {
        let opened = rustix::fs::open(home, OFlags::PATH, Mode::empty()).unwrap();
        plant(&opened, Path::new(path), b"decoy", None)
    }

    #[test]
    fn a_decoy_is_made_once_and_known_again() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(planted(home.path(), "a/b/key"), Ok(Found::Decoy(_))));
        let file = home.path().join("a/b/key");
        assert_eq!(fs::read(&file).unwrap(), b"decoy");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        assert!(matches!(planted(home.path(), "a/b/key"), Ok(Found::Decoy(_))));
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_decoy_has_its_name_only_once_it_is_whole() {
        use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
        let home = tempfile::tempdir().unwrap();
        let notices = init(CreateFlags::NONBLOCK).unwrap();
        add_watch(&notices, home.path(), WatchFlags::ALL_EVENTS).unwrap();
        assert!(matches!(planted(home.path(), "key"), Ok(Found::Decoy(_))));
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&notices, &mut room);
        let mut seen = ReadFlags::empty();
        while let Ok(event) = reader.next() {
            if event.file_name() == Some(c"key") {
                seen |= event.events();
            }
        }
        assert!(seen.contains(ReadFlags::CREATE) && !seen.contains(ReadFlags::MODIFY), "{seen:?}");
    }

    #[test]
    fn what_the_agent_has_put_there_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for (name, text) in [("other", "other"), ("longer", "decoy and more"), ("empty", "")] {
            fs::write(at(name), text).unwrap();
            assert!(matches!(planted(home.path(), name), Ok(Found::Other)), "{name}");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), text);
        }
        fs::create_dir(at("directory")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["directory", "pipe", "other/key"] {
            assert!(matches!(planted(home.path(), name), Ok(Found::Other)), "{name}");
        }
    }

    #[test]
    fn no_link_leads_out_of_the_home() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("file"), "decoy").unwrap();
        symlink(outside.path(), home.path().join("directory")).unwrap();
        symlink(outside.path().join("file"), home.path().join("file")).unwrap();
        symlink(outside.path().join("new"), home.path().join("dangling")).unwrap();
        for name in ["directory/key", "file", "dangling"] {
            assert!(matches!(planted(home.path(), name), Ok(Found::Other)), "{name}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(planted(home.path(), "../key").unwrap_err(), Errno::INVAL);
    }
}
