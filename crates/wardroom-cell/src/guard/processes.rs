//! The processes of a cell as far as they made themselves known: who they are, and when they end. Each is held by
//! a pidfd, so that a number that comes back is not mistaken for who had it before.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use wardroom_kernel::identity::{self, Link};
use wardroom_kernel::pidfd::Pidfd;
use wardroom_model::Event;
use wardroom_model::event::{Actor, ProcessExit, Program};

use super::exec::Announced;
use super::{Guard, GuardError, Trouble, number};
use crate::program;

/// Everyone known.
#[derive(Debug)]
pub(super) struct Processes {
    exits: OwnedFd,
    known: BTreeMap<u32, Process>,
    /// Threads other than their group's leader.
    threads: BTreeMap<u32, Thread>,
    trusted: Vec<Vec<u8>>,
    /// How many descriptors may be held for them: the keeper needs some for itself, whatever the agent does.
    budget: usize,
    beyond_budget: bool,
    /// Whether this kernel keeps a status for those who ask after the reaping. Then only the reaping is waited for.
    tells_status: bool,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    leader: Pid,
    pidfd: Pidfd,
    /// Its working directory, once one was asked for.
    directory: Option<Link>,
    /// As records show it.
    pub(super) actor: Actor,
    /// Execs on record whose image has not been seen yet.
    pub(super) announced: Vec<Announced>,
}

impl Process {
    /// Its number.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }
}

#[derive(Debug)]
struct Thread {
    process: Pid,
    held: Pidfd,
    directory: Option<Link>,
}

impl Processes {
    pub(super) fn new(trusted: Vec<PathBuf>) -> Result<Self, GuardError> {
        let exits = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|errno| GuardError::Kernel { what: "setting up the wait for exits", errno })?;
        let trusted = trusted.into_iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let most = descriptor_limit();
        let budget = most - RESERVED.min(most / 2);
        let (known, threads) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { exits, known, threads, trusted, budget, beyond_budget: false, tells_status: false })
    }

    /// Readable when somebody has ended.
    pub(super) fn exits(&self) -> BorrowedFd<'_> {
        self.exits.as_fd()
    }

    /// The process that a thread belongs to, made known if it was not.
    pub(super) fn of(&mut self, thread: Pid) -> Result<&mut Process, Trouble> {
        let leader = match self.leader(thread) {
            Some(leader) => leader,
            None => self.admit(thread)?,
        };
        self.known.get_mut(&number(leader)).ok_or(Trouble::Gone)
    }

    /// Where a thread stands now. The link to ask is opened once for whoever is known: should it turn out another's,
    /// because a number came back at this very moment, then the call is over and gets no record, and the end of who
    /// is known here is settled before the next call is looked at.
    pub(super) fn directory(&mut self, thread: Pid) -> rustix::io::Result<Vec<u8>> {
        let held = match self.known.get_mut(&number(thread)) {
            Some(process) => Some(&mut process.directory),
            None => self.threads.get_mut(&number(thread)).map(|thread| &mut thread.directory),
        };
        match held {
            Some(Some(link)) => link.read(),
            Some(none) => none.insert(Link::open(thread, "cwd")?).read(),
            None => identity::link(thread, "cwd"),
        }
    }

    /// A copy of a descriptor of a thread's. Before Linux 6.9 a thread cannot be held, and its process is asked: they differ
    /// only where a thread has descriptors of its own.
    pub(super) fn descriptor(
        &mut self,
        thread: Pid,
        fd: u32,
    ) -> Result<rustix::io::Result<OwnedFd>, Trouble> {
        let process = self.of(thread)?.leader;
        if let Some(thread) = self.threads.get(&number(thread)) {
            return Ok(thread.held.descriptor(fd));
        }
        if thread != process
            && let Ok(held) = Pidfd::thread(thread)
        {
            return Ok(held.descriptor(fd));
        }
        Ok(self.of(process)?.pidfd.descriptor(fd))
    }

    /// Whether one more can be held, with a link to its working directory.
    fn has_room(&self) -> bool {
        self.beyond_budget || 2 * (self.known.len() + self.threads.len()) + 2 <= self.budget
    }

    /// Lets who calls now be held beyond the budget: the operator's own commands are few.
    pub(super) fn permit_beyond_budget(&mut self, permitted: bool) {
        self.beyond_budget = permitted;
    }

    fn leader(&self, thread: Pid) -> Option<Pid> {
        if self.known.contains_key(&number(thread)) {
            return Some(thread);
        }
        let process = self.threads.get(&number(thread))?.process;
        self.known.contains_key(&number(process)).then_some(process)
    }

    fn admit(&mut self, thread: Pid) -> Result<Pid, Trouble> {
        if let Ok(pidfd) = Pidfd::process(thread) {
            self.admit_process(thread, pidfd, thread)?;
            return Ok(thread);
        }
        let held = Pidfd::thread(thread).ok();
        let told = held.as_ref().and_then(|held| held.info().ok()?.process);
        let process = match told {
            Some(process) => process,
            None => identity::process_of(thread).map_err(|errno| gone_or(errno, "finding a process"))?,
        };
        if !self.known.contains_key(&number(process)) {
            let pidfd = Pidfd::process(process).map_err(|error| {
                gone_or(Errno::from_io_error(&error).unwrap_or(Errno::IO), "holding a process")
            })?;
            self.admit_process(process, pidfd, thread)?;
        }
        // A thread that cannot be held is asked about again each time: its number could come back as another's.
        if let (Some(held), true) = (held, self.threads.len() < MAX_THREADS && self.has_room()) {
            self.watch(held.as_fd(), thread, EventFlags::IN)?;
            self.threads.insert(number(thread), Thread { process, held, directory: None });
        }
        Ok(process)
    }

    fn admit_process(&mut self, leader: Pid, pidfd: Pidfd, caller: Pid) -> Result<(), Trouble> {
        if !self.has_room() {
            return Err(Trouble::Unheld("holding another process", Errno::MFILE));
        }
        let program = self.program(caller)?;
        // Hanging up, which is always told, means reaped; readable means ended.
        let until = if self.tells_status { EventFlags::empty() } else { EventFlags::IN };
        self.watch(pidfd.as_fd(), leader, until)?;
        let actor = Actor { pid: number(leader), program };
        self.known
            .insert(number(leader), Process { leader, pidfd, directory: None, actor, announced: Vec::new() });
        Ok(())
    }

    fn watch(&self, fd: BorrowedFd<'_>, pid: Pid, until: EventFlags) -> Result<(), Trouble> {
        epoll::add(&self.exits, fd, EventData::new_u64(u64::from(number(pid))), until)
            .map_err(|errno| gone_or(errno, "watching a process"))
    }

    /// Ends the watch. Closing alone would not, while a child that this process forks still holds a copy.
    fn forget(&self, fd: BorrowedFd<'_>) -> Result<(), GuardError> {
        epoll::delete(&self.exits, fd)
            .map_err(|errno| GuardError::Kernel { what: "ending the watch of a process", errno })
    }

    /// The leaders of those whose announced image has not been seen yet.
    pub(super) fn unseen(&self) -> Vec<Pid> {
        self.known.values().filter(|known| !known.announced.is_empty()).map(Process::leader).collect()
    }

    /// The program a thread's process runs now, as seen inside the cell.
    pub(super) fn program(&self, thread: Pid) -> Result<Program, Trouble> {
        program::of(thread, &self.trusted).map_err(|errno| gone_or(errno, "reading a program's path"))
    }

    /// One process or thread that ended, if there is one: the process with its status, or nothing for a thread.
    fn next_exit(&mut self) -> Result<Option<Option<Ended>>, GuardError> {
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; 1];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = match epoll::wait(&self.exits, &mut space, Some(&at_once)) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => return Err(GuardError::Kernel { what: "waiting for exits", errno }),
        };
        let Some(event) = ready.first() else { return Ok(None) };
        let token = event.data.u64();
        let flags = event.flags;
        let reaped = flags.contains(EventFlags::HUP);
        let Ok(pid) = u32::try_from(token) else { return Ok(Some(None)) };
        if let Some(thread) = self.threads.remove(&pid) {
            self.forget(thread.held.as_fd())?;
            return Ok(Some(None));
        }
        let Some(process) = self.known.get(&pid) else { return Ok(Some(None)) };
        let info = process.pidfd.info();
        let status = info.as_ref().ok().and_then(|info| info.status);
        if !reaped && status.is_none() && info.is_ok() {
            // Ended and not yet reaped. A kernel that knows `PIDFD_GET_INFO` also tells of the reaping.
            let fd = process.pidfd.as_fd();
            epoll::modify(&self.exits, fd, EventData::new_u64(token), EventFlags::empty())
                .map_err(|errno| GuardError::Kernel { what: "waiting for a reaping", errno })?;
            return Ok(Some(None));
        }
        self.tells_status |= status.is_some();
        self.forget(process.pidfd.as_fd())?;
        Ok(Some(self.known.remove(&pid).map(|process| Ended { process, status })))
    }
}

/// A process that is over.
struct Ended {
    process: Process,
    status: Option<u32>,
}

impl Guard {
    /// Puts on record who has ended.
    pub(super) fn settle_exits(&mut self) -> Result<(), GuardError> {
        while let Some(ended) = self.processes.next_exit()? {
            if let Some(Ended { process, status }) = ended {
                self.record_exit(process, status)?;
            }
        }
        Ok(())
    }

    /// Once no process is left under the filter: waits a little for those that nobody has reaped yet. Whether all of them have ended.
    pub(super) fn settle_last_exits(&mut self) -> Result<bool, GuardError> {
        self.settle_exits()?;
        let began = clock_gettime(ClockId::Monotonic);
        while clock_gettime(ClockId::Monotonic).tv_sec - began.tv_sec < LAST_WAIT_SECONDS {
            if self.processes.known.is_empty() {
                return Ok(true);
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_NANOS };
            let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; 1];
            match epoll::wait(&self.processes.exits, &mut space, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(GuardError::Kernel { what: "waiting for the last exits", errno }),
            }
            self.settle_exits()?;
        }
        let mut all = true;
        for process in std::mem::take(&mut self.processes.known).into_values() {
            all &= has_ended(&process.pidfd);
            let status = process.pidfd.info().ok().and_then(|info| info.status);
            self.record_exit(process, status)?;
        }
        Ok(all)
    }

    fn record_exit(&mut self, process: Process, status: Option<u32>) -> Result<(), GuardError> {
        self.flush_refusals_of(process.actor.pid)?;
        let unseen = process.announced.into_iter().next_back().map(Announced::into_path);
        self.record(&Event::Exit(ProcessExit { actor: process.actor, status, unseen }))
    }
}

/// Whether a process has ended, reaped or not.
fn has_ended(pidfd: &Pidfd) -> bool {
    let mut set = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(&mut set, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

pub(super) fn gone_or(errno: Errno, what: &'static str) -> Trouble {
    match errno {
        Errno::SRCH | Errno::NOENT | Errno::INVAL => Trouble::Gone,
        // Too many to hold, or what else a caller may bring about: this call is refused, on record, and the guard goes on.
        errno => Trouble::Unheld(what, errno),
    }
}

/// How many descriptors this process may have.
pub(super) fn descriptor_limit() -> usize {
    usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
}

/// Descriptors that are for everything else in the keeper: at most 1,024 files of listeners, three for each of 256 connects that wait
/// and 512 that are out, and some hundred for itself. Where the limit is lower, half of it, and the others are fewer too.
const RESERVED: usize = 4096;
/// Threads held at once: more than a large JVM has. Beyond it each call of a thread costs one more question.
const MAX_THREADS: usize = 4096;
/// How long the last exits are waited for. Init's own reaping takes milliseconds, gigabytes of a process's memory take longer.
const LAST_WAIT_SECONDS: i64 = 5;
const LOOK_NANOS: i64 = 10_000_000;
