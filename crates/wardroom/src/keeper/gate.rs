//! The keeper's gate: the only way out of the cell. While there is none, nothing passes; it is started again with fresh
//! addresses, so that what an earlier one gave out means nothing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use wardroom_gate::control::{self, Answer};
use wardroom_kernel::cellnet::{self, CellSockets, GateSockets};
use wardroom_model::exit::Exit;
use wardroom_model::plan::Identity;

use super::processes::{self, Helper, Restarts};
use super::{roles, state};
use crate::clock::Deadline;
use crate::commands::policy::Source;
use crate::failure::{Failure, OrExit};

/// How long a gate has to say that it serves. It takes some milliseconds; a machine under load takes longer.
const STARTING: Duration = Duration::from_secs(30);
/// How long a gate has to take a part of a policy from its queue, which it does at once unless it is frozen.
const TAKING: Duration = Duration::from_secs(2);

/// The gate's process, with all that it takes to start another.
#[derive(Debug)]
pub(super) struct Gate {
    helper: Helper,
    sockets: GateSockets,
    firewall: OwnedFd,
    ring: OwnedFd,
    attribution: OwnedFd,
    file: String,
    text: String,
    id: Option<u32>,
    generation: u8,
    restarts: Restarts,
}

/// What a gate is started with, besides its policy.
#[derive(Debug)]
pub(super) struct Parts {
    /// The sockets inside the cell.
    pub(super) sockets: CellSockets,
    /// Its ring.
    pub(super) ring: OwnedFd,
    /// Where the guard says who connects.
    pub(super) attribution: OwnedFd,
    /// Whose cell.
    pub(super) identity: Identity,
}

impl Gate {
    /// Starts it, without waiting for it.
    pub(super) fn start(parts: Parts, source: &Source) -> Result<Self, Failure> {
        let Parts { sockets, ring, attribution, identity } = parts;
        let (sockets, firewall) = sockets.split();
        let (ours, theirs) = processes::pair().or_exit(Exit::Internal)?;
        let id = state::gate_id(identity);
        let start = Start {
            sockets: &sockets,
            ring: &ring,
            attribution: &attribution,
            file: &source.shown(),
            id,
            generation: 0,
        };
        let helper = start.spawn(ours, &theirs, &source.text).or_exit(Exit::Supervision)?;
        let (file, text) = (source.shown(), source.text.clone());
        Ok(Self {
            helper,
            sockets,
            firewall,
            ring,
            attribution,
            file,
            text,
            id,
            generation: 0,
            restarts: Restarts::default(),
        })
    }

    /// Waits until it serves.
    pub(super) fn await_ready(&self) -> anyhow::Result<()> {
        let deadline = Deadline::after(STARTING);
        while processes::wait_readable(self.control(), deadline)? {
            match control::receive(self.control())? {
                Some(Answer::Ready) => return Ok(()),
                Some(Answer::PolicyInForce(_) | Answer::Pong) => {}
                Some(Answer::PolicyRefused(why)) => anyhow::bail!("it refused the policy: {why}"),
                None => anyhow::bail!("it ended at once (it says why above)"),
            }
        }
        anyhow::bail!("it did not serve within {} s", STARTING.as_secs())
    }

    /// Where it is heard.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.helper.control()
    }

    /// Brings a policy into force: the firewall first stops what neither the old nor the new one permits.
    pub(super) fn enforce(&mut self, source: &Source) -> anyhow::Result<()> {
        cellnet::replace_literals(self.firewall.as_fd(), &source.policy.network().literals())?;
        self.text.clone_from(&source.text);
        if control::send_policy(self.control(), &source.text).is_err() {
            // One that does not take it ends, and its successor begins with it.
            self.kill()?;
        }
        Ok(())
    }

    /// Starts another in its place, and says how the old one ended.
    pub(super) fn replace(&mut self) -> anyhow::Result<String> {
        self.restarts.another()?;
        self.generation = self.generation.checked_add(1).context("too many gates in one session")?;
        let (ours, theirs) = processes::pair()?;
        let start = Start {
            sockets: &self.sockets,
            ring: &self.ring,
            attribution: &self.attribution,
            file: &self.file,
            id: self.id,
            generation: self.generation,
        };
        let helper = start.spawn(ours, &theirs, &self.text)?;
        let before = std::mem::replace(&mut self.helper, helper).bury();
        self.await_ready()?;
        Ok(before)
    }

    /// Ends it at once. The end of its socket follows.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.helper.kill()
    }

    /// Has it record what is open, and end.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.helper.finish().context("the gate did not end well")
    }
}

/// One start of a gate.
struct Start<'a> {
    sockets: &'a GateSockets,
    ring: &'a OwnedFd,
    attribution: &'a OwnedFd,
    file: &'a str,
    id: Option<u32>,
    generation: u8,
}

impl Start<'_> {
    /// Starts the process. Its first message is the policy's text.
    fn spawn(&self, ours: OwnedFd, theirs: &OwnedFd, text: &str) -> anyhow::Result<Helper> {
        let GateSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag } = self.sockets;
        let sockets = [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag];
        let given = [theirs, self.ring, self.attribution].into_iter().chain(sockets);
        let descriptors: Vec<BorrowedFd<'_>> = given.map(AsFd::as_fd).collect();
        let generation = self.generation.to_string();
        set_socket_timeout(&ours, Timeout::Send, Some(TAKING))?;
        // The text goes as a file in memory: an argument would be seen in the process list, and has a bound.
        let policy = rustix::fs::memfd_create("policy", rustix::fs::MemfdFlags::CLOEXEC)?;
        std::io::Write::write_all(&mut std::fs::File::from(policy.try_clone()?), text.as_bytes())?;
        let all: Vec<BorrowedFd<'_>> = descriptors.into_iter().chain([policy.as_fd()]).collect();
        debug_assert!(all.iter().all(|fd| fd.as_raw_fd() > 2), "standard streams are not for a role");
        let child = roles::start("gate", &[self.file, &generation], &all, self.id)?;
        Ok(Helper::new(child, ours))
    }
}
