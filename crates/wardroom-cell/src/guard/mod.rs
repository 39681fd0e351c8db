//! The guard: answers the system calls that a cell's filter asks about. A call that is audited is recorded, and only
//! then goes on to the walls; a call that is refused fails with the errno a program expects, and is on record as well.
//!
//! The guard is a recorder, never the wall: what it reads from a caller's memory may have changed when the kernel
//! reads it. It therefore permits nothing by what it reads, and after an exec asks the kernel what it really loaded. The one
//! call that no wall decides, a connect to a Unix socket's file, it makes itself.
//! Whatever fails here fails closed: no record, no call.

mod alarm;
mod connect;
mod errands;
mod exec;
mod file;
mod listeners;
mod place;
mod privilege;
mod processes;
mod script;
mod shape;
mod socket;
mod watch;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};
use thiserror::Error;
use wardroom_kernel::notify::{Listener, Notification, NotifyError, Reply};
use wardroom_kernel::remote::RemoteError;
use wardroom_model::Event;
use wardroom_model::event::Supervision;
use wardroom_scribe::{Handoff, HandoffError};

use crate::announce::Announcements;
use crate::filter::{Answer, Audit, Filter, FilterOptions};
use connect::Errand;
use listeners::Listeners;
use place::Sensitive;
use privilege::Refusals;
use processes::Processes;
use shape::Shape;
use socket::Gate;

/// What a guard is made from.
#[derive(Debug)]
pub struct GuardSetup {
    /// The listener of the cell's filter.
    pub listener: OwnedFd,
    /// Where records go.
    pub handoff: Arc<Handoff>,
    /// The options that the installed filter was made with.
    pub filter: FilterOptions,
    /// The plan's sensitive paths.
    pub sensitive: Vec<String>,
    /// Directories inside the cell that are read-only for the agent: programs there are who they say they are.
    pub trusted: Vec<PathBuf>,
    /// The sequenced-packet socket to the gate, which hears who connects.
    pub attribution: Option<OwnedFd>,
    /// What the keeper asks to be started.
    pub announcements: Announcements,
}

/// Answers for one cell until its last process is gone.
#[derive(Debug)]
pub struct Guard {
    listener: Arc<Listener>,
    handoff: Arc<Handoff>,
    filter: Filter,
    shapes: Vec<Option<Shape>>,
    sensitive: Sensitive,
    processes: Processes,
    listeners: Listeners,
    /// The cookie of the cell's network namespace, once a socket of it was seen.
    network: Option<u64>,
    refusals: Refusals,
    /// What was said of callers that could not be looked at, within the last second, and how often.
    strangers: BTreeMap<String, u64>,
    announcements: Announcements,
    gate: Option<Gate>,
    /// The cell's root directory: one for all, for nobody in the cell may change theirs.
    root: Option<OwnedFd>,
    figures: Figures,
}

/// How a guard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardEnd {
    /// No process is left under the filter.
    CellEnded(Figures),
    /// It was told to stop. Calls that would be asked about now fail with ENOSYS.
    Stopped(Figures),
}

/// What a guard has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls received.
    pub calls: u64,
    /// Records handed over.
    pub records: u64,
    /// Calls refused.
    pub refused: u64,
}

/// Why a guard cannot go on. Calls that would be asked about then fail, and the cell must be ended.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The ledger takes no more.
    #[error("a record could not be handed over; the call was refused: {0}")]
    Ledger(#[from] HandoffError),
    /// The listener.
    #[error(transparent)]
    Listener(#[from] NotifyError),
    /// A thread of the guard's own died in the middle of its work.
    #[error("a thread of the guard panicked")]
    Panicked,
    /// A descriptor of the guard's own.
    #[error("{what}: {errno}")]
    Kernel {
        /// What was asked.
        what: &'static str,
        /// The answer.
        errno: Errno,
    },
}

/// What becomes of one call.
#[derive(Debug)]
enum Decided {
    Reply(Reply),
    /// It is made here, outside of everything that the guard's threads share.
    Errand(Errand),
}

impl From<Reply> for Decided {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Why one call gets no record of its own, or not the one it should have.
#[derive(Debug)]
enum Trouble {
    /// Its caller died meanwhile.
    Gone,
    /// What its pointer names cannot be read; the errno is what the kernel itself would say.
    Unreadable(Errno),
    /// Its caller cannot be looked at.
    Unheld(&'static str, Errno),
    /// The guard cannot go on.
    Fatal(GuardError),
}

impl From<GuardError> for Trouble {
    fn from(error: GuardError) -> Self {
        Self::Fatal(error)
    }
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unreadable(_) => Self::Unreadable(Errno::FAULT),
            RemoteError::TooLong(_) => Self::Unreadable(Errno::NAMETOOLONG),
            RemoteError::Kernel(error) => match Errno::from_io_error(&error) {
                Some(Errno::SRCH) => Self::Gone,
                Some(_) | None => Self::Unreadable(Errno::PERM),
            },
        }
    }
}

impl Guard {
    /// Makes a guard; it answers once it runs.
    ///
    /// # Errors
    /// A kernel that lacks what it needs.
    pub fn new(setup: GuardSetup) -> Result<Self, GuardError> {
        let GuardSetup { listener, handoff, filter, sensitive, trusted, attribution, announcements } = setup;
        raise_descriptor_limit();
        Ok(Self {
            listener: Arc::new(Listener::new(listener)?),
            handoff,
            filter: Filter::new(filter),
            shapes: shape::shapes(),
            sensitive: Sensitive::new(&sensitive),
            processes: Processes::new(trusted)?,
            listeners: Listeners::default(),
            network: None,
            refusals: Refusals::new()?,
            strangers: BTreeMap::new(),
            announcements,
            gate: attribution.map(Gate::new),
            root: None,
            figures: Figures::default(),
        })
    }

    /// Answers until the cell's last process is gone, or `stop` becomes readable.
    ///
    /// # Errors
    /// The ledger or the listener failed. Every call that is asked about fails from then on.
    pub fn run(self, stop: BorrowedFd<'_>) -> Result<GuardEnd, GuardError> {
        watch::run(self, stop)
    }

    /// What is due once a second at most.
    fn tick(&mut self) -> Result<(), GuardError> {
        self.flush_counts()?;
        self.look_again()
    }

    /// The keeper says so once the cell has ended: the last exits are there, and belong on record.
    fn stopped(&mut self) -> Result<GuardEnd, GuardError> {
        self.settle_exits()?;
        self.flush_counts()?;
        Ok(GuardEnd::Stopped(self.figures))
    }

    fn cell_ended(&mut self) -> Result<GuardEnd, GuardError> {
        let all = self.settle_last_exits()?;
        self.flush_counts()?;
        // Somebody is held up in the kernel on its way out: then init's end says when the cell has ended.
        Ok(if all { GuardEnd::CellEnded(self.figures) } else { GuardEnd::Stopped(self.figures) })
    }

    /// Serves one call. What is left to do is given back.
    fn serve(&mut self, call: &Notification) -> Result<Option<Errand>, GuardError> {
        self.figures.calls += 1;
        // Whoever had this thread's number before is gone from the table before it is looked up.
        self.settle_exits()?;
        match self.decide(call) {
            Ok(Decided::Errand(errand)) => return Ok(Some(errand)),
            Ok(Decided::Reply(reply)) => self.answer(call, reply)?,
            Err(Trouble::Gone) => {
                self.refuse_unknown(call, Errno::SRCH, "finding its process", Errno::SRCH)?;
            }
            Err(Trouble::Unreadable(errno)) => {
                self.refuse_unknown(call, errno, "reading its memory", errno)?;
            }
            Err(Trouble::Unheld(what, errno)) => self.refuse_unknown(call, Errno::PERM, what, errno)?,
            Err(Trouble::Fatal(error)) => {
                // The answer cannot fail worse than the guard already does.
                self.answer(call, Reply::Errno(Errno::PERM))?;
                self.report(format!("{error}"))?;
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Refuses a call of which not even the caller can be told. Whoever lives is answered, and is on record.
    fn refuse_unknown(
        &mut self,
        call: &Notification,
        reply: Errno,
        what: &str,
        why: Errno,
    ) -> Result<(), GuardError> {
        if !self.listener.answer(call.id, Reply::Errno(reply))? {
            return Ok(());
        }
        self.figures.refused += 1;
        let name = self.filter.name(call.call).unwrap_or("a call");
        let said = format!("refused {name}: {what}: {why}");
        let again = self.strangers.entry(said.clone()).or_default();
        *again += 1;
        if *again > 1 {
            return Ok(());
        }
        self.refusals.set_timer_once()?;
        self.report(format!("{said} (thread {})", number(call.thread)))
    }

    /// Says how often what was refused within the last second was, to strangers first.
    fn flush_counts(&mut self) -> Result<(), GuardError> {
        for (said, times) in std::mem::take(&mut self.strangers) {
            if times > 1 {
                self.report(format!("{said} ({} more times)", times - 1))?;
            }
        }
        self.flush_refusals()
    }

    fn decide(&mut self, call: &Notification) -> Result<Decided, Trouble> {
        let rule = self.filter.rule(call.call, &call.arguments);
        let reply = match rule.map(|rule| (rule.answer, rule.why)) {
            Some((Answer::Audit(Audit::File), _)) => self.file(call),
            Some((Answer::Audit(Audit::Exec), _)) => self.exec(call),
            Some((Answer::Audit(Audit::FirstCall), _)) => self.first_call(call),
            Some((Answer::Audit(Audit::Listen), _)) => return self.listen(call),
            Some((Answer::Audit(Audit::Socket), _)) => return self.socket(call),
            Some((Answer::Audit(Audit::Clone3), _)) => self.clone3(call),
            Some((Answer::Refuse(errno), why)) => self.refuse(call, errno, why),
            None => self.refuse(call, Errno::NOSYS, "make system calls that the filter does not know"),
            Some((Answer::Allow | Answer::Absent(_) | Answer::Moot, _)) => {
                self.refuse(call, Errno::PERM, "be asked about by a filter that is not ours")
            }
        };
        Ok(reply?.into())
    }

    fn answer(&mut self, call: &Notification, reply: Reply) -> Result<(), GuardError> {
        if matches!(reply, Reply::Errno(_)) {
            self.figures.refused += 1;
        }
        let _caller_lives: bool = self.listener.answer(call.id, reply)?;
        Ok(())
    }

    /// Hands a record over for a call whose caller still waits, so that what was read belongs to it.
    fn record_for(&mut self, call: &Notification, event: &Event) -> Result<(), Trouble> {
        if !self.listener.is_waiting(call.id) {
            return Err(Trouble::Gone);
        }
        Ok(self.record(event)?)
    }

    fn record(&mut self, event: &Event) -> Result<(), GuardError> {
        let _receipt = self.handoff.record(event)?;
        self.figures.records += 1;
        Ok(())
    }

    /// Says on the ledger what happened to the guard itself.
    fn report(&mut self, what: String) -> Result<(), GuardError> {
        self.record(&Event::Supervision(Supervision { process: "guard".to_owned(), what }))
    }
}

/// A pidfd is held for every process and thread that is known: as many as the system permits this process.
fn raise_descriptor_limit() {
    let Rlimit { current: _, maximum } = rustix::process::getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it is; a process that cannot be held is then refused its calls.
    let _refused = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A process id as records carry it.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
