//! Programs: what is about to be executed, and then, by the kernel's own word, what was.
//!
//! The path of an exec can be changed by another thread after it was read. So it is only announced: at the first
//! call that every fresh image makes, or failing that at its next audited call, the guard asks the kernel which file
//! the process runs, and records it. A file other than the announced one is a record that says so.

use rustix::io::Errno;
use rustix::process::Pid;
use wardroom_kernel::identity::{self, FileId};
use wardroom_kernel::notify::{Notification, Reply};
use wardroom_kernel::remote;
use wardroom_model::event::{Exec, Image};
use wardroom_model::{Captured, Event, Outcome, Reason, Verdict};

use crate::announce::{Announcement, Tag};

use super::place::{AT_FDCWD, absolute, low};
use super::processes::Process;
use super::{Guard, GuardError, Trouble};

/// An exec on record whose image has not been seen yet.
#[derive(Debug)]
pub(super) struct Announced {
    thread: Pid,
    path: Captured,
    file: Expected,
    /// The image before it.
    before: Option<FileId>,
    /// The keeper asked for it.
    asked: Option<Tag>,
}

impl Announced {
    /// What was announced.
    pub(super) fn into_path(self) -> Captured {
        self.path
    }
}

/// What the kernel will load, if nobody changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// This file.
    File(FileId),
    /// Nothing: there is no such file.
    Absent,
    /// The guard cannot tell; what is loaded is recorded all the same.
    Unknown,
}

/// What an exec says of itself.
struct Wanted {
    given: Vec<u8>,
    path: Vec<u8>,
    arguments: Vec<u8>,
}

impl Guard {
    /// The process of a thread, its image settled if an exec of it was announced.
    pub(super) fn settled(&mut self, thread: Pid) -> Result<&Process, Trouble> {
        if !self.processes.of(thread)?.announced.is_empty() {
            self.settle(thread, false)?;
        }
        self.processes.of(thread).map(|process| &*process)
    }

    /// The first call of a fresh image.
    pub(super) fn first_call(&mut self, call: &Notification) -> Result<Reply, Trouble> {
        if !self.processes.of(call.thread)?.announced.is_empty() {
            self.settle(call.thread, true)?;
        }
        Ok(Reply::Continue)
    }

    /// An exec: announced on record, then continued.
    pub(super) fn exec(&mut self, call: &Notification) -> Result<Reply, Trouble> {
        let name = self.filter.name(call.call).unwrap_or_default();
        let asked = self.asked_by_keeper(name, call);
        self.processes.permit_beyond_budget(asked.is_some());
        let settled = self.settled(call.thread).map(|process| process.actor.clone());
        self.processes.permit_beyond_budget(false);
        let actor = settled?;
        let mut event = Exec {
            actor,
            path: Captured::path(b""),
            arguments: Captured::path(b""),
            directory: Captured::path(&identity::link(call.thread, "cwd").unwrap_or_default()),
            interpreter: None,
            verdict: Verdict::observed(),
        };
        let wanted = match wanted(name, call) {
            Ok(wanted) => wanted,
            Err(Trouble::Unreadable(Errno::PERM)) if let Some(asked) = &asked => {
                return self.first_exec(call, event, asked);
            }
            Err(Trouble::Unreadable(errno)) => {
                event.verdict =
                    Verdict::refused(Reason::Malformed("a path or arguments that cannot be read".to_owned()));
                self.record_for(call, &Event::Exec(event))?;
                return Ok(Reply::Errno(errno));
            }
            Err(other) => return Err(other),
        };
        let (file, interpreter) = self.expect(call, &wanted.path);
        if file == Expected::Absent {
            event.verdict.outcome = Outcome::Failed;
        }
        event.path = Captured::path(&wanted.given);
        event.arguments = Captured::cut(&wanted.arguments, ARGUMENTS);
        event.interpreter = interpreter.map(|path| Captured::path(&path));
        self.record_for(call, &Event::Exec(event))?;

        let before = identity::file(call.thread, "exe").ok();
        let path = Captured::path(&wanted.path);
        let asked = asked.map(|asked| asked.tag);
        let announced = Announced { thread: call.thread, path, file, before, asked };
        let process = self.processes.of(call.thread)?;
        if process.announced.len() >= MAX_ANNOUNCED {
            return Ok(Reply::Errno(Errno::AGAIN)); // on record, and not continued
        }
        process.announced.push(announced);
        self.refusals.set_timer_once()?;
        Ok(Reply::Continue)
    }

    /// Looks for images that made no call that the guard hears: a program without a libc need not make any.
    pub(super) fn look_again(&mut self) -> Result<(), GuardError> {
        for leader in self.processes.unseen() {
            // Who is gone or cannot be read leaves it in the record of its end.
            let Ok(image) = identity::file(leader, "exe") else { continue };
            let Ok(process) = self.processes.of(leader) else { continue };
            // One that still runs what it ran may be on its way: its exec has neither failed nor succeeded yet.
            if process.announced.iter().all(|announced| announced.before == Some(image)) {
                continue;
            }
            match self.settle(leader, false) {
                Ok(()) | Err(Trouble::Gone | Trouble::Unreadable(_) | Trouble::Unheld(..)) => {}
                Err(Trouble::Fatal(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the keeper asked init to start with this call, if that is what it is.
    fn asked_by_keeper(&self, name: &str, call: &Notification) -> Option<Announcement> {
        let [_, _, _, tag, ..] = call.arguments;
        (name == "execve").then(|| self.announcements.get(tag)).flatten()
    }

    /// The first exec of a program that the keeper asked for: on record as it was asked for, then continued.
    fn first_exec(
        &mut self,
        call: &Notification,
        mut event: Exec,
        asked: &Announcement,
    ) -> Result<Reply, Trouble> {
        let path = Captured::path(asked.argv.first().map_or(&[][..], Vec::as_slice));
        event.path = path.clone();
        let words: Vec<u8> =
            asked.argv.iter().flat_map(|word| [word.as_slice(), b"\0"]).flatten().copied().collect();
        event.arguments = Captured::cut(&words, ARGUMENTS);
        event.directory = Captured::path(asked.directory.as_os_str().as_encoded_bytes());
        self.record_for(call, &Event::Exec(event))?;
        let (file, before, asked) = (Expected::Unknown, None, Some(asked.tag));
        let announced = Announced { thread: call.thread, path, file, before, asked };
        self.processes.of(call.thread)?.announced.push(announced);
        Ok(Reply::Continue)
    }

    /// Asks the kernel what a process runs, after execs that were announced.
    fn settle(&mut self, thread: Pid, first_call: bool) -> Result<(), Trouble> {
        let process = self.processes.of(thread)?;
        let leader = process.leader();
        // Of a leader that has ended nothing can be read while other threads go on.
        let image = identity::file(thread, "exe").map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => Trouble::Gone,
            _ => Trouble::Unreadable(Errno::PERM),
        })?;
        let changed = process.announced.iter().any(|announced| announced.before != Some(image));
        let expected = process.announced.iter().any(|announced| announced.file == Expected::File(image));
        let loaded_itself = first_call && expected && thread == leader;
        if !changed && !loaded_itself {
            // This thread is back with the image it had: its own execs failed. Those of others may still be on
            // their way.
            process.announced.retain(|announced| announced.thread != thread);
            return Ok(());
        }
        let program = self.processes.program(thread)?;
        let process = self.processes.of(thread)?;
        process.actor.program = program;
        let announced = std::mem::take(&mut process.announced);
        announced.iter().filter_map(|announced| announced.asked).for_each(|tag| self.announcements.seen(tag));
        let unknown = announced.iter().any(|announced| announced.file == Expected::Unknown);
        let other = if expected || unknown { None } else { announced.into_iter().next_back() };
        let event = Image {
            actor: process.actor.clone(),
            device: image.device,
            inode: image.inode,
            announced: other.map(|announced| announced.path),
        };
        Ok(self.record(&Event::Image(event))?)
    }

    /// What the kernel will load for this path, and the interpreter where it is a script.
    fn expect(&mut self, call: &Notification, path: &[u8]) -> (Expected, Option<Vec<u8>>) {
        let thread = call.thread;
        if let Some(link) = own_link(path) {
            return (identity::file(thread, &link).map_or(Expected::Unknown, Expected::File), None);
        }
        self.learn_root(call);
        let Some(root) = &self.root else { return (Expected::Unknown, None) };
        let mut first = None;
        let mut path = path.to_vec();
        for _ in 0..INTERPRETERS {
            let mut head = [0_u8; HEAD];
            let (file, got) = match identity::look(root, &path, &mut head) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::NOTDIR) if identity::is_absent(root, &path) => {
                    return (Expected::Absent, first);
                }
                Err(_) => return (Expected::Unknown, first),
            };
            let Some(interpreter) = interpreter(head.get(..got).unwrap_or_default()) else {
                return (Expected::File(file), first);
            };
            first.get_or_insert_with(|| interpreter.clone());
            let Ok(next) = absolute(thread, u64::from(AT_FDCWD), interpreter) else {
                return (Expected::Unknown, first);
            };
            path = next;
        }
        (Expected::Unknown, first)
    }
}

fn wanted(name: &str, call: &Notification) -> Result<Wanted, Trouble> {
    let [first, second, third, _, flags, _] = call.arguments;
    let (directory, path, vector) = match name {
        "execve" => (u64::from(AT_FDCWD), first, second),
        _ => (first, second, third),
    };
    let given = remote::c_string(call.thread, path)?;
    let arguments = remote::arguments(call.thread, vector).map_err(|error| match error {
        remote::RemoteError::TooLong(_) => Trouble::Unreadable(Errno::TOOBIG),
        error @ (remote::RemoteError::Unreadable(_) | remote::RemoteError::Kernel(_)) => Trouble::from(error),
    })?;
    if name == "execveat" && given.is_empty() && low(flags) & AT_EMPTY_PATH != 0 {
        let given = identity::descriptor(call.thread, low(directory)).unwrap_or_default();
        return Ok(Wanted {
            given,
            path: format!("/proc/self/fd/{}", low(directory)).into_bytes(),
            arguments,
        });
    }
    let path = absolute(call.thread, directory, given.clone())?;
    Ok(Wanted { given, path, arguments })
}

/// A path that leads through the process's own links: `/proc/self/exe`, `/proc/self/fd/3`, `/dev/fd/3`.
pub(super) fn own_link(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let link = ["/proc/self/", "/proc/thread-self/"].iter().find_map(|start| text.strip_prefix(start));
    let link = link.map(str::to_owned).or_else(|| Some(format!("fd/{}", text.strip_prefix("/dev/fd/")?)))?;
    let number = link.strip_prefix("fd/").is_some_and(|fd| fd.parse::<u32>().is_ok());
    (number || link == "exe").then_some(link)
}

/// The interpreter that the first line of a script names, as the kernel reads it.
fn interpreter(head: &[u8]) -> Option<Vec<u8>> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let path = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
    Some(path.to_vec())
}

const AT_EMPTY_PATH: u32 = 0x1000;
/// What is kept of an argument list; of a longer one the digest of the whole. A compiler's call fits.
const ARGUMENTS: usize = 16 << 10;
/// `BINPRM_BUF_SIZE`: what the kernel looks at to find an interpreter.
const HEAD: usize = 256;
/// The kernel follows four interpreters before it gives up.
const INTERPRETERS: usize = 5;
/// Threads of one process that exec at the same time: only one of them can win.
const MAX_ANNOUNCED: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_as_the_kernel_reads_it() {
        assert_eq!(interpreter(b"#!/bin/sh\nexit"), Some(b"/bin/sh".to_vec()));
        assert_eq!(interpreter(b"#! \t/usr/bin/env python3 -u\n"), Some(b"/usr/bin/env".to_vec()));
        assert_eq!(interpreter(b"#!/bin/sh"), Some(b"/bin/sh".to_vec()));
        for none in [&b""[..], b"#", b"#!", b"#!\n", b"#! \n/bin/sh", b"\x7fELF", b" #!/bin/sh"] {
            assert_eq!(interpreter(none), None, "{none:?}");
        }
    }

    #[test]
    fn own_links_are_told_from_paths() {
        assert_eq!(own_link(b"/proc/self/fd/3").as_deref(), Some("fd/3"));
        assert_eq!(own_link(b"/dev/fd/12").as_deref(), Some("fd/12"));
        assert_eq!(own_link(b"/proc/self/exe").as_deref(), Some("exe"));
        for none in
            [&b"/proc/self/fd/3/x"[..], b"/proc/self/root/bin/sh", b"/proc/self/fd/", b"/bin/sh", b"exe"]
        {
            assert_eq!(own_link(none), None, "{none:?}");
        }
    }
}
