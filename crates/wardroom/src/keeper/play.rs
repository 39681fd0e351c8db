//! This binary in one of its roles. A role gets descriptors from the keeper, by number, and nothing else.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use wardroom_broker::BrokerSetup;
use wardroom_gate::{GateSetup, Inspection, Resolvers};
use wardroom_kernel::memory_file;
use wardroom_kernel::process::{self, inherited};
use wardroom_model::exit::Exit;
use wardroom_scribe::{Handoff, Producer, ScribeSetup};
use zeroize::Zeroizing;

use super::roles::become_id;
use super::scribe::understood;
use crate::cli;
use crate::demo;
use crate::failure::{Done, OrExit, let_go};
use crate::verify;

/// Plays a role until it is over.
pub(crate) fn play(role: &cli::Role) -> Done {
    if role.name == "probe" {
        return verify::role::play(&role.arguments);
    }
    let played = match role.name.as_str() {
        "sample-agent" => demo::agent::work(),
        helper => help(helper, &role.arguments),
    };
    played.with_context(|| role.name.clone()).or_exit(Exit::Supervision)?;
    Ok(0)
}

/// One of the keeper's helpers, under the id that comes first, before anything else is done.
fn help(name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let (id, arguments) = arguments.split_first().context("wrong number of arguments")?;
    // What ends a helper is its control socket. A service manager that stops a run signals every process of it, and what the
    // agent does last must still be recorded; nor may a write to a terminal stop one (SIGTTOU). The operator's commands, which
    // `programs` starts, would inherit it.
    if name != "programs" {
        process::set_mask(true).context("blocking signals")?;
    }
    if name == "broker" {
        // Its memory is to be locked, and only root may raise the limit: in user mode it stays as it is.
        let_go(setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }));
    }
    become_id(id)?;
    match name {
        "scribe" => scribe(arguments),
        "gate" => gate(arguments),
        "broker" => broker(arguments),
        "programs" => programs(arguments),
        other => bail!("there is no role {other:?}; roles are started by the keeper only"),
    }
}

/// `scribe LEDGER KEYS ORIGIN RETENTION control keeper-ring gate-ring`
fn scribe(arguments: &[String]) -> anyhow::Result<()> {
    let [ledger_dir, key_dir, origin, retention, control, keeper, gate] = arguments else {
        bail!("wrong number of arguments")
    };
    let setup = ScribeSetup {
        ledger_dir: ledger_dir.into(),
        key_dir: key_dir.into(),
        origin: origin.clone(),
        rings: vec![(Producer::Keeper, descriptor(keeper)?), (Producer::Gate, descriptor(gate)?)],
        control: descriptor(control)?,
    };
    wardroom_scribe::serve(setup, understood(retention)?)?;
    Ok(())
}

/// `gate FILE GENERATION control ring attribution policy inspection counters`; the cell's sockets come over `control`
fn gate(arguments: &[String]) -> anyhow::Result<()> {
    let [policy_file, generation, control, ring, attribution, policy, inspection, counters] = arguments
    else {
        bail!("wrong number of arguments")
    };
    wardroom_gate::serve(GateSetup {
        sockets: None,
        handoff: Arc::new(Handoff::attach(descriptor(ring)?, Producer::Gate)?),
        control: descriptor(control)?,
        attribution: Some(descriptor(attribution)?),
        policy_file: policy_file.clone(),
        policy_text: String::from_utf8(memory_file::read(descriptor(policy)?)?)?,
        resolvers: Resolvers::Host,
        generation: generation.parse()?,
        inspection: Inspection::decode(&Zeroizing::new(memory_file::read(descriptor(inspection)?)?))?,
        counters: Some(descriptor(counters)?),
    })?;
    Ok(())
}

/// `broker STORE FILE control gate policy [programs]`
fn broker(arguments: &[String]) -> anyhow::Result<()> {
    let [store, policy_file, control, gate, policy, programs @ ..] = arguments else {
        bail!("wrong number of arguments")
    };
    wardroom_broker::serve(BrokerSetup {
        control: descriptor(control)?,
        gate: descriptor(gate)?,
        programs: programs.first().map(|number| descriptor(number)).transpose()?,
        store: store.into(),
        policy_file: policy_file.clone(),
        policy_text: String::from_utf8(memory_file::read(descriptor(policy)?)?)?,
    })?;
    Ok(())
}

/// `programs FILE control broker policy`
fn programs(arguments: &[String]) -> anyhow::Result<()> {
    let [policy_file, control, broker, policy] = arguments else { bail!("wrong number of arguments") };
    let (control, broker) = (descriptor(control)?, descriptor(broker)?);
    let text = String::from_utf8(memory_file::read(descriptor(policy)?)?)?;
    wardroom_broker::programs::serve(&control, &broker, policy_file, &text)?;
    Ok(())
}

/// A descriptor that the keeper left open for us.
fn descriptor(number: &str) -> anyhow::Result<OwnedFd> {
    inherited(number.parse()?).with_context(|| format!("descriptor {number} was not handed over"))
}
