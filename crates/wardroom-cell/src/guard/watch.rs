//! Who waits for what. One thread only answers calls: it sleeps in the kernel's own wait for the next one, so that
//! the synchronous wake-up of a listener (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`) puts it on the caller's processor and
//! nothing else has to be asked first. Measured, a `poll(2)` before each call costs 1.6 microseconds, and an epoll
//! instance in between loses that wake-up, which costs 40. The other thread waits for everything else: a timer,
//! processes that ended, the end. What both work on lies on one desk, for one of them at a time.
//!
//! What the answering thread does for a caller outside of that desk, a connect, should not wait; a caller that changes its
//! socket meanwhile can have it wait all the same. Then another thread answers in its stead.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use wardroom_kernel::notify::Listener;

use super::connect::Errand;
use super::errands::Errands;
use super::{Guard, GuardEnd, GuardError};

/// Starts the answering thread, and watches over everything else until the guard's end.
pub(super) fn run(guard: Guard, stop: BorrowedFd<'_>) -> Result<GuardEnd, GuardError> {
    let copy = |fd: BorrowedFd<'_>| {
        fd.try_clone_to_owned().map_err(|error| GuardError::Kernel {
            what: "copying a descriptor",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
        })
    };
    let errands = Arc::new(Errands::new()?);
    let sources = Sources {
        listener: Arc::clone(&guard.listener),
        timer: copy(guard.refusals.timer())?,
        exits: copy(guard.processes.exits())?,
        errands,
    };
    let desk = Arc::new(Desk { turn: Mutex::default(), guard: Mutex::new(Some(guard)) });
    let end = sources.watch(&desk, stop);
    // Whatever happened: nothing is answered after this.
    drop(desk.close()?);
    end
}

/// The thread that answers. It is not waited for where the guard is stopped: it may sleep until the next call,
/// finds the desk closed then, and with it goes the last hold on the listener.
struct Answering {
    thread: JoinHandle<Result<(), GuardError>>,
    /// Hangs up when it has ended.
    ended: OwnedFd,
}

impl Answering {
    fn start(sources: &Sources, desk: &Arc<Desk>) -> Result<Self, GuardError> {
        let (ended, alive) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| GuardError::Kernel { what: "making a pipe", errno })?;
        let (listener, errands) = (Arc::clone(&sources.listener), Arc::clone(&sources.errands));
        let desk = Arc::clone(desk);
        let body = move || {
            let end = answer_calls(&listener, &desk, &errands);
            drop(alive);
            end
        };
        let thread =
            thread::Builder::new().name("guard-answers".to_owned()).spawn(body).map_err(|error| {
                GuardError::Kernel {
                    what: "starting the thread that answers",
                    errno: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
                }
            })?;
        Ok(Self { thread, ended })
    }
}

/// Answers calls until no process is left under the filter, the desk is closed, or another thread answers.
fn answer_calls(listener: &Arc<Listener>, desk: &Desk, errands: &Errands) -> Result<(), GuardError> {
    loop {
        match listener.receive()? {
            Some(call) => match desk.with(|guard| guard.serve(&call))? {
                Some(None) => {}
                Some(Some(errand)) => {
                    if !errands.run(|waiting| Errand::run(errand, listener, waiting))? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            None if listener.is_over()? => return Ok(()),
            None => {}
        }
    }
}

/// The guard's state, gone once the guard has ended.
#[derive(Debug)]
struct Desk {
    /// Held by whoever waits for the other: a flood of calls cannot keep the watch away from the desk.
    turn: Mutex<()>,
    guard: Mutex<Option<Guard>>,
}

impl Desk {
    /// Works on the state; none where it is gone.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Guard) -> Result<T, GuardError>,
    ) -> Result<Option<T>, GuardError> {
        self.wait()?.as_mut().map(act).transpose()
    }

    /// Takes the state away for good.
    fn close(&self) -> Result<Option<Guard>, GuardError> {
        Ok(self.wait()?.take())
    }

    fn wait(&self) -> Result<MutexGuard<'_, Option<Guard>>, GuardError> {
        let turn = self.turn.lock().map_err(|_poisoned| GuardError::Panicked)?;
        let guard = self.guard.lock().map_err(|_poisoned| GuardError::Panicked)?;
        drop(turn);
        Ok(guard)
    }
}

/// What the watching thread waits for, besides being stopped.
#[derive(Debug)]
struct Sources {
    listener: Arc<Listener>,
    timer: OwnedFd,
    exits: OwnedFd,
    errands: Arc<Errands>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// Processes ended.
    Exits,
    /// Held refusals are due.
    Timer,
    /// No process is left under the filter.
    CellEnded,
    /// The answering thread has ended.
    Answered,
    /// It is time to see whether an errand takes too long.
    Errand,
    /// The guard is told to stop.
    Stop,
}

impl Sources {
    fn watch(&self, desk: &Arc<Desk>, stop: BorrowedFd<'_>) -> Result<GuardEnd, GuardError> {
        let mut answering = Answering::start(self, desk)?;
        loop {
            match self.wait(stop, answering.ended.as_fd())? {
                Ready::Exits => {
                    self.gather(stop, answering.ended.as_fd())?;
                    desk.with(Guard::settle_exits)?;
                }
                Ready::Timer => {
                    desk.with(Guard::tick)?;
                }
                Ready::Stop => return desk.with(Guard::stopped)?.ok_or(GuardError::Panicked),
                Ready::CellEnded => return desk.with(Guard::cell_ended)?.ok_or(GuardError::Panicked),
                Ready::Errand => {
                    if self.errands.take_over()? {
                        answering = Answering::start(self, desk)?;
                    }
                }
                Ready::Answered => {
                    answering.thread.join().map_err(|_panic| GuardError::Panicked)??;
                    return desk.with(Guard::cell_ended)?.ok_or(GuardError::Panicked);
                }
            }
        }
    }

    fn wait(&self, stop: BorrowedFd<'_>, ended: BorrowedFd<'_>) -> Result<Ready, GuardError> {
        let sources = [stop, self.timer.as_fd(), self.exits.as_fd(), self.errands.timer(), ended];
        let [stop, timer, exits, errands, ended] =
            sources.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // Of the listener only the hanging up is asked for, so that a call does not wake this thread.
        let listener = PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::empty());
        let mut set = [stop, timer, exits, listener, errands, ended];
        poll_all(&mut set, None)?;
        let [stop, timer, exits, over, errands, _ended] = set.map(|entry| !entry.revents().is_empty());
        Ok(match () {
            () if stop => Ready::Stop,
            () if timer => Ready::Timer,
            () if exits => Ready::Exits,
            () if over => Ready::CellEnded,
            () if errands => Ready::Errand,
            () => Ready::Answered,
        })
    }

    /// Lets ends gather for a moment. Those that matter to a call are settled before that call is decided.
    fn gather(&self, stop: BorrowedFd<'_>, ended: BorrowedFd<'_>) -> Result<(), GuardError> {
        let mut set = [stop, ended].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        poll_all(&mut set, Some(&GATHER))
    }
}

/// Waits; an interruption ends no wait that has no bound.
fn poll_all(set: &mut [PollFd<'_>], at_most: Option<&Timespec>) -> Result<(), GuardError> {
    loop {
        match poll(set, at_most) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) if at_most.is_some() => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(GuardError::Kernel { what: "the guard's wait", errno }),
        }
    }
}

/// How long ends of processes may gather: 500 wake-ups a second at most, where a build ends thousands of processes.
const GATHER: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
