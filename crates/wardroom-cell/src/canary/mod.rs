//! Canaries: decoys in the agent's home that look like keys and passwords, each under a file lease. Whoever opens one
//! waits in the kernel until it is on record with its program, and then goes on: a decoy opens nothing.
//!
//! It is an alarm and no wall. While somebody has a decoy open, the kernel gives no new lease on it, so that others who
//! open it meanwhile are not seen; the first was. Nothing here reads what the agent wrote, but to compare it with a decoy.

mod bait;
mod perch;
mod plant;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use thiserror::Error;
use wardroom_kernel::identity;
use wardroom_kernel::lease::{self, Breaks};
use wardroom_model::event::{Actor, FileAct, FileOp, Mechanism, Program, Supervision};
use wardroom_model::plan::CellPlan;
use wardroom_model::{Captured, Event, Outcome, Reason, Verdict};
use wardroom_scribe::{Handoff, HandoffError};

use crate::program;
pub use bait::Mark;
use perch::Perch;

/// The decoys of one cell, armed by the thread that will watch them.
#[derive(Debug)]
pub struct Canaries {
    breaks: Breaks,
    perches: Vec<Perch>,
    /// Where the agent has files of its own in place of decoys.
    others: Vec<PathBuf>,
    trusted: Vec<Vec<u8>>,
}

/// Who is watched for, and where it is told.
#[derive(Debug)]
pub struct Lookout<'a> {
    /// Where records go.
    pub handoff: &'a Handoff,
    /// The cell's first process.
    pub init: Pid,
    /// Hangs up when the watch is to end.
    pub stop: BorrowedFd<'a>,
}

/// Why there are no canaries, or none any more.
#[derive(Debug, Error)]
pub enum CanaryError {
    /// A decoy could not be put in its place.
    #[error("cannot put the decoy {} in its place: {errno}", path.display())]
    Planting {
        /// The path inside.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel gives no lease.
    #[error(
        "the decoy {} cannot be watched: no file lease: {error}; keep the agent's state on a local file system and \
         `fs.leases-enable` at 1, or write `canaries = \"off\"` under [files]",
        path.display()
    )]
    Lease {
        /// The path inside.
        path: PathBuf,
        /// The kernel's answer.
        error: std::io::Error,
    },
    /// A process of the host holds it open.
    #[error("the decoy {} cannot be watched: another process of this host has it open; try again when it has ended", .0.display())]
    InUse(PathBuf),
    /// The ledger takes no more.
    #[error("the opening of a decoy could not be recorded: {0}")]
    Ledger(#[from] HandoffError),
    /// Something else of the kernel's.
    #[error("{what}: {error}")]
    Kernel {
        /// What was asked.
        what: &'static str,
        /// The answer.
        error: std::io::Error,
    },
}

impl Canaries {
    /// Puts the plan's decoys into the agent's home, where they are not yet, and takes a lease on each. To be called
    /// while nothing of the agent runs, in the thread that will watch.
    ///
    /// # Errors
    /// A decoy that cannot be watched. A file of the agent's own in the place of one is none.
    pub fn arm(plan: &CellPlan, mark: &Mark, trusted: &[PathBuf]) -> Result<Self, CanaryError> {
        let breaks = Breaks::of_this_thread()
            .map_err(|error| CanaryError::Kernel { what: "listening for broken leases", error })?;
        let (mut perches, mut others) = (Vec::new(), Vec::new());
        for canary in &plan.canaries {
            match Perch::prepare(plan, canary, mark, &breaks)? {
                Some(perch) => perches.push(perch),
                None => others.push(canary.path.clone()),
            }
        }
        let trusted = trusted.iter().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).collect();
        Ok(Self { breaks, perches, others, trusted })
    }

    /// What was asked of the kernel and what it gave, asked back.
    ///
    /// # Errors
    /// What `F_GETLEASE` says.
    pub fn mechanism(&self) -> Result<Mechanism, CanaryError> {
        let mut held = 0_usize;
        for perch in &self.perches {
            held += usize::from(perch.is_held()?);
        }
        let others = match self.others.is_empty() {
            true => String::new(),
            false => format!(", none where the agent has its own file ({})", self.own_files()),
        };
        let say = |count: usize| format!("{count} decoys under lease{others}");
        Ok(Mechanism { name: "canaries".to_owned(), asked: say(self.perches.len()), got: say(held) })
    }

    /// Puts on record who opens a decoy, and lets it go on, until told to stop.
    ///
    /// # Errors
    /// The ledger or the kernel failed. Then nobody is seen any more, and the cell must be ended.
    pub fn watch(mut self, lookout: &Lookout<'_>) -> Result<(), CanaryError> {
        let pids = identity::link(lookout.init, "ns/pid").ok();
        if !self.others.is_empty() {
            let _receipt = lookout.handoff.record(&self.gaps())?;
        }
        loop {
            let stopped = self.wait(lookout.stop)?;
            self.breaks.drain().map_err(|error| CanaryError::Kernel { what: "reading signals", error })?;
            for perch in &mut self.perches {
                if perch.is_wanted()? {
                    for event in touches(perch, pids.as_deref(), &self.trusted)? {
                        let _receipt = lookout.handoff.record(&event)?;
                    }
                    perch.give_back()?;
                }
                perch.retake()?;
            }
            if stopped {
                return Ok(());
            }
        }
    }

    /// The record of the places that are not watched.
    fn gaps(&self) -> Event {
        let what = format!(
            "no decoy, and so nobody watches, where the agent has its own file: {}",
            self.own_files()
        );
        Event::Supervision(Supervision { process: "canary".to_owned(), what })
    }

    fn own_files(&self) -> String {
        let others: Vec<_> = self.others.iter().map(|path| path.display().to_string()).collect();
        others.join(", ")
    }

    /// Waits for an opening, for the next attempt at a lease, or for the end. True at the end.
    fn wait(&self, stop: BorrowedFd<'_>) -> Result<bool, CanaryError> {
        let timeout = self.perches.iter().filter_map(Perch::retry_in).min();
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        let mut set = [stop, self.breaks.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut set, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(CanaryError::Kernel { what: "the canaries' wait", error: errno.into() });
            }
        }
        let [stop, _breaks] = set.map(|entry| entry.revents());
        Ok(!stop.is_empty())
    }
}

/// A record for each who waits to open a decoy; one of nobody where nobody waits any more.
fn touches(perch: &Perch, pids: Option<&[u8]>, trusted: &[Vec<u8>]) -> Result<Vec<Event>, CanaryError> {
    let waiting = lease::waiting(rustix::process::getpid())
        .map_err(|error| CanaryError::Kernel { what: "reading /proc/locks", error })?;
    let here: Vec<_> = waiting.into_iter().filter(|waiting| waiting.inode == perch.inode()).collect();
    if here.is_empty() {
        // It did not wait (`O_NONBLOCK`; the guard has recorded that with its program), or it was killed.
        let program = Program { path: Captured::path(b""), trusted: false };
        return Ok(vec![touch(perch, Actor { pid: 0, program }, false)]);
    }
    Ok(here.into_iter().map(|one| seen(perch, one.process, one.writes, pids, trusted)).collect())
}

/// The record of one process that waits.
fn seen(perch: &Perch, process: Pid, writes: bool, pids: Option<&[u8]>, trusted: &[Vec<u8>]) -> Event {
    let pid = super::guard::number(process);
    let program = program::of(process, trusted)
        .unwrap_or_else(|_gone| Program { path: Captured::path(b""), trusted: false });
    let outside = match (identity::link(process, "ns/pid"), pids) {
        (Ok(its), Some(cells)) => its != cells,
        (Err(_), _) | (_, None) => false,
    };
    if outside {
        let what = format!(
            "process {pid} of this host, {}, opened the decoy {}",
            program.path,
            perch.path().display()
        );
        return Event::Supervision(Supervision { process: "canary".to_owned(), what });
    }
    touch(perch, Actor { pid, program }, writes)
}

fn touch(perch: &Perch, actor: Actor, writes: bool) -> Event {
    let op = if writes { FileOp::OpenWrite } else { FileOp::ReadSensitive };
    let path = Captured::path(perch.path().as_os_str().as_encoded_bytes());
    let verdict = Verdict { outcome: Outcome::Observed, reason: Reason::Canary, rule: None };
    Event::File(FileAct { actor, op, path, other: None, mode: None, verdict })
}
