//! `ps`: the agents, and what runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use wardroom_model::AgentName;

use super::log::local_time;
use super::reach::{Unreached, reach};
use crate::called::wardroom;
use crate::cli;
use crate::failure::{Done, Failure};
use crate::keeper::known_agents;
use crate::keeper::protocol::{Answer, Request};
use crate::layout::cut;
use crate::places::Places;
use crate::screen;

/// What an agent is found to do.
enum Status {
    Running {
        keeper: u32,
        /// In nanoseconds of the Unix epoch.
        since: u64,
        command: String,
    },
    Stopped,
    /// Nobody says; why not.
    Unknown(String),
}

/// How long one keeper is waited for. One that is held up must not hide the others.
const PATIENCE: Duration = Duration::from_secs(2);
/// Columns of a name, as long as it may be.
const NAME: usize = AgentName::MAX;

/// Lists the agents, and what runs.
pub(super) fn ps(places: &Places, asked: &cli::Ps) -> Done {
    let mut found = listed(places)?
        .into_iter()
        .map(|(name, has_policy)| (status(places, &name), name, has_policy))
        // Without a policy there may be a socket that a keeper left behind, and no agent.
        .filter(|(status, _, has_policy)| *has_policy || !matches!(status, Status::Stopped))
        .peekable();
    if found.peek().is_none() {
        screen::talk(&format!(
            "no policies in {}; make one with `{} new NAME`",
            places.agents().display(),
            wardroom()
        ));
    }
    for (status, name, _) in found {
        let shown = if asked.json { for_programs(&name, &status) } else { for_people(&name, &status) };
        if !screen::data(&shown) {
            break;
        }
    }
    Ok(0)
}

/// Every agent that has a policy, and those that may run without one (`run --here`); whether it has.
fn listed(places: &Places) -> Result<BTreeMap<AgentName, bool>, Failure> {
    let mut names = BTreeMap::new();
    for file in known_agents(places)? {
        match agent_of(&file) {
            Some(name) => drop(names.insert(name, true)),
            None => {
                screen::talk(&format!(
                    "wardroom: {} is not named as an agent can be; left out",
                    file.display()
                ));
            }
        }
    }
    let sockets = fs::read_dir(places.run()).into_iter().flatten().flatten();
    for name in sockets.filter_map(|entry| agent_of(&entry.path())) {
        names.entry(name).or_insert(false);
    }
    Ok(names)
}

fn agent_of(file: &Path) -> Option<AgentName> {
    AgentName::parse(file.file_stem()?.to_str()?).ok()
}

/// What a keeper says of itself.
fn status(places: &Places, name: &AgentName) -> Status {
    let line = match reach(&places.agent(name).control) {
        Ok(line) => line,
        Err(Unreached::NotRunning) => return Status::Stopped,
        Err(why @ (Unreached::Forbidden(_) | Unreached::Stopped(_) | Unreached::HeldUp(_))) => {
            return Status::Unknown(why.to_string());
        }
    };
    let asked = line.for_at_most(PATIENCE).and_then(|()| line.say(&Request::Status, &[]));
    match asked.and_then(|()| line.hear::<Answer>()) {
        Ok(Some((Answer::Running { keeper, since, command }, _))) => {
            Status::Running { keeper, since, command }
        }
        // It ended between the call and the answer.
        Ok(None) => Status::Stopped,
        Ok(Some(_)) => Status::Unknown("its keeper is of another version".to_owned()),
        Err(error) => Status::Unknown(format!("its keeper does not answer: {error}")),
    }
}

/// One line, no longer than the terminal is wide.
fn for_people(name: &AgentName, status: &Status) -> String {
    let said = match status {
        Status::Running { keeper, since, command } => {
            format!("running  since {}, keeper {keeper}: {command}", local_time(*since))
        }
        Status::Stopped => "stopped".to_owned(),
        Status::Unknown(why) => format!("unknown  {why}"),
    };
    let room = if screen::is_for_people() { screen::width() } else { usize::MAX };
    cut(&format!("{:NAME$} {said}", name.as_str()), room)
}

fn for_programs(name: &AgentName, status: &Status) -> String {
    let agent = name.as_str();
    match status {
        Status::Running { keeper, since, command } => {
            let since = jiff::Timestamp::from_nanosecond(i128::from(*since));
            let since = since.map(|time| time.to_string()).unwrap_or_default();
            json!({"agent": agent, "running": true, "keeper": keeper, "since": since, "command": command})
        }
        Status::Stopped => json!({"agent": agent, "running": false}),
        Status::Unknown(why) => json!({"agent": agent, "running": null, "why": why}),
    }
    .to_string()
}
