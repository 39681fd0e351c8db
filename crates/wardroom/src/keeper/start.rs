//! Starting an agent's processes, in the order in which they need each other: the rings and the scribe while the cell is built, whose
//! sockets the gate will get; the guard. Whatever fails takes down what stands already, because each is owned by a value.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wardroom_cell::filter::FilterOptions;
use wardroom_cell::guard::GuardSetup;
use wardroom_cell::{Cell, EmptyCell};
use wardroom_gate::Inspection;
use wardroom_kernel::message;
use wardroom_model::Event;
use wardroom_model::bytes::Captured;
use wardroom_model::event::{Mechanism, Operator, PolicyChange, Session, SessionStart, Supervision};
use wardroom_model::exit::Exit;
use wardroom_model::plan::{CellPlan, Mount};
use wardroom_scribe::{Handoff, Producer};

use super::RunRequest;
use super::broker::{self, Broker, Passphrase};
use super::canary::{Arming, CanaryThread};
use super::gate::{Gate, Parts};
use super::guard::GuardThread;
use super::metering;
use super::scribe::{Rings, Scribe};
use crate::commands::policy::Source;
use crate::failure::{Failure, OrExit};
use crate::places::{AgentPlaces, Places};

/// Bytes of a policy's text or of a command that a record keeps; longer ones are represented by their digest.
const KEPT: usize = 16 * 1024;

/// Records from the keeper's own thread, which never waits for a scribe that only it can replace.
pub(super) fn record(handoff: &Handoff, event: &Event) -> anyhow::Result<()> {
    match handoff.offer(event)? {
        Some(_receipt) => Ok(()),
        None => anyhow::bail!("the ledger takes no records at present; try again"),
    }
}

/// Everything that makes up a running agent. Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct Crew {
    // In this order: the cell first, the scribe last.
    pub(super) cell: Cell,
    pub(super) guard: GuardThread,
    pub(super) canaries: Option<CanaryThread>,
    pub(super) gate: Gate,
    pub(super) broker: Broker,
    pub(super) handoff: Arc<Handoff>,
    pub(super) scribe: Scribe,
}

/// What a start goes on from, besides the plan.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The cell to build.
    pub(super) empty: EmptyCell,
    /// What it takes to look into connections.
    pub(super) inspection: Inspection,
}

/// Starts everything but the gate and the agent's command, and puts the start on record.
pub(super) fn start(
    places: &Places,
    agent: &AgentPlaces,
    plan: &CellPlan,
    prepared: Prepared,
    request: &mut RunRequest,
) -> Result<Crew, Failure> {
    let Prepared { empty, inspection } = prepared;
    // Before anything that makes threads. Init builds by itself from here on, which takes the longest.
    let building = empty.build(plan).or_exit(Exit::CannotContain)?;
    let scribe =
        Scribe::start(places, agent, &plan.agent, request.source.policy.retention(), Rings::make(agent)?)?;
    let arming = Arming::begin(agent, plan, read_only(plan))?;
    let (to_gate, from_guard) = message::pair().or_exit(Exit::Internal)?;
    let counters = metering::counters(&agent.counters).or_exit(Exit::CannotContain)?;
    let gate_ring = scribe.rings().gate().try_clone_to_owned().or_exit(Exit::Internal)?;
    let parts =
        Parts { ring: gate_ring, attribution: from_guard, identity: plan.identity, inspection, counters };
    scribe.await_ready()?;
    let handoff = ring(&scribe)?;
    let armed = arming.map(|arming| arming.finish(&handoff, building.pid())).transpose()?;
    let (mechanism, canaries) = armed.unzip();
    let mut cell = building.finish().or_exit(Exit::CannotContain)?;
    let sockets =
        cell.take_sockets().ok_or_else(|| Failure::new(Exit::Internal, "the cell has no network sockets"))?;
    let gate = Gate::prepare(parts, &request.source, sockets)?;
    let mechanisms = cell.mechanisms().iter().cloned().chain(mechanism).collect();
    record_start(&handoff, agent, (plan, mechanisms), request)?;
    let guard = start_guard(&mut cell, &handoff, to_gate, plan)?;
    let passphrase = std::mem::replace(&mut request.passphrase, Passphrase::Never);
    let broker =
        Broker::start(broker::Parts::of(places, agent, plan.identity), &request.source, passphrase, &gate)?;
    Ok(Crew { cell, guard, canaries, gate, broker, handoff, scribe })
}

/// The keeper's own way to the ledger.
pub(super) fn ring(scribe: &Scribe) -> Result<Arc<Handoff>, Failure> {
    let ring = scribe.rings().keeper().try_clone().or_exit(Exit::Internal)?;
    Ok(Arc::new(Handoff::attach(ring, Producer::Keeper).or_exit(Exit::Ledger)?))
}

fn start_guard(
    cell: &mut Cell,
    handoff: &Arc<Handoff>,
    to_gate: OwnedFd,
    plan: &CellPlan,
) -> Result<GuardThread, Failure> {
    let listener =
        cell.take_listener().ok_or_else(|| Failure::new(Exit::Internal, "the cell has no listener"))?;
    GuardThread::start(GuardSetup {
        listener,
        handoff: Arc::clone(handoff),
        filter: FilterOptions { audit_reads: plan.audit_reads, may_trace: plan.may_trace },
        sensitive: plan.sensitive.clone(),
        trusted: read_only(plan),
        attribution: Some(to_gate),
        announcements: cell.announcements(),
    })
}

/// The directories of the read-only system: programs there are who they say they are.
fn read_only(plan: &CellPlan) -> Vec<std::path::PathBuf> {
    let target = |mount: &Mount| match mount {
        Mount::Bind { target, write: false, .. } => Some(target.clone()),
        Mount::Bind { .. }
        | Mount::Tmpfs { .. }
        | Mount::Copy { .. }
        | Mount::File { .. }
        | Mount::Directory { .. }
        | Mount::Symlink { .. }
        | Mount::Proc
        | Mount::Dev => None,
    };
    plan.mounts.iter().filter_map(target).collect()
}

/// What must be on record before the agent's first instruction: who started it, by which policy, behind which walls.
fn record_start(
    handoff: &Handoff,
    agent: &AgentPlaces,
    (plan, mechanisms): (&CellPlan, Vec<Mechanism>),
    request: &RunRequest,
) -> Result<(), Failure> {
    let uid = rustix::process::getuid().as_raw();
    let command = Captured::cut(&plan.command.join(&0), KEPT);
    let start = SessionStart { command, policy: digest(&request.source), mechanisms };
    let events = [
        Event::Operator(Operator { uid, action: Captured::cut(&request.action, KEPT) }),
        Event::Policy(in_force(&request.source)),
        Event::Session(Session::Started(start)),
    ];
    // A keeper removes its socket when it ends, and the agent's lock says that there is no other.
    let left = agent.control.exists().then(|| {
        let what = "the one before was killed or crashed: its session has no end".to_owned();
        Event::Supervision(Supervision { process: "keeper".to_owned(), what })
    });
    for event in left.iter().chain(&events) {
        let _receipt = handoff.record(event).or_exit(Exit::Ledger)?;
    }
    // Said once, also where this start fails.
    if left.is_some() {
        std::fs::remove_file(&agent.control).or_exit(Exit::Internal)?;
    }
    Ok(())
}

/// The record of a policy that is about to decide.
pub(super) fn in_force(source: &Source) -> PolicyChange {
    PolicyChange {
        digest: digest(source),
        file: Captured::from(source.shown().as_str()),
        refused: None,
        text: Some(Captured::cut(source.text.as_bytes(), KEPT)),
    }
}

/// SHA-256 of a policy's text.
fn digest(source: &Source) -> [u8; 32] {
    Sha256::digest(source.text.as_bytes()).into()
}
