//! `credential revoke`: here first, within a second; then at the server, as far as the store held what can be ended there.
//! What a running agent's broker holds, it ends itself. Nothing that happens at a server holds up what happens here.

use wardroom_broker::{Sealed, stored_ends_at};
use wardroom_model::exit::Exit;
use wardroom_policy::Particulars;

use super::Subject;
use crate::commands::secret_input::Input;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::{cli, keeper, screen};

pub(super) fn revoke(places: &Places, asked: &cli::CredentialNamed) -> Done {
    let subject = Subject::find(places, asked)?;
    subject.record(places, "revoke")?;
    let sealed = subject.store.revoke(&subject.credential.name).or_exit(Exit::Credentials)?;
    let (agent, name) = (&subject.name, &subject.credential.name);
    screen::data(&format!("{name} of {agent} is revoked; what used it ends within a second"));
    screen::talk(&format!(
        "Tokens and leases that {agent} holds of it are given back by its broker, which puts on record how that went. The \
         secret itself is deleted at {}.",
        subject.console()
    ));
    match (stored_ends_at(&subject.credential), sealed, &subject.credential.particulars) {
        (Some(at), Some(sealed), _) => at_server(places, &subject, at, &sealed)?,
        (Some(at), None, _) => screen::talk(&format!(
            "The store held nothing that can be read, and so nothing of it was ended at {at}."
        )),
        (None, _, Particulars::Oauth2(of)) if of.revoke_url.is_none() => screen::talk(&format!(
            "Its policy names no `revoke_url`: tokens that {} gave for it are valid until their time.",
            of.token_url
        )),
        (None, _, _) => {}
    }
    Ok(0)
}

/// Ends what the store held at its server. An error where it is valid there all the same.
fn at_server(places: &Places, subject: &Subject, at: &str, sealed: &Sealed) -> Result<(), Failure> {
    let name = &subject.credential.name;
    let said = |how: &str| {
        keeper::record_operator(places, &subject.name, &format!("credential revoke {name}: {how}"))
    };
    match subject.sources(places, &Input::Standard).end_stored(&subject.credential, sealed) {
        Ok(()) => {
            screen::data(&format!("its refresh token is revoked at {at}"));
            said(&format!("its refresh token is revoked at {at}"))
        }
        Err(error) => {
            let why = format!("its refresh token is still valid at {at}: {:#}", anyhow::Error::from(error));
            said(&why)?;
            Err(Failure::new(Exit::Credentials, format!("{name} is revoked here, but {why}; end it there")))
        }
    }
}
