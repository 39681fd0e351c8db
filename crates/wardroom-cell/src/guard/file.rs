//! Changes to the file system, and opens of sensitive paths: recorded as asked, then left to the walls.

use rustix::io::Errno;
use rustix::process::Pid;
use wardroom_kernel::notify::{Notification, Reply};
use wardroom_kernel::{identity, remote};
use wardroom_model::event::{FileAct, FileOp};
use wardroom_model::{Captured, Event, Reason, Verdict};

use super::exec::own_link;
use super::place::{AT_FDCWD, absolute_from, low};
use super::processes::Processes;
use super::shape::{Act, Place, Shape};
use super::{Guard, Trouble};

/// What an open or another act is, once its flags are known. No operation: an open for reading only.
struct Meaning {
    op: Option<FileOp>,
    mode: Option<u32>,
}

/// All that a call says, its places absolute.
struct Said {
    meaning: Meaning,
    path: Vec<u8>,
    other: Option<Vec<u8>>,
}

impl Guard {
    /// A call that changes the file system, or opens.
    pub(super) fn file(&mut self, call: &Notification) -> Result<Reply, Trouble> {
        let shape = usize::try_from(call.call).ok().and_then(|at| self.shapes.get(at)).copied().flatten();
        let Some(shape) = shape else {
            return self.refuse(call, Errno::PERM, "make a call that the guard cannot put on record");
        };
        match read(call, shape, &mut self.processes) {
            Ok(Said { meaning: Meaning { op, mode }, path, other }) => {
                let sensitive = self.sensitive.contains(&path)
                    || other.as_ref().is_some_and(|other| self.sensitive.contains(other));
                let op = match op {
                    Some(op) => op,
                    None if sensitive => FileOp::ReadSensitive,
                    None => return Ok(Reply::Continue),
                };
                let mut verdict = Verdict::observed();
                if sensitive {
                    verdict.reason = Reason::SensitivePath;
                }
                let actor = self.settled(call.thread)?.actor.clone();
                let (path, other) = (Captured::path(&path), other.map(|other| Captured::path(&other)));
                let act = FileAct { actor, op, path, other, mode, verdict };
                self.record_for(call, &Event::File(act))?;
                Ok(Reply::Continue)
            }
            Err(Trouble::Unreadable(errno)) => {
                let actor = self.settled(call.thread)?.actor.clone();
                let op = match shape.act {
                    Act::Is(op) => op,
                    Act::Open(_) => FileOp::OpenWrite,
                };
                let verdict = Verdict::refused(Reason::Malformed("a path that cannot be read".to_owned()));
                let act = FileAct { actor, op, path: Captured::path(b""), other: None, mode: None, verdict };
                self.record_for(call, &Event::File(act))?;
                Ok(Reply::Errno(errno))
            }
            Err(other) => Err(other),
        }
    }
}

/// What the relative paths of one call begin at. The working directory is asked for once, and only if it is needed.
struct Bases<'a> {
    thread: Pid,
    processes: &'a mut Processes,
    here: Option<Vec<u8>>,
}

impl Bases<'_> {
    fn of(&mut self, directory: u32) -> rustix::io::Result<Vec<u8>> {
        match (directory, &self.here) {
            (AT_FDCWD, Some(here)) => Ok(here.clone()),
            (AT_FDCWD, None) => {
                let here = self.processes.directory(self.thread)?;
                self.here = Some(here.clone());
                Ok(here)
            }
            (fd, _) => identity::descriptor(self.thread, fd),
        }
    }
}

/// Reads all that a call says, absolute where it names a place.
fn read(call: &Notification, shape: Shape, processes: &mut Processes) -> Result<Said, Trouble> {
    let argument = |at: usize| call.arguments.get(at).copied().unwrap_or_default();
    let mode = shape.mode.map(|at| low(argument(at)) & MODE_BITS);
    let meaning = match shape.act {
        Act::Is(op) => Meaning { op: Some(op), mode },
        Act::Open(flags) => opened(low(argument(flags)), mode),
    };
    let pointer = |place: Place| match place {
        Place::Path(at) | Place::At(_, at) | Place::Text(at) => Some(argument(at)),
        Place::Descriptor(_) => None,
    };
    let mut bases = Bases { thread: call.thread, processes, here: None };
    let mut resolve = |place: Place, text: Vec<u8>| match place {
        Place::Path(_) => absolute_from(text, || bases.of(AT_FDCWD)),
        Place::At(directory, _) => absolute_from(text, || bases.of(low(argument(directory)))),
        Place::Descriptor(at) => Ok(identity::descriptor(call.thread, low(argument(at))).unwrap_or_default()),
        Place::Text(_) => Ok(text),
    };
    let (path, other) = match (pointer(shape.place), shape.other.and_then(pointer)) {
        (Some(path), Some(other)) => {
            let [path, other] = remote::c_strings(call.thread, [path, other])?;
            (path, Some(other))
        }
        (Some(path), None) => (remote::c_string(call.thread, path)?, None),
        (None, _) => (Vec::new(), None),
    };
    let other = shape.other.zip(other).map(|(place, text)| resolve(place, text)).transpose()?;
    let path = resolve(shape.place, path)?;
    let other = other.or_else(|| behind(call.thread, &path));
    Ok(Said { meaning, path, other })
}

/// What a path through one of the caller's own descriptors leads to: the file that a reopened one is.
fn behind(thread: Pid, path: &[u8]) -> Option<Vec<u8>> {
    let own = path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/");
    identity::link(thread, &own.then(|| own_link(path)).flatten()?).ok()
}

/// What an open with these flags may do.
fn opened(flags: u32, mode: Option<u32>) -> Meaning {
    let op = if flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE {
        Some(FileOp::Create)
    } else if flags & O_TRUNC != 0 {
        Some(FileOp::Truncate)
    } else if flags & O_ACCMODE != 0 {
        Some(FileOp::OpenWrite)
    } else {
        None
    };
    Meaning { op, mode: mode.filter(|_| op == Some(FileOp::Create)) }
}

// Flags of open(2); those that matter here are the same on both architectures but `O_DIRECTORY`, which `O_TMPFILE`
// contains and which is left out of it here.
const O_ACCMODE: u32 = 0o3;
const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1000;
const O_TMPFILE: u32 = 0o20_000_000;
/// Type and permission bits of a mode.
const MODE_BITS: u32 = 0o177_777;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_is_named_by_the_strongest_of_its_flags() {
        let op = |flags| opened(flags, Some(0o644)).op;
        assert_eq!(op(0o101), Some(FileOp::Create));
        assert_eq!(op(0o1101), Some(FileOp::Create));
        assert_eq!(op(0o1001), Some(FileOp::Truncate));
        assert_eq!(op(0o1), Some(FileOp::OpenWrite));
        assert_eq!(op(0o2), Some(FileOp::OpenWrite));
        assert_eq!(op(0o20_200_002), Some(FileOp::Create));
        assert_eq!(op(0o2_000_000), None);
        assert_eq!(opened(0o1, Some(0o644)).mode, None);
    }
}
