//! `credential`: what an operator does with the secrets that an agent uses. No value is ever shown, and none is ever an
//! argument; everything that changes something is on the agent's ledger before it happens.

mod list;
mod revoke;
mod rotate;
mod set;
mod test;
mod usage;

use std::sync::Arc;

use wardroom_broker::{Keep, Sources, Store, Web, custody, probe, programs};
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;
use wardroom_policy::network::HostTarget;

use super::secret_input::Input;
use super::{agent_name, policy};
use crate::cli::{self, Credential as Asked};
use crate::failure::{Done, Failure, OrExit};
use crate::keeper;
use crate::places::Places;
use crate::screen;

/// Does what was asked.
pub(super) fn credential(places: &Places, asked: &Asked) -> Done {
    match asked {
        Asked::Set(asked) => set::set(places, asked),
        Asked::List(asked) => list::list(places, asked),
        Asked::Usage(asked) => usage::usage(places, asked),
        Asked::Rotate(asked) => rotate::rotate(places, asked),
        Asked::Revoke(asked) => revoke::revoke(places, asked),
        Asked::Test(asked) => test::test(places, asked),
        Asked::Unlock(asked) => unlock(places, asked),
        Asked::Lock => {
            Keep::at(&places.custody()).lock().or_exit(Exit::Credentials)?;
            screen::data("the credential store is locked; agents that run keep what they have");
            Ok(0)
        }
    }
}

/// One credential of an agent, with its store.
struct Subject {
    name: AgentName,
    credential: wardroom_policy::Credential,
    /// How its host is reached.
    target: Option<HostTarget>,
    store: Store,
}

impl Subject {
    fn find(places: &Places, which: &cli::CredentialNamed) -> Result<Self, Failure> {
        let name = agent_name(&which.name)?;
        let source = policy::load(&places.agent(&name).policy)?;
        let known = source.policy.credentials();
        let Some(credential) = known.iter().find(|one| one.name == which.credential) else {
            let names: Vec<_> = known.iter().map(|one| one.name.as_str()).collect();
            let there = if names.is_empty() {
                "it declares none".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            let why = format!("{} has no credential {:?}; {there}", source.shown(), which.credential);
            return Err(Failure::new(Exit::Usage, why));
        };
        let target = source.policy.network().reached(&credential.host).cloned();
        Ok(Self { store: keeper::store(places, &name)?, credential: credential.clone(), target, name })
    }

    /// Puts on record what is about to be done with it.
    fn record(&self, places: &Places, verb: &str) -> Result<(), Failure> {
        keeper::record_operator(places, &self.name, &format!("credential {verb} {}", self.credential.name))
    }

    /// Everything that its value comes from but the store.
    fn locked_sources(&self) -> Sources {
        let (web, programs) = (Web::with_host_authorities(), Arc::new(programs::Here));
        let identity = Err("the store is not unlocked for this".to_owned());
        Sources { store: self.store.clone(), identity, web, programs }
    }

    /// Everything that its value comes from, unlocked.
    fn sources(&self, places: &Places, passphrase: &Input) -> Sources {
        let keep = Keep::at(&places.custody());
        let identity = keep
            .unlock(&mut || passphrase.passphrase("Passphrase of the credential store: "))
            .map_err(|error| error.to_string())
            .and_then(|identity| custody::parse(&identity).map_err(str::to_owned));
        Sources { identity, ..self.locked_sources() }
    }

    /// Where its keys are made and deleted, in words.
    fn console(&self) -> String {
        probe::known(&self.credential).map_or_else(
            || format!("the provider of {}", self.credential.host),
            |known| known.console.to_owned(),
        )
    }
}

/// Unlocks the store.
fn unlock(places: &Places, asked: &cli::CredentialUnlock) -> Done {
    let keep = Keep::at(&places.custody());
    let input = Input::of(asked.passphrase_fd)?;
    let setup = keep.setup().or_exit(Exit::Credentials)?;
    keep.unlock(&mut || input.passphrase("Passphrase of the credential store: "))
        .or_exit(Exit::Credentials)?;
    screen::data(match setup.custody {
        custody::Custody::Keyring => "the credential store is unlocked until the machine is switched off",
        custody::Custody::SystemdCreds => "the credential store is opened by this machine itself",
        custody::Custody::Passphrase => {
            "this is the passphrase; it is asked for again at each start of an agent"
        }
    });
    Ok(0)
}
