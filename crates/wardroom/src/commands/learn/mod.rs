//! `learn`, and `allow` without a host: from what was refused to rules, one answer of the operator's at a time.
//!
//! Learning permits nothing. The agent runs within the same walls; what it wanted and did not get is on its ledger already.

mod answer;
mod declined;
mod keyboard;
mod review;
mod seen;
mod shown;
mod wanted;

use anyhow::Context;
use wardroom_ledger::Query;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;
use wardroom_scribe::records;

use super::policy::{self, Source};
use super::{agent_name, run};
use crate::called::wardroom;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::{cli, clock, ledger_key, screen, signals};
use declined::Declined;
use wanted::{Item, Wanted};

/// Runs the agent as `run` does, and asks about what was refused to it meanwhile.
pub(super) fn learn(places: &Places, asked: &cli::Learn) -> Done {
    let name = agent_name(&asked.name)?;
    let begun = u64::try_from(clock::now().as_nanosecond()).unwrap_or_default();
    let code = run::agent(places, &name, &asked.command)?;
    // While the agent ran, the operator's signals were passed on to it.
    signals::deadly().context("signals cannot be had back").or_exit(Exit::Usage)?;
    let found = Found::since(places, &name, Some(begun))?;
    if found.items.is_empty() {
        screen::talk("wardroom: nothing was refused that a rule could permit");
    } else if review::can_ask() {
        // The agent's last line may have no end.
        screen::talk("");
        found.review()?;
    } else {
        let (many, them) = match found.items.len() {
            1 => ("1 thing was".to_owned(), "it"),
            many => (format!("{many} things were"), "them"),
        };
        screen::talk(&format!("wardroom: {many} refused; `{} allow {name}` asks about {them}", wardroom()));
    }
    Ok(code)
}

/// Asks about everything that was refused so far, or lists it.
pub(super) fn review(places: &Places, asked: &cli::Allow) -> Done {
    let name = agent_name(&asked.name)?;
    let since = asked.since.as_deref().map(super::log::when).transpose()?;
    let found = Found::since(places, &name, since)?;
    if asked.json {
        for item in &found.items {
            screen::data(&shown::json(&name, item).to_string());
        }
        return Ok(0);
    }
    if found.items.is_empty() {
        screen::talk(&format!("Nothing was refused to {name} that a rule could permit.{}", found.rest()));
        return Ok(0);
    }
    if !review::can_ask() {
        let why = format!(
            "the answers come from a terminal, and stdin is none; `{0} allow {name} --json` lists what was refused, \
             and `{0} allow {name} HOST` permits one host",
            wardroom()
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    found.review()?;
    Ok(0)
}

/// What was refused, with the policy of now.
#[derive(Debug)]
struct Found {
    source: Source,
    items: Vec<Item>,
    declined: Declined,
    left_out: u64,
}

impl Found {
    fn since(places: &Places, name: &AgentName, since: Option<u64>) -> Result<Self, Failure> {
        let agent = places.agent(name);
        let source = policy::load(&agent.policy)?;
        let ledger = ledger_key::ledger(&agent, name)?;
        let query = Query { since, kinds: wanted::KINDS.to_vec(), ..Query::default() };
        let mut wanted = Wanted::default();
        for record in records(ledger, query).or_exit(Exit::Ledger)? {
            wanted.take(&record.or_exit(Exit::Ledger)?, source.policy.network());
        }
        let declined = Declined::read(agent.state.join("declined.json"))?;
        let left_out = wanted.left_out;
        let items = wanted.items().into_iter().filter_map(|item| declined.without(item)).collect();
        Ok(Self { source, items, declined, left_out })
    }

    fn rest(&self) -> String {
        match self.left_out {
            0 => String::new(),
            1 => format!(" (1 refusal is of a kind that no answer here permits: see `{} log`.)", wardroom()),
            count => {
                format!(
                    " ({count} refusals are of a kind that no answer here permits: see `{} log`.)",
                    wardroom()
                )
            }
        }
    }

    fn review(self) -> Result<(), Failure> {
        let (many, rest) = (self.items.len(), self.rest());
        let things = if many == 1 { "thing was" } else { "things were" };
        screen::talk(&format!(
            "{many} {things} refused to {} that a rule could permit.{rest}",
            self.source.policy.name()
        ));
        review::review(&self.source, self.items, self.declined)
    }
}

#[cfg(test)]
mod tests;
