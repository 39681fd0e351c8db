//! The keeper's gate: the only way out of the cell. While there is none, or it does not serve yet, nothing passes. It begins
//! when somebody in the cell needs it, and soon in any case; one that fails is started again with fresh addresses, so that what an earlier one gave out means nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use wardroom_gate::Inspection;
use wardroom_gate::control::{self, Answer};
use wardroom_kernel::cellnet::{self, CellSockets, GateSockets};
use wardroom_kernel::memory_file;
use wardroom_model::exit::Exit;
use wardroom_model::plan::Identity;
use zeroize::Zeroizing;

use super::processes::{self, Helper, Restarts};
use super::{roles, state};
use crate::clock::Deadline;
use crate::commands::policy::Source;
use crate::failure::{Failure, OrExit};

/// How long a gate has to say that it serves. It takes some milliseconds; a machine under load takes longer.
const STARTING: Duration = Duration::from_secs(30);
/// How long a cell may go without a gate that nobody in it has needed yet. A gate takes some milliseconds of a processor that the
/// start of cell and command can use, and a command that ends sooner never needs one; most agents connect later than this.
const IDLE: Duration = Duration::from_millis(20);

/// The gate's process, with all that it takes to start another.
#[derive(Debug)]
pub(super) struct Gate {
    helper: Helper,
    /// Until it begins.
    ahead: Option<Ahead>,
    /// Until when it has to say that it serves; nothing once it has.
    starting: Option<Deadline>,
    sockets: GateSockets,
    firewall: OwnedFd,
    given: Given,
    generation: u8,
    restarts: Restarts,
    /// Whether it was asked to end.
    dismissed: bool,
}

/// What there is of a gate that has not begun.
#[derive(Debug)]
struct Ahead {
    /// Its end of the control socket.
    theirs: OwnedFd,
    /// When it begins at the latest.
    due: Deadline,
}

/// What a gate is started with, besides its policy.
#[derive(Debug)]
pub(super) struct Parts {
    /// Its ring.
    pub(super) ring: OwnedFd,
    /// Where the guard says who connects.
    pub(super) attribution: OwnedFd,
    /// Whose cell.
    pub(super) identity: Identity,
    /// What it takes to look into connections.
    pub(super) inspection: Inspection,
    /// What the agent's credentials have used.
    pub(super) counters: OwnedFd,
}

impl Gate {
    /// Prepares one for the cell with these sockets. What it is told before it begins, it finds when it does.
    pub(super) fn prepare(parts: Parts, source: &Source, sockets: CellSockets) -> Result<Self, Failure> {
        let Parts { ring, attribution, identity, inspection, counters } = parts;
        let inspection = Zeroizing::new(inspection.encode().or_exit(Exit::Internal)?);
        let (file, text) = (source.shown(), source.text.clone());
        let id = state::gate_id(identity);
        let (ours, theirs) = processes::channel().or_exit(Exit::Internal)?;
        let (sockets, firewall) = sockets.split();
        control::send_sockets(&ours, &sockets).or_exit(Exit::Internal)?;
        Ok(Self {
            helper: Helper::later(ours),
            ahead: Some(Ahead { theirs, due: Deadline::after(IDLE) }),
            starting: None,
            sockets,
            firewall,
            given: Given { ring, attribution, file, text, inspection, counters, id },
            generation: 0,
            restarts: Restarts::default(),
            dismissed: false,
        })
    }

    /// Starts its process, without waiting until it serves.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        if let Some(Ahead { theirs, due: _ }) = self.ahead.take() {
            self.helper.begin(self.given.spawn(self.generation, &theirs)?);
            self.starting = Some(Deadline::after(STARTING));
        }
        Ok(())
    }

    /// What tells, until it begins, that it is needed: somebody connects or asks, or a refused packet is to be recorded.
    pub(super) fn awaited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let GateSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag: _ } = &self.sockets;
        let sockets = [tcp4, tcp6, dns_udp, dns_tcp, nflog].map(AsFd::as_fd);
        sockets.into_iter().filter(|_| self.ahead.is_some())
    }

    /// Whether it is needed already, and has not begun.
    pub(super) fn is_awaited(&self) -> anyhow::Result<bool> {
        for socket in self.awaited() {
            if processes::is_readable(socket)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// When it begins though nobody needs it yet; nothing once it has begun.
    pub(super) fn due(&self) -> Option<Deadline> {
        self.ahead.as_ref().map(|ahead| ahead.due)
    }

    /// Waits until it serves.
    fn await_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Deadline::after(STARTING);
        while processes::wait_readable(self.control(), deadline)? {
            match control::receive(self.control())? {
                Some(Answer::Ready) => {
                    self.serves();
                    return Ok(());
                }
                Some(Answer::PolicyInForce(_) | Answer::Pong) => {}
                Some(Answer::PolicyRefused(why)) => anyhow::bail!("it refused the policy: {why}"),
                None => anyhow::bail!("it ended at once (it says why above)"),
            }
        }
        anyhow::bail!("it did not serve within {} s", STARTING.as_secs())
    }

    /// It said that it serves.
    pub(super) fn serves(&mut self) {
        self.starting = None;
    }

    /// Until when it has to say that it serves; nothing once it has.
    pub(super) fn starting(&self) -> Option<Deadline> {
        self.starting
    }

    /// Where it is heard.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.helper.control()
    }

    /// Brings a policy into force: the firewall first stops what neither the old nor the new one permits.
    pub(super) fn enforce(&mut self, source: &Source) -> anyhow::Result<()> {
        cellnet::replace_literals(self.firewall.as_fd(), &source.policy.network().literals())?;
        self.given.text.clone_from(&source.text);
        // One that has not begun begins with it, and takes nothing from its queue before that.
        if self.ahead.is_none() && control::send_policy(self.control(), &source.text).is_err() {
            // One that does not take it ends, and its successor begins with it.
            self.kill()?;
        }
        Ok(())
    }

    /// Starts another in its place, and says how the old one ended.
    pub(super) fn replace(&mut self) -> anyhow::Result<String> {
        let before = self.helper.bury();
        self.restarts.another()?;
        self.generation = self.generation.checked_add(1).context("too many gates in one session")?;
        let (ours, theirs) = processes::channel()?;
        self.helper = Helper::new(self.given.spawn(self.generation, &theirs)?, ours);
        drop(theirs);
        control::send_sockets(self.helper.control(), &self.sockets)?;
        self.await_ready()?;
        Ok(before)
    }

    /// Ends it at once. The end of its socket follows.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.helper.kill()
    }

    /// Asks it to record what is open and to end, without waiting.
    pub(super) fn dismiss(&mut self) {
        self.dismissed = true;
        self.helper.dismiss();
    }

    /// Whether it was asked to end, and so answers nothing any more.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Has it record what is open, and end.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.helper.finish().context("the gate did not end well")
    }
}

/// What every gate of a session is started with.
#[derive(Debug)]
struct Given {
    ring: OwnedFd,
    attribution: OwnedFd,
    file: String,
    text: String,
    /// The same at every start: what the cell's programs trust was settled when it was built.
    inspection: Zeroizing<Vec<u8>>,
    counters: OwnedFd,
    id: Option<u32>,
}

impl Given {
    /// Starts the process, which waits for the cell's sockets.
    fn spawn(&self, generation: u8, theirs: &OwnedFd) -> anyhow::Result<Child> {
        let policy = memory_file::make("policy", self.text.as_bytes())?;
        let inspection = memory_file::make("inspection", &self.inspection)?;
        let given =
            [theirs, &self.ring, &self.attribution, &policy, &inspection, &self.counters].map(AsFd::as_fd);
        roles::start("gate", &[&self.file, &generation.to_string()], &given, self.id)
    }
}
