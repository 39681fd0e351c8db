//! Programs: what is about to be executed, and then, by the kernel's own word, what was.
//!
//! The path of an exec can be changed by another thread after it was read. So it is only announced: at the first
//! call that every fresh image makes, or failing that at its next audited call, the guard asks the kernel which file
//! the process runs, and with which arguments, and records it. What is other than announced is on that record. The arguments are
//! the kernel's own copy as long as nothing of the program's own has run, which is so at the first call: the loader makes it.

use rustix::io::Errno;
use rustix::process::Pid;
use wardroom_kernel::identity::{self, FileId, Loaded};
use wardroom_kernel::notify::{Notification, Reply};
use wardroom_kernel::remote;
use wardroom_model::event::{Exec, Image};
use wardroom_model::{Captured, Event, Outcome, Reason, Verdict};

use crate::announce::{Announcement, Tag};

use super::place::{AT_FDCWD, absolute, low};
use super::processes::{Process, gone_or};
use super::script::{HEAD, Interpreter, interpreter, of_script};
use super::{Guard, GuardError, Trouble};

/// An exec on record whose image has not been seen yet.
#[derive(Debug)]
pub(super) struct Announced {
    thread: Pid,
    path: Captured,
    expected: Expected,
    /// The digest of the arguments that this leads to; none where nobody can change them on their way.
    arguments: Option<Captured>,
    /// The image before it.
    before: Option<Loaded>,
    /// The keeper asked for it.
    asked: Option<Tag>,
}

impl Announced {
    /// What was announced.
    pub(super) fn into_path(self) -> Captured {
        self.path
    }

    /// Whether it may lead to this file.
    fn leads_to(&self, file: FileId) -> bool {
        match self.expected {
            Expected::File(expected) => expected == file,
            Expected::Unknown => true,
            Expected::Absent => false,
        }
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
    /// What the kernel tells the interpreter of a script to read.
    script: Vec<u8>,
    arguments: Vec<u8>,
}

/// What comes of it, if nobody changes anything.
struct Expectation {
    file: Expected,
    /// Of a script, the first that is named.
    interpreter: Option<Vec<u8>>,
    arguments: Vec<u8>,
}

impl Guard {
    /// The process of a thread, its image settled if an exec of it was announced.
    pub(super) fn settled(&mut self, thread: Pid) -> Result<&Process, Trouble> {
        if !self.processes.of(thread)?.announced.is_empty() {
            self.settle(thread)?;
        }
        self.processes.of(thread).map(|process| &*process)
    }

    /// The first call of a fresh image.
    pub(super) fn first_call(&mut self, call: &Notification) -> Result<Reply, Trouble> {
        if !self.processes.of(call.thread)?.announced.is_empty() {
            self.settle(call.thread)?;
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
        let Expectation { file: expected, interpreter, arguments } = self.expect(call, &wanted);
        if expected == Expected::Absent {
            event.verdict.outcome = Outcome::Failed;
        }
        event.path = Captured::path(&wanted.given);
        event.arguments = Captured::cut(&wanted.arguments, ARGUMENTS);
        event.interpreter = interpreter.map(|path| Captured::path(&path));
        self.record_for(call, &Event::Exec(event))?;

        let process = self.processes.of(call.thread)?;
        if process.announced.len() >= MAX_ANNOUNCED {
            return Ok(Reply::Errno(Errno::AGAIN)); // on record, and not continued
        }
        process.announced.push(Announced {
            thread: call.thread,
            path: Captured::path(&wanted.path),
            expected,
            arguments: Some(digest(&arguments)),
            before: identity::loaded(call.thread).ok(),
            asked: asked.map(|asked| asked.tag),
        });
        self.refusals.set_timer_once()?;
        Ok(Reply::Continue)
    }

    /// Looks for images that made no call that the guard hears: a program without a libc need not make any.
    pub(super) fn look_again(&mut self) -> Result<(), GuardError> {
        for leader in self.processes.unseen() {
            // Who is gone or cannot be read leaves it in the record of its end.
            let Ok(image) = identity::loaded(leader) else { continue };
            let Ok(process) = self.processes.of(leader) else { continue };
            // One that still runs what it ran may be on its way: its exec has neither failed nor succeeded yet.
            if process.announced.iter().all(|announced| announced.before == Some(image)) {
                continue;
            }
            match self.settle(leader) {
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
        self.processes.of(call.thread)?.announced.push(Announced {
            thread: call.thread,
            path,
            expected: Expected::Unknown,
            arguments: None,
            before: None,
            asked: Some(asked.tag),
        });
        Ok(Reply::Continue)
    }

    /// Asks the kernel what a process runs, after execs that were announced.
    fn settle(&mut self, thread: Pid) -> Result<(), Trouble> {
        let image = loaded(thread)?;
        let process = self.processes.of(thread)?;
        if process.announced.iter().all(|announced| announced.before == Some(image)) {
            // This thread is back with the image it had: its own execs failed. Those of others may still be on
            // their way.
            process.announced.retain(|announced| announced.thread != thread);
            return Ok(());
        }
        let found =
            identity::command_line(thread).map_err(|errno| gone_or(errno, "reading its arguments"))?;
        if loaded(thread)? != image {
            return Err(Trouble::Gone); // another thread's exec has ended this one
        }
        let program = self.processes.program(thread)?;
        let process = self.processes.of(thread)?;
        process.actor.program = program;
        let actor = process.actor.clone();
        let announced = std::mem::take(&mut process.announced);
        announced.iter().filter_map(|announced| announced.asked).for_each(|tag| self.announcements.seen(tag));
        let (told, others): (Vec<_>, Vec<_>) =
            announced.into_iter().partition(|announced| announced.leads_to(image.file));
        let same = digest(&found);
        let candidates = if told.is_empty() { &others } else { &told };
        let as_announced = candidates
            .iter()
            .any(|announced| announced.arguments.as_ref().is_none_or(|arguments| *arguments == same));
        let other = if told.is_empty() { others.into_iter().next_back() } else { None };
        let event = Image {
            actor,
            device: image.file.device,
            inode: image.file.inode,
            announced: other.map(Announced::into_path),
            arguments: (!as_announced).then(|| Captured::cut(&found, ARGUMENTS)),
        };
        Ok(self.record(&Event::Image(event))?)
    }

    /// What the kernel will load for this exec, and the interpreter where it is a script.
    fn expect(&mut self, call: &Notification, wanted: &Wanted) -> Expectation {
        let arguments = wanted.arguments.clone();
        let mut expectation = Expectation { file: Expected::Unknown, interpreter: None, arguments };
        if let Some(link) = own_link(&wanted.path) {
            expectation.file = identity::file(call.thread, &link).map_or(Expected::Unknown, Expected::File);
            return expectation;
        }
        self.learn_root(call);
        let Some(root) = &self.root else { return expectation };
        let (mut path, mut script) = (wanted.path.clone(), wanted.script.clone());
        for _ in 0..INTERPRETERS {
            let mut head = [0_u8; HEAD];
            let file = match identity::look(root, &path, &mut head) {
                Ok((file, _got)) => file,
                Err(Errno::NOENT | Errno::NOTDIR) if identity::is_absent(root, &path) => {
                    expectation.file = Expected::Absent;
                    return expectation;
                }
                Err(_) => return expectation,
            };
            let Some(Interpreter { name, argument }) = interpreter(&head) else {
                expectation.file = Expected::File(file);
                return expectation;
            };
            expectation.arguments = of_script(name, argument, &script, &expectation.arguments);
            expectation.interpreter.get_or_insert_with(|| name.to_vec());
            let Ok(next) = absolute(call.thread, u64::from(AT_FDCWD), name.to_vec()) else {
                return expectation;
            };
            (path, script) = (next, name.to_vec());
        }
        expectation
    }
}

/// The program that a thread runs. Of a leader that has ended nothing can be read while other threads go on.
fn loaded(thread: Pid) -> Result<Loaded, Trouble> {
    identity::loaded(thread).map_err(|errno| match errno {
        Errno::NOENT | Errno::SRCH => Trouble::Gone,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Trouble::Unheld("reading its image", errno),
        _ => Trouble::Unreadable(Errno::PERM),
    })
}

/// What arguments of any length are compared by. Of an empty list the kernel makes one with an empty word (Linux 5.18).
fn digest(arguments: &[u8]) -> Captured {
    Captured::cut(if arguments.is_empty() { b"\0" } else { arguments }, 0)
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
        let [path, script] =
            ["/proc/self", "/dev"].map(|of| format!("{of}/fd/{}", low(directory)).into_bytes());
        return Ok(Wanted { given, path, script, arguments });
    }
    let script = match (low(directory), given.first()) {
        (AT_FDCWD, _) | (_, Some(b'/')) => given.clone(),
        (fd, _) => [format!("/dev/fd/{fd}/").as_bytes(), &given].concat(),
    };
    let path = absolute(call.thread, directory, given.clone())?;
    Ok(Wanted { given, path, script, arguments })
}

/// A path that leads through the process's own links: `/proc/self/exe`, `/proc/self/fd/3`, `/dev/fd/3`.
pub(super) fn own_link(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let link = ["/proc/self/", "/proc/thread-self/"].iter().find_map(|start| text.strip_prefix(start));
    let link = link.map(str::to_owned).or_else(|| Some(format!("fd/{}", text.strip_prefix("/dev/fd/")?)))?;
    let number = link.strip_prefix("fd/").is_some_and(|fd| fd.parse::<u32>().is_ok());
    (number || link == "exe").then_some(link)
}

const AT_EMPTY_PATH: u32 = 0x1000;
/// What is kept of an argument list; of a longer one the digest of the whole. A compiler's call fits.
const ARGUMENTS: usize = 16 << 10;
/// The kernel follows four interpreters before it gives up.
const INTERPRETERS: usize = 5;
/// Threads of one process that exec at the same time: only one of them can win.
const MAX_ANNOUNCED: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

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
