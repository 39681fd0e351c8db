//! The keeper's gate: the only way out of the cell. While there is none, or it does not serve yet, nothing passes; it is
//! started again with fresh addresses, so that what an earlier one gave out means nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use wardroom_gate::Inspection;
use wardroom_gate::control::{self, Answer};
use wardroom_kernel::cellnet::{self, CellSockets, GateSockets};
use wardroom_kernel::{memory_file, message};
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
/// How long a gate has to take a part of a policy from its queue, which it does at once unless it is frozen.
const TAKING: Duration = Duration::from_secs(2);

/// A gate's process that gets ready while its cell is built.
#[derive(Debug)]
pub(super) struct Early {
    helper: Helper,
    given: Given,
}

/// The gate's process, with all that it takes to start another.
#[derive(Debug)]
pub(super) struct Gate {
    helper: Helper,
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

impl Early {
    /// Starts it, without waiting for it. If it is dropped, the process finds its keeper gone, and ends.
    pub(super) fn start(parts: Parts, source: &Source) -> Result<Self, Failure> {
        let Parts { ring, attribution, identity, inspection, counters } = parts;
        let inspection = Zeroizing::new(inspection.encode().or_exit(Exit::Internal)?);
        let (file, text) = (source.shown(), source.text.clone());
        let id = state::gate_id(identity);
        let given = Given { ring, attribution, file, text, inspection, counters, id };
        let helper = given.spawn(0).or_exit(Exit::Supervision)?;
        Ok(Self { helper, given })
    }

    /// Gives it the cell's sockets, without waiting until it serves.
    pub(super) fn serve(self, sockets: CellSockets) -> Result<Gate, Failure> {
        let Self { helper, given } = self;
        let (sockets, firewall) = sockets.split();
        control::send_sockets(helper.control(), &sockets)
            .context("the gate did not start (it says why above)")
            .or_exit(Exit::Supervision)?;
        Ok(Gate {
            helper,
            starting: Some(Deadline::after(STARTING)),
            sockets,
            firewall,
            given,
            generation: 0,
            restarts: Restarts::default(),
            dismissed: false,
        })
    }
}

impl Gate {
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
        if control::send_policy(self.control(), &source.text).is_err() {
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
        self.helper = self.given.spawn(self.generation)?;
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
    fn spawn(&self, generation: u8) -> anyhow::Result<Helper> {
        let (ours, theirs) = message::pair()?;
        set_socket_timeout(&ours, Timeout::Send, Some(TAKING))?;
        let policy = memory_file::make("policy", self.text.as_bytes())?;
        let inspection = memory_file::make("inspection", &self.inspection)?;
        let given =
            [&theirs, &self.ring, &self.attribution, &policy, &inspection, &self.counters].map(AsFd::as_fd);
        let child = roles::start("gate", &[&self.file, &generation.to_string()], &given, self.id)?;
        Ok(Helper::new(child, ours))
    }
}
