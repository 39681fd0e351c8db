//! The keeper: the supervisor of one agent. It starts scribe, cell and gate, watches over them, answers the operator,
//! and ends them in reverse. It never parses a byte that the agent wrote, beyond what the guard reads with bounds.

mod afterwards;
mod authority;
mod before;
mod broker;
mod canary;
mod ending;
mod facts;
mod gate;
mod guard;
mod heartbeat;
mod java_store;
mod metering;
mod operator;
mod placeholders;
mod play;
mod policy_change;
pub(crate) mod policy_file;
mod processes;
pub(crate) mod protocol;
mod roles;
mod scribe;
mod start;
mod state;
mod streams;
mod supervise;
pub(crate) mod terminal;
mod trust;
mod worker;

use std::os::fd::OwnedFd;

use wardroom_cell::{BuildOptions, EmptyCell};
use wardroom_gate::Inspection;
use wardroom_model::exit::Exit;
use wardroom_model::plan::Mount;

use crate::commands::policy::Source;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

pub(crate) use afterwards::{prepare_host, record, record_operator, store};
pub(crate) use broker::Passphrase;
pub(crate) use facts::{Obstacles, rehearse};
pub(crate) use play::play;
pub(crate) use roles::run_apart;
pub(crate) use state::{is_of_directory, known_agents, whole};

/// A run that is asked for.
#[derive(Debug)]
pub(crate) struct RunRequest {
    /// The policy.
    pub(crate) source: Source,
    /// The command in place of the policy's; empty for the policy's own.
    pub(crate) command: Vec<Vec<u8>>,
    /// What is mounted besides the policy's; for Wardroom's own probes only.
    pub(crate) mounts: Vec<Mount>,
    /// Where the command reads and writes.
    pub(crate) streams: Streams,
    /// Who is asked for the passphrase of the credential store, where one is needed.
    pub(crate) passphrase: Passphrase,
    /// The operator's command line, for the record.
    pub(crate) action: Vec<u8>,
}

/// Where a command reads and writes.
#[derive(Debug)]
pub(crate) enum Streams {
    /// The operator's own streams; what of them is a terminal is replaced by one of the cell's.
    Operator,
    /// These.
    Given([OwnedFd; 3]),
}

/// Runs an agent until its command ends, and returns the command's status.
pub(crate) fn run(places: &Places, mut request: RunRequest) -> Done {
    let policy = &request.source.policy;
    if !policy.unsupported().is_empty() {
        let what: Vec<_> = policy
            .unsupported()
            .iter()
            .map(|missing| format!("  {} ({})", missing.what, missing.at))
            .collect();
        return Err(Failure::new(
            Exit::Policy,
            format!("the policy asks for what is not yet supported:\n{}", what.join("\n")),
        ));
    }
    // What a shell or a service manager left open is for none of the processes that are started from here.
    wardroom_kernel::process::close_at_exec().or_exit(Exit::CannotContain)?;
    // The cell's init is a copy of this process, so it comes before everything secret that is read below, and before anything
    // that makes threads.
    let empty = EmptyCell::make(BuildOptions::for_this_kernel()).or_exit(Exit::CannotContain)?;
    let name = policy.name().clone();
    let agent = places.agent(&name);
    facts::refuse_before_it_begins(places, &agent, policy)?;
    let identity = state::prepare(places, &agent)?;
    let _lock = state::lock(&agent, name.as_str())?;
    let prepared = authority::prepare(&agent, policy, &facts::root(policy, identity)?)?;
    let (authority, trust) = prepared.map(|prepared| (prepared.parts, prepared.trust)).unzip();
    let command = (!request.command.is_empty()).then(|| request.command.clone());
    let asked = facts::Asked { identity, command, trust };
    let mut plan = facts::plan(places, &agent, policy, asked)?;
    plan.mounts.extend(request.mounts.iter().cloned());
    let placeholders = placeholders::prepare(places, policy)?;
    plan.environment.extend(placeholders.environment);
    let prices = metering::prices_for(policy, &places.prices())?;
    let inspection =
        Inspection { authority, tag: placeholders.tag, placeholders: placeholders.given, prices };
    let crew = start::start(places, &agent, &plan, start::Prepared { empty, inspection }, &mut request)?;
    let ended = supervise::supervise(crew, &agent, &plan, request);
    screen::waits_again();
    if let Err(error) = std::fs::remove_file(&agent.control)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        screen::talk(&format!("wardroom: {} could not be removed: {error}", agent.control.display()));
    }
    ended
}
