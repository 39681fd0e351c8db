//! Records that the operator's tools leave while no cell runs: a scribe is started for them alone, and ended.

use wardroom_broker::Store;
use wardroom_model::bytes::Captured;
use wardroom_model::event::Operator;
use wardroom_model::exit::Exit;
use wardroom_model::{AgentName, Event};
use wardroom_policy::Retention;

use super::protocol::{Answer, Line, Request};
use super::scribe::{Rings, Scribe};
use super::{start, state};
use crate::failure::{Failure, OrExit};
use crate::places::Places;

/// Puts on an agent's ledger what an operator is about to do: through its keeper if it runs, else directly.
pub(crate) fn record_operator(places: &Places, name: &AgentName, action: &str) -> Result<(), Failure> {
    if let Ok(keeper) = Line::call(&places.agent(name).control) {
        keeper.say(&Request::Record { action: action.to_owned() }, &[]).or_exit(Exit::Supervision)?;
        return match keeper.hear::<Answer>().or_exit(Exit::Supervision)? {
            Some((Answer::Recorded, _)) => Ok(()),
            Some((Answer::Refused { why }, _)) => Err(Failure::new(Exit::Ledger, why)),
            Some((
                Answer::Running { .. } | Answer::Terminal | Answer::Ended { .. } | Answer::NotStarted { .. },
                _,
            ))
            | None => {
                let why = format!("{name} ended before this was on record; try again");
                Err(Failure::new(Exit::Supervision, why))
            }
        };
    }
    let uid = rustix::process::getuid().as_raw();
    record(places, name, &[Event::Operator(Operator { uid, action: Captured::from(action) })])
}

/// Makes the directory of all state: it can be entered by the users that helpers run as, and not be listed.
pub(crate) fn prepare_host(places: &Places) -> Result<(), Failure> {
    state::make(places.state(), 0o711).or_exit(Exit::Credentials)
}

/// The store of an agent's credentials; its directories are made where it never ran.
pub(crate) fn store(places: &Places, name: &AgentName) -> Result<Store, Failure> {
    let agent = places.agent(name);
    let identity = state::prepare(places, &agent)?;
    Ok(Store::at(&agent.credentials, name, state::broker_id(identity)))
}

/// Puts these on the agent's ledger, signed when this returns.
pub(crate) fn record(places: &Places, name: &AgentName, events: &[Event]) -> Result<(), Failure> {
    let agent = places.agent(name);
    let _lock = state::lock(&agent, name.as_str())?;
    let scribe = Scribe::start(places, &agent, name, &Retention::Forever, Rings::make(&agent)?)?;
    scribe.await_ready()?;
    let handoff = start::ring(&scribe)?;
    for event in events {
        let _receipt = handoff.record(event).or_exit(Exit::Ledger)?;
    }
    drop(handoff);
    scribe.finish().or_exit(Exit::Ledger)
}
