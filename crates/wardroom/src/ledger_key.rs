//! Under which name and with which key an agent's ledger is signed. The key is the host's own, from its private
//! directory; a key that lies in a ledger is never believed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use wardroom_ledger::Verifier;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use crate::failure::Failure;
use crate::places::{AgentPlaces, Places};

/// The ledger's origin, `host/agent`: the one it began with, also after the host was renamed.
pub(crate) fn origin(agent: &AgentPlaces, name: &AgentName) -> String {
    named(&agent.ledger).unwrap_or_else(|| format!("{}/{name}", host()))
}

/// An agent's ledger, if there is one: a start that failed leaves an empty directory.
pub(crate) fn ledger<'a>(agent: &'a AgentPlaces, name: &AgentName) -> Result<&'a Path, Failure> {
    let never = || Failure::new(Exit::NoSuchAgent, format!("{name} has no record yet: it never ran"));
    match fs::read_dir(&agent.ledger).map(|mut entries| entries.next().is_none()) {
        Ok(false) => Ok(&agent.ledger),
        Ok(true) => Err(never()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(never()),
        Err(error) => {
            Err(Failure::new(Exit::Ledger, format!("cannot read {}: {error}", agent.ledger.display())))
        }
    }
}

/// This host's public key under the name that the ledger in a directory gives itself.
pub(crate) fn verifier(places: &Places, ledger: &Path) -> anyhow::Result<Verifier> {
    let origin = named(ledger).with_context(|| format!("{} is no ledger", ledger.display()))?;
    let file = places.keys().join("ledger.pub");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}; give the key with --key", file.display()))?;
    Ok(Verifier::parse(text.trim())?.named(&origin)?)
}

/// A ledger's own copy of its key, which anybody may have put there.
pub(crate) fn claimed(ledger: &Path) -> Option<Verifier> {
    let text = fs::read_to_string(ledger.join(wardroom_ledger::layout::VERIFIER)).ok()?;
    Verifier::parse(text.trim()).ok()
}

fn named(ledger: &Path) -> Option<String> {
    claimed(ledger).map(|verifier| verifier.name().to_owned())
}

/// This host's name, as far as it can stand in an origin.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    if host.is_empty() { "localhost".to_owned() } else { host }
}
