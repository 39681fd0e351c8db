//! Records that the operator's tools leave while no cell runs: a scribe is started for them alone, and ended.

use wardroom_model::exit::Exit;
use wardroom_model::{AgentName, Event};

use super::scribe::{Rings, Scribe};
use super::{start, state};
use crate::failure::{Failure, OrExit};
use crate::places::Places;

/// Puts these on the agent's ledger, signed when this returns.
pub(crate) fn record(places: &Places, name: &AgentName, events: &[Event]) -> Result<(), Failure> {
    let agent = places.agent(name);
    let _lock = state::lock(&agent, name.as_str())?;
    let scribe = Scribe::start(places, &agent, name, Rings::make(&agent)?)?;
    scribe.await_ready()?;
    let handoff = start::ring(&scribe)?;
    for event in events {
        let _receipt = handoff.record(event).or_exit(Exit::Ledger)?;
    }
    drop(handoff);
    scribe.finish().or_exit(Exit::Ledger)
}
