//! `credential test`: gets the value as the broker would, and asks its host one harmless question with it.

use wardroom_broker::probe::{Tried, probe};
use wardroom_broker::{Extent, GivenBack, Got, Sources, Web};
use wardroom_model::exit::Exit;
use wardroom_policy::network::HostTarget;

use super::Subject;
use crate::cli;
use crate::commands::secret_input::Input;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

pub(super) fn test(places: &Places, asked: &cli::CredentialTest) -> Done {
    let subject = Subject::find(places, &asked.which)?;
    let sources = subject.sources(places, &Input::of(asked.passphrase_fd)?);
    subject.record(places, "test")?;
    let got = sources.get(&subject.credential).or_exit(Exit::Credentials)?;
    screen::data(&format!("{} gave a value", got.source));
    let tried = tried(&subject, &got, asked.path.as_deref());
    give_back(&subject, &sources, &got);
    tried?;
    Ok(0)
}

/// Ends what was got for a try alone. What cannot be ended ends with its time, and that is said.
pub(super) fn give_back(subject: &Subject, sources: &Sources, got: &Got) {
    for GivenBack { at, outcome } in sources.end(&subject.credential, got, Extent::Use) {
        if let Err(error) = outcome {
            screen::talk(&format!("what {at} gave for this test is valid until its time: {error}"));
        }
    }
}

/// Tries a value at its host, reached as an agent's requests reach it, and says how that ended. An error where the host does not take it.
pub(super) fn tried(subject: &Subject, got: &Got, path: Option<&str>) -> Result<(), Failure> {
    let host = &subject.credential.host;
    let target = subject.target.as_ref();
    let web = Web::as_ruled(target.and_then(HostTarget::pin), target.and_then(HostTarget::authorities));
    let web = web.or_exit(Exit::Credentials)?;
    let ports = target.map(HostTarget::ports).filter(|ports| !ports.contains(&443));
    let port = ports.and_then(|ports| ports.first()).copied().unwrap_or(443);
    let tried = probe(&web, port, &subject.credential, &got.material, path);
    match tried.or_exit(Exit::Credentials)? {
        Tried::Accepted(_) => {
            screen::data(&format!("{host} takes it"));
        }
        Tried::Unclear(status) => {
            screen::data(&format!("{host} answered {status}: it neither took nor refused it"));
        }
        Tried::NotTried => {
            screen::data(&format!(
                "not tried at {host}: nothing harmless to ask is known; name it with --path"
            ));
        }
        Tried::Refused(status) => {
            return Err(Failure::new(Exit::Credentials, format!("{host} refuses it ({status})")));
        }
    }
    Ok(())
}
